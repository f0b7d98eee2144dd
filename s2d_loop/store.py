"""Where a run's bytes are kept: one root, a local directory or an S3 URI.

`ledger` decides what counts; this module only knows how to put bytes durably under the root, and how
to create a file so that exactly one writer wins (docs/decisions/0001-atomic-commit.md).

What lies there may be a stranger's.  So a file is opened by one function, which follows no link below the
root and opens nothing but plain files: a pipe would block for ever, and a device can be anything.
"""

import contextlib
import errno
import hashlib
import os
import shutil
import stat
import uuid
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO, Any, Protocol

from s2d_loop.errors import BadInputError, S2DError

MOST_READ = 64 << 20
"""Bytes of a file that is read whole: a record, a label.  Real ones have some thousand."""
PROMOTED = "promoted"
"""The one link of a run, for people."""
_LONGEST_NAME = 255
_LONGEST_PATH = 2048


class ExistsError(Exception):
    """A conditional create found that the file is there already."""


class StoreError(S2DError):
    """The root could not be reached, or did not answer."""


def inside(path: str) -> str:
    """The path, if it can't leave the root whatever lies there.

    Raises:
        StoreError: it is absolute, or goes up, or is the root itself, or isn't in its plain form, or no file
            can have such a name.
    """
    try:
        sizes = [len(name.encode()) for name in path.split("/")]
    except UnicodeEncodeError:
        sizes = []
    if (
        path != PurePosixPath(path).as_posix()
        or path.startswith("/")
        or path == "."
        or ".." in path.split("/")
        or "\0" in path
        or not sizes
        or max(sizes) > _LONGEST_NAME
        or sum(sizes) > _LONGEST_PATH
    ):
        raise StoreError(
            f"{shortened(path)!r} is not a path inside of a run's root: the run is damaged, or not s2d's"
        )
    return path


def shortened(text: str, limit: int = 80) -> str:
    """What a message quotes of a text that may be a stranger's."""
    return text if len(text) <= limit else f"{text[:limit]}..."


class Store(Protocol):
    """What the ledger and the stages ask of storage; paths are relative to the root."""

    root: str

    def create(self, path: str, data: bytes) -> None:
        """Publish `data` at `path` whole, durably, and only if nothing is there.

        Raises ExistsError if something is.  `data` must differ from what anybody else creates there.
        """

    def read(self, path: str) -> bytes | None:
        """The bytes of a small file, or None if there is none.

        Raises:
            StoreError: it has more than `MOST_READ`.
        """

    def writing(self, path: str) -> contextlib.AbstractContextManager["HashingFile"]:
        """A new file; nobody looks at it until a commit names it."""

    def reading(self, path: str) -> contextlib.AbstractContextManager[IO[bytes]]:
        """A file's bytes, seekable.  FileNotFoundError if there is none."""

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

    def _path(self, path: str, *, link: bool = False) -> Path:
        """Where a path is, if no link is on the way; `link` says that it may be one itself."""
        whole = Path(self.root)
        names = inside(path).split("/")
        for number, name in enumerate(names, 1):
            whole = whole / name
            if whole.is_symlink() and not (link and number == len(names)):
                raise StoreError(
                    f"{whole} is {_SPECIAL[stat.S_IFLNK]}: put what it leads to in its place, or remove it"
                )
        return whole

    def _opened(self, path: str) -> IO[bytes]:
        """A plain file, opened name by name: a link that is put there meanwhile isn't followed either."""
        *folders, name = inside(path).split("/")
        whole = Path(self.root, path)
        at = os.open(self.root, _FOLDER)
        try:
            for folder in folders:
                at = _replaced(at, os.open(folder, _FOLDER | os.O_NOFOLLOW, dir_fd=at))
            _refuse_special(os.stat(name, dir_fd=at, follow_symlinks=False), whole)
            file = os.open(name, _PLAIN, dir_fd=at)
        except FileNotFoundError as error:
            raise FileNotFoundError(error.errno, error.strerror, str(whole)) from error
        except NotADirectoryError as error:
            raise self._no_folder(path) from error
        finally:
            os.close(at)
        handle = open(file, "rb")  # noqa: SIM115, PTH123
        try:
            _refuse_special(os.fstat(file), whole)
        except StoreError:
            handle.close()
            raise
        return handle

    def _no_folder(self, path: str) -> StoreError:
        """What to say where a folder on the way to a path is none."""
        for each in reversed(self._path(path).parents):
            if each.exists() and not each.is_dir():
                return StoreError(f"{each} is {_kind(each.lstat())}, and no folder: {_RESTORE}")
        return StoreError(f"{self.root}/{path} can't be read: a folder on the way to it is none")

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
            with self._opened(path) as file:
                size = os.fstat(file.fileno()).st_size
                if size > MOST_READ:
                    raise too_large(f"{self.root}/{path}", size)
                return file.read(MOST_READ)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self._unreadable(path, error) from error

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
        try:
            file = self._opened(path)
        except FileNotFoundError:
            raise
        except OSError as error:
            raise self._unreadable(path, error) from error
        with file:
            yield file

    def _unreadable(self, path: str, error: OSError) -> Exception:
        found = explained(error, f"run.dir {self.root}")
        return (
            found if found is not error else StoreError(f"{self.root}/{path} can't be read: {error.strerror}")
        )

    def remove(self, path: str) -> None:
        target = self._path(path)
        self._synced = {each for each in self._synced if not each.is_relative_to(target)}
        if target.is_dir():
            _remove_folder(target)
        else:
            target.unlink(missing_ok=True)

    def list(self, path: str) -> list[str]:
        target = self._path(path)
        try:
            return sorted(each.name for each in target.iterdir()) if target.is_dir() else []
        except OSError as error:
            raise self._unreadable(path, error) from error

    def local_path(self, path: str) -> str | None:
        return str(self._path(path, link=path == PROMOTED))


_RESTORE = "restore it from a copy of the run"
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
# A pipe that is put there between two looks doesn't block.
_PLAIN = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_SPECIAL = {
    stat.S_IFREG: "a file",
    stat.S_IFLNK: "a symbolic link, which may lead out of the run's root",
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def _refuse_special(found: os.stat_result, whole: Path) -> None:
    """Raises StoreError for anything but a plain file."""
    if not stat.S_ISREG(found.st_mode):
        raise StoreError(f"{whole} is {_kind(found)}, and no plain file: {_RESTORE}")


def _kind(found: os.stat_result) -> str:
    return _SPECIAL.get(stat.S_IFMT(found.st_mode), "of an unknown kind")


def _replaced(old: int, new: int) -> int:
    os.close(old)
    return new


def too_large(where: str, size: int | str) -> StoreError:
    """What to say of a file that isn't read."""
    return StoreError(
        f"{where} has {size} bytes, and no such file of a run has more than {MOST_READ}: {_RESTORE}"
    )


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
