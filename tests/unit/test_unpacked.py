"""What a table takes in memory is known before it is unpacked, whatever its pages and its footer say."""

import io
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from s2d_loop import table_files, unpacked
from s2d_loop.arrow import row_bytes
from s2d_loop.records import Example, Input, Message, schema, table
from s2d_loop.table_files import TableError, TableWriter, groups
from s2d_loop.unpacked import UnpackError, check
from tests.support import bombs
from tests.support.bombs import BOMBS, INT64, PLAIN, Column, data_page, node
from tests.support.hostile import Peak

GIB = 1 << 30


def checked(data: bytes) -> int:
    return check(io.BytesIO(data))


@pytest.mark.parametrize("name", BOMBS)
def test_a_small_file_that_asks_for_gigabytes_is_refused_and_takes_no_memory(name: str) -> None:
    data = BOMBS[name](GIB)
    assert len(data) < 64 << 10
    peak = Peak()
    with pytest.raises(UnpackError, match=r"would take .* in memory|values where it says"):
        checked(data)
    assert peak.bytes < 32 << 20


@pytest.mark.parametrize("name", sorted(BOMBS.keys() - {"announced_page"}))
def test_these_files_are_what_they_are_called_and_small_ones_are_read(name: str) -> None:
    """PyArrow takes what each asks for, so only what it asks for can be held against it."""
    size = 64 << 20
    data = BOMBS[name](size)
    peak = Peak()
    pq.ParquetFile(io.BytesIO(data)).read_row_group(0)
    assert peak.bytes > size // 2
    if name != "hidden_items":
        assert checked(data) in (1, 4, 1024)


ONE = [node("schema", children=1), node("n", kind=INT64)]
FOUR = Column(["n"], INT64, [data_page(4, PLAIN, bytes(32))], 4)
WHOLE = bombs.table(ONE, [FOUR], 4)


def test_a_whole_file_by_hand_is_read_as_pyarrow_reads_it() -> None:
    assert checked(WHOLE) == 4
    assert pq.read_table(io.BytesIO(WHOLE)).to_pydict() == {"n": [0, 0, 0, 0]}


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "isn't a Parquet file"),
        (b"PAR1", "isn't a Parquet file"),
        (WHOLE[:-1], "isn't a Parquet file"),
        (WHOLE[:-8] + b"\xff\xff\xff\x7fPAR1", "isn't a Parquet file"),
        (b"PAR1" + b"\xff" * 100 + (100).to_bytes(4, "little") + b"PAR1", "isn't a Parquet file"),
        (b"PAR1" + b"\x1c" * 100 + (100).to_bytes(4, "little") + b"PAR1", "isn't a Parquet file"),
        (bombs.table([*ONE[:1], *[node("g", children=1)] * 9999, ONE[1]], [FOUR], 4), "nodes"),
        (bombs.table(ONE, [FOUR], 4, says_rows=5), "5 rows, and other numbers"),
        (bombs.table(ONE, [FOUR], 5000), "row group of 5,000 rows"),
        (bombs.table(ONE, [FOUR], -4), "row group of -4 rows"),
        (bombs.table(ONE, [FOUR, FOUR], 4), "lacks columns"),
        (bombs.table([ONE[0], node("n", kind=3)], [FOUR], 4), "of a type that no table has"),
        (bombs.table(ONE, [Column(["n"], INT64, FOUR.pages, 9)], 4), "4 values where it says 9"),
        (bombs.table(ONE, [Column(["n"], INT64, [data_page(4, 5, b"")], 4)], 4), "encoding that no table has"),
        (bombs.table(ONE, [Column(["n"], INT64, [FOUR.pages[0][:-1]], 4)], 4), "ends outside"),
        (bombs.table(ONE, [Column(["n"], INT64, [*FOUR.pages, b"\x15"], 4)], 4), "isn't a Parquet file"),
        (bombs.table(ONE, [Column(["n"], INT64, [data_page(-4, PLAIN, b"")], 4)], 4), "negative size"),
        (bombs.table(ONE, [Column(["n"], INT64, [bombs.dictionary_page(1, b""), bombs.dictionary_page(1, b"")], 0)], 0), "page of a kind"),
    ],
)  # fmt: skip
def test_what_no_writer_of_tables_writes_is_refused_by_what_it_is(data: bytes, said: str) -> None:
    with pytest.raises(UnpackError, match=said):
        checked(data)


