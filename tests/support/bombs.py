"""Parquet files by hand, whose pages and footers say what no writer would: small files that ask for gigabytes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

MAGIC = b"PAR1"
INT64, TEXT = 2, 6
PLAIN, CODED, DELTA_TEXT = 0, 8, 7
ZSTD = 6
REQUIRED, OPTIONAL, REPEATED = 0, 1, 2


@dataclass(frozen=True)
class I32:
    """A number that the format keeps in 32 bits; plain integers have 64."""

    value: int


def thrift(fields: Mapping[int, Any]) -> bytes:
    """A struct in Thrift's compact protocol, its fields by their numbers."""
    out, before = b"", 0
    for number, value in fields.items():
        out += bytes([(number - before) << 4 | _kind(value)]) + _value(value)
        before = number
    return out + b"\0"


def page(kind: int, header: Mapping[int, Any], body: bytes, *, unpacked: int | None = None) -> bytes:
    """A page; `unpacked` is what its header says of its size."""
    field = {0: 5, 2: 7, 3: 8}[kind]
    packed: bytes = pa.compress(body, codec="zstd", asbytes=True)
    size = len(body) if unpacked is None else unpacked
    return thrift({1: I32(kind), 2: I32(size), 3: I32(len(packed)), field: header}) + packed


def data_page(num_values: int, encoding: int, body: bytes, **said: int) -> bytes:
    return page(0, {1: I32(num_values), 2: I32(encoding), 3: I32(3), 4: I32(3)}, body, **said)


def dictionary_page(num_values: int, body: bytes) -> bytes:
    return page(2, {1: I32(num_values), 2: I32(PLAIN)}, body)


def run(count: int, value: int = 0, width: int = 1) -> bytes:
    """So many times a value, as run lengths: a few bytes whatever the count."""
    return _varint(count << 1) + value.to_bytes(width, "little")


def levels(*runs: bytes) -> bytes:
    """Repetition or definition levels of a page."""
    body = b"".join(runs)
    return len(body).to_bytes(4, "little") + body


def node(
    name: str, repetition: int = REQUIRED, *, kind: int | None = None, children: int = 0, **more: int
) -> Any:
    """A node of the schema: a column, or a group of `children`."""
    fields: dict[int, Any] = {} if kind is None else {1: I32(kind)}
    fields |= {3: I32(repetition), 4: name.encode()}
    if children:
        fields[5] = I32(children)
    if kind == TEXT:
        fields[6] = I32(0)
    elif "converted" in more:
        fields[6] = I32(more["converted"])
    return fields


@dataclass(frozen=True)
class Column:
    """A column of one row group: its pages, and what the footer says of them."""

    path: Sequence[str]
    kind: int
    pages: Sequence[bytes]
    num_values: int
    says_unpacked: int = 100


def table(
    schema: Sequence[Any],
    columns: Sequence[Column],
    rows: int,
    *,
    groups: int = 1,
    says_rows: int | None = None,
) -> bytes:
    """A whole file, with the same row group `groups` times over."""
    body, chunks = MAGIC, []
    for column in columns:
        start = len(body)
        body += b"".join(column.pages)
        has_dictionary = column.pages[0][1:2] == b"\x04"  # its kind, 2, in zigzag
        about: dict[int, Any] = {
            1: I32(column.kind),
            2: [I32(PLAIN)],
            3: [name.encode() for name in column.path],
            4: I32(ZSTD),
            5: column.num_values,
            6: column.says_unpacked,
            7: len(body) - start,
            9: start + len(column.pages[0]) if has_dictionary else start,
        }
        if has_dictionary:
            about[11] = start
        chunks.append({2: 0, 3: about})
    group = {1: chunks, 2: 100, 3: rows}
    total = rows * groups if says_rows is None else says_rows
    footer = thrift(
        {1: I32(2), 2: list(schema), 3: total, 4: [group] * groups, 6: b"parquet-cpp-arrow version 26.0.1"}
    )
    return body + footer + len(footer).to_bytes(4, "little") + MAGIC


