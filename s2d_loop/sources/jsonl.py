"""JSON files: a row a line, or one list of rows; packed (gz, bz2, xz, zst) or not."""

import json
import time
from collections.abc import Callable, Iterator, Sequence
from typing import IO, Any

from s2d_loop.errors import BadInputError
from s2d_loop.formats.base import excerpt, kind
from s2d_loop.formats.json_text import RepeatedKey, parse_json
from s2d_loop.sources.api import Position, Row
from s2d_loop.sources.files import File
from s2d_loop.sources.packed import Packing, is_damage, packing
from s2d_loop.sources.prefix import FileShard, Prefixes

MAX_LINE = 64 << 20
"""A longer line is skipped unread (and rejected), so that no file can fill the memory."""
MAX_LIST = 1 << 30
"""Bytes of a list of rows: it is read whole, and a packed one could be of any size."""
_BOM = b"\xef\xbb\xbf"


class JsonLines(FileShard):
    """A file with a JSON object a line.  Rows are numbered by line; blank lines aren't rows."""

    grows = True

    def __init__(self, file: File, name: str, prefixes: Prefixes, now: Callable[[], float] = time.time):
        super().__init__(file, name, prefixes)
        self._now = now

    def rows(self, start: Position, columns: Sequence[str] | None) -> Iterator[Row]:  # noqa: ARG002
        with self.file.open() as file:
            end = self._after_line_break(file, start.offset)
            for number, (length, line) in enumerate(_lines(file), start.row):
                end += length
                if (row := _row(number, end, line)) is None:
                    continue
                if (
                    line
                    and row.problem
                    and not line.endswith(b"\n")
                    and self.file.now().is_fresh(self._now())
                ):
                    return  # the rest of the line may be on its way
                yield row

    def _after_line_break(self, file: IO[bytes], offset: int) -> int:
        """Go to `offset`, and past the line break if it came after the last line had been read."""
        if offset == 0:
            return len(_BOM) if file.read(len(_BOM)) == _BOM else file.seek(0)
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


class PackedLines(FileShard):
    """A packed file with a JSON object a line.

    It is taken as a whole: a position is a row and the digest of the packed file, and going on unpacks what
    comes before again.
    """

    def __init__(self, file: File, name: str, prefixes: Prefixes, how: Packing):
        super().__init__(file, name, prefixes)
        self._how = how

    def rows(self, start: Position, columns: Sequence[str] | None) -> Iterator[Row]:  # noqa: ARG002
        number = 0
        with self.file.open() as handle:
            try:
                for number, (_, line) in enumerate(_lines(self._how(handle)), 1):
                    whole = line.removeprefix(_BOM) if line and number == 1 else line
                    if number > start.row and (row := _row(number - 1, self.file.size, whole)) is not None:
                        yield row
            except Exception as error:
                if not is_damage(error):
                    raise
                problem = f"can't be unpacked from here on: {excerpt(str(error))}"
                if number >= start.row:
                    yield Row(number, self.file.size, None, problem)


class JsonList(FileShard):
    """A file with one JSON list of objects; read whole, so meant for small ones."""

    def __init__(self, file: File, name: str, prefixes: Prefixes, how: Packing | None = None):
        super().__init__(file, name, prefixes)
        self._how = how

    def rows(self, start: Position, columns: Sequence[str] | None) -> Iterator[Row]:  # noqa: ARG002
        found = self._values()
        if isinstance(found, Row):
            if start.row == 0:
                yield found
            return
        for number, value in enumerate(found[start.row :], start.row):
            yield _checked(number, self.file.size, value)

    def _values(self) -> list[Any] | Row:
        with self.file.open() as file:
            try:
                raw = (file if self._how is None else self._how(file)).read(MAX_LIST + 1)
            except Exception as error:
                if not is_damage(error):
                    raise
                return Row(0, self.file.size, None, f"can't be unpacked: {excerpt(str(error))}")
        if len(raw) > MAX_LIST:
            return Row(
                0, self.file.size, None, f"a list of more than {MAX_LIST >> 30} GiB: write a row a line"
            )
        try:
            # A byte that is no text becomes half a character, so that it costs its own row only.
            values = parse_json(raw.decode(json.detect_encoding(raw), "surrogateescape"))
        except (ValueError, RecursionError) as err:
            return Row(0, self.file.size, None, f"not a JSON list: {excerpt(str(err))}", _beginning(raw))
        return values if isinstance(values, list) else Row(0, self.file.size, None, "not a JSON list")


def json_file(
    file: File, name: str, prefixes: Prefixes, now: Callable[[], float] = time.time
) -> JsonLines | JsonList | PackedLines:
    """The file as what it begins like: a list, or lines."""
    how, inner = packing(file.path)
    if inner.endswith(".json") and _begins_a_list(file, how):
        return JsonList(file, name, prefixes, how)
    return JsonLines(file, name, prefixes, now) if how is None else PackedLines(file, name, prefixes, how)


def _begins_a_list(file: File, how: Packing | None) -> bool:
    with file.open() as handle:
        try:
            beginning = (handle if how is None else how(handle)).read(64)
        except Exception as error:
            if not is_damage(error):
                raise
            return False  # its rows will say so
    return beginning.removeprefix(_BOM).lstrip().startswith(b"[")


def _lines(file: IO[bytes]) -> Iterator[tuple[int, bytes | None]]:
    """Lengths and texts of the lines to come; None for a line that is too long."""
    while line := file.readline(MAX_LINE):
        length = len(line)
        text: bytes | None = line
        while line and not line.endswith(b"\n") and len(line) == MAX_LINE:
            text, line = None, file.readline(MAX_LINE)
            length += len(line)
        yield length, text


def _row(number: int, end: int, line: bytes | None) -> Row | None:
    """A line as a row; None where it is blank."""
    if line is None:
        return Row(number, end, None, f"a line of more than {MAX_LINE >> 20} MiB")
    return parse_line(number, end, line) if line.strip() else None


def parse_line(number: int, end: int, line: bytes) -> Row:
    """A line, or a message, as a row."""
    try:
        value = parse_json(line.decode("utf-8"))
    except UnicodeDecodeError:
        return Row(number, end, None, "not UTF-8 text", _beginning(line))
    except (ValueError, RecursionError) as err:
        return Row(number, end, None, f"not JSON: {excerpt(str(err))}", _beginning(line))
    return _checked(number, end, value)


def _checked(number: int, end: int, value: Any) -> Row:
    if isinstance(value, RepeatedKey):
        return Row(number, end, None, kind(value), excerpt(value))
    if not isinstance(value, dict):
        return Row(number, end, None, "not a JSON object", excerpt(value))
    return Row(number, end, value)


def _beginning(raw: bytes) -> str:
    return excerpt(raw[:200].decode("utf-8", "backslashreplace"))
