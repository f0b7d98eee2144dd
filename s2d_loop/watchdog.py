"""No progress for too long is an event with a cause, stacks and an exit, not patience.

A thread of the driver looks whether the loop still passes safe points.  When none came for
`run.no_progress_s`, it writes down where every thread and process stands (`stalled-*/` in the attempt's
log folder), appends a `stalled` record, and ends the run: by an error in the main thread first, so that
engines are closed; where that hangs too, at once.
"""

import contextlib
import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from s2d_loop import logs, stacks
from s2d_loop.errors import StalledError
from s2d_loop.terminal import last_words

LOOK_EVERY_S = 5.0
RECORD_S = 30.0
"""For the record, which goes to the store: that may be what hangs."""
UNWIND_S = 120.0
"""For ending engines and Ray once the run was interrupted."""

Facts = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Subject:
    """What is watched."""

    last: Callable[[], str]
    """The stage under way and its newest figures."""
    describe: Callable[[], list[str]]
    """Sentences on its parts, such as engines that don't answer.  May take long: it is not waited for."""
    record: Callable[[Facts], None]
    """Appends to the ledger."""
    fail: Callable[[StalledError], None]
    """Makes the main thread raise at its next safe point, or at a signal."""


class Watchdog:
    """`beat` is progress; `watching` is for how long it is expected."""

    def __init__(self, limit_s: float, folder: Path, subject: Subject) -> None:
        self._limit_s = limit_s
        self._folder = folder
        self._subject = subject
        self._ended = threading.Event()
        self._quiet_s = 0.0
        self._where: Facts = {}

    def beat(self) -> None:
        """The loop passed a safe point."""
        self._quiet_s = 0.0
        self._where = dict(logs.where())

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """Watch the main thread, which must be the caller's: it is what a signal interrupts."""
        threading.Thread(target=self._watch, name="watchdog", daemon=True).start()
        try:
            yield
        finally:
            self._ended.set()

    def _watch(self) -> None:
        every = min(LOOK_EVERY_S, self._limit_s / 4)
        looked = time.monotonic()
        while not self._ended.wait(every):
            now = time.monotonic()
            # Time in which this process didn't run itself (stopped, a suspended machine) doesn't count.
            self._quiet_s += min(now - looked, 2 * every)
            looked = now
            if self._quiet_s > self._limit_s:
                self._stalled()
                return

    def _stalled(self) -> None:
        facts = self._facts()
        message = (
            f"no progress for {self._limit_s:g} s (run.no_progress_s); last: {facts['last']}; "
            f"the driver waits in {facts['waiting_in']}; "
            + ("; ".join(facts["found"]) or "nothing unusual was seen of its engines and processes")
            + f". Stacks are in {facts['stacks']}. The same command goes on from what was committed."
        )
        with logs.at(**self._where):
            logs.event(message, logging.ERROR, **facts)
        recorder = threading.Thread(target=self._record, args=(facts,), daemon=True)
        recorder.start()
        recorder.join(RECORD_S)
        self._subject.fail(StalledError(message))
        main = threading.main_thread().ident
        assert main is not None
        if not self._ended.is_set():
            signal.pthread_kill(main, signal.SIGTERM)
        if not self._ended.wait(UNWIND_S):
            last_words(f"s2d: {message}")
            os._exit(StalledError.exit_code)

    def _facts(self) -> Facts:
        waiting_in = stacks.main_thread_at()
        return {
            **self._where,
            "last": self._subject.last(),
            "waiting_in": waiting_in,
            "found": [*_limited(self._subject.describe), *stacks.halted_processes()],
            "stacks": str(stacks.dump(self._folder / f"stalled-{time.strftime('%H%M%S')}")),
        }

    def _record(self, facts: Facts) -> None:
        try:
            self._subject.record(facts)
        except Exception:
            logs.log.exception("the stall could not be recorded in the ledger")


def _limited(describe: Callable[[], list[str]]) -> list[str]:
    """What `describe` says, unless it hangs too."""
    said: list[str] = []
    thread = threading.Thread(target=lambda: said.extend(describe()), daemon=True)
    thread.start()
    thread.join(2 * stacks.STACKS_S)
    return ["the engines' manager does not answer"] if thread.is_alive() else said