def test_a_file_of_too_many_row_groups_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unpacked, "_MOST_CHUNKS", 10)
    assert checked(bombs.table(ONE, [FOUR], 4, groups=10)) == 40
    with pytest.raises(UnpackError, match="1 columns in 11 row groups"):
        checked(bombs.table(ONE, [FOUR], 4, groups=11))


def test_a_footer_that_says_a_thing_twice_is_refused() -> None:
    """PyArrow would take the second; whoever looks at the first sees another file."""
    length = int.from_bytes(WHOLE[-8:-4], "little")
    footer = WHOLE[-8 - length : -8]
    twice = footer[:-1] + b"\x06\x06\x08" + b"\0"  # field 3, a long of 4, with its number in full
    data = WHOLE[: -8 - length] + twice + len(twice).to_bytes(4, "little") + b"PAR1"
    with pytest.raises(UnpackError, match="a field twice"):
        checked(data)


def test_a_hole_that_is_called_a_page_is_not_read(tmp_path: Path) -> None:
    """Without compression a page's packed size is what is read, and a sparse file has any."""
    header = bombs.thrift(
        {1: bombs.I32(0), 2: bombs.I32(32), 3: bombs.I32(GIB), 5: {1: bombs.I32(4), 2: bombs.I32(PLAIN)}}
    )
    path = tmp_path / "sparse.parquet"
    about = {1: bombs.I32(INT64), 2: [bombs.I32(0)], 3: [b"n"], 4: bombs.I32(0), 5: 4, 6: 32}
    about |= {7: len(header) + GIB, 9: 4}
    footer = bombs.thrift({1: bombs.I32(2), 2: ONE, 3: 4, 4: [{1: [{2: 0, 3: about}], 2: 1, 3: 4}]})
    with path.open("wb") as file:
        file.write(b"PAR1" + header)
        file.seek(GIB, io.SEEK_CUR)
        file.write(footer + len(footer).to_bytes(4, "little") + b"PAR1")
    with path.open("rb") as file, pytest.raises(UnpackError, match="would take"):
        check(file)


def test_texts_of_a_dictionary_count_by_what_they_are_not_by_the_longest() -> None:
    """One long text among thousands of short ones is no bomb, though all of them could be it."""
    texts = ["y" * (1 << 20), *(f"{n}" for n in range(4095))]
    out = io.BytesIO()
    pq.write_table(pa.table({"t": pa.array(texts, pa.string())}), out, compression="zstd")
    assert checked(out.getvalue()) == 4096


EXAMPLE = st.builds(
    Example,
    id=st.text(max_size=8),
    input_id=st.text(max_size=8),
    task=st.sampled_from(["t", "u"]),
    prompt=st.lists(
        st.builds(Message, role=st.just("user"), content=st.sampled_from(["", "q", "x" * 900, "\U0001f600" * 300])),
        max_size=3,
    ).map(tuple),
    completion=st.just(()),
    answer=st.none() | st.text(max_size=3),
    share=st.floats(0, 1),
    iteration=st.just(1),
    weights=st.just("w"),
    sampled_ids=st.lists(st.integers(0, 9), max_size=200).map(tuple),
)  # fmt: skip


def written(rows: pa.Table, cuts: list[int]) -> bytes:
    """The bytes of a table that comes in parts."""
    out = io.BytesIO()
    with pq.ParquetWriter(out, rows.schema, compression="zstd") as parquet:
        writer = TableWriter(parquet)
        for start, end in zip([0, *cuts], [*cuts, rows.num_rows], strict=True):
            writer.write(rows.slice(start, end - start))
        writer.flush()
    return out.getvalue()


