"""What a person sees while a run goes on.

The loop calls `Progress` and knows nothing of terminals.  `progress()` chooses: a live line on a
terminal; elsewhere (a job's log) one plain line as a stage starts and ends and now and then between.
NO_COLOR is respected, because rich respects it.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Protocol

from rich.progress import BarColumn, TextColumn
from rich.progress import Progress as Bars
from rich.text import Text

from s2d_loop.report.console import Terminal, open_console
from s2d_loop.report.summary import quarantine, summary_table
from s2d_loop.report.text import duration, number
from s2d_loop.report.view import RunView

UNITS = {"train": "steps", "evaluate": "answers"}
"""What a stage counts, where it isn't rows."""

Figure = int | float
Clock = Callable[[], float]

SECONDS_BETWEEN_LINES = 10.0
"""Often enough to see that a job lives, seldom enough that a day's log stays short."""
ADDED_UP = ("kept", "dropped", "failed", "tokens")
"""Figures that `advance` gets as increments; of any other, the newest value is shown."""


class StageProgress(Protocol):
    def advance(self, rows: int = 1, /, **figures: Figure) -> None:
        """So many more rows are done, with what came of them (`kept=3, dropped=1, tokens=812`)."""


class Progress(Protocol):
    """What the loop tells of a run."""

    def run_started(self, name: str, iterations: int | None) -> None: ...

    def stage(
        self, iteration: int, stage: str, total: int | None = None
    ) -> AbstractContextManager[StageProgress]: ...

    def note(self, text: str) -> None: ...

    def finished(self, view: RunView, page: str | Path | None = None) -> None: ...


def progress(console: Terminal | None = None) -> "Progress":
    """The progress that suits where it is shown: standard error unless told otherwise."""
    console = console or open_console(stderr=True)
    live = console.is_interactive and not console.is_dumb_terminal and console.file.isatty()
    return LiveProgress(console) if live else PlainProgress(console)


class Tally:
    """What one stage has done so far."""

    def __init__(self, stage: str, total: int | None, clock: Clock) -> None:
        self.total = total
        self.unit = UNITS.get(stage, "rows")
        self.rows = 0
        self.figures: dict[str, Figure] = {}
        self._clock = clock
        self._start = clock()
        self._first: tuple[int, float] | None = None

    def add(self, rows: int, figures: dict[str, Figure]) -> None:
        self.rows += rows
        self._first = self._first or (self.rows, self._clock())
        for name, value in figures.items():
            self.figures[name] = self.figures.get(name, 0) + value if name in ADDED_UP else value

    @property
    def seconds(self) -> float:
        return self._clock() - self._start

    @property
    def seconds_left(self) -> float | None:
        """At the pace since the first rows came, which waited for workers to start; None where unknown."""
        if not self.total or self._first is None or not self._first[0] < self.rows < self.total:
            return None
        rows, since = self._first
        return (self._clock() - since) / (self.rows - rows) * (self.total - self.rows)

    def __str__(self) -> str:
        return ", ".join(self._parts())

    def _parts(self) -> Iterator[str]:
        if self.rows or self.total:
            yield f"{self.rows:,}" + (f"/{self.total:,}" if self.total else "") + f" {self.unit}"
        for name, value in self.figures.items():
            if name == "tokens":
                yield f"{number(value / max(self.seconds, 1e-3), 0)} tokens/s"
            else:
                yield f"{number(value, 3)} {name}" if name in ADDED_UP else f"{name} {number(value, 3)}"


class PlainProgress:
    """Whole lines, for logs and pipes."""

    def __init__(self, console: Terminal, clock: Clock = time.monotonic) -> None:
        self._console = console
        self._clock = clock
        self._iterations: int | None = 0

    def run_started(self, name: str, iterations: int | None) -> None:
        self._iterations = iterations
        rounds = "iterations without an end" if iterations is None else f"{iterations} iteration"
        self._line(f"{name}: {rounds}{'' if iterations in (None, 1) else 's'}")

    @contextmanager
    def stage(self, iteration: int, stage: str, total: int | None = None) -> Iterator[StageProgress]:
        where = f"iteration {_of(iteration, self._iterations)} {stage}"
        tally = Tally(stage, total, self._clock)
        self._line(f"{where}: started" + (f" ({total:,} {tally.unit})" if total else ""))
        lines = _Lines(tally, lambda text: self._line(f"{where}: {text}"), self._clock)
        try:
            yield lines
        except BaseException as error:
            self._line(f"{where}: stopped after {duration(lines.tally.seconds)} by {type(error).__name__}")
            raise
        self._line(f"{where}: {_done(lines.tally)}")

    def note(self, text: str) -> None:
        self._line(text)

    def finished(self, view: RunView, page: str | Path | None = None) -> None:
        _print_end(self._console, view, page)

    def _line(self, text: str) -> None:
        self._console.print(text, soft_wrap=True)


