"""Lets the product's own file code run on simulated disks: `os` and `open`, for paths under /simulated.

While `mounted` is in force these functions answer for simulated paths and pass every other path on.
So `LocalStore`, the sources and whatever else opens files are the real ones, down to each `fsync`.
"""

import builtins
import contextlib
import errno
import io
import os
import shutil
import stat
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

from benchmarks.simulation.disk import Disk, File, Folder, Link, Node, Parts
from benchmarks.simulation.handles import Entries, Raw
from benchmarks.simulation.kernel import Kernel

_TOP = "/simulated"
PREFIX = f"{_TOP}/"
_FIRST_HANDLE = 1 << 24


class Files:
    """Disks under /simulated; operations on those in `watched` are steps of the kernel."""

    def __init__(self, kernel: Kernel, disks: Mapping[str, Disk], watched: frozenset[str]) -> None:
        self.kernel = kernel
        self.disks = dict(disks)
        self._watched = watched
        self._handles: dict[int, tuple[str, int, str]] = {}
        self._next = _FIRST_HANDLE

    def place(self, path: str | os.PathLike[str]) -> tuple[str, Parts]:
        """The disk's name, and the path on it."""
        name, *parts = [
            part for part in os.fspath(path).removeprefix(_TOP).split("/") if part not in ("", ".")
        ] or [""]
        return name, tuple(parts)

    def perform(
        self,
        kind: str,
        path: str,
        apply: Callable[[], Any],
        torn: Callable[[float], object] | None = None,
    ) -> Any:
        if self.place(path)[0] in self._watched:
            return self.kernel.perform(kind, path, apply, torn)
        return apply()

    def open(
        self,
        path: str | int,
        mode: str = "r",
        buffering: int = -1,
        encoding: str | None = None,
        errors: str | None = None,
        newline: str | None = None,
    ) -> Any:
        if isinstance(path, int):  # a handle
            path = self._handles[path][2]
        disk, parts = self.place(path)
        if "r" in mode and "+" not in mode:
            number = self.perform("open", path, lambda: self.disks[disk].find(parts))
        else:
            number = self.perform("create", path, lambda: self._created(disk, parts, mode))
        if isinstance(self.disks[disk].node(number), Folder):
            raise IsADirectoryError(errno.EISDIR, "is a directory", path)
        raw = Raw(self, disk, number, path, mode)
        if buffering == 0:
            return raw
        binary: Any = (
            io.BufferedReader(raw) if "r" in mode and "+" not in mode else io.BufferedWriter(raw, 1 << 16)
        )
        return binary if "b" in mode else io.TextIOWrapper(binary, encoding or "utf-8", errors, newline)

    def _created(self, disk: str, parts: Parts, mode: str) -> int:
        here = self.disks[disk]
        if "a" in mode:
            with contextlib.suppress(FileNotFoundError):
                return here.find(parts)
        return here.create(parts, self.kernel.now, exclusive="x" in mode)

    def below(self, folder: int, name: str) -> str:
        """The path of a name in an open folder."""
        return f"{self._handles[folder][2]}/{name}"

    def handle(self, disk: str, number: int, path: str) -> int:
        self._next += 1
        self._handles[self._next] = (disk, number, path)
        return self._next

    def open_handle(self, path: str, flags: int, *_: Any, **__: Any) -> int:
        disk, parts = self.place(path)
        if flags & (os.O_WRONLY | os.O_RDWR):
            if not flags & os.O_CREAT:
                raise NotImplementedError(f"os.open of {path} with {flags:#o}")
            return self.handle(disk, self._created(disk, parts, "x" if flags & os.O_EXCL else "a"), path)
        return self.handle(disk, self.disks[disk].find(parts), path)

    def close(self, handle: int) -> None:
        self._handles.pop(handle, None)

    def fsync(self, handle: int) -> None:
        disk, number, path = self._handles[handle]
        self.perform("fsync", path, lambda: self.disks[disk].sync(number))

    def fstat(self, handle: int) -> Any:
        disk, number, _ = self._handles[handle]
        return self._status(disk, number)

    def stat(self, path: str, *, follow_symlinks: bool = True, **_: Any) -> Any:
        disk, parts = self.place(path)
        if not disk:
            return self._described(Folder(), 0, 0)
        number = self.disks[disk].find(parts)
        node = self.disks[disk].node(number)
        if isinstance(node, Link) and follow_symlinks:
            return Path(path).parent.joinpath(node.target).stat()
        return self._status(disk, number)

    def lstat(self, path: str, **_: Any) -> Any:
        return self.stat(path, follow_symlinks=False)

    def _status(self, disk: str, number: int) -> Any:
        return self._described(self.disks[disk].node(number), number, 1 + sorted(self.disks).index(disk))

    def _described(self, node: Node, number: int, device: int) -> Any:
        kind = {File: stat.S_IFREG, Folder: stat.S_IFDIR, Link: stat.S_IFLNK}[type(node)]
        size, mtime = (len(node.data), node.mtime) if isinstance(node, File) else (0, 0.0)
        times = {f"st_{name}time": mtime for name in "amc"} | {
            f"st_{name}time_ns": int(mtime * 1e9) for name in "amc"
        }
        return SimpleNamespace(
            st_mode=kind | 0o700,
            st_size=size,
            st_ino=number,
            st_dev=device,
            st_nlink=1,
            st_uid=0,
            st_gid=0,
            **times,
        )

    def mkdir(self, path: str, *_: Any, **__: Any) -> None:
        disk, parts = self.place(path)
        if parts:
            self.perform("mkdir", path, lambda: self.disks[disk].mkdir(parts))

    def unlink(self, path: str, **_: Any) -> None:
        disk, parts = self.place(path)
        self.perform("unlink", path, lambda: self.disks[disk].unlink(parts))

    def rmdir(self, path: str, **_: Any) -> None:
        disk, parts = self.place(path)
        self.perform("rmdir", path, lambda: self.disks[disk].rmdir(parts))

    def rename(self, source: str, target: str, **_: Any) -> None:
        disk, parts = self.place(source)
        into = self.place(os.fspath(target))[1]
        self.perform("rename", f"{source} -> {target}", lambda: self.disks[disk].rename(parts, into))

    def link(self, source: str, target: str, **_: Any) -> None:
        disk, parts = self.place(source)
        into = self.place(os.fspath(target))[1]
        self.perform("link", os.fspath(target), lambda: self.disks[disk].link(parts, into))

    def symlink(self, target: str, path: str, *_: Any, **__: Any) -> None:
        disk, parts = self.place(path)
        self.perform("symlink", path, lambda: self.disks[disk].symlink(parts, os.fspath(target)))

    def statvfs(self, path: Any) -> Any:
        """There is always room: a disk that fills is another test's matter."""
        return SimpleNamespace(f_frsize=4096, f_bavail=2**30, f_files=0, f_favail=0)

    def readlink(self, path: str, **_: Any) -> str:
        disk, parts = self.place(path)
        node = self.disks[disk].node(self.disks[disk].find(parts))
        if not isinstance(node, Link):
            raise OSError(errno.EINVAL, "not a link", path)
        return node.target

    def utime(self, path: str, times: Any = None, **_: Any) -> None:
        disk, parts = self.place(path)
        here = self.disks[disk]
        here.touch(here.find(parts), times[1] if times else self.kernel.now)

    def listdir(self, path: str) -> list[str]:
        disk, parts = self.place(path)
        return list(self.perform("list", path, lambda: self.disks[disk].names(parts)))

    def scandir(self, path: str) -> Entries:
        return Entries(self, path)

    def rmtree(self, path: str, ignore_errors: bool = False, **_: Any) -> None:
        try:
            for name in self.listdir(path):
                inside = f"{path}/{name}"
                if stat.S_ISDIR(self.stat(inside, follow_symlinks=False).st_mode):
                    self.rmtree(inside)
                else:
                    self.unlink(inside)
            self.rmdir(path)
        except OSError:
            if not ignore_errors:
                raise


