"""JSON files: a row a line, or one list of rows."""

import json
import time
from collections.abc import Callable, Iterator, Sequence
from typing import IO, Any

from s2d_loop.errors import BadInputError
from s2d_loop.formats.base import excerpt
from s2d_loop.sources.api import Position, Row
from s2d_loop.sources.files import File
from s2d_loop.sources.prefix import FileShard, Prefixes

MAX_LINE = 64 << 20
"""A longer line is skipped unread (and rejected), so that no file can fill the memory."""


class JsonLines(FileShard):
    """A file with a JSON object a line.  Rows are numbered by line; blank lines aren't rows."""

    grows = True

    def __init__(self, file: File, name: str, prefixes: Prefixes, now: Callable[[], float] = time.time):
        super().__init__(file, name, prefixes)
        self._now = now

    def rows(self, start: Position, columns: Sequence[str] | None) -> Iterator[Row]:  # noqa: ARG002
        with self.file.open() as file:
            for number, end, line in self._lines(file, start.row, start.offset):
                if line is None:
                    yield Row(number, end, None, f"a line of more than {MAX_LINE >> 20} MiB")
                elif line.strip():
                    parsed = parse_line(number, end, line)
                    if parsed.problem and not line.endswith(b"\n") and self.file.now().is_fresh(self._now()):
                        return  # the rest of the line may be on its way
                    yield parsed

    def _lines(self, file: IO[bytes], number: int, offset: int) -> Iterator[tuple[int, int, bytes | None]]:
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

    def _after_line_break(self, file: IO[bytes], offset: int) -> int:
        """Go to `offset`, and past the line break if it came after the last line had been read."""
        if offset == 0:
            return 3 if file.read(3) == b"\xef\xbb\xbf" else file.seek(0)
        file.seek(offset - 1)
        if file.read(1) == b"\n":
            return offset
        rest = file.readline(MAX_LINE)
        if rest.strip():
            raise BadInputError(
                f"{self.file.path}: its last line was read already and has grown since: "
                "end every line with a line break when you write it, and use a new file for what was added"
            )
        return offset + len(rest)


class JsonList(FileShard):
    """A file with one JSON list of objects; read whole, so meant for small ones."""

    def rows(self, start: Position, columns: Sequence[str] | None) -> Iterator[Row]:  # noqa: ARG002
        with self.file.open() as file:
            raw = file.read()
        try:
            values = json.loads(raw)
        except (ValueError, RecursionError) as err:
            if start.row == 0:
                yield Row(0, len(raw), None, f"not a JSON list: {excerpt(str(err))}", _beginning(raw))
            return
        for number, value in enumerate(values[start.row :], start.row):
            yield _checked(number, len(raw), value)


def json_file(
    file: File, name: str, prefixes: Prefixes, now: Callable[[], float] = time.time
) -> JsonLines | JsonList:
    """The file as what it begins like: a list, or lines."""
    if file.path.endswith(".json"):
        with file.open() as handle:
            beginning = handle.read(64).removeprefix(b"\xef\xbb\xbf").lstrip()
        if beginning.startswith(b"["):
            return JsonList(file, name, prefixes)
    return JsonLines(file, name, prefixes, now)


def parse_line(number: int, end: int, line: bytes) -> Row:
    """A line, or a message, as a row."""
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
