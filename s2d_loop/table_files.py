"""A stage's tables as Parquet files: written in groups of bounded rows and bytes, and read back no larger.

What is read may be a stranger's: `check` says whether a file can be unpacked at all, and `groups` gives only rows
that its table can have.  `ledger` calls both.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import IO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from s2d_loop import unpacked
from s2d_loop.arrow import misfit, row_bytes, unsound
from s2d_loop.records import (
    Asked,
    Dropped,
    Example,
    Generation,
    HeldOut,
    Input,
    Near,
    Reject,
    Route,
    Scored,
    Trace,
    Verdict,
    VotedAt,
)

ROWS_PER_GROUP = unpacked.MOST_ROWS
"""Rows of a table that are written, and read back, together; fewer where they are long."""
BYTES_PER_GROUP = unpacked.MOST_BYTES // 4
"""What they may take in memory: a quarter of what is read, since Parquet holds them in other ways."""

TABLES: Mapping[str, type] = {
    "heldout": HeldOut,
    "inputs": Input,
    "dropped": Dropped,
    "rejects": Reject,
    "near": Near,
    "routes": Route,
    "generations": Generation,
    "traces": Trace,
    "verdicts": Verdict,
    "examples": Example,
    "training": Example,
    "scored": Scored,
    "votes": VotedAt,
    "canaries": Asked,
}
"""What the rows of a table are, where a name always stands for the same."""


class TableError(ValueError):
    """A file isn't the table that it is said to be.  The message goes on after its name."""


class TableWriter:
    """A Parquet file under way.  Its bytes follow from its rows, however they come in parts."""

    def __init__(self, parquet: pq.ParquetWriter) -> None:
        self._parquet = parquet
        self._waiting: list[pa.Table] = []
        self._group = self._most = 0
        self.rows = 0

    def write(self, table: pa.Table) -> None:
        self.rows += table.num_rows
        while table.num_rows:
            part = table.slice(0, self._room_for(table.slice(0, ROWS_PER_GROUP - self._group)))
            table = table.slice(part.num_rows)
            if part.num_rows:
                self._waiting.append(part)
                self._group += part.num_rows
                self._most += part.nbytes
            if table.num_rows or self._group == ROWS_PER_GROUP:
                self.flush()

    def flush(self) -> None:
        """Write the rows that wait for their group to fill."""
        if self._waiting:
            self._parquet.write_table(pa.concat_tables(self._waiting).combine_chunks())
        self._waiting, self._group, self._most = [], 0, 0

    def _room_for(self, table: pa.Table) -> int:
        """How many of its first rows the group has room for.  A row that needs more has a group of its own."""
        # Never less than `row_bytes`, and sooner known.
        if self._most + table.nbytes <= BYTES_PER_GROUP:
            return int(table.num_rows)
        room = BYTES_PER_GROUP - sum(int(row_bytes(part).sum()) for part in self._waiting)
        fit = int(np.searchsorted(np.cumsum(row_bytes(table)), room, "right"))
        return max(fit, 0 if self._waiting else 1)


def check(handle: IO[bytes], rows: int) -> None:
    """Whether a file can be unpacked, and has so many rows.

    Raises:
        TableError: it can't, or has others.
    """
    try:
        found = unpacked.check(handle)
    except unpacked.UnpackError as error:
        raise TableError(str(error)) from error
    if found != rows:
        raise TableError(f"has {found:,} rows, and its record says {rows:,}")


def groups(handle: IO[bytes], table: str, columns: Sequence[str] | None) -> Iterator[pa.Table]:
    """The rows of a file that was checked, a row group at a time.

    Raises:
        TableError: its columns are not the table's, or its rows can't be.
    """
    try:
        parquet = pq.ParquetFile(handle)
        if table in TABLES and (wrong := misfit(parquet.schema_arrow, TABLES[table])):
            raise TableError(wrong)
        for group in range(parquet.num_row_groups):
            for batch in parquet.iter_batches(ROWS_PER_GROUP, row_groups=[group], columns=columns):
                if wrong := unsound(batch) or (_silent(batch) if table in TABLES else None):
                    raise TableError(wrong)
                yield pa.Table.from_batches([batch])
    except (pa.ArrowException, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # the disk's or the server's, not PyArrow's
        raise TableError(f"can't be read ({error})") from error


def _silent(batch: pa.RecordBatch) -> str | None:
    """Whether an input says nothing at all: every reader takes its last turn."""
    inputs = batch.column("input").flatten() if "input" in batch.schema.names else batch.columns
    names = batch.schema.field("input").type.names if "input" in batch.schema.names else batch.schema.names
    for name, column in zip(names, inputs, strict=True):
        if name == "messages" and pc.any(pc.equal(pc.list_value_length(column), 0)).as_py():
            return "has an input without a turn"
    return None
