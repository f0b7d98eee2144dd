"""What `files` hands out: open files, and the entries of a folder."""

import io
import stat
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any, Protocol

from benchmarks.simulation.disk import Disk, File
from benchmarks.simulation.kernel import Kernel


class System(Protocol):
    """`files.Files`, as far as an open file needs it."""

    kernel: Kernel
    disks: dict[str, Disk]

    def perform(
        self, kind: str, path: str, apply: Callable[[], Any], torn: Callable[[float], object] | None = None
    ) -> Any: ...

    def handle(self, disk: str, number: int, path: str) -> int: ...

    def close(self, handle: int) -> None: ...

    def listdir(self, path: str) -> list[str]: ...

    def lstat(self, path: str) -> Any: ...


class Raw(io.RawIOBase):
    """An open file of a simulated disk."""

    def __init__(self, files: System, disk: str, number: int, path: str, mode: str) -> None:
        self._files, self._disk, self._number, self._path, self._mode = files, disk, number, path, mode
        self._handle = files.handle(disk, number, path)
        self._at = self._size() if "a" in mode else 0
        self.name = path

    def readable(self) -> bool:
        return "r" in self._mode or "+" in self._mode

    def writable(self) -> bool:
        return self._mode[0] in "wxa" or "+" in self._mode

    def seekable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._handle

    def isatty(self) -> bool:
        return False

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = 0) -> int:
        self._at = offset + (0, self._at, self._size())[whence]
        return self._at

    def truncate(self, size: int | None = None) -> int:
        wanted = self._at if size is None else size
        self._files.perform(
            "truncate", self._path, lambda: self._files.disks[self._disk].truncate(self._number, wanted)
        )
        return wanted

    def readinto(self, buffer: Any) -> int:
        data = self._bytes()[self._at : self._at + len(buffer)]
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)

    def write(self, data: Any) -> int:
        whole = bytes(data)
        files, at = self._files, self._at
        current = files.kernel.current
        if current is not None and not current.alive:
            return len(whole)  # a destructor flushes after the end: nobody is there to be told

        def put(share: float = 1.0) -> None:
            part = whole[: int(len(whole) * share)] if share < 1 else whole
            files.disks[self._disk].write(self._number, at, part, files.kernel.now)

        files.perform("write", self._path, put, put)
        self._at += len(whole)
        return len(whole)

    def close(self) -> None:
        self._files.close(self._handle)
        super().close()

    def _bytes(self) -> bytes:
        node = self._files.disks[self._disk].node(self._number)
        assert isinstance(node, File)
        return node.data

    def _size(self) -> int:
        return len(self._bytes())


class Entries:
    """What os.scandir gives."""

    def __init__(self, files: System, path: str) -> None:
        self._files, self._path = files, path

    def __enter__(self) -> Iterator[Any]:
        return iter(self)

    def __exit__(self, *_: object) -> None:
        pass

    def __iter__(self) -> Iterator[Any]:
        for name in self._files.listdir(self._path):
            path = f"{self._path.rstrip('/')}/{name}"
            mode = self._files.lstat(path).st_mode
            yield SimpleNamespace(
                name=name,
                path=path,
                is_dir=lambda mode=mode, **_: stat.S_ISDIR(mode),
                is_file=lambda mode=mode, **_: stat.S_ISREG(mode),
                is_symlink=lambda mode=mode: stat.S_ISLNK(mode),
            )
