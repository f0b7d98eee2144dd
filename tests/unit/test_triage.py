"""Triage's pure parts: the bounds, the threshold they allow, the budget, the routes."""

from itertools import product

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom, binomtest

from s2d_loop.config import TriageConfig
from s2d_loop.records import Route, table
from s2d_loop.triage.audit import audit
from s2d_loop.triage.calibration import added, bounds, calibrate
from s2d_loop.triage.routes import NOT_ASKED, Rule, commonest, draws, route
from s2d_loop.triage.spend import Demand, allot


@pytest.mark.parametrize(("count", "n"), [(0, 1), (0, 59), (1, 93), (7, 200), (20, 20), (3, 4)])
def test_bounds_are_those_of_the_exact_test(count: int, n: int) -> None:
    low, high = bounds(count, n, 0.95)
    assert low == pytest.approx(
        binomtest(count, n, alternative="greater").proportion_ci(0.95, method="exact").low
    )
    assert high == pytest.approx(
        binomtest(count, n, alternative="less").proportion_ci(0.95, method="exact").high
    )


def test_an_upper_bound_is_wrong_as_seldom_as_it_says_for_any_rate() -> None:
    n = 60
    highs = [bounds(count, n, 0.95)[1] for count in range(n + 1)]
    for rate in np.linspace(0.005, 0.5, 100):
        # P(as few misses as give a bound below the rate): the bounds rise with the count.
        wrong = binom.cdf(np.searchsorted(highs, rate) - 1, n, rate)
        assert wrong <= 0.05 + 1e-9


def test_of_nothing_nothing_is_known_and_nothing_skipped() -> None:
    assert bounds(0, 0, 0.95) == (0.0, 1.0)
    assert calibrate(added([]), 0.05, 0.95).threshold is None
    assert calibrate([[0, 0]] * 5, 0.05, 0.95).threshold is None


def test_the_threshold_is_the_lowest_that_holds_from_the_strictest_down() -> None:
    assert calibrate([[9, 9], [50, 30], [100, 20], [100, 1], [200, 0]], 0.05, 0.95).threshold == 3
    # 58 without a miss are one too few, whatever lies below.
    assert calibrate([[0, 0], [500, 0], [58, 0]], 0.05, 0.95).threshold is None
    assert calibrate([[0, 0], [500, 0], [59, 0]], 0.05, 0.95).threshold == 1
    # Without any answer there is none to skip to.
    assert calibrate([[500, 0], [500, 0], [500, 0]], 0.05, 0.95).threshold == 1


@pytest.mark.parametrize(
    "miss",
    [(0.9, 0.5, 0.06, 0.051), (0.5, 0.051, 0.051, 0.051), (0.2, 0.2, 0.2, 0.0), (0.06, 0.04, 0.07, 0.051)],
)
def test_a_threshold_above_the_stated_rate_is_taken_as_seldom_as_stated(miss: tuple[float, ...]) -> None:
    """Simulated rounds whose true rates, by agreeing samples, lie just above the stated rate, where it is hardest."""
    rng = np.random.default_rng(0)
    weights, rounds = np.array([0.1, 0.2, 0.3, 0.4]), 2000
    wrong = 0
    for _ in range(rounds):
        n = rng.multinomial(300, weights)
        pairs = [[0, 0], *([int(k), int(rng.binomial(k, p))] for k, p in zip(n, miss, strict=True))]
        threshold = calibrate(pairs, 0.05, 0.95).threshold
        if threshold is not None:
            chosen = slice(threshold - 1, None)
            wrong += float(np.average(miss[chosen], weights=weights[chosen])) > 0.05
    # The stated 5 %, and what chance adds to it once in a thousand such tests.
    assert wrong <= binom.ppf(0.999, rounds, 0.05)


def test_rounds_are_added_level_by_level() -> None:
    assert added([[[1, 0], [2, 1]], [[3, 3], [4, 0]]]) == [[4, 3], [6, 1]]


demands = st.dictionaries(
    st.sampled_from("abcd"),
    st.builds(
        Demand,
        inputs=st.integers(0, 30),
        audited=st.integers(0, 5),
        tokens=st.floats(1, 500),
        gain=st.none() | st.floats(0, 1),
    ),
    min_size=1,
)


@settings(max_examples=150)
@given(demands, st.integers(1, 20_000))
def test_a_budget_is_never_overspent_by_estimate_nor_left_where_an_input_fits(
    wanted: dict[str, Demand], budget: int
) -> None:
    given_ = allot(wanted, budget)
    audits = sum(each.audited * each.tokens for each in wanted.values())
    spent = sum(number * wanted[task].tokens for task, number in given_.items())
    assert all(0 <= given_[task] <= each.inputs for task, each in wanted.items())
    assert spent <= max(0.0, budget - audits) + 1e-6
    left = budget - audits - spent
    assert all(given_[task] == each.inputs or each.tokens > left - 1e-6 for task, each in wanted.items())
    assert allot(wanted, budget) == given_
    assert allot(wanted, None) == {task: each.inputs for task, each in wanted.items()}


