"""Records as Arrow tables and back: schemas are derived from the classes, so a field is named once.

Rows are taken apart by column, not row by row: a million of them pass here several times.
Re-exported by `records`, whose classes these functions are for.
"""

import dataclasses
import types
import typing
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain, pairwise
from operator import attrgetter
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

R = TypeVar("R")

_SCALARS: dict[Any, pa.DataType] = {
    str: pa.string(),
    int: pa.int64(),
    float: pa.float64(),
    bool: pa.bool_(),
}


def schema(record: type) -> pa.Schema:
    """The Arrow schema of a table of `record`s."""
    return pa.schema(_fields(record))


def table(rows: Iterable[R], record: type[R]) -> pa.Table:
    """Records as an Arrow table."""
    return pa.Table.from_arrays(_columns(list(rows), record), schema=schema(record))


def rows(tables: pa.Table | Iterable[pa.Table], record: type[R]) -> Iterator[R]:
    """The records of one or more Arrow tables.

    A table that was written before a field was added gives the field's default; one that lacks a field
    without a default is refused with KeyError.
    """
    for each in [tables] if isinstance(tables, pa.Table) else tables:
        for batch in each.to_batches():
            yield from _records(batch.to_struct_array(), record)


def completed(each: pa.Table, record: type) -> pa.Table:
    """A table with the columns of `record`, in their order; a field that was added since it was written has its default."""
    hints = _hints(record)
    defaults = {f.name: f.default for f in dataclasses.fields(record)}
    columns = [
        each[name] if name in each.column_names else _column([defaults[name]] * each.num_rows, hints[name])
        for name in hints
    ]
    return pa.Table.from_arrays(columns, schema=schema(record))


def misfit(found: pa.Schema | pa.StructType, record: type, above: str = "") -> str | None:
    """Why a table with these columns has no rows of `record`; None where it has.

    A field that has a default may be missing, and there may be others.
    """
    for field in dataclasses.fields(record):
        name, (hint, optional) = f"{above}{field.name}", _strip_optional(_hints(record)[field.name])
        index = found.get_field_index(field.name)
        if index < 0:
            if field.default is dataclasses.MISSING:
                return f"lacks the column {name}"
            continue
        column = found.field(index)
        if column.nullable and not optional:
            return f"allows nulls in {name}"
        if wrong := _misfit_type(column.type, hint, name):
            return wrong
    return None


def _misfit_type(found: pa.DataType, hint: Any, name: str) -> str | None:
    if item := _item(hint):
        if not pa.types.is_list(found):
            return f"has {found} in {name}, not lists"
        return _misfit_type(found.value_type, item, name)
    if hint in _SCALARS:
        return None if found == _SCALARS[hint] else f"has {found} in {name}, not {_SCALARS[hint]}"
    if not pa.types.is_struct(found):
        return f"has {found} in {name}, not columns of its own"
    return misfit(found, hint, f"{name}.")


def unsound(batch: pa.RecordBatch) -> str | None:
    """What a batch of such a table holds that no row does: text that is none, nulls among the items of a list."""
    try:
        batch.validate(full=True)
    except pa.ArrowInvalid as error:
        return str(error)
    names = (
        name
        for name, column in zip(batch.schema.names, batch.columns, strict=True)
        if _has_null_items(column)
    )
    return next((f"has nulls among the items of {name}" for name in names), None)


def _has_null_items(array: pa.Array) -> bool:
    if pa.types.is_list(array.type):
        items = array.flatten()
        return bool(items.null_count) or _has_null_items(items)
    return pa.types.is_struct(array.type) and any(map(_has_null_items, array.flatten()))


def row_bytes(table: pa.Table) -> np.ndarray:
    """What each row takes in memory, at least; it follows from the row alone, however a table comes in parts."""
    (batch,) = table.combine_chunks().to_batches() or [None]
    sizes = np.zeros(table.num_rows, np.int64)
    for column in batch.columns if batch else ():
        sizes += _value_bytes(column)
    return sizes


def _value_bytes(array: pa.Array) -> np.ndarray:
    sizes = np.zeros(len(array), np.int64)
    if pa.types.is_struct(array.type):
        for column in array.flatten():
            sizes += _value_bytes(column)
    elif pa.types.is_list(array.type):
        items = np.cumsum(np.concatenate([[0], _value_bytes(array.flatten())]))
        ends = np.cumsum(np.concatenate([[0], np.asarray(array.value_lengths().fill_null(0))]))
        sizes += np.diff(items[ends]) + _OFFSET
    elif pa.types.is_string(array.type):
        sizes += np.asarray(pc.binary_length(array).fill_null(0)) + _OFFSET
    else:
        sizes += array.type.bit_width // 8
    return sizes


