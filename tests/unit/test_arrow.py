"""Records go into Arrow tables and come back as they were, however the table is cut."""

import types
import typing
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from s2d_loop.records import Dropped, Example, Generation, Input, Trace, Verdict, rows, schema, table, to_dict

SCALARS = {str: st.text(max_size=3), int: st.integers(-3, 3), float: st.sampled_from([0.5, -1.0])}


def made(hint: Any) -> st.SearchStrategy[Any]:
    """Any value of a field's type."""
    if hint in SCALARS or hint is bool:
        return SCALARS.get(hint, st.booleans())
    if typing.get_origin(hint) is types.UnionType:
        (inner,) = [arg for arg in typing.get_args(hint) if arg is not type(None)]
        return st.none() | made(inner)
    if typing.get_origin(hint) is tuple:
        return st.lists(made(typing.get_args(hint)[0]), max_size=2).map(tuple)
    return st.builds(hint, **{name: made(each) for name, each in typing.get_type_hints(hint).items()})


RECORDS = (Dropped, Example, Generation, Input, Trace, Verdict)


@given(st.sampled_from(RECORDS).flatmap(lambda r: st.tuples(st.just(r), st.lists(made(r), max_size=3))))
@settings(max_examples=60)
def test_records_come_back_as_they_were(drawn: tuple[type, list[Any]]) -> None:
    record, values = drawn
    whole = table(values, record)
    assert whole.equals(pa.Table.from_pylist([to_dict(each) for each in values], schema=schema(record)))
    pq.write_table(whole, pa.BufferOutputStream())
    assert list(rows(whole, record)) == values
    assert list(rows(whole.slice(1), record)) == values[1:]
    assert list(rows([whole.slice(n, 1) for n in range(len(values))], record)) == values


def test_a_table_without_a_field_gives_its_default_or_is_refused() -> None:
    x = Input("s:f#0", "t", (), "00", group="g")
    whole = table([x], Input)
    assert [each.group for each in rows(whole.drop_columns(["group"]), Input)] == [""]
    with pytest.raises(KeyError, match="task"):
        list(rows(whole.drop_columns(["task"]), Input))


def test_what_may_be_missing_goes_through_parquet(tmp_path: Path) -> None:
    """Parquet refuses a null in a field that must be there, even inside a record that isn't."""
    x = Input("s:f#0", "t", (), "00")
    row = Generation(x, "w", "p", (), (), (), (), 0, 0, 0, None, selection=None)
    whole = pa.concat_tables([table([row], Generation), table([row, row], Generation)]).combine_chunks()
    pq.write_table(whole, tmp_path / "t.parquet")
    assert list(rows(pq.read_table(tmp_path / "t.parquet"), Generation)) == [row] * 3