def test_tokens_go_to_tasks_in_proportion_to_what_they_gain() -> None:
    def task(gain: float | None, inputs: int = 1000) -> Demand:
        return Demand(inputs, audited=0, tokens=10.0, gain=gain)

    assert allot({"a": task(3.0), "b": task(1.0)}, 4000) == {"a": 300, "b": 100}
    assert allot({"a": task(None), "b": task(None)}, 4000) == {"a": 200, "b": 200}
    assert allot({"a": task(0.0), "b": task(0.0)}, 4000) == {"a": 200, "b": 200}
    # One of which nothing is known counts as the best that is.
    assert allot({"a": task(None), "b": task(1.0), "c": task(1.0)}, 3000) == {"a": 100, "b": 100, "c": 100}
    # What a task can't use goes to the others, and last to those that gain nothing.
    assert allot({"a": task(3.0, inputs=50), "b": task(1.0)}, 4000) == {"a": 50, "b": 350}
    assert allot({"a": task(3.0, inputs=50), "b": task(0.0)}, 4000) == {"a": 50, "b": 350}
    # Audits come first.
    assert allot({"a": Demand(10, audited=400, tokens=10.0, gain=1.0)}, 3999) == {"a": 0}


def test_the_commonest_answer_and_its_count() -> None:
    assert commonest(["b", "a", None, "b"]) == (2, "b")
    assert commonest(["b", "a", None]) == (1, "a")
    assert commonest([None, None]) == (0, None)
    assert commonest([]) == (0, None)


def test_an_input_is_audited_by_its_id_alone() -> None:
    ids = [f"s:f#{i}" for i in range(20_000)]
    drawn = draws(ids, seed=3)
    for share in (0.01, 0.1, 0.5):
        low, high = binom.ppf([1e-4, 1 - 1e-4], 20_000, share)
        assert low <= (drawn < share).sum() <= high
    assert (draws(ids[::-1], seed=3)[::-1] == drawn).all()
    assert (draws(ids, seed=4) != drawn).any()
    assert ((drawn >= 0) & (drawn < 1)).all()


rows_ = st.lists(st.tuples(st.sampled_from("ab"), st.integers(NOT_ASKED, 4), st.booleans()), max_size=40)
rule = st.builds(
    Rule,
    threshold=st.none() | st.integers(1, 4),
    retired=st.booleans(),
    tokens=st.just(10.0),
    gain=st.none() | st.floats(0, 1),
)


@settings(max_examples=150)
@given(rows_, rule, rule, st.none() | st.integers(1, 300))
def test_every_input_has_one_route_and_audits_are_always_answered(
    inputs: list[tuple[str, int, bool]], a: Rule, b: Rule, budget: int | None
) -> None:
    tasks = np.array([task for task, _, _ in inputs], dtype=object)
    agreeing = np.array([n for _, n, _ in inputs], dtype=int)
    audit_ = np.array([drawn for _, _, drawn in inputs], dtype=bool)
    order = np.arange(len(inputs)) / 100
    rules = {"a": a, "b": b}
    found = route(tasks, agreeing, audit_, order, rules, budget)
    for (task, n, drawn), where in zip(inputs, found, strict=True):
        skips = rules[task].threshold is not None and n >= (rules[task].threshold or 0)
        if drawn:
            assert where == "audit"
        elif rules[task].retired:
            assert where == "retired"
        elif skips:
            assert where == "skipped"
        else:
            assert where in ("system2", "budget" if budget is not None else "system2")
    for task in rules:
        sent = agreeing[(tasks == task) & (found == "system2")]
        left = agreeing[(tasks == task) & (found == "budget")]
        assert not len(left) or not len(sent) or sent.max() <= left.min()
    if budget is not None:
        answered = int(np.isin(found, ("system2", "audit")).sum())
        assert answered * 10 <= max(budget, int(audit_.sum()) * 10)


def test_an_audit_counts_what_was_kept_with_another_answer() -> None:
    sent = [
        Route("1", "t", 1.0, "a", "audit"),  # the same
        Route("2", "t", 1.0, "a", "audit"),  # kept with another
        Route("3", "t", 1.0, "a", "audit"),  # nothing to learn from
        Route("4", "t", 0.5, None, "audit"),  # System 1 said nothing that can be read
        Route("5", "t", 1.0, "a", "audit"),  # no verdict: it says nothing
        Route("6", "t", 0.5, "b", "system2"),  # below the threshold: only where all are
    ]
    verdicts = pa.table(
        {
            "reason": ["kept", "kept", "tie", "kept", "generation_failed", "kept"],
            "answer": ["a", "b", None, "a", None, "b"],
        }
    )
    rules = TriageConfig(samples=2, miss_rate=0.05)
    some = {"t": {"routes": {"audit": 5, "system2": 1, "skipped": 7}, "threshold": 2}}
    found = audit(table(sent, Route), verdicts, some, rules)["t"]
    assert (found["of"], found["pairs"], found["n"], found["misses"]) == (
        "audit",
        [[0, 0], [1, 1], [3, 1]],
        3,
        1,
    )
    assert not found["drift"]
    every = {"t": {"routes": {"audit": 5, "system2": 1}, "threshold": None}}
    found = audit(table(sent, Route), verdicts, every, rules)["t"]
    assert (found["of"], found["pairs"], found["sentence"]) == ("all", [[0, 0], [2, 1], [3, 1]], "")


def test_drift_is_said_only_where_chance_does_not_explain_the_misses() -> None:
    def drift(n: int, misses: int) -> bool:
        sent = [Route(str(i), "t", 1.0, "a", "audit") for i in range(n)]
        verdicts = pa.table({"reason": ["kept"] * n, "answer": ["b"] * misses + ["a"] * (n - misses)})
        triaged = {"t": {"routes": {"audit": n, "skipped": 1}, "threshold": 4}}
        return audit(table(sent, Route), verdicts, triaged, TriageConfig())["t"]["drift"]

    # P(at least so many misses of n at a rate of 5 %) is below 5 % from here on.
    for n, misses in product((10, 30, 100), range(10)):
        likely = float(binom.sf(misses - 1, n, 0.05))
        assert drift(n, misses) == (likely < 0.05), (n, misses, likely)