_OFFSET = 4
"""Bytes of a text's or a list's place."""


def to_dict(value: Any) -> Any:
    """A record as plain dicts and lists."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: to_dict(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, tuple):
        return [to_dict(item) for item in value]
    return value


def from_dict(row: Mapping[str, Any], record: type[R]) -> R:
    """The record that `to_dict` gave `row` for."""
    hints = _hints(record)
    return record(**{name: _restore(row[name], hints[name]) for name in _given(record, row)})


def _restore(value: Any, hint: Any) -> Any:
    inner, _ = _strip_optional(hint)
    if value is None or inner in _SCALARS:
        return value
    if item := _item(inner):
        return tuple(_restore(each, item) for each in value)
    return from_dict(value, inner)


def _columns(values: Sequence[Any], record: type) -> list[pa.Array]:
    """The fields of records, a column each."""
    there = not any(value is None for value in values)
    columns = []
    for name, hint in _hints(record).items():
        get = attrgetter(name)
        # Parquet wants a value even under a missing record, where the field can't be null.
        nothing = hint() if hint in _SCALARS else None
        column = list(map(get, values)) if there else [nothing if v is None else get(v) for v in values]
        columns.append(_column(column, hint))
    return columns


def _column(values: list[Any], hint: Any) -> pa.Array:
    inner, _ = _strip_optional(hint)
    if inner in _SCALARS:
        return pa.array(values, _SCALARS[inner])
    if item := _item(inner):
        lists = [value or () for value in values]
        offsets = np.cumsum([0, *map(len, lists)], dtype=np.int32)
        flat = _column(list(chain.from_iterable(lists)), item)
        return pa.ListArray.from_arrays(pa.array(offsets), flat, type=_arrow_type(inner))
    missing = pa.array([value is None for value in values], pa.bool_())
    return pa.StructArray.from_arrays(_columns(values, inner), fields=_fields(inner), mask=missing)


def _records(array: pa.StructArray, record: type[R]) -> Iterator[R]:
    hints = _hints(record)
    # `flatten`, unlike `field`, keeps to a slice.
    columns = {field.name: column for field, column in zip(array.type, array.flatten(), strict=True)}
    names = _given(record, columns)
    values = zip(*(_values(columns[name], hints[name]) for name in names), strict=True)
    if names == list(hints):
        return (record(*each) for each in values)
    return (record(**dict(zip(names, each, strict=True))) for each in values)


def _values(array: pa.Array, hint: Any) -> list[Any]:
    inner, _ = _strip_optional(hint)
    if inner in _SCALARS:
        return list(array.to_pylist())
    if item := _item(inner):
        flat = _values(array.flatten(), item)
        ends = np.cumsum([0, *array.value_lengths().fill_null(0).to_pylist()]).tolist()
        return [tuple(flat[start:end]) for start, end in pairwise(ends)]
    if not array.null_count:
        return list(_records(array, inner))
    there = array.is_valid()
    found = _records(array.filter(there), inner)
    return [next(found) if valid else None for valid in there.to_pylist()]


def _given(record: type, row: Mapping[str, Any]) -> list[str]:
    """The fields to fill: all but those that are missing and have a default."""
    fields = dataclasses.fields(record)
    return [f.name for f in fields if f.name in row or f.default is dataclasses.MISSING]


_HINTS: dict[type, dict[str, Any]] = {}


def _hints(record: type) -> dict[str, Any]:
    """The types of a record's fields, in their order."""
    if record not in _HINTS:
        hints = typing.get_type_hints(record)
        _HINTS[record] = {f.name: hints[f.name] for f in dataclasses.fields(record)}
    return _HINTS[record]


def _fields(record: type) -> list[pa.Field]:
    return [_field(name, hint) for name, hint in _hints(record).items()]


def _field(name: str, hint: Any) -> pa.Field:
    inner, optional = _strip_optional(hint)
    return pa.field(name, _arrow_type(inner), nullable=optional)


def _arrow_type(hint: Any) -> pa.DataType:
    if hint in _SCALARS:
        return _SCALARS[hint]
    if item := _item(hint):
        return pa.list_(_arrow_type(item))
    return pa.struct(_fields(hint))


def _item(hint: Any) -> Any:
    """What a tuple is of; None for another type."""
    return typing.get_args(hint)[0] if typing.get_origin(hint) is tuple else None


def _strip_optional(hint: Any) -> tuple[Any, bool]:
    if typing.get_origin(hint) is types.UnionType:
        (inner,) = [arg for arg in typing.get_args(hint) if arg is not type(None)]
        return inner, True
    return hint, False
