"""Files of a source wherever fsspec finds them, on a disk or in an object store."""

import datetime
import io
import time
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import IO, Any, cast

from s2d_loop.errors import BadInputError

SETTLE_S = 2.0
"""What was written so recently may still be in the middle of being written."""
_MODIFIED = ("mtime", "LastModified", "last_modified", "updated", "modified", "created")
_ETAG = ("ETag", "etag")


@dataclass(frozen=True, slots=True)
class File:
    """A file as it was when it was listed.

    `modified` is null where the store doesn't tell; `etag` is the store's own digest of the content,
    where it has one.
    """

    fs: Any
    path: str
    size: int
    modified: float | None
    inode: int | None
    etag: str

    def open(self) -> IO[bytes]:
        file: IO[bytes] = self.fs.open(self.path, "rb")
        # fsspec's own file has no `readline` with a limit.
        return cast(IO[bytes], io.BufferedReader(cast(io.RawIOBase, file))) if _is_buffered(file) else file

    def now(self) -> "File":
        """The same file as it is at this moment."""
        return as_file(self.fs, self.path, self.fs.info(self.path))

    def is_fresh(self, now: float) -> bool:
        """Whether somebody may still be writing it."""
        return self.modified is not None and now - self.modified < SETTLE_S

    @property
    def stamp(self) -> Hashable | None:
        """None while the file is so young that another write could leave the same time stamp."""
        # Files have the machine's times, whatever clock the run goes by.
        young = self.is_fresh(time.time()) and not self.etag
        return None if young else (self.size, self.modified, self.inode, self.etag)


def as_file(fs: Any, path: str, info: Mapping[str, Any]) -> File:
    """What a listing says of a file."""
    modified = next((_seconds(info[key]) for key in _MODIFIED if info.get(key) is not None), None)
    etag = next((str(info[key]).strip('"') for key in _ETAG if info.get(key)), "")
    return File(fs, path, int(info["size"] or 0), modified, info.get("ino"), etag)


def open_fs(path: str, options: Mapping[str, str], where: str) -> tuple[Any, str]:
    """The file system of a path or URI, and the path in it."""
    import fsspec

    try:
        # A listing that is kept would hide the files that come.
        keep = {"use_listings_cache": False} if "://" in path else {}
        fs, inside = fsspec.core.url_to_fs(path, **keep, **options)
    except (ImportError, ValueError) as error:
        raise BadInputError(
            f"{where}: can't open {path!r}: {error}. Install the fsspec driver of this scheme "
            "(for s3:// `pip install s3fs`), or use a local path."
        ) from error
    return fs, str(inside)


def _is_buffered(file: Any) -> bool:
    from fsspec.spec import AbstractBufferedFile

    return isinstance(file, AbstractBufferedFile)


def _seconds(value: Any) -> float:
    return value.timestamp() if isinstance(value, datetime.datetime) else float(value)
