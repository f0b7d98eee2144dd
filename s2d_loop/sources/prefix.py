"""Digests of what was read of each file: how a cursor is bound to content.

A file's prefix is hashed in full once a process, so a resume always checks it, and after that only
where the file may have changed.  Nothing but content goes into a digest: no clock, no inode.
"""

import hashlib
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

from s2d_loop.sources.api import Position, Row
from s2d_loop.sources.files import File

_CHUNK = 1 << 20


@dataclass(slots=True)
class _Known:
    stamp: Hashable
    size: int
    hasher: Any


class Prefixes:
    """Remembers how far each file was hashed."""

    def __init__(self) -> None:
        self._known: dict[str, _Known] = {}

    def digest(self, file: File, size: int) -> str:
        """The digest of the first `size` bytes (of all, if there are fewer)."""
        stamp = file.now().stamp
        known = self._known.get(file.path)
        if known is None or stamp is None or known.stamp != stamp or known.size > size:
            known = _Known(stamp, 0, hashlib.blake2b(digest_size=16))
        if known.size < size:
            with file.open() as handle:
                handle.seek(known.size)
                while known.size < size and (chunk := handle.read(min(_CHUNK, size - known.size))):
                    known.hasher.update(chunk)
                    known.size += len(chunk)
        self._known[file.path] = known
        return str(known.hasher.hexdigest())


class FileShard:
    """What all kinds of files share: a position is bound to the bytes before it, or to all of them."""

    grows = False

    def __init__(self, file: File, name: str, prefixes: Prefixes):
        self.file, self.name = file, name
        self._prefixes = prefixes

    @property
    def stamp(self) -> Hashable | None:
        return self.file.stamp

    def columns(self) -> Sequence[str] | None:
        return None

    def mark(self, row: Row, columns: Sequence[str]) -> tuple[str, str]:  # noqa: ARG002
        return self._digest(row.end), self.file.etag

    def changed(self, position: Position, columns: Sequence[str]) -> str:  # noqa: ARG002
        if position.state and position.state == self.file.etag:
            return ""  # so a restart doesn't fetch every object again
        if self._digest(position.offset) == position.digest:
            return ""
        return f"changed after its first {position.row} rows were read"

    def _digest(self, offset: int) -> str:
        size = self.file.now().size
        return self._prefixes.digest(self.file, offset) if self.grows or size == offset else f"{size} bytes"
