"""Reads a run's root, a directory or a URI, and never anything outside of it.

A root is a stranger's: a file is opened by one function, which follows no link below the root and opens
nothing but plain files, and nothing is read whole before its size is known.
"""

import contextlib
import io
import os
import stat
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO, Any, Protocol


class NotThereError(Exception):
    """There is no run to check."""


class RefusedError(ValueError):
    """A path that leaves the root, or is reached through a link, or what lies there is no plain file, or too large."""


MOST_READ = 64 << 20
"""Bytes of a file that is read whole."""


class Root(Protocol):
    """What a checkup reads; paths are relative and inside (`inside`)."""

    uri: str

    def open(self, path: str) -> IO[bytes]:
        """A plain file's bytes, seekable; FileNotFoundError if nothing is there, RefusedError for anything else."""

    def files(self) -> Iterator[tuple[str, int]]:
        """Every file under the root with its size."""

    def links(self) -> Iterator[tuple[str, str]]:
        """Every symbolic link under the root, and what it leads to."""

    def special(self) -> Iterator[tuple[str, str]]:
        """Whatever else lies under the root and is no plain file, and what it is."""


def inside(path: str) -> str:
    """`path` as it is, if it stays under the root it is relative to."""
    parts = PurePosixPath(path).parts
    if not parts or path != str(PurePosixPath(path)) or path.startswith("/") or ".." in parts:
        raise RefusedError(f"{path!r} doesn't stay inside the run")
    if "\\" in path or any(not c.isprintable() for c in path):
        raise RefusedError(f"{path!r} holds characters that no path of a run has")
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
        *folders, name = PurePosixPath(inside(path)).parts
        at = os.open(self._base, _FOLDER)
        try:
            for folder in folders:
                below = os.open(folder, _FOLDER | os.O_NOFOLLOW, dir_fd=at)
                os.close(at)
                at = below
            _refuse_special(path, os.stat(name, dir_fd=at, follow_symlinks=False))
            file = open(os.open(name, _PLAIN, dir_fd=at), "rb")  # noqa: SIM115, PTH123
        except NotADirectoryError:
            raise RefusedError(f"{path!r} is reached through a symbolic link, or what is no folder") from None
        finally:
            os.close(at)
        try:
            _refuse_special(path, os.fstat(file.fileno()))
        except RefusedError:
            file.close()
            raise
        return file

    def files(self) -> Iterator[tuple[str, int]]:
        for path, found in self._walk():
            if stat.S_ISREG(found.st_mode):
                yield path.relative_to(self._base).as_posix(), found.st_size

    def links(self) -> Iterator[tuple[str, str]]:
        for path, found in self._walk():
            if stat.S_ISLNK(found.st_mode):
                yield path.relative_to(self._base).as_posix(), str(path.readlink())

    def special(self) -> Iterator[tuple[str, str]]:
        for path, found in self._walk():
            if not stat.S_ISREG(found.st_mode) and not stat.S_ISLNK(found.st_mode):
                yield path.relative_to(self._base).as_posix(), _kind(found)

    def _walk(self) -> Iterator[tuple[Path, os.stat_result]]:
        """Everything but folders.  A driver may remove something meanwhile."""
        for folder, folders, names in os.walk(self._base):
            folders.sort()
            for path in (Path(folder, name) for name in [*sorted(names), *folders]):
                with contextlib.suppress(FileNotFoundError):
                    found = path.lstat()
                    if not stat.S_ISDIR(found.st_mode):
                        yield path, found


_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
# A pipe that is put there between two looks doesn't block.
_PLAIN = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_KINDS = {
    stat.S_IFLNK: "a symbolic link",
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def _kind(found: os.stat_result) -> str:
    return _KINDS.get(stat.S_IFMT(found.st_mode), "of an unknown kind")


def _refuse_special(path: str, found: os.stat_result) -> None:
    """Raises RefusedError for anything but a plain file."""
    if not stat.S_ISREG(found.st_mode):
        raise RefusedError(f"{path!r} is {_kind(found)}, and no plain file")


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

    def special(self) -> Iterator[tuple[str, str]]:
        return iter(())


def read(root: Root, path: str) -> bytes | None:
    """A small file whole, or None if it isn't there."""
    try:
        with root.open(path) as file:
            size = size_of(file)
            if size > MOST_READ:
                raise RefusedError(f"{path!r} has {size:,} bytes; at most {MOST_READ:,} are read")
            return file.read(MOST_READ)
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