@contextlib.contextmanager
def mounted(files: Files) -> Iterator[None]:
    """Route `os` and `open` of this process."""
    with contextlib.ExitStack() as stack:
        for module, names in _ROUTED.items():
            for name, answer in names.items():
                real, simulated = getattr(module, name), getattr(files, answer)
                stack.enter_context(mock.patch.object(module, name, _routed(real, simulated, files)))
        yield


def _same(*names: str) -> dict[str, str]:
    return {name: name for name in names}


_ROUTED: dict[Any, dict[str, str]] = {
    builtins: _same("open"),
    io: _same("open"),
    os: {
        **_same("stat", "mkdir", "unlink", "rmdir", "rename", "link", "symlink", "readlink", "utime"),
        **_same("statvfs"),
        **_same("listdir", "scandir", "fsync", "fstat", "close"),
        "remove": "unlink",
        "replace": "rename",
        "open": "open_handle",
        "lstat": "lstat",
    },
    shutil: _same("rmtree"),
}


def _routed(real: Callable[..., Any], simulated: Callable[..., Any], files: Files) -> Callable[..., Any]:
    def call(path: Any, *args: Any, **kwargs: Any) -> Any:
        if (kwargs.get("dir_fd") or 0) >= _FIRST_HANDLE:
            path = files.below(kwargs.pop("dir_fd"), path)
        if type(path) is int:
            return (simulated if path >= _FIRST_HANDLE else real)(path, *args, **kwargs)
        where = os.fspath(path) if hasattr(path, "__fspath__") else path
        if isinstance(where, str) and (where.startswith(PREFIX) or where == _TOP):
            return simulated(where, *args, **kwargs)
        if real.__name__ == "symlink" and os.fspath(args[0]).startswith(PREFIX):
            return simulated(path, os.fspath(args[0]), *args[1:], **kwargs)
        return real(path, *args, **kwargs)

    return call
