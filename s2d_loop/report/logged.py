"""Progress that is logged as well as shown."""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from s2d_loop import logs
from s2d_loop.report.progress import SECONDS_BETWEEN_LINES, Figure, Progress, StageProgress, Tally
from s2d_loop.report.view import RunView


class LoggedProgress:
    """Passes everything on to `shown`, and writes events to the run's log."""

    def __init__(self, shown: Progress) -> None:
        self._shown = shown
        self.now = "nothing yet"
        """The stage under way and its last figures, for whoever asks why nothing moves."""

    def run_started(self, name: str, iterations: int | None) -> None:
        logs.event("run started", iterations=iterations)
        self._shown.run_started(name, iterations)

    @contextmanager
    def stage(self, iteration: int, stage: str, total: int | None = None) -> Iterator[StageProgress]:
        tally = Tally(stage, total, time.monotonic)
        began = f"round {iteration} {stage}"
        self.now = began
        logs.event(f"{stage} started", total=total)
        with self._shown.stage(iteration, stage, total) as shown:
            yield _Logged(self, began, tally, shown)
        self.now = f"{began}: {tally}, done"

    def note(self, text: str) -> None:
        logs.event(text)
        self._shown.note(text)

    def finished(self, view: RunView, page: str | Path | None = None) -> None:
        self._shown.finished(view, page)


class _Logged:
    def __init__(self, owner: LoggedProgress, began: str, tally: Tally, shown: StageProgress) -> None:
        self._owner = owner
        self._began = began
        self._tally = tally
        self._shown = shown
        self._logged = time.monotonic()

    def advance(self, rows: int = 1, /, **figures: Figure) -> None:
        self._tally.add(rows, figures)
        self._owner.now = f"{self._began}: {self._tally}"
        if time.monotonic() - self._logged >= SECONDS_BETWEEN_LINES:
            self._logged = time.monotonic()
            logs.event(
                "progress",
                logging.INFO,
                rows=self._tally.rows,
                total=self._tally.total,
                **self._tally.figures,
            )
        self._shown.advance(rows, **figures)
