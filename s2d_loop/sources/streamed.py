"""Sets that the `datasets` library streams: rows come as they are read, and nothing is downloaded whole.

A position holds the library's own state, so reading goes on without the rows before it; it is bound to
the set's files, which on the hub are those of one revision.
"""

import json
from collections.abc import Hashable, Iterator, Sequence
from typing import Any

from s2d_loop.records import digest
from s2d_loop.sources.api import Lister, Position, Row
from s2d_loop.sources.hub import loading


class StreamedSplit:
    """One split, read in its order."""

    grows = False

    def __init__(self, data: Any, name: str, files: str):
        self.name, self._data, self._files = name, data, files
        self._states: dict[int, str] = {}

    @property
    def stamp(self) -> Hashable | None:
        return self._files

    def columns(self) -> Sequence[str] | None:
        names = self._data.column_names
        return None if names is None else list(names)

    def rows(self, start: Position, columns: Sequence[str] | None) -> Iterator[Row]:
        data, names = self._data, self.columns()
        if columns is not None and names is not None:
            outer = (name if name in names else name.split(".")[0] for name in columns)
            data = data.select_columns([name for name in dict.fromkeys(outer) if name in names])
        else:
            data = data.skip(0)  # a copy: states belong to an iteration
        if start.state:
            data.load_state_dict(json.loads(start.state))
        for number, value in enumerate(data, start.row):
            # A row may be read only to see that there is another, so the state before it is kept too.
            self._states = {number: self._states.get(number, ""), number + 1: json.dumps(data.state_dict())}
            yield Row(number, number + 1, value)

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
        shard = StreamedSplit(data, split, _files(builder, split))
    return lambda _: [shard]


def _files(builder: Any, split: str) -> str:
    """The digest of which files the split is of, and of their content as far as the library tells it."""
    files = (builder.config.data_files or {}).get(split, [])
    about = getattr(files, "origin_metadata", [])
    if not any(str(each).startswith("hf://") for each in files):
        # Local files: the library has their times, which a copy changes.
        import fsspec

        sized = [fsspec.core.url_to_fs(str(each)) for each in files]
        about = [(path.rsplit("/", 1)[-1], fs.size(path)) for fs, path in sized]
        files = []
    return digest(builder.hash if not about else "", json.dumps([[str(f) for f in files], list(about)]))
