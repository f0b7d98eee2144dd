"""Sampling that stops when the vote is decided: the verdict of the full budget, for every input."""

import itertools
import math
import random
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from s2d_loop.curate.stopping import is_decided, risk_of_change, samples_needed
from s2d_loop.curate.vote import LOW_SHARE, NO_MAJORITY, Rule, decide
from s2d_loop.records import KEPT

RULES = get_args(Rule)
ANSWERS = st.sampled_from(["a", "b", "c", None])


def outcome(answers: list[str | None], rule: Rule, min_share: float, budget: int) -> tuple[str, str | None]:
    decision = decide(answers, rule, min_share, 0, "x", budget)
    return decision.reason, decision.answer


@settings(max_examples=60, deadline=None)
@given(
    st.lists(ANSWERS, max_size=6),
    st.integers(0, 3),
    st.sampled_from(RULES),
    st.sampled_from([0.0, 0.4, 0.5, 0.75, 1.0]),
)
def test_decided_means_that_no_completion_says_otherwise(
    drawn: list[str | None], left: int, rule: Rule, min_share: float
) -> None:
    budget = len(drawn) + left
    if not is_decided(drawn, budget, rule, min_share):
        return
    now = outcome(drawn, rule, min_share, budget)
    # Three answers, none at all, and new ones: enough to make every pattern of votes.
    for rest in itertools.product(["a", "b", "c", "new", None], repeat=left):
        assert outcome([*drawn, *rest], rule, min_share, budget) == now


@settings(max_examples=60, deadline=None)
@given(
    st.lists(ANSWERS, max_size=4), st.integers(1, 4), st.sampled_from(RULES), st.sampled_from([0.0, 0.5, 0.8])
)
def test_no_fewer_samples_could_have_decided(
    drawn: list[str | None], left: int, rule: Rule, min_share: float
) -> None:
    budget = len(drawn) + left
    needed = samples_needed(drawn, budget, rule, min_share)
    assert 1 <= needed <= left
    for fewer in range(1, needed):
        for rest in itertools.product(["a", "b", "c", "new", None], repeat=fewer):
            assert not is_decided([*drawn, *rest], budget, rule, min_share)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("budget", [8, 20, 64])
def test_stopping_gives_the_full_budgets_verdict(rule: Rule, budget: int) -> None:
    rng = random.Random(budget)
    saved = 0
    for _ in range(100):
        weights = [rng.random() ** 3 for _ in range(5)]
        full: list[str | None] = rng.choices(["a", "b", "c", "d", None], weights, k=budget)
        drawn: list[str | None] = []
        while not is_decided(drawn, budget, rule, 0.25):
            drawn += full[len(drawn) :][: samples_needed(drawn, budget, rule, 0.25)]
        saved += budget - len(drawn)
        assert outcome(drawn, rule, 0.25, budget) == outcome(full, rule, 0.25, budget)
    assert saved > 0.1 * 100 * budget


@pytest.mark.parametrize("rule", RULES)
def test_the_likely_rule_keeps_its_risk(rule: Rule) -> None:
    """How often the full budget says otherwise, where shares come from the rule's own uniform prior."""
    rng = random.Random(1)
    budget, inputs, risk, other, saved = 20, 400, 0.05, 0, 0
    for _ in range(inputs):
        share = rng.random()
        full: list[str | None] = ["a" if rng.random() < share else "b" for _ in range(budget)]
        drawn = next(
            full[:n] for n in range(1, budget + 1) if risk_of_change(full[:n], budget, rule, 0.0) <= risk
        )
        saved += budget - len(drawn)
        other += outcome(drawn, rule, 0.0, 0) != outcome(full, rule, 0.0, budget)
    assert saved > 0.5 * inputs * budget
    assert other <= risk * inputs


def test_the_predicted_risk_is_that_of_counting_every_outcome() -> None:
    """Two answers, uniform prior on the share: the probability is a sum that can be written out."""
    first, second, left = 5, 2, 4
    budget = first + second + left
    total = 0.0
    for more in range(left + 1):
        # Beta-binomial by its definition: the integral of the binomial over the posterior.
        total += (
            (first + more <= second + left - more)
            * math.comb(left, more)
            * math.exp(
                _log_beta(first + more + 1, second + left - more + 1) - _log_beta(first + 1, second + 1)
            )
        )
    unseen = risk_of_change(["a"] * first, first + left, "unique_plurality", 0.0)
    both = risk_of_change(["a"] * first + ["b"] * second, budget, "unique_plurality", 0.0)
    assert both == pytest.approx(total + unseen)


@pytest.mark.parametrize(
    ("drawn", "budget", "rule", "min_share", "reason"),
    [
        ("aa", 3, "absolute_majority", 0.0, KEPT),
        ("aa", 4, "absolute_majority", 0.0, NO_MAJORITY),
        ("aa", 0, "absolute_majority", 0.0, KEPT),
        # A program may give more answers than it was run for.
        ("aa..", 2, "absolute_majority", 0.0, NO_MAJORITY),
        ("aa", 4, "unique_plurality", 0.5, KEPT),
        ("aa", 5, "unique_plurality", 0.5, LOW_SHARE),
        ("aa", 0, "unique_plurality", 0.5, KEPT),
        ("aa...", 2, "unique_plurality", 0.5, LOW_SHARE),
    ],
)
def test_a_majority_and_a_least_share_are_parts_of_the_budget(
    drawn: str, budget: int, rule: Rule, min_share: float, reason: str
) -> None:
    """Of the samples drawn where there is no budget (0); those that can't be parsed count."""
    answers = [None if letter == "." else letter for letter in drawn]
    assert outcome(answers, rule, min_share, budget) == (reason, "a" if reason == KEPT else None)


def _log_beta(a: float, b: float) -> float:
    return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)
