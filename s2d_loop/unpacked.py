"""What a table takes in memory, known before PyArrow unpacks any of it.

PyArrow believes a Parquet file.  The header of a page of a few bytes can announce two gigabytes, or two
thousand million values, and the footer may say something else.  So the footer and the header of every page
are read here by themselves, and what they add up to is held against bounds that every table of a run keeps.
What no table has (another encoding, a field twice) is refused, so that PyArrow can't read the same bytes in
another way.

The ledger and the doctor both call `check` before they read a table's rows.
"""

import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import IO, Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

MOST_ROWS = 4096
"""Rows of a row group."""
MOST_BYTES = 256 << 20
"""What a row group takes in memory.  The writer ends a group at a quarter of it, unless a single row is larger."""
_MOST_FOOTER = 64 << 20
_MOST_CHUNKS = 100_000
"""Columns of all row groups together: 9 million rows of the widest table."""
_MOST_NODES = 500
"""Nodes of the schema, so also how deep it is."""
_LONGEST_HEADER = 1 << 20
_MEASURED = 1 << 20
"""Where texts are numbers of a dictionary's entries and could take more than this, they are added up."""
_MAGIC = b"PAR1"

# The numbers of parquet.thrift.
_TEXT = 6
_WIDTHS = {0: 1, 2: 8, 5: 8, _TEXT: 4}
"""Bytes of a value in memory by physical type: truth value, integer, float, and a text's place."""
_LEVELS = 4
"""Bytes of a value's repetition and definition level."""
_DATA, _DICTIONARY, _DATA_V2 = 0, 2, 3
_HEADERS = {_DATA: 5, _DICTIONARY: 7, _DATA_V2: 8}
"""The field of a page's header that is about a kind of page."""
_PLAIN = (0, 3)
_CODED = (2, 8)
"""Encodings of values that are numbers of a dictionary's entries."""


class UnpackError(ValueError):
    """A file is no table, or would take more memory than a table does.  The message goes on after its name."""


def check(file: IO[bytes]) -> int:
    """Read the footer and every page's header of a seekable file; returns its rows.

    Raises:
        UnpackError: it is no Parquet file, or not of a form that a run's tables have.
    """
    try:
        footer = _footer(file)
        texts = _Texts(file)
        for number, group in enumerate(footer[4]):
            _check_group(file, number, group, footer[0], texts)
    except (KeyError, IndexError, TypeError, AttributeError, pa.ArrowException) as error:
        raise UnpackError(f"isn't a Parquet file ({type(error).__name__}: {error})") from error
    file.seek(0)
    rows: int = footer[3]
    return rows


def _footer(file: IO[bytes]) -> dict[int, Any]:
    """The fields of the footer that count; under 0, where it stands."""
    size = file.seek(0, io.SEEK_END)
    tail = _at(file, max(0, size - 8), 8)
    length = int.from_bytes(tail[:4], "little")
    if tail[4:] != _MAGIC or length > size - 12:
        raise UnpackError("isn't a Parquet file (it has no footer)")
    if length > _MOST_FOOTER:
        raise UnpackError(f"has a footer of {length:,} bytes; at most {_MOST_FOOTER:,} are read")
    footer = _Compact(_at(file, size - 8 - length, length)).struct(_FOOTER)
    nodes, groups = footer[2], footer[4]
    leaves = [node[1] for node in nodes[1:] if not node.get(5)]
    if len(nodes) > _MOST_NODES:
        raise UnpackError(f"has a schema of {len(nodes):,} nodes; a table's has {_MOST_NODES} at most")
    if len(leaves) * len(groups) > _MOST_CHUNKS:
        raise UnpackError(f"has {len(leaves):,} columns in {len(groups):,} row groups: no table has so many")
    if unknown := set(leaves) - _WIDTHS.keys():
        raise UnpackError(f"has a column of a type that no table has (Parquet's {min(unknown)})")
    for group in groups:
        if not 0 <= group[3] <= MOST_ROWS:
            raise UnpackError(f"has a row group of {group[3]:,} rows; a table's have {MOST_ROWS:,} at most")
        if len(group[1]) != len(leaves):
            raise UnpackError("has a row group that lacks columns")
    if footer[3] != sum(group[3] for group in groups):
        raise UnpackError(f"has {footer[3]:,} rows, and other numbers in its row groups")
    return {**footer, 0: size - 8 - length}


