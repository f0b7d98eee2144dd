"""A run and everything it stands on, and what a stage gives back."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from s2d_loop import weights
from s2d_loop.config import Config
from s2d_loop.dataflow import ClientFactory, Dataflow
from s2d_loop.ledger import Clock, Counts, Ledger, Record
from s2d_loop.records import HeldOut, Weights, rows
from s2d_loop.report.progress import Progress
from s2d_loop.sources import Source
from s2d_loop.stop import no_safe_point
from s2d_loop.train.job import TrainJob, TrainResult
from s2d_loop.versions import in_service

Balance = tuple[Counts, Mapping[str, Any]]
"""A stage's counts, and its figures for the ledger and the report."""


class Engines(Protocol):
    """Where calls go.  `serve` returns when every engine has proved that it has these weights."""

    @property
    def started(self) -> bool: ...

    def serve(self, weights: Weights) -> None: ...

    def client_factory(self, num_clients: int = 1) -> ClientFactory: ...


class Trainer(Protocol):
    """Fine-tunes; the weights it gives back have passed their checks."""

    def train(self, job: TrainJob) -> TrainResult: ...


@dataclass(frozen=True, slots=True)
class Run:
    """A run and everything it stands on; all of it can be replaced in a test."""

    config: Config
    ledger: Ledger
    clock: Clock
    dataflow: Dataflow
    engines: Engines
    trainer: Trainer
    progress: Progress
    sources: tuple[Source, ...]
    start: Weights
    """The weights that the run began with."""
    weights_dir: Path
    """Where engines and trainer open weights; every node can read it.  The root keeps what is committed."""
    control: re.Pattern[str] | None = None
    """Finds the control tokens of the model that a text spells out; None where the model isn't known."""
    safe_point: Callable[[], None] = no_safe_point
    """Called where the run can be left: before a stage and after a batch or a step.  May raise."""
    checked_weights: set[str] = field(default_factory=set)
    """Folders whose files this process has held against their checksums."""

    def weights(self, iteration: int) -> Weights:
        """The version that a round begins with: promoted last, or come back to by a rollback.

        Raises:
            LedgerError: a file of it is missing or damaged.
        """
        trained = self.ledger.stage(in_service(self.ledger, iteration), "train")
        return self.trained(trained) if trained else self.start

    def trained(self, record: Record) -> Weights:
        """The weights that a `train` record committed, as checked files.

        Raises:
            LedgerError: a file of it is missing or damaged.
        """
        return weights.fetch(self.ledger, record, self.weights_dir, self.checked_weights, self.progress.note)

    def teacher(self, iteration: int) -> tuple[int, Weights]:
        """Whose System 2 a round distils: the version's number, and its weights."""
        if self.config.generate.teacher == "start":
            return 0, self.start
        return in_service(self.ledger, iteration), self.weights(iteration)

    def heldout(self) -> list[HeldOut]:
        record = self.ledger.stage(0, "heldout")
        assert record is not None, "held-out inputs are fixed before anything else"
        return list(rows(self.ledger.tables(record, "heldout"), HeldOut))
