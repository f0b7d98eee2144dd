"""Sets that the `datasets` library streams: rows come as they are read, and nothing is downloaded whole.

A position holds the library's own state, so reading goes on without the rows before it; it is bound to
the set's files, which on the hub are those of one revision.
"""

import json
from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import Any

import pyarrow as pa

from s2d_loop.errors import BadInputError
from s2d_loop.records import digest
from s2d_loop.sources.api import Lister, Position, Row
from s2d_loop.sources.hub import loading, only
from s2d_loop.sources.mixed import as_row, data_files, is_settled, located
from s2d_loop.sources.tables import table_rows


class StreamedSplit:
    """One split, read in its order."""

    grows = False

    def __init__(self, data: Any, name: str, files: str, *, settled: bool, where: str):
        """`settled`: as `mixed.is_settled` has it."""
        self.name, self._data, self._files = name, data, files
        self._settled, self._where = settled, where
        self._states: dict[int, str] = {}

    @property
    def stamp(self) -> Hashable | None:
        return self._files

    def columns(self) -> Sequence[str] | None:
        names = self._data.column_names
        return None if names is None else list(names)

    def rows(self, start: Position, columns: Sequence[str] | None) -> Iterator[Row]:
        # As Arrow has them: media stay bytes, and one value that can't be read costs one row.
        data = only(self._data, columns).with_format("arrow")
        if start.state:
            data.load_state_dict(json.loads(start.state))
        for number, table in enumerate(self._tables(data, start.row), start.row):
            # A row may be read only to see that there is another, so the state before it is kept too.
            self._states = {number: self._states.get(number, ""), number + 1: json.dumps(data.state_dict())}
            yield as_row(number, next(table_rows(table)), self._mixing(table.schema))

    def _mixing(self, schema: Any) -> Callable[[str], bool]:
        return lambda column: not self._settled and pa.types.is_string(schema.field(column).type)

    def _tables(self, data: Any, start: int) -> Iterator[Any]:
        """The rows, each a table.  What the library can't decode now it can't the next time either."""
        read = 0
        try:
            for table in data:
                read += 1
                yield table
        except (ValueError, TypeError, pa.ArrowException) as error:
            raise BadInputError(
                f"{self._where}: {self.name} can't be read from its row {start + read} on: "
                f"{' '.join(str(error).split())[:300]}\n  repair it, or read its files with `type: jsonl` or "
                "`type: directory`, where a bad row costs only itself"
            ) from error

    def mark(self, row: Row, columns: Sequence[str]) -> tuple[str, str]:  # noqa: ARG002
        return self._files, self._states[row.end]

    def changed(self, position: Position, columns: Sequence[str]) -> str:  # noqa: ARG002
        if position.digest == self._files:
            return ""
        return (
            f"has other files than when its first {position.row} rows were read (name the `revision` that "
            "was read, if it is a set on the hub)"
        )


def lister(path: str, subset: str | None, split: str, revision: str | None, *, where: str) -> Lister:
    """A function that gives the one split."""
    with loading(path, subset, split, where):
        import datasets

        builder = datasets.load_dataset_builder(path, subset, revision=revision)
        data = builder.as_streaming_dataset(split=split)
        shard = StreamedSplit(
            data, split, _files(builder, split), settled=is_settled(builder, split), where=where
        )
    return lambda _: [shard]


def _files(builder: Any, split: str) -> str:
    """The digest of which files the split is of, and of their content as far as the library tells it."""
    files = data_files(builder, split)
    about = getattr(files, "origin_metadata", [])
    if not any(str(each).startswith("hf://") for each in files):
        # Local files: the library has their times, which a copy changes.
        about = [(path.rsplit("/", 1)[-1], fs.size(path)) for fs, path in map(located, files)]
        files = []
    return digest(builder.hash if not about else "", json.dumps([[str(f) for f in files], list(about)]))
