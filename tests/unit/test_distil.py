"""When a task is retired from distillation, tried again, and distilled again."""

import random
from dataclasses import asdict
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from s2d_loop.config import RetireConfig
from s2d_loop.evaluate.distil import (
    Evidence,
    Retired,
    evidence,
    held_without_gain,
    retire,
    retired_tasks,
    with_retired,
)
from s2d_loop.evaluate.metrics import ratio
from s2d_loop.ledger import Counts, Record
from s2d_loop.records import Scored

N = 400
RULES = RetireConfig(after_rounds=3, closed=0.2, retry_every=5)


def scored(right: int, n: int = N) -> list[Scored]:
    """The first `right` of n inputs are right."""
    return [Scored(f"x{i}", "sums", "system1", "1", i < right, "1", 1) for i in range(n)]


@cache
def shown(
    system1: float, *, start: float = 0.1, system2: float = 0.7, rows: int = 50, n: int = N
) -> Evidence:
    """What a round shows whose candidate's System 1 is right on this share."""
    return evidence(*(scored(round(share * n), n) for share in (start, system2, system1)), rows)


class Run:
    """The gates of one run that has the tasks `sums` and `letters`; `letters` distils."""

    def __init__(self, rules: RetireConfig = RULES) -> None:
        self.rules, self.gates, self.said = rules, [], {}  # type: ignore[var-annotated]

    def round(self, sums: Evidence) -> None:
        iteration = len(self.gates) + 1
        now = {"letters": shown(0.6), "sums": sums}
        retired, said = retire(self.gates, now, iteration, self.rules)
        self.gates.append((iteration, with_retired({"sentence": "Promoted."}, now, retired, said)))
        self.said[iteration] = said

    def rests(self, iteration: int) -> frozenset[str]:
        return retired_tasks((record(i, facts) for i, facts in self.gates), iteration, self.rules)


def record(iteration: int, facts: dict) -> Record:  # type: ignore[type-arg]
    return Record(1, "stage", iteration, "gate", "", "", 0.0, Counts(0, 0), (), facts, "", "")


def test_a_task_that_never_improves_is_retired_after_its_rounds_and_says_why() -> None:
    run = Run()
    for _ in range(3):
        assert run.rests(len(run.gates) + 1) == frozenset()
        run.round(shown(0.11))
    assert run.rests(4) == {"sums"}
    (sentence,) = run.said[3]
    assert sentence.startswith("sums is no longer distilled after 3 rounds: System 1 is at 11.0%")
    assert "2% of the gap closed" in sentence


def test_a_candidate_that_learned_only_of_tasks_that_rest_is_held() -> None:
    def decided(rows: dict[str, int], rests: list[str], decision: str = "promote") -> str:
        now = {task: shown(0.1, rows=count) for task, count in rows.items()}
        facts = {"decision": decision, "sentence": "Promoted: sums +0.0 points."}
        found = held_without_gain(with_retired(facts, now, [Retired(task, 3, "") for task in rests], []))
        assert found["sentence"].startswith("Held: all that it learned is of sums") == (
            found["decision"] != decision
        )
        return found["decision"]  # type: ignore[no-any-return]

    assert decided({"sums": 50, "letters": 0}, ["sums"]) == "hold"
    assert decided({"sums": 50, "letters": 0}, ["sums"], "ask") == "hold"
    assert decided({"sums": 50, "letters": 1}, ["sums"]) == "promote"
    assert decided({"sums": 50, "letters": 0}, ["letters"]) == "promote"
    assert decided({"sums": 0, "letters": 0}, ["sums"]) == "promote", "it learned nothing new"


def test_it_is_tried_again_every_so_many_rounds_and_rests_in_between() -> None:
    run = Run()
    for _ in range(3):
        run.round(shown(0.1))
    for iteration in range(4, 20):
        run.round(shown(0.1, rows=0 if run.rests(iteration) else 50))
    tried = [i for i in range(4, 20) if "sums" not in run.rests(i)]
    assert tried == [8, 13, 18]
    assert all(not said for iteration, said in run.said.items() if iteration > 3)


def test_a_task_that_distils_when_it_is_tried_again_has_its_rounds_anew() -> None:
    run = Run()
    for _ in range(7):
        run.round(shown(0.1))
    run.round(shown(0.5))
    (sentence,) = run.said[8]
    assert sentence.startswith("sums is distilled again: System 1 is at 50.0% and System 2 at 70.0%, 67% of ")
    for iteration in (9, 10):
        assert run.rests(iteration) == frozenset()
        run.round(shown(0.1))
    # The round that brought it back counts, and it was a good one.
    assert run.rests(11) == frozenset()
    run.round(shown(0.1))
    assert run.rests(12) == {"sums"}


def test_a_round_in_which_it_gained_keeps_a_task() -> None:
    run = Run()
    for gained in (0.1, 0.1, 0.4, 0.1, 0.1, 0.4):
        run.round(shown(gained))
        assert run.rests(len(run.gates) + 1) == frozenset()


