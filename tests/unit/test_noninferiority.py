"""Tango's test against exact enumeration, McNemar's statistic and scipy; and the other intervals against scipy."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom, binomtest, chi2

from s2d_loop.evaluate.metrics import mcnemar, wilson
from s2d_loop.evaluate.noninferiority import (
    Pairs,
    interval,
    p_better,
    p_not_worse_by,
    p_worse_by,
    pairs_needed,
    pairs_without_a_difference,
    score,
)

counts = st.builds(Pairs, *(st.integers(0, 60) for _ in range(4)))


def false_rejections(n: int, margin: float, level: float, discordant: float) -> float:
    """The exact probability that systems which differ by just the margin pass, over all tables."""
    worse = (discordant + margin) / 2 / discordant
    total = 0.0
    for d in range(n + 1):
        if (weight := binom.pmf(d, n, discordant)) > 1e-10:
            passing = [c for c in range(d + 1) if p_worse_by(Pairs(0, c, d - c, n - d), margin) <= level]
            total += weight * binom.pmf(passing, d, worse).sum()
    return float(total)


@pytest.mark.parametrize(("n", "margin"), [(50, 0.05), (100, 0.1), (100, 0.02)])
@pytest.mark.parametrize(("level", "at_most"), [(0.05, 1.2), (0.01, 1.02), (0.05 / 730, 1.0)])
def test_it_lets_pass_what_is_worse_by_the_margin_as_seldom_as_it_says(
    n: int, margin: float, level: float, at_most: float
) -> None:
    for discordant in (margin + 0.01, 0.2, 0.5):
        assert false_rejections(n, margin, level, discordant) <= at_most * level


def test_it_is_not_so_strict_that_nothing_passes() -> None:
    assert false_rejections(100, 0.1, 0.05, 0.2) > 0.8 * 0.05


@given(counts)
def test_without_a_margin_it_is_mcnemars(pairs: Pairs) -> None:
    b, c = pairs.only_second, pairs.only_first
    if b + c == 0:
        assert score(pairs, 0) == 0
        return
    assert score(pairs, 0) ** 2 == pytest.approx((b - c) ** 2 / (b + c))
    two_sided = 2 * min(p_better(pairs), 1 - p_better(pairs))
    assert two_sided == pytest.approx(chi2.sf((b - c) ** 2 / (b + c), 1))


@given(counts, st.sampled_from([0.02, 0.1, 0.5]))
def test_it_turns_round_with_its_sides(pairs: Pairs, margin: float) -> None:
    back = Pairs(pairs.both, pairs.only_second, pairs.only_first, pairs.neither)
    assert score(back, margin) == pytest.approx(-score(pairs, -margin))
    low, high = interval(pairs)
    assert interval(back) == pytest.approx((-high, -low))
    assert p_worse_by(pairs, margin) + p_not_worse_by(pairs, margin) == pytest.approx(1)


def test_the_interval_is_as_published() -> None:
    """Tango's own example (1998, contact lenses), and airway reactivity in Fagerland, Lydersen and Laake 2014."""
    assert interval(Pairs(43, 1, 0, 0), 0.9) == pytest.approx((-0.096, 0.037), abs=5e-4)
    assert interval(Pairs(1, 1, 7, 12)) == pytest.approx((0.026, 0.517), abs=5e-4)
    assert interval(Pairs(0, 0, 0, 0)) == (-1, 1)


@given(counts.filter(lambda pairs: pairs.n > 0), st.sampled_from([0.9, 0.95]))
def test_the_interval_holds_what_the_test_does_not_reject(pairs: Pairs, level: float) -> None:
    low, high = interval(pairs, level)
    assert -1 <= low <= pairs.difference <= high <= 1
    for inside in np.linspace(low, high, 5)[1:-1]:
        assert 2 * min(p_worse_by(pairs, -inside), p_not_worse_by(pairs, -inside)) >= 1 - level - 1e-9


def test_no_discordant_pair_is_evidence_as_far_as_there_are_pairs() -> None:
    assert p_worse_by(Pairs(250, 0, 0, 250), 0.02) == pytest.approx(7.0e-4, rel=0.01)
    for margin, level in ((0.02, 0.05 / 3), (0.05, 0.05 / 730), (0.1, 0.05)):
        n = pairs_without_a_difference(margin, level)
        assert p_worse_by(Pairs(n, 0, 0, 0), margin) <= level < p_worse_by(Pairs(n - 1, 0, 0, 0), margin)
    assert p_worse_by(Pairs(0, 0, 0, 0), 0.02) == 0.5


def test_how_many_pairs_would_show_it() -> None:
    pairs = Pairs(180, 9, 7, 4)
    n = pairs_needed(pairs, 0.03, 0.01)
    assert n is not None
    times = math.ceil(n / pairs.n)
    more = Pairs(180 * times, 9 * times, 7 * times, 4 * times)
    fewer = Pairs(180 * (times - 1), 9 * (times - 1), 7 * (times - 1), 4 * (times - 1))
    assert p_worse_by(more, 0.03) <= 0.01 < p_worse_by(fewer, 0.03)
    assert pairs_needed(Pairs(180, 20, 7, 4), 0.03, 0.01) is None


@given(st.integers(0, 60), st.integers(0, 60))
def test_the_other_figures_are_scipys(right: int, wrong: int) -> None:
    n = right + wrong
    if n:
        theirs = binomtest(right, n).proportion_ci(method="wilson")
        assert wilson(right, n) == pytest.approx((theirs.low, theirs.high), abs=1e-9)
        found = mcnemar([True] * right + [False] * wrong, [False] * right + [True] * wrong)
        assert found.p == pytest.approx(binomtest(right, n, 0.5).pvalue)
