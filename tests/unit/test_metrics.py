"""Intervals against published figures, and what must hold of any interval."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from s2d_loop.evaluate.metrics import mcnemar, paired_difference, wilson


def pairs(both: int, only_first: int, only_second: int, neither: int) -> tuple[list[bool], list[bool]]:
    first = [True] * (both + only_first) + [False] * (only_second + neither)
    second = [True] * both + [False] * only_first + [True] * only_second + [False] * neither
    return first, second


def test_wilson_as_published():
    """The examples of Newcombe 1998 (Statistics in Medicine 17:857), method 3."""
    assert wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert wilson(15, 148) == pytest.approx((0.0624, 0.1605), abs=5e-5)
    assert wilson(0, 20) == pytest.approx((0.0, 0.1611), abs=5e-5)
    assert wilson(1, 29) == pytest.approx((0.0061, 0.1718), abs=5e-5)


def test_wilson_of_nothing_is_everything():
    assert wilson(0, 0) == (0.0, 1.0)


@given(n=st.integers(1, 500), share=st.floats(0, 1), level=st.sampled_from([0.8, 0.95, 0.99]))
def test_wilson_holds_the_proportion(n: int, share: float, level: float):
    successes = round(share * n)
    low, high = wilson(successes, n, level)
    assert 0 <= low <= successes / n <= high <= 1
    assert wilson(n - successes, n, level) == pytest.approx((1 - high, 1 - low))


def test_paired_difference_as_published():
    """Examples of Newcombe 1998 (17:2635), method 10, and of Fagerland, Lydersen and Laake 2014."""
    value, low, high = paired_difference(*pairs(36, 2, 12, 0))
    assert (value, low, high) == pytest.approx((0.2, 0.0569, 0.3404), abs=5e-5)
    value, low, high = paired_difference(*pairs(1, 1, 7, 12))
    assert (value, low, high) == pytest.approx((6 / 21, 0.026, 0.507), abs=5e-4)


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=60))
def test_a_paired_difference_turns_round_with_its_sides(outcomes: list[tuple[bool, bool]]):
    first, second = [a for a, _ in outcomes], [b for _, b in outcomes]
    there, back = paired_difference(first, second), paired_difference(second, first)
    assert -1 <= there.low <= there.value <= there.high <= 1
    assert tuple(back) == pytest.approx((-there.value, -there.high, -there.low))


def test_it_covers_the_truth_as_often_as_it_says():
    rng = random.Random(3)
    covered = 0
    for _ in range(1000):
        first, second = [], []
        for _ in range(100):
            skill = rng.random()
            first.append(skill < 0.6)
            second.append(skill < 0.7 if rng.random() < 0.8 else rng.random() < 0.7)
        _, low, high = paired_difference(first, second)
        covered += low <= 0.1 <= high
    assert 0.93 < covered / 1000 < 0.98


def test_paired_difference_of_nothing_and_of_unequal_sides():
    assert tuple(paired_difference([], [])) == (0.0, -1.0, 1.0)
    with pytest.raises(ValueError) as caught:
        paired_difference([True], [])
    assert "same inputs on both sides" in str(caught.value)


def test_mcnemar_on_published_counts():
    """The approval ratings of Agresti (Categorical Data Analysis): 150 and 86 changed their minds."""
    found = mcnemar(*pairs(794, 150, 86, 570))
    assert (found.only_first, found.only_second) == (150, 86)
    assert found.p == pytest.approx(3.716e-5, abs=1e-8)


def test_mcnemar_by_hand():
    assert mcnemar(*pairs(5, 1, 7, 3)).p == pytest.approx(2 * (1 + 8) / 2**8)
    assert mcnemar(*pairs(5, 0, 0, 3)).p == 1
    assert mcnemar(*pairs(0, 3, 3, 0)).p == 1
    assert mcnemar([], []) == (0, 0, 1)
    assert 0 < mcnemar(*pairs(0, 900, 1100, 0)).p < 1e-4
    with pytest.raises(ValueError) as caught:
        mcnemar([True], [])
    assert "same inputs on both sides" in str(caught.value)


@given(st.lists(st.tuples(st.booleans(), st.booleans()), max_size=60))
def test_mcnemar_turns_round_with_its_sides(outcomes: list[tuple[bool, bool]]):
    first, second = [a for a, _ in outcomes], [b for _, b in outcomes]
    there, back = mcnemar(first, second), mcnemar(second, first)
    assert 0 < there.p <= 1
    assert there == (back.only_second, back.only_first, back.p)
