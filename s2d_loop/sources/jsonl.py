"""JSON files: a row a line, or one list of rows."""

import json
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from s2d_loop.errors import BadInputError
from s2d_loop.formats.base import excerpt
from s2d_loop.sources.api import Row
from s2d_loop.sources.prefix import Prefixes

MAX_LINE = 64 << 20
"""A longer line is skipped unread (and rejected), so that no file can fill the memory."""
SETTLE_S = 2.0
"""What was written so recently may still be in the middle of being written."""


class JsonLines:
    """A file with a JSON object a line.  Rows are numbered by line; blank lines aren't rows."""

    grows = True

    def __init__(self, path: Path, name: str, prefixes: Prefixes, now: Callable[[], float] = time.time):
        self.path, self.name = path, name
        self._prefixes, self._now = prefixes, now

    def columns(self) -> Sequence[str] | None:
        return None

    def digest(self, offset: int, columns: Sequence[str]) -> str:  # noqa: ARG002
        return self._prefixes.digest(self.path, offset)

    def rows(self, row: int, offset: int, columns: Sequence[str] | None) -> Iterator[Row]:  # noqa: ARG002
        with self.path.open("rb") as file:
            for number, end, line in self._lines(file, row, offset):
                if line is None:
                    yield Row(number, end, None, f"a line of more than {MAX_LINE >> 20} MiB")
                elif line.strip():
                    parsed = _parse(number, end, line)
                    if parsed.problem and not line.endswith(b"\n") and self._is_fresh():
                        return  # the rest of the line may be on its way
                    yield parsed

    def _lines(self, file: BinaryIO, number: int, offset: int) -> Iterator[tuple[int, int, bytes | None]]:
        """Line numbers, ends and texts; None for a line that is too long."""
        end = self._after_line_break(file, offset)
        while line := file.readline(MAX_LINE):
            end += len(line)
            text: bytes | None = line
            while line and not line.endswith(b"\n") and len(line) == MAX_LINE:
                text, line = None, file.readline(MAX_LINE)
                end += len(line)
            yield number, end, text
            number += 1

    def _after_line_break(self, file: BinaryIO, offset: int) -> int:
        """Go to `offset`, and past the line break if it came after the last line had been read."""
        if offset == 0:
            return 3 if file.read(3) == b"\xef\xbb\xbf" else file.seek(0)
        file.seek(offset - 1)
        if file.read(1) == b"\n":
            return offset
        rest = file.readline(MAX_LINE)
        if rest.strip():
            raise BadInputError(
                f"{self.path}: its last line was read already and has grown since: "
                "end every line with a line break when you write it, and use a new file for what was added"
            )
        return offset + len(rest)

    def _is_fresh(self) -> bool:
        return self._now() - self.path.stat().st_mtime < SETTLE_S


class JsonList:
    """A file with one JSON list of objects; read whole, so meant for small ones."""

    grows = False

    def __init__(self, path: Path, name: str, prefixes: Prefixes):
        self.path, self.name = path, name
        self._prefixes = prefixes

    def columns(self) -> Sequence[str] | None:
        return None

    def digest(self, offset: int, columns: Sequence[str]) -> str:  # noqa: ARG002
        size = self.path.stat().st_size
        return self._prefixes.digest(self.path, size) if size == offset else f"{size} bytes"

    def rows(self, row: int, offset: int, columns: Sequence[str] | None) -> Iterator[Row]:  # noqa: ARG002
        raw = self.path.read_bytes()
        try:
            values = json.loads(raw)
        except (ValueError, RecursionError) as err:
            if row == 0:
                yield Row(0, len(raw), None, f"not a JSON list: {excerpt(str(err))}", _beginning(raw))
            return
        for number, value in enumerate(values[row:], row):
            yield _checked(number, len(raw), value)


def json_file(
    path: Path, name: str, prefixes: Prefixes, now: Callable[[], float] = time.time
) -> JsonLines | JsonList:
    """The file as what it begins like: a list, or lines."""
    with path.open("rb") as file:
        beginning = file.read(64).removeprefix(b"\xef\xbb\xbf").lstrip()
    if path.suffix == ".json" and beginning.startswith(b"["):
        return JsonList(path, name, prefixes)
    return JsonLines(path, name, prefixes, now)


def _parse(number: int, end: int, line: bytes) -> Row:
    try:
        value = json.loads(line.decode("utf-8"))
    except UnicodeDecodeError:
        return Row(number, end, None, "not UTF-8 text", _beginning(line))
    except (ValueError, RecursionError) as err:
        return Row(number, end, None, f"not JSON: {excerpt(str(err))}", _beginning(line))
    return _checked(number, end, value)


def _checked(number: int, end: int, value: Any) -> Row:
    if not isinstance(value, dict):
        return Row(number, end, None, "not a JSON object", excerpt(value))
    return Row(number, end, value)


def _beginning(raw: bytes) -> str:
    return excerpt(raw[:200].decode("utf-8", "backslashreplace"))
