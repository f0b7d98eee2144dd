"""Rows of Arrow tables.  A value that Python can't hold costs its own row."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pyarrow as pa

from s2d_loop.formats.base import UnreadableError, excerpt
from s2d_loop.formats.json_text import parse_json
from s2d_loop.sources.packed import is_damage

Values = dict[str, Any]
_Decode = Callable[[Any], Any]


def table_rows(table: Any, *, decode: bool = True) -> Iterator[Values | UnreadableError]:
    """The rows of a table or batch, each as its values or the reason why it can't be read.

    Args:
        decode: whether values that are stored as JSON are read as such.
    """
    names = table.schema.names
    if twice := next((name for name in names if names.count(name) > 1), None):
        for _ in range(table.num_rows):
            yield UnreadableError(f"two columns are called {twice!r}", excerpt(names))
        return
    decoders = {field.name: how for field in table.schema if decode and (how := _decoder(field.type))}
    for row in _plain_rows(table):
        yield _decoded(row, decoders) if decoders and isinstance(row, dict) else row


def _plain_rows(table: Any) -> list[Values | UnreadableError]:
    try:
        return list(table.to_pylist())
    except Exception as error:
        if not is_damage(error):
            raise
    if table.num_rows > 1:
        return [row for number in range(table.num_rows) for row in _plain_rows(table.slice(number, 1))]
    return [_why_not(table)]


def _why_not(row: Any) -> UnreadableError:
    """What can't be read in a row."""
    for name in row.schema.names:
        try:
            row.column(name).to_pylist()
        except Exception as error:
            if not is_damage(error):
                raise
            what = "isn't UTF-8 text" if isinstance(error, UnicodeDecodeError) else f"can't be read: {error}"
            return UnreadableError(f"column {name!r} {excerpt(what)}", "")
    raise AssertionError("a row whose columns can all be read can be read")


def _decoded(row: Values, decoders: dict[str, _Decode]) -> Values | UnreadableError:
    name = ""
    try:
        for name, decode in decoders.items():
            row[name] = decode(row[name])
    except RecursionError:
        return UnreadableError(f"column {name!r} holds JSON that is nested too deeply", "")
    return row


def _decoder(stored: Any) -> _Decode | None:
    """What makes of a value as Arrow gives it the one that was stored; None where that's the same."""
    if isinstance(stored, pa.JsonType):
        return _from_json
    if pa.types.is_float32(stored):
        return _shortest
    if pa.types.is_struct(stored):
        inner = {field.name: how for field in stored if (how := _decoder(field.type))}
        return (
            _optional(lambda value: {k: inner[k](v) if k in inner else v for k, v in value.items()})
            if inner
            else None
        )
    if pa.types.is_list(stored) or pa.types.is_large_list(stored) or pa.types.is_fixed_size_list(stored):
        each = _decoder(stored.value_type)
        return _optional(lambda value: [each(v) for v in value]) if each else None
    return None


def _optional(decode: _Decode) -> _Decode:
    return lambda value: None if value is None else decode(value)


def _from_json(text: str | None) -> Any:
    """`datasets` stores a column of mixed types as JSON, but keeps a text that it takes for JSON already."""
    try:
        return None if text is None else parse_json(text)
    except ValueError:
        return text


def _shortest(value: float | None) -> float | None:
    """The number that was written: 0.1 in single precision is 0.10000000149011612 in double."""
    return None if value is None else float(str(np.float32(value)))