class _Lines:
    """A stage that says a line at most every `SECONDS_BETWEEN_LINES`."""

    def __init__(self, tally: Tally, say: Callable[[str], None], clock: Clock) -> None:
        self.tally = tally
        self._say = say
        self._clock = clock
        self._said = clock()

    def advance(self, rows: int = 1, /, **figures: Figure) -> None:
        self.tally.add(rows, figures)
        if self._clock() - self._said >= SECONDS_BETWEEN_LINES:
            self._said = self._clock()
            left = self.tally.seconds_left
            self._say(str(self.tally) + (f", {duration(left)} left" if left is not None else ""))


class LiveProgress:
    """One live line for the stage that runs; finished stages scroll up above it."""

    def __init__(self, console: Terminal, clock: Clock = time.monotonic) -> None:
        self._console = console
        self._clock = clock
        self._iterations: int | None = 0

    def run_started(self, name: str, iterations: int | None) -> None:
        self._iterations = iterations
        self._console.print(name, style="bold")

    @contextmanager
    def stage(self, iteration: int, stage: str, total: int | None = None) -> Iterator[StageProgress]:
        columns = (
            TextColumn("{task.fields[where]}", markup=False),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[tally]}", markup=False),
            TextColumn("{task.fields[left]}", style="dim", markup=False),
        )
        where = f"{_of(iteration, self._iterations)} {stage:<9}"
        with Bars(*columns, console=self._console, transient=True) as bars:
            bar = _Bar(Tally(stage, total, self._clock), bars, where)
            try:
                yield bar
            except BaseException as error:
                bars.stop()
                said = f"{where} stopped after {duration(bar.tally.seconds)} by {type(error).__name__}"
                self._console.print(said, style="red")
                raise
        self._console.print(Text.assemble((where, "bold"), " ", (_done(bar.tally), "dim")))

    def note(self, text: str) -> None:
        self._console.print(text)

    def finished(self, view: RunView, page: str | Path | None = None) -> None:
        _print_end(self._console, view, page)


class _Bar:
    """A stage as a bar."""

    def __init__(self, tally: Tally, bars: Bars, where: str) -> None:
        self.tally = tally
        self._bars = bars
        self._id = bars.add_task("", total=tally.total, where=where, tally="", left="")

    def advance(self, rows: int = 1, /, **figures: Figure) -> None:
        self.tally.add(rows, figures)
        left = self.tally.seconds_left
        self._bars.update(
            self._id,
            completed=self.tally.rows,
            tally=str(self.tally),
            left="" if left is None else f"{duration(left)} left",
        )


class SilentProgress:
    """Says nothing, for tests and for callers that have their own."""

    def run_started(self, name: str, iterations: int | None) -> None:
        pass

    @contextmanager
    def stage(self, iteration: int, stage: str, total: int | None = None) -> Iterator[StageProgress]:
        del iteration, stage, total
        yield _Nothing()

    def note(self, text: str) -> None:
        pass

    def finished(self, view: RunView, page: str | Path | None = None) -> None:
        pass


class _Nothing:
    def advance(self, rows: int = 1, /, **figures: Figure) -> None:
        pass


def _of(iteration: int, iterations: int | None) -> str:
    return f"{iteration}" if iterations is None else f"{iteration}/{iterations}"


def _done(tally: Tally) -> str:
    figures = str(tally)
    return f"done in {duration(tally.seconds)}" + (f" ({figures})" if figures else "")


def _print_end(console: Terminal, view: RunView, page: str | Path | None) -> None:
    console.print()
    console.print(summary_table(view))
    if said := quarantine(view):
        console.print(said, soft_wrap=True)
    if page is not None:
        console.print(f"Report: {page}", soft_wrap=True)
