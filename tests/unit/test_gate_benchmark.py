"""A slice of `python -m benchmarks.gate`: the promises hold, and one that doesn't is told."""

import pytest

from benchmarks.gate import Promise, main


def test_what_the_gate_promises_holds_in_a_few_lives(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--quick"]) == 0
    told = capsys.readouterr().out
    assert "| ungated: accuracy falls far below its peak while agreement rises |" in told
    assert "| accumulates | current |" in told


def test_a_promise_that_is_not_kept_is_told() -> None:
    assert not Promise("stopped", 2, 100, at_most=0.01).kept
    assert "NO" in Promise("safe", 97, 100, at_least=0.99).row()
    assert not Promise("of nothing", 0, 0).kept