def _kind(value: Any) -> int:
    if isinstance(value, I32):
        return 5
    if isinstance(value, bytes):
        return 8
    if isinstance(value, dict):
        return 12
    return 9 if isinstance(value, list) else 6


def _value(value: Any) -> bytes:
    if isinstance(value, I32 | int):
        number = value.value if isinstance(value, I32) else value
        return _varint((number << 1) ^ (number >> 63))
    if isinstance(value, bytes):
        return _varint(len(value)) + value
    if isinstance(value, dict):
        return thrift(value)
    kind = _kind(value[0])
    head = bytes([len(value) << 4 | kind]) if len(value) < 15 else bytes([0xF0 | kind]) + _varint(len(value))
    return head + b"".join(map(_value, value))


def _varint(number: int) -> bytes:
    out = b""
    while number >= 0x80:
        out += bytes([number & 0x7F | 0x80])
        number >>= 7
    return out + bytes([number])


_NUMBERS = [node("schema", children=1), node("n", kind=INT64)]
_TEXTS = [node("schema", children=1), node("t", kind=TEXT)]
_LISTS = [
    node("schema", children=1),
    node("l", OPTIONAL, children=1, converted=3),
    node("list", REPEATED, children=1),
]
_ITEM = ("l", "list", "element")


def large_page(size: int) -> bytes:
    """Four numbers, in a page of so many bytes."""
    return table(_NUMBERS, [Column(["n"], INT64, [data_page(4, PLAIN, bytes(size))], 4)], 4)


def announced_page(size: int) -> bytes:
    """Four numbers, in a page that says that it has so many bytes."""
    return table(_NUMBERS, [Column(["n"], INT64, [data_page(4, PLAIN, bytes(32), unpacked=size)], 4)], 4)


def many_items(size: int, *, says: int | None = None) -> bytes:
    """One list of numbers in one row, all the same, that take so many bytes; the footer can say another number."""
    count = size // 8
    body = levels(run(1, 0), run(count - 1, 1)) + levels(run(count, 3)) + b"\x01" + run(count)
    pages = [dictionary_page(1, bytes(8)), data_page(count, CODED, body)]
    schema = [*_LISTS, node("element", OPTIONAL, kind=INT64)]
    return table(schema, [Column(_ITEM, INT64, pages, says or count)], 1)


def hidden_items(size: int) -> bytes:
    """The same, and the footer says that there is one."""
    return many_items(size, says=1)


def no_items(size: int) -> bytes:
    """One list of so many bytes in one row, of nothing but nulls."""
    count = size // 8
    body = levels(run(1, 0), run(count - 1, 1)) + levels(run(count, 2))
    schema = [*_LISTS, node("element", OPTIONAL, kind=INT64)]
    return table(schema, [Column(_ITEM, INT64, [data_page(count, PLAIN, body)], count)], 1)


def repeated_text(size: int) -> bytes:
    """A text in a dictionary that every one of 1,024 rows is, of so many bytes altogether."""
    rows = 1024
    pages = [dictionary_page(1, _entry(size // rows)), data_page(rows, CODED, b"\x01" + run(rows))]
    return table(_TEXTS, [Column(["t"], TEXT, pages, rows)], rows)


def repeated_items(size: int) -> bytes:
    """The same as the items of one list in one row."""
    count = 1024
    body = levels(run(1, 0), run(count - 1, 1)) + levels(run(count, 3)) + b"\x01" + run(count)
    pages = [dictionary_page(1, _entry(size // count)), data_page(count, CODED, body)]
    schema = [*_LISTS, node("element", OPTIONAL, kind=TEXT)]
    return table(schema, [Column(_ITEM, TEXT, pages, count)], 1)


BOMBS = {
    each.__name__: each
    for each in (
        large_page,
        announced_page,
        many_items,
        hidden_items,
        no_items,
        repeated_text,
        repeated_items,
    )
}
"""Files of a few hundred bytes (of `large_page`, a few ten thousand) that take any size in memory."""


def _entry(size: int) -> bytes:
    return size.to_bytes(4, "little") + b"x" * size
