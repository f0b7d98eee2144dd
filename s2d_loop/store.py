"""Where a run's bytes are kept: one root, a local directory or an S3 URI.

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
from pathlib import Path, PurePosixPath
from typing import IO, Any, Protocol

from s2d_loop.errors import BadInputError, S2DError


class ExistsError(Exception):
    """A conditional create found that the file is there already."""


class StoreError(S2DError):
    """The root could not be reached, or did not answer."""


def inside(path: str) -> str:
    """The path, if it can't leave the root whatever lies there.

    Raises:
        StoreError: it is absolute, or goes up, or is the root itself, or isn't in its plain form.
    """
    if (
        path != PurePosixPath(path).as_posix()
        or path.startswith("/")
        or path == "."
        or ".." in path.split("/")
        or "\0" in path
    ):
        raise StoreError(f"{path!r} is not a path inside of a run's root: the run is damaged, or not s2d's")
    return path


class Store(Protocol):
    """What the ledger and the stages ask of storage; paths are relative to the root."""

    root: str

    def create(self, path: str, data: bytes) -> None:
        """Publish `data` at `path` whole, durably, and only if nothing is there.

        Raises ExistsError if something is.  `data` must differ from what anybody else creates there.
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
        from s2d_loop.object_store import ObjectStore

        return ObjectStore(uri)
    return LocalStore(uri.removeprefix("file://"))


class LocalStore:
    """A directory on a file system that has hard links (ext4, XFS, Lustre, NFS, ...)."""

    def __init__(self, root: str) -> None:
        self.root = str(Path(root).expanduser().absolute())
        self._synced: set[Path] = set()

    def _path(self, path: str) -> Path:
        whole = Path(self.root, inside(path))
        # Links inside of the root are fine, such as `promoted`.
        if not Path(os.path.realpath(whole)).is_relative_to(os.path.realpath(self.root)):
            raise StoreError(f"{whole} leads out of the run's root by a symbolic link: remove the link")
        return whole

    def create(self, path: str, data: bytes) -> None:
        target = self._path(path)
        temporary = target.with_name(f".{target.name}.{uuid.uuid4().hex}")
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with temporary.open("xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            # What this file builds on was read, perhaps before whoever wrote it had synced its name.
            _sync(target.parent)
            # A link either makes the whole file appear or fails because the name is taken.
            os.link(temporary, target)
        except (FileExistsError, FileNotFoundError) as error:
            if not target.exists():
                raise
            # It may be our own, where the file server's answer got lost: whoever builds on it needs it kept.
            sync_directories(target.parent, self._synced)
            raise ExistsError(path) from error
        except OSError as error:
            raise explained(error, f"run.dir {self.root}") from error
        finally:
            with contextlib.suppress(OSError):
                temporary.unlink()
        sync_directories(target.parent, self._synced)

    def read(self, path: str) -> bytes | None:
        try:
            return self._path(path).read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise explained(error, f"run.dir {self.root}") from error

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
            raise explained(error, f"run.dir {self.root}") from error
        sync_directories(target.parent, self._synced)

    @contextlib.contextmanager
    def reading(self, path: str) -> Iterator[IO[bytes]]:
        with self._path(path).open("rb") as file:
            yield file

    def remove(self, path: str) -> None:
        target = self._path(path)
        self._synced = {each for each in self._synced if not each.is_relative_to(target)}
        if target.is_dir():
            _remove_folder(target)
        else:
            target.unlink(missing_ok=True)

    def list(self, path: str) -> list[str]:
        target = self._path(path)
        return sorted(each.name for each in target.iterdir()) if target.is_dir() else []

    def local_path(self, path: str) -> str | None:
        return str(self._path(path))


def sync_directories(folder: Path, synced: set[Path]) -> None:
    """Make a new name in a folder survive a power loss, and the names of the folders that lead to it.

    Another driver may have made those, and died before it synced them: so each is synced once a process;
    `synced` keeps account.
    """
    _sync(folder)
    for each in (folder, *folder.parents):
        if each in synced or each.is_mount():
            break
        with contextlib.suppress(PermissionError):  # far above the root a folder can be unreadable
            _sync(each.parent)
        synced.add(each)


def _remove_folder(folder: Path) -> None:
    """Others may remove it too, or still write there: a driver that does not know yet that it lost its lease.

    What such a driver leaves goes at the next start.
    """
    for _ in range(3):
        try:
            shutil.rmtree(folder)
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ENOTEMPTY):
                raise
        else:
            return


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def explained(error: OSError, where: str) -> Exception:
    """An OSError of a directory of the run in words, where the cause is one that a person can mend."""
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
    return BadInputError(f"{where}: {remedy}. What was committed is safe.") if remedy else error
