"""Digests of what was read of each file: how a cursor is bound to content.

A file's prefix is hashed in full once a process, so a resume always checks it, and after that only
where the file may have changed.  Nothing but content goes into a digest: no clock, no inode.
"""

import hashlib
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_CHUNK = 1 << 20
_CLOCK_TICK_S = 2.0
"""A write so soon after the last one may leave the same time stamp: too young to trust."""


@dataclass(slots=True)
class _Known:
    stamp: tuple[int, int, int]
    hashed_at: float
    size: int
    hasher: Any


class Prefixes:
    """Remembers how far each file was hashed."""

    def __init__(self) -> None:
        self._known: dict[Path, _Known] = {}

    def digest(self, path: Path, size: int) -> str:
        """The digest of the first `size` bytes (of all, if there are fewer)."""
        with path.open("rb") as file:
            status = path.stat()
            stamp = (status.st_ino, status.st_size, status.st_mtime_ns)
            known = self._known.get(path)
            if (
                known is None
                or known.stamp != stamp
                or known.size > size
                or known.hashed_at - status.st_mtime < _CLOCK_TICK_S
            ):
                known = _Known(stamp, time.time(), 0, hashlib.blake2b(digest_size=16))
            file.seek(known.size)
            while known.size < size and (chunk := file.read(min(_CHUNK, size - known.size))):
                known.hasher.update(chunk)
                known.size += len(chunk)
        self._known[path] = known
        return str(known.hasher.hexdigest())
