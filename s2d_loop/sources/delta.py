"""Delta tables: the rows of the version that is found first, then those that later versions append.

A data file is a shard; its rows never change.  Versions are read from the table's log: a rewrite without
a change of data (OPTIMIZE) adds no rows, and one that removes or changes rows is refused by its number,
since what it means for rows that were already learned is for a person to say.
"""

import hashlib
import json
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from s2d_loop.errors import BadInputError
from s2d_loop.sources.api import Lister, Position, Row
from s2d_loop.sources.parquet import parquet_rows

_SNAPSHOT = "snapshot-"


@dataclass(frozen=True, slots=True)
class Commit:
    """What a version adds: data files with their partition's values, and the digest of its log entry."""

    prefix: str
    files: tuple[tuple[str, Mapping[str, Any]], ...]
    digest: str


class Table:
    """A table and its log."""

    def __init__(self, uri: str, options: Mapping[str, str], where: str) -> None:
        library = _library(where)
        self._where = where
        try:
            self._table = library.DeltaTable(uri, storage_options=dict(options) or None)
        except library.exceptions.TableNotFoundError as error:
            raise BadInputError(f"{where}: no Delta table {uri}: {str(error).splitlines()[0]}") from error
        if self._table.metadata().configuration.get("delta.columnMapping.mode", "none") != "none":
            raise BadInputError(f"{where}: {uri} has column mapping, which this can't read")
        from pyarrow.fs import PyFileSystem

        handler = library.fs.DeltaStorageHandler(self._table.table_uri, dict(options) or None)
        self._files = PyFileSystem(handler)
        self._seen = (int(self._table.version()), "")

    @property
    def id(self) -> str:
        return str(self._table.metadata().id)

    def newest(self) -> int:
        """The newest version; BadInputError if another table has taken this one's place meanwhile."""
        version, before = self._seen
        if _digest(self._entry(version)) not in (before, "") and before:
            raise BadInputError(
                f"{self._where}: the table was made anew while it was read: put it back, or start a source of "
                "another `name`"
            )
        self._table.update_incremental()
        newest = int(self._table.version())
        self._seen = (newest, _digest(self._entry(newest)))
        return newest

    def open(self, path: str) -> Any:
        return self._files.open_input_file(path)

    def snapshot(self, version: int) -> Commit:
        """All rows of a version."""
        import pyarrow as pa

        self._table.load_as_version(version)
        if pa.table(self._table.deletion_vectors()).num_rows:
            raise BadInputError(
                f"{self._where}: version {version} has rows that are deleted by deletion vectors: "
                "purge them first (REORG TABLE ... APPLY (PURGE))"
            )
        added = pa.table(self._table.get_add_actions(flatten=True)).to_pylist()
        name = "partition."
        files = (
            (row["path"], {key.removeprefix(name): row[key] for key in row if key.startswith(name)})
            for row in added
        )
        entry = self._entry(version)
        return Commit(f"{_SNAPSHOT}{version}", tuple(sorted(files, key=lambda each: each[0])), _digest(entry))

    def commit(self, version: int) -> Commit:
        """The rows that a version adds to the one before."""
        entry = self._entry(version)
        if entry is None:
            raise BadInputError(
                f"{self._where}: version {version} was not read yet, and the table's log has been cleaned of "
                "it: start a source of another `name` to take the table as it is now"
            )
        actions = [json.loads(line) for line in entry.splitlines() if line.strip()]
        changes = [a for a in actions if a.get("remove", {}).get("dataChange")]
        added = [a["add"] for a in actions if a.get("add", {}).get("dataChange")]
        if changes or any(each.get("deletionVector") for each in added):
            what = next((a["commitInfo"].get("operation") for a in actions if "commitInfo" in a), "a change")
            raise BadInputError(
                f"{self._where}: version {version} of the table ({what}) removes or changes rows, and those "
                "before it were read already: only append to the table, or start a source of another `name`"
            )
        files = tuple((unquote(each["path"]), each.get("partitionValues") or {}) for each in added)
        return Commit(f"{version:020d}", files, _digest(entry))

    def _entry(self, version: int) -> bytes | None:
        try:
            with self.open(f"_delta_log/{version:020d}.json") as file:
                return bytes(file.read())
        except FileNotFoundError:
            return None


class DataFile:
    """A file of one version."""

    grows = False
    stamp: Hashable | None = None

    def __init__(self, table: Table, commit: Commit, path: str, partition: Mapping[str, Any]) -> None:
        self.name = f"{commit.prefix}/{path}"
        self._table, self._commit, self._path, self._partition = table, commit, path, partition

    def columns(self) -> Sequence[str] | None:
        import pyarrow.parquet as pq

        with self._table.open(self._path) as file:
            return [*pq.read_schema(file).names, *self._partition]

    def rows(self, start: Position, columns: Sequence[str] | None) -> Iterator[Row]:
        stored = None if columns is None else [each for each in columns if each not in self._partition]
        with self._table.open(self._path) as file:
            for row in parquet_rows(file, start.row, stored):
                value = None if row.value is None else {**self._partition, **row.value}
                yield Row(row.number, row.end, value, row.problem, row.excerpt)

    def mark(self, row: Row, columns: Sequence[str]) -> tuple[str, str]:  # noqa: ARG002
        return self._commit.digest, self._table.id

    def changed(self, position: Position, columns: Sequence[str]) -> str:  # noqa: ARG002
        same = position.state == self._table.id and self._commit.digest in (position.digest, "")
        return "" if same else "is of a table that was made anew or rewritten since its rows were read"


def lister(uri: str, options: Mapping[str, str], *, where: str) -> Lister:
    """A function that lists the data files of the newest version that was begun, and of later ones."""
    table = Table(uri, options, where)
    known: dict[str, Commit] = {}

    def commit(prefix: str) -> Commit:
        """What a version adds is looked up once; its log entry never changes."""
        if prefix not in known:
            number = prefix.removeprefix(_SNAPSHOT)
            known[prefix] = table.snapshot(int(number)) if prefix != number else table.commit(int(number))
        return known[prefix]

    def files(begun: Mapping[str, Any]) -> list[DataFile]:
        newest = table.newest()
        last = _last_begun(begun) or f"{_SNAPSHOT}{newest}"
        version = int(last.removeprefix(_SNAPSHOT))
        if newest < version:
            raise BadInputError(
                f"{where}: the table is at version {newest}, and version {version} was read: it was made "
                "anew or restored. Put it back, or start a source of another `name`"
            )
        commits = [commit(last), *(commit(f"{each:020d}") for each in range(version + 1, newest + 1))]
        for old in set(known) - {each.prefix for each in commits}:
            del known[old]
        return [DataFile(table, each, path, values) for each in commits for path, values in each.files]

    return files


def _last_begun(begun: Mapping[str, Any]) -> str | None:
    """All versions before it were read to their ends."""
    prefixes = {name.partition("/")[0] for name in begun}
    return max(prefixes, key=lambda each: int(each.removeprefix(_SNAPSHOT)), default=None)


def _digest(entry: bytes | None) -> str:
    """Empty where the log was cleaned up: then the table's id must do."""
    return hashlib.blake2b(entry, digest_size=16).hexdigest() if entry is not None else ""


def _library(where: str) -> Any:
    try:
        import deltalake
        import deltalake.exceptions
        import deltalake.fs
    except ImportError as error:
        raise BadInputError(
            f"{where}: reading Delta tables needs deltalake: pip install 's2d-loop[delta]'"
        ) from error
    return deltalake
