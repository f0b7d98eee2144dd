"""Parquet files.  Only the columns that are asked for are read from the disk."""

import io
from collections.abc import Iterator, Sequence
from typing import IO, Any

import pyarrow.parquet as pq

from s2d_loop.formats.base import UnreadableError, excerpt
from s2d_loop.sources.api import Position, Row
from s2d_loop.sources.packed import is_damage
from s2d_loop.sources.prefix import FileShard
from s2d_loop.sources.tables import Values, table_rows

_BATCH = 256


class Parquet(FileShard):
    """A Parquet file, read a row group at a time in small batches."""

    def columns(self) -> Sequence[str] | None:
        with self.file.open() as handle:
            opened = _opened(handle)
            return None if isinstance(opened, str) else list(opened[1].names)

    def rows(self, start: Position, columns: Sequence[str] | None) -> Iterator[Row]:
        with self.file.open() as handle:
            yield from parquet_rows(handle, start.row, columns)


def parquet_rows(handle: IO[bytes], start: int, columns: Sequence[str] | None) -> Iterator[Row]:
    """The rows of an open file from number `start` on."""
    size = handle.seek(0, io.SEEK_END)
    opened = _opened(handle)
    if isinstance(opened, str):
        if start == 0:
            yield Row(0, size, None, f"not a Parquet file: {opened}")
        return
    file, schema = opened
    names = None if columns is None else _stored(schema, columns)
    number = 0
    for group in range(file.metadata.num_row_groups):
        after = number + file.metadata.row_group(group).num_rows
        if after > start:
            yield from _group(file, group, number, after, max(start, number), size, names)
        number = after


def _opened(handle: IO[bytes]) -> tuple[Any, Any] | str:
    """The file and its schema, or what is wrong with it."""
    try:
        # Where pages have checksums, a flipped bit is damage and not another text.
        file = pq.ParquetFile(handle, page_checksum_verification=True)
        return file, file.schema_arrow
    except Exception as error:
        if not is_damage(error):
            raise
        return excerpt(str(error))


def _group(
    file: Any, group: int, first: int, after: int, start: int, size: int, names: list[str] | None
) -> Iterator[Row]:
    """The rows of a row group from `start` on.

    Pages can't be passed over: where one is damaged, its rows and those behind it in the group are rejected.
    """
    following = start
    problem = f"row group {group} has fewer rows than it says"
    for batch_size in (_BATCH, 1):  # the second time row by row, up to the damaged page
        try:
            for number, value in _values(file, group, first, following, batch_size, names):
                if following == after:
                    break
                following = number + 1
                if isinstance(value, UnreadableError):
                    yield Row(number, size, None, str(value), value.excerpt)
                else:
                    yield Row(number, size, value)
            break
        except Exception as error:
            if not is_damage(error):
                raise
            problem = f"row group {group} can't be read from here on: {excerpt(str(error))}"
    for lost in range(following, after):
        yield Row(lost, size, None, problem)


def _values(
    file: Any, group: int, first: int, start: int, batch_size: int, names: list[str] | None
) -> Iterator[tuple[int, Values | UnreadableError]]:
    """The rows of a row group that begins at row `first`, from row `start` on."""
    for batch in file.iter_batches(batch_size=batch_size, row_groups=[group], columns=names):
        skip = min(max(start - first, 0), batch.num_rows)
        yield from enumerate(table_rows(batch.slice(skip)), first + skip)
        first += batch.num_rows


def _stored(schema: Any, columns: Sequence[str]) -> list[str]:
    """The columns that are there; of `a.b`, if no column has this name, what lies in column a."""
    return [name for name in columns if name in schema.names or name.split(".")[0] in schema.names]
