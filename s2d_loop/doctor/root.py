"""Reads a run's root, a directory or a URI, and never anything outside of it."""

import io
import os
import stat
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO, Any, Protocol


class NotThereError(Exception):
    """There is no run to check."""


class OutsideError(ValueError):
    """A path that leaves the root, or is reached through a link."""


class Root(Protocol):
    """What a checkup reads; paths are relative and inside (`inside`)."""

    uri: str

    def open(self, path: str) -> IO[bytes]:
        """The file's bytes, seekable; FileNotFoundError if there are none, OutsideError for a link."""

    def files(self) -> Iterator[tuple[str, int]]:
        """Every file under the root with its size."""

    def links(self) -> Iterator[tuple[str, str]]:
        """Every symbolic link under the root, and what it leads to."""


def inside(path: str) -> str:
    """`path` as it is, if it stays under the root it is relative to."""
    parts = PurePosixPath(path).parts
    if not parts or path != str(PurePosixPath(path)) or path.startswith("/") or ".." in parts:
        raise OutsideError(f"{path!r} doesn't stay inside the run")
    if "\\" in path or any(not c.isprintable() for c in path):
        raise OutsideError(f"{path!r} holds characters that no path of a run has")
    return path


def open_root(uri: str) -> Root:
    """The root; NotThereError if there is no ledger in it."""
    if "://" in uri and not uri.startswith("file://"):
        return Remote(uri)
    return Local(uri.removeprefix("file://"))


class Local:
    """A directory."""

    def __init__(self, path: str) -> None:
        self._base = Path(path).expanduser().absolute()
        self.uri = str(self._base)
        if not (self._base / "ledger").is_dir():
            raise NotThereError(f"{path}: there is no run here (no ledger)")

    def open(self, path: str) -> IO[bytes]:
        target = self._base
        for part in PurePosixPath(inside(path)).parts:
            target = target / part
            if target.is_symlink():
                raise OutsideError(f"{path!r} is reached through a symbolic link")
        if not stat.S_ISREG(target.stat().st_mode):
            raise OutsideError(f"{path!r} is not a plain file")
        return target.open("rb")

    def files(self) -> Iterator[tuple[str, int]]:
        for path in self._walk():
            if not path.is_symlink():
                yield path.relative_to(self._base).as_posix(), path.lstat().st_size

    def links(self) -> Iterator[tuple[str, str]]:
        for path in self._walk():
            if path.is_symlink():
                yield path.relative_to(self._base).as_posix(), str(path.readlink())

    def _walk(self) -> Iterator[Path]:
        for folder, folders, names in os.walk(self._base):
            yield from (Path(folder, name) for name in sorted(names))
            yield from (Path(folder, name) for name in sorted(folders) if Path(folder, name).is_symlink())
            folders.sort()


class Remote:
    """A prefix of an object store, through its fsspec driver; it has no links."""

    def __init__(self, uri: str) -> None:
        import fsspec

        self.uri = uri.rstrip("/")
        self._fs: Any
        self._fs, base = fsspec.core.url_to_fs(uri)
        self._base = base.rstrip("/")
        if not self._fs.exists(f"{self._base}/ledger/00000001.json"):
            raise NotThereError(f"{uri}: there is no run here (no ledger)")

    def open(self, path: str) -> IO[bytes]:
        file: IO[bytes] = self._fs.open(f"{self._base}/{inside(path)}", "rb")
        return file

    def files(self) -> Iterator[tuple[str, int]]:
        for name, facts in sorted(self._fs.find(self._base, detail=True).items()):
            yield name.removeprefix(self._base).lstrip("/"), facts.get("size") or 0

    def links(self) -> Iterator[tuple[str, str]]:
        return iter(())


def read(root: Root, path: str) -> bytes | None:
    """A small file whole, or None if it isn't there."""
    try:
        with root.open(path) as file:
            return file.read()
    except FileNotFoundError:
        return None


def chunks(file: IO[bytes]) -> Iterator[bytes]:
    """A file in pieces of a megabyte."""
    while piece := file.read(1 << 20):
        yield piece


def size_of(file: IO[bytes]) -> int:
    """The length of an open file."""
    size = file.seek(0, io.SEEK_END)
    file.seek(0)
    return size
