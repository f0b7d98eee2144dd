"""Parquet files.  Only the columns that are asked for are read from the disk."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from s2d_loop.formats.base import excerpt
from s2d_loop.sources.api import Row
from s2d_loop.sources.prefix import Prefixes

_BATCH = 256


class Parquet:
    """A Parquet file, read a row group at a time in small batches."""

    grows = False

    def __init__(self, path: Path, name: str, prefixes: Prefixes):
        self.path, self.name = path, name
        self._prefixes = prefixes

    def columns(self) -> Sequence[str] | None:
        try:
            with pq.ParquetFile(self.path) as file:
                return list(file.schema_arrow.names)
        except pa.ArrowInvalid:
            return None

    def digest(self, offset: int, columns: Sequence[str]) -> str:  # noqa: ARG002
        size = self.path.stat().st_size
        return self._prefixes.digest(self.path, size) if size == offset else f"{size} bytes"

    def rows(self, row: int, offset: int, columns: Sequence[str] | None) -> Iterator[Row]:  # noqa: ARG002
        size = self.path.stat().st_size
        try:
            file = pq.ParquetFile(self.path)
        except pa.ArrowInvalid as err:
            if row == 0:
                yield Row(0, size, None, f"not a Parquet file: {excerpt(str(err))}")
            return
        with file:
            number = 0
            for group in range(file.metadata.num_row_groups):
                after = number + file.metadata.row_group(group).num_rows
                if after > row:
                    yield from _group(file, group, number, after, max(row, number), size, columns)
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
