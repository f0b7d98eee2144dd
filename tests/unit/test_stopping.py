"""Sampling that stops when the vote is decided: the verdict of the full budget, for every input."""

import itertools
import random
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from s2d_loop.curate.stopping import is_decided, is_likely, samples_needed
from s2d_loop.curate.vote import Rule, decide

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


def test_the_likely_rule_keeps_its_risk() -> None:
    """Against the share's true leader, where the shares are drawn from the rule's own uniform prior."""
    rng = random.Random(1)
    wrong = stopped = 0
    for _ in range(1500):
        share = rng.random()
        drawn: list[str | None] = []
        while len(drawn) < 40 and not is_likely(drawn, 0.05):
            drawn.append("a" if rng.random() < share else "b")
        if is_likely(drawn, 0.05):
            stopped += 1
            wrong += (drawn.count("a") > drawn.count("b")) != (share > 0.5)
    assert stopped > 1100
    assert wrong / stopped <= 0.05
