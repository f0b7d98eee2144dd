"""Committed tables as streams of plain columns, a row group at a time; `files` has said that they can be unpacked."""

import hashlib
import json
from collections.abc import Iterator, Sequence

import pyarrow as pa
import pyarrow.parquet as pq

from s2d_loop.doctor.chain import File
from s2d_loop.doctor.root import Root
from s2d_loop.unpacked import MOST_ROWS

Conversation = list[tuple[str, str]]


def batches(root: Root, file: File, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
    """Some columns of a table; `a.b` is field b of the struct a."""
    with root.open(file.path) as opened, pq.ParquetFile(opened) as parquet:
        for group in range(parquet.num_row_groups):
            yield from parquet.iter_batches(MOST_ROWS, row_groups=[group], columns=list(columns))


def column(batch: pa.RecordBatch, path: str) -> list[object]:
    """A column, or a field inside a struct column, as Python values."""
    outer, *inner = path.split(".")
    values = batch.column(outer)
    for name in inner:
        values = values.field(name)
    return values.to_pylist()  # type: ignore[no-any-return]


def conversations(batch: pa.RecordBatch, path: str) -> Iterator[Conversation]:
    """A column of messages as (role, content) pairs, without a dict for each."""
    outer, *inner = path.split(".")
    values = batch.column(outer)
    for name in inner:
        values = values.field(name)
    lengths = values.value_lengths().to_pylist()
    turns = values.flatten()
    pairs = zip(turns.field("role").to_pylist(), turns.field("content").to_pylist(), strict=True)
    for length in lengths:
        yield [next(pairs) for _ in range(length or 0)]


def digest(*parts: str) -> str:
    """The 128-bit digest of docs/formats.md: of the JSON list of the parts."""
    return hashlib.blake2b(json.dumps(parts).encode(), digest_size=16).hexdigest()


def content_hash(conversation: Conversation) -> str:
    """What an input holds: its turns without white space at their ends."""
    return digest(*(part for role, content in conversation for part in (role, content.strip())))


def pair_digest(prompt: Conversation, answer: str) -> bytes:
    """A training pair (x, y), to the letter."""
    return hashlib.blake2b(json.dumps([prompt, answer]).encode(), digest_size=16).digest()
