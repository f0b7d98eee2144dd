"""Which files make up a source: one file, those of a glob, or a folder or prefix in which new ones appear.

All of them are found through fsspec, so a path may be a URI (s3://, gs://, abfs://, memory://, ...).
"""

import time
from collections.abc import Callable, Collection, Hashable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from s2d_loop.errors import BadInputError
from s2d_loop.sources.api import Lister, Shard
from s2d_loop.sources.files import File, as_file, open_fs
from s2d_loop.sources.jsonl import json_file
from s2d_loop.sources.packed import PACKINGS, packing
from s2d_loop.sources.parquet import Parquet
from s2d_loop.sources.prefix import Prefixes
from s2d_loop.sources.unread import Unread

_JSON = (".jsonl", ".ndjson", ".json")
"""Ends of names, in any case, that a watched folder's files are read by; the rest are named and left."""
_PARQUET = ".parquet"
_READ = f"{', '.join(_JSON)} (also with {', '.join(PACKINGS)} behind it), {_PARQUET}"
_UNFINISHED = (".tmp", ".part", ".partial", ".crdownload")
_MAGIC = frozenset("*?[")
NO_OPTIONS: Mapping[str, str] = {}

Now = Callable[[], float]
_List = Callable[[Collection[str]], Sequence[File]]
"""Lists files; the argument names (relative to the root) those already begun."""


def lister(
    kind: str, path: str, options: Mapping[str, str] = NO_OPTIONS, *, where: str, now: Now = time.time
) -> Lister:
    """A function that lists what `path` holds now, in the order of names.

    New files of a watched folder are left out while they are being written; those already begun
    (the function's argument) are listed all the same, since their lines may come at any time.
    Raises BadInputError at once where there is nothing that could ever be read.
    """
    prefixes = Prefixes()
    opened: dict[str, tuple[Hashable, Shard]] = {}
    root, list_files = _files(kind, path, options, where, now)

    def shard(file: File, name: str) -> Shard:
        found = _kind_of(file.path) if kind == "directory" else kind
        if found == "parquet":
            return Parquet(file, name, prefixes)
        if found == "jsonl":
            return json_file(file, name, prefixes, now)
        return Unread(name, f"this file isn't read: its name ends in none of {_READ}")

    def shards(begun: Mapping[str, Any]) -> list[Shard]:
        """A file's beginning says what it is: it is looked at again only when the file has changed."""
        found: dict[str, tuple[Hashable, Shard]] = {}
        for file in list_files(begun):
            name = _relative(file.path, root)
            before = opened.get(name)
            same = before is not None and file.stamp is not None and before[0] == file.stamp
            found[name] = before if before and same else (file.stamp, shard(file, name))
        opened.clear()
        opened.update(found)
        return [each for _, each in found.values()]

    return shards


def _files(kind: str, path: str, options: Mapping[str, str], where: str, now: Now) -> tuple[str, _List]:
    """The directory that names are relative to, and what lists the files."""
    fs, given = open_fs(path, options, where)
    if kind == "directory":
        root = given.rstrip("/")
        # An object store has no empty folders: a prefix without objects is one that will fill.
        if "://" not in path and not fs.isdir(root):
            remedy = (
                f"`type: {_kind_of(path) or 'jsonl'}` reads one file"
                if fs.isfile(root)
                else "create it first"
            )
            raise BadInputError(f"{where}: no directory {path}: {remedy}")
        return root, lambda begun: sorted(_settled(fs, root, begun, now), key=_by_path)
    if fs.isfile(given):
        if kind == "jsonl" and _kind_of(given) == "parquet":
            raise BadInputError(f"{where}: {path} is a Parquet file: write `type: parquet`")
        return given.rpartition("/")[0], lambda _: [as_file(fs, given, fs.info(given))]
    if fs.isdir(given):
        raise BadInputError(
            f"{where}: {path} is a directory: write `type: directory`, or a glob of its files"
        )
    if not _MAGIC & set(path):
        here = "" if "://" in path else f": relative paths start at the current directory, {Path.cwd()}"
        raise BadInputError(f"{where}: no file {path}{here}")
    root = _fixed(given)
    if not _matching(fs, root, given):
        raise BadInputError(f"{where}: no file matches {path}: check the path, or use `type: directory`")
    return root, lambda _: _matching(fs, root, given)


def _matching(fs: Any, root: str, pattern: str) -> list[File]:
    found = fs.glob(pattern, detail=True).items()
    files = [
        as_file(fs, path, info)
        for path, info in found
        if info["type"] == "file" and _counts(_relative(path, root))
    ]
    return sorted(files, key=_by_path)


def _settled(fs: Any, root: str, begun: Collection[str], now: Now) -> Iterator[File]:
    """The files of a watched folder that were begun, or that nobody is writing any more."""
    moment = now()
    for path, info in fs.find(root, detail=True).items():
        name = _relative(path, root)
        if not _counts(name):
            continue
        file = as_file(fs, path, info)
        says_nothing = file.size == 0 or _is_marker(name)
        if (name in begun or not file.is_fresh(moment)) and (_kind_of(path) or not says_nothing):
            yield file


def _relative(path: str, root: str) -> str:
    return path[len(root) :].lstrip("/") if path.startswith(root) else path


def _by_path(file: File) -> list[str]:
    return file.path.split("/")


def _counts(name: str) -> bool:
    """Neither hidden nor unfinished."""
    hidden = any(part.startswith((".", "_temporary")) for part in name.split("/"))
    return not hidden and not name.lower().endswith(_UNFINISHED)


def _is_marker(name: str) -> bool:
    """A file that says something about others, such as `_SUCCESS`."""
    return any(part.startswith("_") for part in name.split("/"))


def _fixed(pattern: str) -> str:
    """The folder above the first part with a wildcard."""
    parts = pattern.split("/")
    first = next(number for number, part in enumerate(parts) if _MAGIC & set(part))
    return "/".join(parts[:first])


def _kind_of(path: str) -> str | None:
    """The type that reads a file; None if its name doesn't tell."""
    if path.lower().endswith(_PARQUET):
        return "parquet"
    return "jsonl" if packing(path)[1].endswith(_JSON) else None