LIMIT = 4096
"""Small enough to be met."""


@settings(max_examples=60, deadline=None)
@given(rows=st.lists(EXAMPLE, min_size=1, max_size=30), data=st.data())
def test_what_is_written_can_be_read_and_its_bytes_follow_from_its_rows(
    rows: list[Example], data: st.DataObject
) -> None:
    """A group is cut by bytes too, at the same rows however they come."""
    whole = table(rows, Example)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(rows)), max_size=5)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(table_files, "BYTES_PER_GROUP", LIMIT)
        patch.setattr(unpacked, "MOST_BYTES", 4 * LIMIT)
        patch.setattr(unpacked, "_MEASURED", 0)
        found = written(whole, cuts)
        assert found == written(whole, [])
        assert checked(found) == len(rows)
    parquet = pq.ParquetFile(io.BytesIO(found))
    assert pa.concat_tables(groups(io.BytesIO(found), "examples", None)).equals(whole)
    first = 0
    for number in range(parquet.num_row_groups):
        group = whole.slice(first, parquet.metadata.row_group(number).num_rows)
        first += group.num_rows
        assert group.num_rows == 1 or row_bytes(group).sum() <= LIMIT
        assert row_bytes(group).sum() <= group.nbytes


def test_a_group_ends_at_the_row_that_fills_it_to_the_byte(monkeypatch: pytest.MonkeyPatch) -> None:
    """A part's own size is a byte more or less, by where it was cut."""
    rows = pa.concat_tables([GOOD] * 12)
    monkeypatch.setattr(table_files, "BYTES_PER_GROUP", int(row_bytes(rows)[:5].sum()))
    for cuts in ([], list(range(1, 12)), [3, 4, 11]):
        found = pq.ParquetFile(io.BytesIO(written(rows, cuts))).metadata
        assert [found.row_group(n).num_rows for n in range(found.num_row_groups)] == [5, 5, 2]


GOOD = table([Example("i", "s:f#0", "t", (Message("user", "q"),), (), None, 1.0, 1, "w", (5,))], Example)


def changed(name: str, values: pa.Array, nullable: bool = False) -> pa.Table:
    at = GOOD.schema.get_field_index(name)
    return GOOD.set_column(at, pa.field(name, values.type, nullable=nullable), values)


MESSAGES = schema(Example).field("prompt").type


@pytest.mark.parametrize(
    ("forged", "said"),
    [
        (GOOD.drop_columns(["task"]), "lacks the column task"),
        (changed("task", pa.array([3])), "int64 in task, not string"),
        (changed("task", pa.array([None], pa.string()), nullable=True), "allows nulls in task"),
        (changed("iteration", pa.array(["x"])), "string in iteration, not int64"),
        (changed("share", pa.array([1], pa.int64())), "int64 in share, not double"),
        (changed("prompt", pa.array(["q"])), "string in prompt, not lists"),
        (changed("prompt", pa.array([["q"]])), "string in prompt, not columns of its own"),
        (changed("prompt", pa.array([[None]], MESSAGES)), "nulls among the items of prompt"),
        (changed("prompt", pa.array([[{"role": "u"}]])), "allows nulls in prompt.role"),
        (changed("task", pa.Array.from_buffers(pa.string(), 1, [None, pa.py_buffer(b"\0\0\0\0\1\0\0\0"), pa.py_buffer(b"\xff")])), "UTF8"),
    ],
)  # fmt: skip
def test_rows_that_a_table_can_not_have_are_named(forged: pa.Table, said: str) -> None:
    out = io.BytesIO()
    pq.write_table(forged, out)
    with pytest.raises(TableError, match=said):
        list(groups(io.BytesIO(out.getvalue()), "examples", None))


def test_an_input_without_a_turn_is_named() -> None:
    out = io.BytesIO()
    pq.write_table(table([Input("s:f#0", "t", (), "h")], Input), out)
    with pytest.raises(TableError, match="without a turn"):
        list(groups(io.BytesIO(out.getvalue()), "inputs", None))
