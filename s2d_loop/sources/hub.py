"""Sets that the `datasets` library loads, from the hub or a local directory."""

import contextlib
import hashlib
import json
from collections.abc import Hashable, Iterator, Sequence
from pathlib import Path
from typing import Any

from s2d_loop.errors import BadInputError
from s2d_loop.formats.base import UnreadableError
from s2d_loop.sources.api import Lister, Position, Row
from s2d_loop.sources.column import find

_BATCH = 256


class HubSplit:
    """One split.  A position is bound to the rows of the columns that are read, and to nothing else."""

    grows = True
    stamp: Hashable | None = "loaded once"

    def __init__(self, data: Any, name: str):
        self.name = name
        self._data = data
        self._hashed: tuple[tuple[str, ...], int, Any] | None = None

    def columns(self) -> Sequence[str] | None:
        return list(self._data.column_names)

    def rows(self, start: Position, columns: Sequence[str] | None) -> Iterator[Row]:
        for number, value in self._values(start.row, len(self._data), columns):
            yield Row(number, number + 1, value)

    def mark(self, row: Row, columns: Sequence[str]) -> tuple[str, str]:
        return self._digest(row.end, columns), ""

    def changed(self, position: Position, columns: Sequence[str]) -> str:
        if self._digest(position.offset, columns) == position.digest:
            return ""
        return f"changed after its first {position.row} rows were read"

    def _digest(self, offset: int, columns: Sequence[str]) -> str:
        """Goes on from where the last call stopped, so a long set is hashed once a process."""
        known = self._hashed
        start, hasher = 0, hashlib.blake2b(digest_size=16)
        if known is not None and known[0] == tuple(columns) and known[1] <= offset:
            _, start, hasher = known
        end = min(offset, len(self._data))
        for _, value in self._values(start, end, columns):
            hasher.update(
                json.dumps([_found(value, name) for name in columns], default=repr).encode() + b"\n"
            )
        self._hashed = (tuple(columns), end, hasher)
        return hasher.hexdigest()

    def _values(
        self, start: int, end: int, columns: Sequence[str] | None
    ) -> Iterator[tuple[int, dict[str, Any]]]:
        data = self._data
        if columns is not None:
            have = data.column_names
            outer = (name if name in have else name.split(".")[0] for name in columns)
            data = data.select_columns([name for name in dict.fromkeys(outer) if name in have])
        data = data.with_format("arrow")
        for first in range(start, end, _BATCH):
            batch = data[first : min(first + _BATCH, end)].to_pylist()
            yield from enumerate(batch, first)


def lister(path: str, subset: str | None, split: str, revision: str | None = None, *, where: str) -> Lister:
    """A function that gives the one split; loaded (and downloaded, if need be) once, now."""
    shard = HubSplit(_load(path, subset, split, revision, where), split)
    return lambda _: [shard]


def _load(path: str, subset: str | None, split: str, revision: str | None, where: str) -> Any:
    with loading(path, subset, split, where):
        import datasets  # slow to import, and most runs don't need it

        if (Path(path) / "dataset_dict.json").exists():
            return datasets.load_from_disk(path)[split]
        if (Path(path) / "state.json").exists():
            return datasets.load_from_disk(path)
        return datasets.load_dataset(path, subset, split=split, revision=revision)


@contextlib.contextmanager
def loading(path: str, subset: str | None, split: str, where: str) -> Iterator[None]:
    """Says what can be done when `datasets` fails."""
    try:
        yield
    # Whatever goes wrong in there (network, cache, builder, file), only the person can do something.
    except Exception as err:
        said = " ".join(str(err).split())[:400] or type(err).__name__
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