@dataclass(frozen=True, slots=True)
class _Chunk:
    """What the pages of a column of a row group come to.

    `held` is what its values take in memory, without the texts that are numbers of a dictionary's entries: of
    these there are `num_coded`, each as long as the whole `dictionary` at most.
    """

    path: str
    held: int
    dictionary: int
    num_coded: int

    @property
    def most_coded(self) -> int:
        return self.num_coded * self.dictionary


def _check_group(file: IO[bytes], number: int, group: Mapping[int, Any], end: int, texts: "_Texts") -> None:
    chunks = [_chunk(file, column[3], end) for column in group[1]]
    taken = sum(chunk.held for chunk in chunks)
    for chunk in chunks:
        if taken > MOST_BYTES:
            break
        taken += chunk.most_coded if chunk.most_coded <= _MEASURED else texts.size(number, chunk.path)
    for what, size in (("values", taken), ("dictionaries", sum(chunk.dictionary for chunk in chunks))):
        if size > MOST_BYTES:
            raise UnpackError(
                f"has a row group whose {what} would take {size:,} bytes or more in memory; "
                f"a table's take {MOST_BYTES:,} at most"
            )


def _chunk(file: IO[bytes], about: Mapping[int, Any], footer: int) -> _Chunk:
    kind, path = about[1], b".".join(about[3]).decode(errors="replace")
    start = min(about[9], about.get(11) or about[9])
    end = start + about[7]
    if kind not in _WIDTHS or not 0 < start <= end <= footer:
        raise UnpackError(f"has a column that no table has: {path}")
    held = num_values = num_coded = dictionary = 0
    for page, header in _pages(file, start, end):
        # Without compression the packed size is what is read, whatever the other says.
        size = max(header[2], header[3])
        if page == _DICTIONARY:
            dictionary = size
            continue
        about_values = header[_HEADERS[page]]
        count, encoding = about_values[1], about_values[2 if page == _DATA else 4]
        if encoding not in (*_PLAIN, *_CODED):
            raise UnpackError(f"has an encoding that no table has (Parquet's {encoding}): {path}")
        num_values += count
        num_coded += count if encoding in _CODED else 0
        held += size + count * (_WIDTHS[kind] + _LEVELS)
    if num_values != about[5]:
        raise UnpackError(f"has {num_values:,} values where it says {about[5]:,}: {path}")
    return _Chunk(path, held, dictionary, num_coded if kind == _TEXT else 0)


def _pages(file: IO[bytes], start: int, end: int) -> Iterator[tuple[int, dict[int, Any]]]:
    """The kinds and headers of the pages between two places; a dictionary's comes first."""
    at = start
    while at < end:
        header, length = _header(file, at, end)
        page, unpacked, packed = header[1], header[2], header[3]
        if page not in _HEADERS or (page == _DICTIONARY and at > start):
            raise UnpackError("has a page of a kind that no table has")
        if min(unpacked, packed, header[_HEADERS[page]][1]) < 0:
            raise UnpackError("has a page of a negative size")
        yield page, header
        at += length + packed
    if at > end:
        raise UnpackError("has a page that ends outside of its column")


def _header(file: IO[bytes], at: int, end: int) -> tuple[dict[int, Any], int]:
    """The header of a page, and how long it is: a few dozen bytes, and more where it holds statistics."""
    size = 256
    while True:
        found = _Compact(_at(file, at, min(size, end - at)))
        try:
            return found.struct(_PAGE), found.at
        except IndexError:
            if size >= min(_LONGEST_HEADER, end - at):
                raise
            size *= 16


