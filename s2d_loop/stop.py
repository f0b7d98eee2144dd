"""Leaving a run in order: who asks for it, and where the loop can be left.

SIGTERM is what Kubernetes, Slurm and spot machines send before they take a machine away; Ray marks a
node that it is about to lose as draining.  Either, and Ctrl-C, is noted, and the loop leaves at its
next safe point: before a stage, after a batch, after a training step.  There nothing is half done.
A second signal interrupts at once, and so does the first when no safe point comes in time.
"""

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType

from s2d_loop.errors import StoppedError
from s2d_loop.ledger import Clock, Ledger

LOOK_EVERY_S = 5.0
"""Between two looks at the store and at Ray: a request each, and losing a lease is rare."""


def no_safe_point() -> None:
    """For a run that nobody stops."""


class SafePoint:
    """Called wherever the loop can be left; raises when it should be."""

    def __init__(self, ledger: Ledger, clock: Clock, *, drained: Callable[[], bool] = lambda: False) -> None:
        self._ledger = ledger
        self._clock = clock
        self._drained = drained
        self._looked = clock.monotonic()
        self._asked_by = ""
        self.failure: Exception | None = None

    @property
    def asked(self) -> bool:
        return bool(self._asked_by)

    def ask(self, who: str) -> None:
        """Leave at the next safe point; `who` asks, such as `SIGTERM`."""
        self._asked_by = self._asked_by or who

    def fail(self, error: Exception) -> None:
        """Raise this at the next safe point, or at the next signal."""
        self.failure = error

    def __call__(self) -> None:
        """Raises:
        StoppedError: somebody asked for it.
        LostLeaseError: another driver took over, so that going on would be for nothing.
        """
        if self.failure is not None:
            raise self.failure
        now = self._clock.monotonic()
        if now - self._looked >= LOOK_EVERY_S:
            self._looked = now
            self._ledger.check_lease()
            if self._drained():
                self.ask("Ray, which drains this node,")
        if self._asked_by:
            raise StoppedError(
                f"{self._asked_by} asked the run to stop, and it left at a safe point; "
                "the same command goes on from what was committed."
            )


@contextlib.contextmanager
def signals(safe_point: SafePoint, within_s: float, say: Callable[[str], None]) -> Iterator[None]:
    """SIGTERM and Ctrl-C ask once; a second one, or `within_s` without a safe point, interrupts.

    Raises:
        KeyboardInterrupt: it was interrupted.
    """
    timer: threading.Timer | None = None

    def received(signum: int, frame: FrameType | None) -> None:  # noqa: ARG001
        nonlocal timer
        if safe_point.failure is not None:
            raise safe_point.failure
        if safe_point.asked:
            raise KeyboardInterrupt
        name = signal.Signals(signum).name
        safe_point.ask(name)
        say(f"{name}: stopping at the next safe point, within {within_s:g} s; once more interrupts at once.")
        timer = threading.Timer(within_s, _again, [signum])
        timer.daemon = True
        timer.start()

    before = {each: signal.signal(each, received) for each in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        if timer is not None:
            timer.cancel()
        for each, handler in before.items():
            signal.signal(each, handler)


def _again(signum: int) -> None:
    """The second signal, to the thread that would take it, whatever that waits for."""
    main = threading.main_thread().ident
    assert main is not None
    signal.pthread_kill(main, signum)


@contextlib.contextmanager
def terminating() -> Iterator[None]:
    """SIGTERM ends a command without safe points as Ctrl-C does: what it started is ended first."""

    def interrupt(signum: int, frame: FrameType | None) -> None:  # noqa: ARG001
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
