"""A run is left at safe points: when it is asked to, and when another driver took over."""

import os
import signal
import time
from pathlib import Path

import pytest

from s2d_loop.clock import SystemClock
from s2d_loop.errors import ExitCode, LostLeaseError, StoppedError
from s2d_loop.ledger import Ledger
from s2d_loop.stop import LOOK_EVERY_S, SafePoint, signals
from s2d_loop.store import LocalStore


class Clock:
    """Time that a test moves."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def now(self) -> float:
        return self.seconds

    def monotonic(self) -> float:
        return self.seconds


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    ledger = Ledger(LocalStore(str(tmp_path)), SystemClock())
    ledger.take_lease()
    return ledger


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_lets_work_go_on_to_the_next_safe_point(ledger: Ledger, signum: signal.Signals) -> None:
    said: list[str] = []
    done: list[str] = []

    def work() -> None:
        safe_point = SafePoint(ledger, SystemClock())
        with signals(safe_point, 30, said.append):
            safe_point()
            os.kill(os.getpid(), signum)
            done.append("what was under way")
            safe_point()
            done.append("more")

    before = signal.getsignal(signum)
    with pytest.raises(StoppedError, match=rf"{signum.name} asked .* same command goes on") as raised:
        work()
    assert done == ["what was under way"]
    assert raised.value.exit_code == ExitCode.INTERRUPTED
    assert len(said) == 1
    assert "once more interrupts" in said[0]
    assert signal.getsignal(signum) is before


def hang(ledger: Ledger, *, within_s: float, times: int) -> None:
    """A run that gets so many signals and comes to no safe point."""
    with signals(SafePoint(ledger, SystemClock()), within_s, lambda _: None):
        for _ in range(times):
            os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(5)


def test_a_second_signal_interrupts_at_once(ledger: Ledger) -> None:
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        hang(ledger, within_s=30, times=2)
    assert time.monotonic() - began < 2


def test_a_run_that_comes_to_no_safe_point_is_interrupted_where_it_is(ledger: Ledger) -> None:
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        hang(ledger, within_s=0.05, times=1)
    assert time.monotonic() - began < 2


def test_a_driver_that_lost_its_lease_learns_it_before_it_commits(ledger: Ledger) -> None:
    clock = Clock()
    safe_point = SafePoint(ledger, clock)
    Ledger(ledger.store, clock).take_lease()
    safe_point()  # looking costs a request: not at every batch
    clock.seconds += LOOK_EVERY_S
    with pytest.raises(LostLeaseError, match="another driver took this run over"):
        safe_point()


def test_a_node_that_is_drained_is_left_in_time(ledger: Ledger) -> None:
    clock = Clock()
    drained = False
    safe_point = SafePoint(ledger, clock, drained=lambda: drained)
    clock.seconds += LOOK_EVERY_S
    safe_point()
    drained = True
    clock.seconds += LOOK_EVERY_S
    with pytest.raises(StoppedError, match="Ray, which drains this node"):
        safe_point()
