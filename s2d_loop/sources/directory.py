"""Which files make up a source: one file, those of a glob, or a folder in which new ones appear."""

import glob
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path

from s2d_loop.errors import BadInputError
from s2d_loop.sources.api import Lister, Shard
from s2d_loop.sources.jsonl import SETTLE_S, json_file
from s2d_loop.sources.parquet import Parquet
from s2d_loop.sources.prefix import Prefixes

SUFFIXES = (".jsonl", ".json", ".parquet")
_UNFINISHED = (".tmp", ".part", ".partial", ".crdownload")


def lister(kind: str, path: str, *, where: str, now: Callable[[], float] = time.time) -> Lister:
    """A function that lists what `path` holds now, in the order of names.

    New files of a watched folder are left out while they are being written; those already begun
    (the function's argument) are listed all the same, since their lines may come at any time.
    Raises BadInputError at once where there is nothing that could ever be read.
    """
    prefixes = Prefixes()

    def shard(file: Path, name: str) -> Shard:
        if kind == "parquet" or (kind == "directory" and file.suffix == ".parquet"):
            return Parquet(file, name, prefixes)
        return json_file(file, name, prefixes, now)

    root, list_files = _files(kind, path, where, now)

    def shards(begun: Collection[str]) -> list[Shard]:
        return [shard(file, file.relative_to(root).as_posix()) for file in list_files(begun)]

    return shards


def _files(
    kind: str, path: str, where: str, now: Callable[[], float]
) -> tuple[Path, Callable[[Collection[str]], Sequence[Path]]]:
    """The directory that names are relative to, and what lists the files."""
    given = Path(path)
    if kind == "directory":
        if not given.is_dir():
            remedy = f"`type: {_kind_of(given)}` reads one file" if given.is_file() else "create it first"
            raise BadInputError(f"{where}: no directory {path}: {remedy}")
        return given, lambda begun: sorted(_settled(given, begun, now))
    if given.is_file():
        if kind == "jsonl" and given.suffix == ".parquet":
            raise BadInputError(f"{where}: {path} is a Parquet file: write `type: parquet`")
        return given.parent, lambda _: [given]
    if given.is_dir():
        raise BadInputError(
            f"{where}: {path} is a directory: write `type: directory`, or a glob of its files"
        )
    if not glob.has_magic(path):
        raise BadInputError(
            f"{where}: no file {path}: relative paths start at the current directory, {Path.cwd()}"
        )
    root = Path(*_fixed_parts(given))
    pattern = str(given.relative_to(root))
    if not _matching(root, pattern):
        raise BadInputError(f"{where}: no file matches {path}: check the path, or use `type: directory`")
    return root, lambda _: _matching(root, pattern)


def _matching(root: Path, pattern: str) -> list[Path]:
    return sorted(each for each in root.glob(pattern) if each.is_file() and _counts(each.relative_to(root)))


def _settled(root: Path, begun: Collection[str], now: Callable[[], float]) -> Iterator[Path]:
    """The files of a watched folder that were begun, or that nobody is writing any more."""
    for path in root.rglob("*"):
        relative = path.relative_to(root)
        if path.suffix not in SUFFIXES or not _counts(relative):
            continue
        try:
            settled = now() - path.stat().st_mtime >= SETTLE_S
            if path.is_file() and (settled or relative.as_posix() in begun):
                yield path
        except FileNotFoundError:
            continue  # moved away just now


def _counts(relative: Path) -> bool:
    """Neither hidden nor unfinished."""
    hidden = any(part.startswith((".", "_temporary")) for part in relative.parts)
    return not hidden and relative.suffix not in _UNFINISHED


def _fixed_parts(path: Path) -> Iterator[str]:
    for part in path.parts:
        if glob.has_magic(part):
            return
        yield part


def _kind_of(path: Path) -> str:
    return "parquet" if path.suffix == ".parquet" else "jsonl"
