"""Where a run's bytes are kept: one root, a local directory or any fsspec URI.

`ledger` decides what counts; this module only knows how to put bytes durably under the root, and how
to create a file so that exactly one writer wins (docs/decisions/0001-atomic-commit.md).
"""

import contextlib
import errno
import hashlib
import os
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, Protocol

from s2d_loop.errors import BadInputError


class ExistsError(Exception):
    """A conditional create found that the file is there already."""


class Store(Protocol):
    """What the ledger and the stages ask of storage; paths are relative to the root."""

    root: str

    def create(self, path: str, data: bytes) -> None:
        """Publish `data` at `path` whole, durably, and only if nothing is there.

        Raises ExistsError if something is.
        """

    def read(self, path: str) -> bytes | None:
        """The bytes at `path`, or None if there are none."""

    def writing(self, path: str) -> contextlib.AbstractContextManager["HashingFile"]:
        """A new file; nobody looks at it until a commit names it."""

    def reading(self, path: str) -> contextlib.AbstractContextManager[IO[bytes]]: ...

    def remove(self, path: str) -> None:
        """Remove a file or folder if it is there."""

    def list(self, path: str) -> list[str]:
        """Names directly under `path`; for sweeping up only, never to find what was committed."""

    def free_bytes(self) -> int | None:
        """Free space, or None where that has no meaning."""

    def local_path(self, path: str) -> str | None:
        """The path as other programs open it, or None if the root isn't a file system."""


class HashingFile:
    """A binary file that knows the digest and size of what went into it."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._sha256 = hashlib.sha256()
        self.size = 0

    def write(self, data: Any) -> int:
        view = memoryview(data)
        self._file.write(view)
        self._sha256.update(view)
        self.size += view.nbytes
        return view.nbytes

    def flush(self) -> None:
        self._file.flush()

    def tell(self) -> int:
        return self.size

    @property
    def closed(self) -> bool:
        return self._file.closed

    def sha256(self) -> str:
        return self._sha256.hexdigest()


def open_store(uri: str) -> Store:
    """The store of a run directory or URI."""
    if "://" in uri and not uri.startswith("file://"):
        return FsspecStore(uri)
    return LocalStore(uri.removeprefix("file://"))


class LocalStore:
    """A directory on a file system that has hard links (ext4, XFS, Lustre, NFS, ...)."""

    def __init__(self, root: str) -> None:
        self.root = str(Path(root).expanduser().absolute())

    def _path(self, path: str) -> Path:
        return Path(self.root) / path

    def create(self, path: str, data: bytes) -> None:
        target = self._path(path)
        temporary = target.with_name(f".{target.name}.{uuid.uuid4().hex}")
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with temporary.open("xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            # A link either makes the whole file appear or fails because the name is taken.
            os.link(temporary, target)
        except FileExistsError as error:
            raise ExistsError(path) from error
        except OSError as error:
            raise _explained(error, self.root) from error
        finally:
            with contextlib.suppress(OSError):
                temporary.unlink()
        sync_directory(target.parent)

    def read(self, path: str) -> bytes | None:
        try:
            return self._path(path).read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise _explained(error, self.root) from error

    @contextlib.contextmanager
    def writing(self, path: str) -> Iterator[HashingFile]:
        target = self._path(path)
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with target.open("xb") as file:
                yield HashingFile(file)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise _explained(error, self.root) from error
        sync_directory(target.parent)

    @contextlib.contextmanager
    def reading(self, path: str) -> Iterator[IO[bytes]]:
        with self._path(path).open("rb") as file:
            yield file

    def remove(self, path: str) -> None:
        target = self._path(path)
        if target.is_dir():
            shutil.rmtree(target)
        else:
            target.unlink(missing_ok=True)

    def list(self, path: str) -> list[str]:
        target = self._path(path)
        return sorted(each.name for each in target.iterdir()) if target.is_dir() else []

    def free_bytes(self) -> int | None:
        existing = Path(self.root)
        while not existing.exists():
            existing = existing.parent
        return shutil.disk_usage(existing).free

    def local_path(self, path: str) -> str | None:
        return str(self._path(path))


class FsspecStore:
    """An object store whose fsspec driver has a conditional create (`mode="create"`), such as s3fs."""

    def __init__(self, uri: str) -> None:
        import fsspec

        try:
            self._fs, path = fsspec.core.url_to_fs(uri)
        except (ImportError, ValueError) as error:
            raise BadInputError(
                f"run.dir: can't open {uri!r}: {error}. Install the fsspec driver of this scheme "
                "(for s3:// that is s3fs), or use a local path."
            ) from error
        self.root = uri.rstrip("/")
        self._base = path.rstrip("/")

    def _path(self, path: str) -> str:
        return f"{self._base}/{path}"

    def create(self, path: str, data: bytes) -> None:
        try:
            self._fs.pipe_file(self._path(path), data, mode="create")
        except FileExistsError as error:
            raise ExistsError(path) from error

    def read(self, path: str) -> bytes | None:
        try:
            data: bytes = self._fs.cat_file(self._path(path))
        except FileNotFoundError:
            return None
        return data

    @contextlib.contextmanager
    def writing(self, path: str) -> Iterator[HashingFile]:
        with self._fs.open(self._path(path), "wb") as file:
            yield HashingFile(file)

    @contextlib.contextmanager
    def reading(self, path: str) -> Iterator[IO[bytes]]:
        with self._fs.open(self._path(path), "rb") as file:
            yield file

    def remove(self, path: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            self._fs.rm(self._path(path), recursive=True)

    def list(self, path: str) -> list[str]:
        try:
            return sorted(name.rsplit("/", 1)[-1] for name in self._fs.ls(self._path(path), detail=False))
        except FileNotFoundError:
            return []

    def free_bytes(self) -> int | None:
        return None

    def local_path(self, path: str) -> str | None:  # noqa: ARG002
        return None


def sync_directory(path: Path) -> None:
    """Make a new name in a directory survive a power loss."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _explained(error: OSError, root: str) -> Exception:
    """An OSError of the run directory in words, where the cause is one that a person can mend."""
    if isinstance(error, FileExistsError):
        return error
    remedies = {
        errno.ENOSPC: "the disk is full: free some space, or set run.dir to another disk",
        errno.EDQUOT: "the disk quota is used up: free some space, or set run.dir to another disk",
        errno.EACCES: "no permission to write there: set run.dir to a directory that is yours",
        errno.EROFS: "it is on a read-only file system: set run.dir to another one",
        errno.ENOTDIR: "a part of that path is a file: set run.dir to a directory",
        errno.EPERM: "its file system has no hard links, which commits need: use another one",
    }
    remedy = remedies.get(error.errno or 0)
    return BadInputError(f"run.dir {root}: {remedy}. What was committed is safe.") if remedy else error
