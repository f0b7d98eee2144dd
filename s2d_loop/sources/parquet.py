"""Parquet files.  Only the columns that are asked for are read from the disk."""

import io
from collections.abc import Iterator, Sequence
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq

from s2d_loop.formats.base import excerpt
from s2d_loop.sources.api import Position, Row
from s2d_loop.sources.prefix import FileShard

_BATCH = 256


class Parquet(FileShard):
    """A Parquet file, read a row group at a time in small batches."""

    def columns(self) -> Sequence[str] | None:
        try:
            with self.file.open() as file:
                return list(pq.read_schema(file).names)
        except pa.ArrowInvalid:
            return None

    def rows(self, start: Position, columns: Sequence[str] | None) -> Iterator[Row]:
        with self.file.open() as handle:
            yield from parquet_rows(handle, start.row, columns)


def parquet_rows(handle: IO[bytes], start: int, columns: Sequence[str] | None) -> Iterator[Row]:
    """The rows of an open file from number `start` on."""
    size = handle.seek(0, io.SEEK_END)
    try:
        file = pq.ParquetFile(handle)
    except pa.ArrowInvalid as err:
        if start == 0:
            yield Row(0, size, None, f"not a Parquet file: {excerpt(str(err))}")
        return
    number = 0
    for group in range(file.metadata.num_row_groups):
        after = number + file.metadata.row_group(group).num_rows
        if after > start:
            yield from _group(file, group, number, after, max(start, number), size, columns)
        number = after


def _group(
    file: Any, group: int, first: int, after: int, start: int, size: int, columns: Sequence[str] | None
) -> Iterator[Row]:
    """The rows of a row group from `start` on; each is rejected where the group can't be decoded."""
    names = None if columns is None else _stored(file.schema_arrow, columns)
    following = start
    try:
        for batch in file.iter_batches(batch_size=_BATCH, row_groups=[group], columns=names):
            skip = min(following - first, batch.num_rows)
            for following, value in enumerate(batch.slice(skip).to_pylist(), first + skip + 1):
                yield Row(following - 1, size, value)
            first += batch.num_rows
    except (pa.ArrowException, OSError, UnicodeDecodeError) as err:
        problem = f"row group {group} can't be read: {excerpt(str(err))}"
        for lost in range(following, after):
            yield Row(lost, size, None, problem)


def _stored(schema: Any, columns: Sequence[str]) -> list[str]:
    """The columns that are there; of `a.b`, if no column has this name, what lies in column a."""
    return [name for name in columns if name in schema.names or name.split(".")[0] in schema.names]
