"""Sets that the `datasets` library loads, from the hub or a local directory."""

import contextlib
import functools
import hashlib
import json
from collections.abc import Hashable, Iterator, Sequence
from pathlib import Path
from typing import Any

from s2d_loop.errors import BadInputError
from s2d_loop.formats.base import UnreadableError
from s2d_loop.sources.api import Lister, Position, Row
from s2d_loop.sources.column import find
from s2d_loop.sources.mixed import as_row, holds_json, is_settled
from s2d_loop.sources.tables import Values, table_rows

_BATCH = 256


class HubSplit:
    """One split.  A position is bound to the rows of the columns that are read, and to nothing else."""

    grows = True
    stamp: Hashable | None = "loaded once"

    def __init__(self, data: Any, name: str, *, settled: bool):
        """`settled`: as `mixed.is_settled` has it."""
        self.name = name
        self._data = data
        self._hashed: tuple[tuple[str, ...], int, Any] | None = None
        self._holds_json = functools.cache(lambda column: not settled and holds_json(data, column))

    def columns(self) -> Sequence[str] | None:
        return list(self._data.column_names)

    def rows(self, start: Position, columns: Sequence[str] | None) -> Iterator[Row]:
        for number, value in self._values(start.row, len(self._data), columns, decode=True):
            yield as_row(number, value, self._holds_json)

    def mark(self, row: Row, columns: Sequence[str]) -> tuple[str, str]:
        return self._digest(row.end, columns), ""

    def changed(self, position: Position, columns: Sequence[str]) -> str:
        if self._digest(position.offset, columns) == position.digest:
            return ""
        return f"changed after its first {position.row} rows were read"

    def _digest(self, offset: int, columns: Sequence[str]) -> str:
        """Goes on from where the last call stopped, so a long set is hashed once a process."""
        columns = [name for name in columns if _stored(self._data.column_names, name)]
        known = self._hashed
        start, hasher = 0, hashlib.blake2b(digest_size=16)
        if known is not None and known[0] == tuple(columns) and known[1] <= offset:
            _, start, hasher = known
        end = min(offset, len(self._data))
        for _, value in self._values(start, end, columns, decode=False):
            found = (
                str(value)
                if isinstance(value, UnreadableError)
                else [_found(value, name) for name in columns]
            )
            hasher.update(json.dumps(found, default=repr).encode() + b"\n")
        self._hashed = (tuple(columns), end, hasher)
        return hasher.hexdigest()

    def _values(
        self, start: int, end: int, columns: Sequence[str] | None, *, decode: bool
    ) -> Iterator[tuple[int, Values | UnreadableError]]:
        # As Arrow has them: media stay bytes, and one value that can't be read costs one row.
        data = only(self._data, columns).with_format("arrow")
        for first in range(start, end, _BATCH):
            batch = data[first : min(first + _BATCH, end)]
            yield from enumerate(table_rows(batch, decode=decode), first)


def only(data: Any, columns: Sequence[str] | None) -> Any:
    """The columns of a set that are asked for; of `a.b`, if no column has this name, column a."""
    have = data.column_names
    if columns is None or have is None:
        return data
    return data.select_columns(list(dict.fromkeys(name for each in columns if (name := _stored(have, each)))))


def _stored(have: Sequence[str], column: str) -> str | None:
    return next((name for name in (column, column.split(".")[0]) if name in have), None)


def lister(path: str, subset: str | None, split: str, revision: str | None = None, *, where: str) -> Lister:
    """A function that gives the one split; loaded (and downloaded, if need be) once, now."""
    data, settled = _load(path, subset, split, revision, where)
    shard = HubSplit(data, split, settled=settled)
    return lambda _: [shard]


def _load(path: str, subset: str | None, split: str, revision: str | None, where: str) -> tuple[Any, bool]:
    """The split, and whether `mixed.is_settled`."""
    with loading(path, subset, split, where):
        import datasets  # slow to import, and most runs don't need it

        if (Path(path) / "dataset_dict.json").exists():
            return datasets.load_from_disk(path)[split], False
        if (Path(path) / "state.json").exists():
            return datasets.load_from_disk(path), False
        builder = datasets.load_dataset_builder(path, subset, revision=revision)
        builder.download_and_prepare()
        return builder.as_dataset(split), is_settled(builder, split)


@contextlib.contextmanager
def loading(path: str, subset: str | None, split: str, where: str) -> Iterator[None]:
    """Says what can be done when `datasets` fails."""
    try:
        yield
    # Whatever goes wrong in there (network, cache, builder, file), only the person can do something.
    except Exception as err:
        # "An error occurred while generating the dataset" has the reason as its cause.
        said = " ".join(f"{err} {err.__cause__ or ''}".split())[:400] or type(err).__name__
        raise BadInputError(
            f"{where}: the data set {path!r}{f' ({subset})' if subset else ''}, split {split!r}, "
            f"can't be loaded: {said}\n"
            "  check its name, `subset` and `split`; without a network, download it elsewhere and give the "
            "local directory, or a file with `type: parquet` or `type: jsonl`"
        ) from err


def _found(row: dict[str, Any], column: str) -> Any:
    try:
        return find(row, column)
    except UnreadableError:
        return None