def test_rounds_without_rows_of_a_task_take_none_of_its_budget() -> None:
    run = Run()
    for rows in (50, 0, 50, 0, 0):
        run.round(shown(0.1, rows=rows))
    assert run.rests(6) == frozenset()
    run.round(shown(0.1))
    assert run.rests(7) == {"sums"}


def test_few_inputs_show_too_little_to_retire_a_task() -> None:
    run = Run()
    for _ in range(9):
        run.round(shown(0.5, start=0.4, system2=0.7, n=10))
    assert run.rests(10) == frozenset()


def test_a_system_2_that_is_worse_from_the_start_is_not_distilled_for_long() -> None:
    run = Run()
    run.round(shown(0.5, start=0.6, system2=0.3))
    assert run.rests(2) == {"sums"}
    assert "System 2 was worse than System 1 at the start (-30.0 points" in run.said[1][0]


def test_with_null_no_task_is_ever_retired() -> None:
    run = Run(RetireConfig(after_rounds=None))
    for _ in range(12):
        run.round(shown(0.1, system2=0.05))
    assert run.rests(13) == frozenset()


def test_the_vote_that_stands_in_for_references_is_right_wherever_there_is_one() -> None:
    start2 = [Scored(f"x{i}", "t", "system2", "1" if i < 8 else None, None, "", 1) for i in range(10)]
    start1 = [Scored(f"x{i}", "t", "system1", "1", i < 2 if i < 8 else None, "", 1) for i in range(10)]
    found = evidence(start1, start2, start1, 5)
    assert (found.n, found.system2.value, found.gap.value) == (8, 1.0, 0.75)


def test_gates_of_before_say_nothing_and_are_no_trouble() -> None:
    old = [(i, {"decision": "promote"}) for i in range(1, 9)]
    assert retire(old, {"sums": shown(0.1)}, 9, RULES) == ([], [])
    assert retired_tasks([record(i, facts) for i, facts in old], 9, RULES) == frozenset()


def test_evidence_comes_back_from_the_facts_as_it_was() -> None:
    for found in (shown(0.3), shown(0.3, start=0.7, system2=0.7)):
        assert Evidence.read(asdict(found)) == found
    assert Retired(**asdict(Retired("sums", 3, "why"))) == Retired("sums", 3, "why")


@settings(max_examples=25)
@given(
    shares=st.lists(st.sampled_from([0.1, 0.2, 0.5]), min_size=1, max_size=12),
    rest=st.lists(st.integers(0, 1), min_size=12, max_size=12),
)
def test_which_tasks_rest_follows_from_the_gates_alone(shares: list[float], rest: list[int]) -> None:
    """Whatever the candidates do: the other task never rests, and a task rests until a retry at least."""
    run = Run()
    for share, rows in zip(shares, rest, strict=False):
        run.round(shown(share, rows=rows))
    for iteration in range(1, len(run.gates) + 2):
        assert run.rests(iteration) <= {"sums"}
        listed = run.gates[iteration - 2][1]["retired"] if iteration > 1 else []
        since = [each["since"] for each in listed]
        assert ("sums" in run.rests(iteration)) == any((iteration - s) % 5 for s in since)


@pytest.mark.parametrize(
    ("part", "whole", "wanted"),
    [
        ((0.2, 0.1, 0.3), (0.5, 0.4, 0.6), (0.4, 1 / 6, 0.75)),
        ((-0.1, -0.2, 0.0), (0.5, 0.4, 0.6), (-0.2, -0.5, 0.0)),
        ((-0.2, -0.3, -0.1), (0.5, 0.4, 0.6), (-0.4, -0.75, -1 / 6)),
    ],
)
def test_a_ratio_lies_between_the_extremes_of_its_parts(part, whole, wanted) -> None:  # type: ignore[no-untyped-def]
    found = ratio(part, whole)
    assert found is not None
    assert (found.value, found.low, found.high) == pytest.approx(wanted)


def test_a_ratio_to_what_may_be_nothing_is_none() -> None:
    assert ratio((0.1, 0.0, 0.2), (0.3, -0.01, 0.6)) is None


def test_the_closed_share_covers_the_truth_at_least_as_often_as_it_says() -> None:
    """300 simulated rounds of 200 inputs, of which System 1 has closed 30 % of the gap."""
    rng = random.Random(7)
    covered = 0
    for _ in range(300):
        one, two, now = [], [], []
        for _ in range(200):
            hard = rng.random()
            one.append(hard < 0.2)
            two.append(rng.random() < (0.9 if hard < 0.6 else 0.6))
            # System 2's truth is 0.78, so the gap is 0.58, and 30 % of it are 0.174.
            now.append(rng.random() < (0.95 if hard < 0.2 else 0.23))
        rows = [
            [Scored(f"x{i}", "t", "s", "1", right, "", 1) for i, right in enumerate(system)]
            for system in (one, two, now)
        ]
        closed = evidence(*rows, 1).closed
        assert closed is not None
        covered += closed.low <= 0.174 / 0.58 <= closed.high
    assert covered >= 285
