"""A slice of `python -m benchmarks.gate`: the promises hold, and one that doesn't is told."""

import numpy as np
import pytest

from benchmarks.gate import POOLS, PRODUCT, REPLACED, Promise, main
from benchmarks.student import Student


def test_what_the_gate_promises_holds_in_a_few_lives(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--quick"]) == 0
    told = capsys.readouterr().out
    ungated = [line for line in told.splitlines() if ", ungated: accuracy ends 15% or more below" in line]
    assert [line.split(",")[0] for line in ungated] == [f"| {pool}" for pool in POOLS]
    assert all(f"| {pool} | current |" in told for pool in POOLS)


def test_the_more_old_rows_train_the_less_one_bad_round_costs() -> None:
    after = {pool: _after_a_bad_round(share) for pool, share in POOLS.items()}
    assert after[REPLACED] < after[PRODUCT] < after["undivided pool"]


def test_half_of_what_the_default_pool_trains_on_is_old() -> None:
    good, bad = np.full(4, 0.99), np.full(4, 0.01)
    student = Student(0, good, heldout=10, replay_share=POOLS[PRODUCT])
    student.trained(student.base)
    taught = student.trained(student.version(bad, bad)).system1.mean()
    # Half of the rows are right, so half is taught, less what wrong rows cost.
    assert taught == pytest.approx(0.01 + 0.6 * (0.5 * (1 - 0.35 * 0.5) - 0.01), abs=0.03)


def _after_a_bad_round(replay_share: float) -> float:
    good, bad = np.full(4, 0.95), np.full(4, 0.05)
    student = Student(0, good, heldout=10, replay_share=replay_share)
    for _ in range(3):
        student.trained(student.version(good, good))
    return float(student.trained(student.version(good, bad)).truth)


def test_a_promise_that_is_not_kept_is_told() -> None:
    assert not Promise("stopped", 2, 100, at_most=0.01).kept
    assert "NO" in Promise("safe", 97, 100, at_least=0.99).row()
    assert not Promise("of nothing", 0, 0).kept


def test_a_share_without_a_bound_promises_nothing() -> None:
    assert Promise("fell", 3, 10).row().endswith("|  | 30.00% (10.78% to 60.32%) | 3 of 10 |  |")
