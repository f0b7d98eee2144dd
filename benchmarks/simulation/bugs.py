"""Seven bugs that loops like this one have had, each as a small patch, to see whether the simulation finds them.

A patch is in force between `with` and its end, inside `World.installed()`; nothing in the product knows of it.
"""

import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any
from unittest import mock

import pyarrow as pa

from benchmarks.simulation import world as world_module
from benchmarks.simulation.model import Engines
from benchmarks.simulation.tables import ParquetFile
from benchmarks.simulation.world import World
from s2d_loop import ledger as ledger_module
from s2d_loop import loop
from s2d_loop.commits import Kind, Record
from s2d_loop.errors import ExitCode, LostLeaseError, S2DError
from s2d_loop.ledger import Ledger
from s2d_loop.records import Weights
from s2d_loop.sources.api import Cursor, Delivery
from s2d_loop.sources.sharded import ShardedSource

Bug = Callable[[World], AbstractContextManager[None]]


@contextmanager
def cursor_ahead(world: World) -> Iterator[None]:
    """A source keeps its own cursor, and saves it when it has read, not when the round commits."""
    read = ShardedSource.read

    def read_on(source: ShardedSource, cursor: Cursor | None, limit: int) -> Delivery:
        store = world.store()
        saved = store.read("cursor.json")
        delivery = read(source, json.loads(saved) if saved else cursor, limit)
        store.remove("cursor.json")
        with store.writing("cursor.json") as file:
            file.write(json.dumps(delivery.cursor).encode())
        return delivery

    with mock.patch.object(ShardedSource, "read", read_on):
        yield


@contextmanager
def listing(world: World) -> Iterator[None]:
    """A stage's tables are found by a glob over its attempts, not through its record."""

    def tables(
        ledger: Ledger, record: Record, table: str, columns: Sequence[str] | None = None
    ) -> Iterator[pa.Table]:
        round_ = f"data/{record.iteration:05d}"
        for folder in ledger.store.list(round_):
            path = f"{round_}/{folder}/{table}.parquet"
            if folder.startswith(f"{record.stage}-") and ledger.store.read(path) is not None:
                with ledger.store.reading(path) as file:
                    for batch in ParquetFile(file).iter_batches(columns=columns):
                        yield pa.Table.from_batches([batch])

    with mock.patch.object(Ledger, "tables", tables):
        yield


@contextmanager
def no_fence(world: World) -> Iterator[None]:
    """A driver that finds its number taken takes the next one."""
    append = Ledger.append

    def anyway(ledger: Ledger, kind: Kind, **what: Any) -> Record:
        try:
            return append(ledger, kind, **what)
        except LostLeaseError:
            ledger.refresh()
            return anyway(ledger, kind, **what)

    with (
        mock.patch.object(Ledger, "append", anyway),
        mock.patch.object(Ledger, "check_lease", return_value=None),
    ):
        yield


@contextmanager
def no_fsync(world: World) -> Iterator[None]:
    """Nobody calls fsync."""
    with mock.patch.object(os, "fsync", return_value=None):
        yield


@contextmanager
def no_nonce(world: World) -> Iterator[None]:
    """Records carry no nonce, so two drivers' can be equal."""
    with mock.patch.object(ledger_module, "Record", lambda **fields: Record(**{**fields, "nonce": ""})):
        yield


@contextmanager
def stale_weights(world: World) -> Iterator[None]:
    """Engines say that they have the new weights, and go on with those that they started with."""
    serve = Engines.serve

    def refresh(engines: Engines, weights: Weights) -> None:
        if not engines.started:
            serve(engines, weights)
        engines.claimed = weights.digest

    with mock.patch.object(Engines, "serve", refresh):
        yield


@contextmanager
def early_exit(world: World) -> Iterator[None]:
    """A driver that leaves before the end says that it is done."""
    run_loop = loop.run_loop

    def done(run: Any) -> ExitCode:
        try:
            return run_loop(run)
        except S2DError:
            return ExitCode.DONE

    with mock.patch.object(world_module, "run_loop", done):
        yield


BUGS: dict[str, Bug] = {
    "cursor-ahead": cursor_ahead,
    "listing": listing,
    "no-fence": no_fence,
    "no-fsync": no_fsync,
    "no-nonce": no_nonce,
    "stale-weights": stale_weights,
    "early-exit": early_exit,
}