class _Texts:
    """Adds up texts by the lengths of their dictionary's entries, so that none is unpacked."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._parquet: pq.ParquetFile | None = None

    def size(self, group: int, path: str) -> int:
        """The length of all texts of a column in a row group."""
        if self._parquet is None:
            # The footer is read once for all columns, for it grows with the file.
            self._file.seek(0)
            schema = pq.ParquetFile(self._file).schema
            texts = [
                c.path for c in map(schema.column, range(len(schema))) if c.physical_type == "BYTE_ARRAY"
            ]
            self._file.seek(0)
            self._parquet = pq.ParquetFile(self._file, read_dictionary=texts)
        total = 0
        column = self._parquet.read_row_group(group, columns=[path], use_threads=False).column(0)
        for part in column.chunks:
            while not pa.types.is_dictionary(part.type):
                part = part.flatten() if pa.types.is_list(part.type) else part.field(0)
            lengths = pc.binary_length(part.dictionary).cast(pa.int64())
            total += pc.sum(lengths.take(part.indices)).as_py() or 0
        return total


def _at(file: IO[bytes], start: int, length: int) -> bytes:
    file.seek(start)
    return file.read(length)


Wanted = Mapping[int, Any] | None
"""The fields to keep of a struct or of a list of them, by their numbers; None for a value that is none."""

_FOOTER: Wanted = {
    2: {1: None, 5: None},
    3: None,
    4: {1: {3: dict.fromkeys((1, 3, 5, 7, 9, 11))}, 3: None},
}
_PAGE: Wanted = {1: None, 2: None, 3: None, 5: {1: None, 2: None}, 7: {1: None}, 8: {1: None, 4: None}}

_DEEPEST = 16
_MOST_VALUES = 8_000_000
_MOST_STRUCTS = 1_000_000
_BOOLEANS, _INTEGERS, _FIXED = (1, 2), (4, 5, 6), {3: 1, 7: 8}
_BINARY, _LIST, _SET, _STRUCT = 8, 9, 10, 12


class _Compact:
    """Thrift's compact protocol, as strictly as its writers keep it: the fields of a struct stand in order, once.

    What isn't wanted is passed over.  IndexError says that the bytes end too early.
    """

    def __init__(self, data: bytes) -> None:
        self.at = 0
        self._data = data
        self._values, self._structs = _MOST_VALUES, _MOST_STRUCTS

    def struct(self, wanted: Wanted, depth: int = 0) -> dict[int, Any]:
        """The wanted fields of the struct that stands here, by their numbers."""
        self._structs -= 1
        if depth > _DEEPEST or self._structs < 0 or self._values < 0:
            raise UnpackError("isn't a Parquet file (its footer has no end)")
        found: dict[int, Any] = {}
        number = 0
        while head := self._byte():
            before, step = number, head >> 4
            number = number + step if step else _signed(self._varint())
            if number <= before:
                raise UnpackError("isn't a Parquet file (its footer has a field twice)")
            if wanted is not None and number in wanted:
                found[number] = self._value(head & 15, wanted[number], depth, keep=True)
            else:
                self._value(head & 15, None, depth, keep=False)
        return found

    def _value(self, kind: int, wanted: Wanted, depth: int, *, keep: bool) -> Any:
        self._values -= 1
        if kind in _INTEGERS:
            return _signed(self._varint())
        if kind == _BINARY:
            return self._taken(self._varint(), keep=keep)
        if kind == _STRUCT:
            return self.struct(wanted, depth + 1)
        if kind in (_LIST, _SET):
            return self._list(wanted, depth, keep=keep)
        if kind in _FIXED:
            return self._taken(_FIXED[kind], keep=keep)
        if kind in _BOOLEANS:
            return kind == _BOOLEANS[0]
        raise UnpackError("isn't a Parquet file (its footer has a value of no known type)")

    def _list(self, wanted: Wanted, depth: int, *, keep: bool) -> list[Any]:
        head = self._byte()
        kind, length = head & 15, head >> 4
        if length == 15:
            length = self._varint()
        if kind in _BOOLEANS or kind in _FIXED:
            self._taken(length * _FIXED.get(kind, 1), keep=False)
            return []
        if length > self._values:
            raise UnpackError("isn't a Parquet file (its footer has no end)")
        found = []
        for _ in range(length):
            value = self._value(kind, wanted, depth, keep=keep)
            if keep:
                found.append(value)
        return found

    def _taken(self, length: int, *, keep: bool) -> bytes:
        start = self.at
        self.at += length
        if self.at > len(self._data):
            raise IndexError("it ends too early")
        return self._data[start : self.at] if keep else b""

    def _byte(self) -> int:
        byte = self._data[self.at]
        self.at += 1
        return byte

    def _varint(self) -> int:
        value = shift = 0
        while (byte := self._byte()) & 0x80:
            value |= (byte & 0x7F) << shift
            shift += 7
            if shift > 63:
                raise UnpackError("isn't a Parquet file (its footer has a number without an end)")
        return value | byte << shift


def _signed(number: int) -> int:
    """A number as zigzag coding stands for it."""
    return number >> 1 ^ -(number & 1)
