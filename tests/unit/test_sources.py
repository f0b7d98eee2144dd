"""Sources: every row once, whatever the limits and whatever the bytes; labels are never seen."""

import json
import os
from pathlib import Path
from types import SimpleNamespace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from s2d_loop import paths
from s2d_loop.config import HeldOutConfig, SourceConfig
from s2d_loop.errors import BadInputError
from s2d_loop.formats.base import Item, UnreadableError
from s2d_loop.intake import HELD_OUT, NeverTrain, claim
from s2d_loop.records import Input, Message, Part, content_hash
from s2d_loop.sources import Delivery, Source, fold, open_source, read_heldout

LATER = 4e9


def source(path: Path | str, kind: str = "jsonl", **keys) -> Source:
    return open_source(SourceConfig(task="t", type=kind, path=str(path), **keys), now=lambda: LATER)


def lines(path: Path, *rows: object) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def everything(
    path: Path | str, kind: str = "jsonl", limits=(1000,), reopen: bool = True, **keys
) -> Delivery:
    """All rows, read with the given limits in turn, as by processes that each go on from a cursor."""
    inputs, rejects, cursor = [], [], None
    reader = source(path, kind, **keys)
    for turn in range(10_000):
        got = reader.read(cursor, limits[turn % len(limits)])
        assert len(got.inputs) + len(got.rejects) <= limits[turn % len(limits)]
        inputs += got.inputs
        rejects += got.rejects
        cursor = fold([cursor or {}, json.loads(json.dumps(got.cursor))])
        if got.exhausted:
            return Delivery([*inputs, *rejects], cursor, True)
        if reopen:
            reader = source(path, kind, **keys)
    raise AssertionError("never exhausted")


def many(tmp_path: Path, kind: str) -> Path:
    rows = [{"prompt": f"p{n}" if n % 5 else "", "answer": n} for n in range(23)]
    if kind == "jsonl":
        return lines(tmp_path / "x.jsonl", *rows)
    if kind == "json":
        path = tmp_path / "x.json"
        path.write_text(json.dumps(rows))
        return path
    path = tmp_path / "x.parquet"
    pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=7)
    return path


@pytest.mark.parametrize("kind", ["jsonl", "json", "parquet"])
@pytest.mark.parametrize("reopen", [True, False])
def test_any_limits_deliver_the_same_rows_once_each(tmp_path, kind, reopen):
    path = many(tmp_path, kind)
    file_type = "parquet" if kind == "parquet" else "jsonl"
    whole = everything(path, file_type)
    assert [x.id for x in whole.inputs] == [f"x:{path.name}#{n}" for n in range(23) if n % 5]
    assert [(r.row, r.reason) for r in whole.rejects] == [(n, "the prompt is empty") for n in range(0, 23, 5)]

    @settings(max_examples=25, deadline=None)
    @given(limits=st.lists(st.integers(1, 9), min_size=1, max_size=4))
    def check(limits):
        parts = everything(path, file_type, limits, reopen)
        assert (parts.inputs, parts.rejects) == (whole.inputs, whole.rejects)

    check()


@settings(max_examples=80, deadline=None)
@given(
    parts=st.lists(
        st.one_of(
            st.binary(max_size=30),
            st.just(b'{"prompt": "good"}'),
            st.just(b'{"prompt": "\\ud800"}'),
            st.just(b'{"messages": [{"role": "user", "content": "x"}]}'),
            st.just(b"[" * 100_000),
        ),
        max_size=8,
    ),
    limit=st.integers(1, 4),
)
def test_arbitrary_bytes_never_raise_and_every_row_has_an_outcome(tmp_path_factory, parts, limit):
    raw = b"\n".join([b'{"prompt": "first"}', *parts])
    path = tmp_path_factory.mktemp("s") / "x.jsonl"
    path.write_bytes(raw)
    got = everything(path, limits=[limit])
    rows = sum(1 for line in raw.split(b"\n") if line.strip())
    assert len(got.inputs) + len(got.rejects) == rows
    json.dumps([r.excerpt + r.reason for r in got.rejects], ensure_ascii=False).encode()


def test_a_label_beside_the_prompt_changes_nothing(tmp_path):
    for number, extra in enumerate([{}, {"answer": "yes"}, {"answer": 7, "label": None, "target": ["z"]}]):
        folder = tmp_path / str(number)
        folder.mkdir()
        rows = [{**extra, "question": f"q{n}" if n else ""} for n in range(4)]
        lines(folder / "x.jsonl", *rows)
        pq.write_table(pa.Table.from_pylist(rows), folder / "x.parquet")
    for name, kind in (("x.jsonl", "jsonl"), ("x.parquet", "parquet")):
        seen = [everything(tmp_path / str(number) / name, kind) for number in range(3)]
        assert seen[0].inputs == seen[1].inputs == seen[2].inputs
        assert seen[0].rejects == seen[1].rejects == seen[2].rejects


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"prompt": 5}, "the prompt is a number"),
        ({"prompt": None}, "the prompt is null"),
        ({"prompt": " \n"}, "the prompt is empty"),
        ({"other": "x"}, "no column 'prompt'"),
        ([1], "not a JSON object"),
        ({"prompt": []}, "no user turn"),
        ({"prompt": [{"role": "assistant", "content": "a"}]}, "no user turn"),
        ({"prompt": [7, {"role": "user", "content": "a"}]}, "message 0 is a number"),
        ({"prompt": [{"role": "tool", "content": "a"}, {"role": "user", "content": "a"}]}, "the role 'tool'"),
        ({"prompt": [{"role": "user", "content": None}]}, "the content of message 0 is null"),
        ({"prompt": [{"role": "user", "content": ""}]}, "message 0 is empty"),
    ],
)
def test_a_row_that_cannot_be_read_is_kept_aside_with_its_reason(tmp_path, row, reason):
    got = everything(lines(tmp_path / "x.jsonl", {"prompt": "fine"}, row, {"prompt": "fine too"}))
    assert [x.question for x in got.inputs] == ["fine", "fine too"]
    (reject,) = got.rejects
    assert reason in reject.reason
    assert (reject.source, reject.file, reject.row) == ("x", "x.jsonl", 1)


@pytest.mark.parametrize("column", ["messages", "prompt"])
def test_a_conversation_ends_with_its_last_user_turn(tmp_path, column):
    turns = [
        {"role": "system", "content": "s"},
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": "b"},
        {"role": "user", "content": "c", "name": "me"},
    ]
    answers = ([], [{"role": "assistant", "content": "label"}], [{"role": "assistant", "content": None}])
    got = everything(lines(tmp_path / "x.jsonl", *({column: turns + answer} for answer in answers)))
    assert [[m.content for m in x.messages] for x in got.inputs] == [["s", "a", "b", "c"]] * 3
    assert len({x.content_hash for x in got.inputs}) == 1


def test_the_column_is_found_shown_and_kept(tmp_path):
    path = lines(tmp_path / "x.jsonl", {"text": "no", "question": "yes"})
    assert source(path).mapping == "prompt = column 'question' (found by its name)"
    assert source(path, prompt="text").read(None, 9).inputs[0].question == "no"
    with pytest.raises(BadInputError, match="no column 'qestion'; there are 'text', 'question'"):
        source(path, prompt="qestion")
    with pytest.raises(BadInputError, match="read the column 'question' so far, not 'text'"):
        source(path, prompt="text").read(source(path).read(None, 9).cursor, 9)
    log = lines(tmp_path / "log.jsonl", {"request": {"messages": [{"role": "user", "content": "hi"}]}})
    assert source(log).read(None, 1).inputs[0].question == "hi"
    pq.write_table(pa.Table.from_pylist([json.loads(log.read_text())]), tmp_path / "log.parquet")
    assert source(tmp_path / "log.parquet", "parquet").read(None, 1).inputs[0].question == "hi"


@pytest.mark.parametrize("kind", ["jsonl", "json", "parquet"])
def test_a_file_changed_behind_the_cursor_is_refused_by_name(tmp_path, kind):
    path = many(tmp_path, kind)
    file_type = "parquet" if kind == "parquet" else "jsonl"
    for limit in (3, 100):
        reader = source(path, file_type)
        cursor = reader.read(None, limit).cursor
        before = path.read_bytes()
        assert b"p1" in before
        path.write_bytes(before.replace(b"p1", b"q1", 1))
        for each in (reader, source(path, file_type)):
            with pytest.raises(
                BadInputError, match=rf"{path.name} changed after its first \d+ rows were read"
            ):
                each.read(cursor, 3)
        path.write_bytes(before)
        assert source(path, file_type).read(cursor, 100).exhausted


def test_an_appended_file_goes_on(tmp_path):
    path = lines(tmp_path / "x.jsonl", {"prompt": "a"}, {"prompt": "b"})
    reader = source(path)
    cursor = reader.read(None, 9).cursor
    with path.open("a") as file:
        file.write('\n{"prompt": "c"}')
    got = reader.read(cursor, 9)
    assert [x.id for x in got.inputs] == ["x:x.jsonl#3"]
    with path.open("a") as file:
        file.write('\n{"prompt": "d"}\n')
    assert [x.id for x in source(path).read(got.cursor, 9).inputs] == ["x:x.jsonl#4"]
    assert [x.id for x in everything(path).inputs] == [f"x:x.jsonl#{n}" for n in (0, 1, 3, 4)]


def test_a_last_line_still_being_written_is_left_for_later(tmp_path):
    path = lines(tmp_path / "x.jsonl", {"prompt": "a"})
    path.write_text(path.read_text() + '{"prompt": "b')
    written = path.stat().st_mtime
    config = SourceConfig(task="t", type="jsonl", path=str(path))
    got = open_source(config, now=lambda: written + 1).read(None, 9)
    assert (len(got.inputs), got.rejects, got.exhausted) == (1, [], True)
    assert len(open_source(config, now=lambda: written + 9).read(got.cursor, 9).rejects) == 1
    with path.open("a") as file:
        file.write('ee"}\n')
    assert open_source(config).read(got.cursor, 9).inputs[0].question == "bee"


def test_a_folder_delivers_new_files_and_leaves_unfinished_ones(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    reader = source(folder, "directory")
    assert reader.mapping == "prompt = the first column found, once there are rows"
    empty = reader.read(None, 5)
    assert (empty.inputs, empty.exhausted) == ([], True)
    lines(folder / "b.jsonl", {"prompt": "b0"}, {"prompt": "b1"})
    lines(folder / ".hidden.jsonl", {"prompt": "no"})
    lines(folder / "c.jsonl.tmp", {"prompt": "no"})
    fresh = lines(folder / "d.jsonl", {"prompt": "d0"})
    os.utime(fresh, (LATER - 1, LATER - 1))
    first = reader.read(empty.cursor, 1)
    assert [x.id for x in first.inputs] == ["in:b.jsonl#0"]
    (folder / "a").mkdir()
    pq.write_table(pa.table({"prompt": ["a0"]}), folder / "a" / "a.parquet")
    os.utime(fresh, (LATER - 9, LATER - 9))
    rest = reader.read(first.cursor, 9)
    assert [x.id for x in rest.inputs] == ["in:a/a.parquet#0", "in:b.jsonl#1", "in:d.jsonl#0"]
    fresh.unlink()
    assert source(folder, "directory").read(rest.cursor, 9).exhausted
    (folder / "b.jsonl").unlink()
    with pytest.raises(BadInputError, match=r"b.jsonl is gone .* but only 1 of its rows were read"):
        reader.read(first.cursor, 9)


def test_a_broken_file_in_a_folder_costs_one_reject(tmp_path):
    lines(tmp_path / "a.jsonl", {"prompt": "a"})
    (tmp_path / "b.parquet").write_bytes(b"PAR1 but not really")
    (tmp_path / "c.json").write_bytes(b"[{]")
    got = everything(tmp_path, "directory", limits=[1], name="in")
    assert [x.id for x in got.inputs] == ["in:a.jsonl#0"]
    assert [(r.file, r.row) for r in got.rejects] == [("b.parquet", 0), ("c.json", 0)]


def test_rows_of_a_damaged_row_group_are_all_rejected(tmp_path):
    path = tmp_path / "x.parquet"
    pq.write_table(pa.table({"prompt": [f"prompt {n}" for n in range(20)]}), path, row_group_size=10)
    raw = bytearray(path.read_bytes())
    column = pq.ParquetFile(path).metadata.row_group(1).column(0)
    start = column.dictionary_page_offset or column.data_page_offset
    raw[start : start + column.total_compressed_size] = b"\xff" * column.total_compressed_size
    path.write_bytes(raw)
    got = everything(path, "parquet", limits=[3])
    assert [x.id for x in got.inputs] == [f"x:x.parquet#{n}" for n in range(10)]
    assert [r.row for r in got.rejects] == list(range(10, 20))


def test_a_glob_takes_its_files_in_name_order_and_a_limit_holds(tmp_path):
    for name in ("b", "a"):
        lines(tmp_path / f"{name}.jsonl", {"prompt": f"{name}0"}, {"prompt": f"{name}1"})
    got = everything(tmp_path / "*.jsonl", limits=[2], limit=3, name="g")
    assert [x.id for x in got.inputs] == ["g:a.jsonl#0", "g:a.jsonl#1", "g:b.jsonl#0"]
    assert source(tmp_path / "*.jsonl").name == tmp_path.name


@pytest.mark.parametrize(
    ("make", "kind", "said"),
    [
        (lambda p: p / "no.jsonl", "jsonl", "no file .*relative paths start at"),
        (lambda p: p / "*.nope", "jsonl", "no file matches"),
        (lambda p: p, "jsonl", "write `type: directory`"),
        (lambda p: p / "no", "directory", "no directory .*create it first"),
        (lambda p: lines(p / "x.jsonl"), "jsonl", "there are no rows in it"),
        (
            lambda p: lines(p / "x.jsonl", {"a": "b"}),
            "jsonl",
            "no column is named like a prompt.*there are 'a'",
        ),
        (
            lambda p: lines(p / "x.jsonl", [1], 2),
            "jsonl",
            "(?s)none of its rows.*x.jsonl#1: not a JSON object",
        ),
        (lambda p: lines(p / "x.jsonl", {"prompt": "a"}), "parquet", "(?s)none of its rows.*not a Parquet"),
    ],
)
def test_a_source_that_is_not_there_says_what_to_do(tmp_path, make, kind, said):
    with pytest.raises(BadInputError, match=said):
        source(make(tmp_path), kind)


def test_a_source_without_a_single_prompt_stops_with_its_reasons(tmp_path):
    path = lines(tmp_path / "x.jsonl", *({"prompt": ""} for _ in range(5)))
    first = source(path).read(None, 2)
    assert (len(first.rejects), first.exhausted) == (2, False)
    with pytest.raises(BadInputError, match=r"(?s)none of its rows.*x.jsonl#0: the prompt is empty"):
        source(path).read(first.cursor, 9)


def test_a_cursor_of_another_source_or_shape_is_refused(tmp_path):
    path = lines(tmp_path / "x.jsonl", {"prompt": "a"})
    with pytest.raises(BadInputError, match="belongs to the source 'other'"):
        source(path).read(source(path, name="other").read(None, 1).cursor, 1)
    with pytest.raises(BadInputError, match="the cursor is damaged"):
        source(path).read({"offset": 3}, 1)


def test_a_data_set_is_read_like_a_file(tmp_path):
    datasets = pytest.importorskip("datasets")
    rows = [{"question": f"q{n}", "answer": str(n)} for n in range(7)]
    datasets.Dataset.from_list(rows).save_to_disk(str(tmp_path / "set"))
    got = everything(tmp_path / "set", "dataset", limits=[3])
    assert [x.id for x in got.inputs] == [f"set:train#{n}" for n in range(7)]
    cursor = source(tmp_path / "set", "dataset").read(None, 3).cursor
    datasets.Dataset.from_list([{**row, "answer": "new"} for row in rows]).save_to_disk(
        str(tmp_path / "b" / "set")
    )
    assert len(source(tmp_path / "b" / "set", "dataset").read(cursor, 9).inputs) == 4
    datasets.Dataset.from_list(rows[1:]).save_to_disk(str(tmp_path / "c" / "set"))
    with pytest.raises(BadInputError, match="train changed after its first 3 rows"):
        source(tmp_path / "c" / "set", "dataset").read(cursor, 9)
    with pytest.raises(BadInputError, match="can't be loaded"):
        source(tmp_path / "nowhere", "dataset")


def test_held_out_sets_have_references_and_no_holes(tmp_path):
    path = lines(
        tmp_path / "x.jsonl", {"prompt": "a", "answer": 4, "note": "n"}, {"prompt": "b", "answer": "c"}
    )
    config = HeldOutConfig(type="jsonl", path=str(path))
    got = read_heldout(config, "t")
    assert [(h.input.id, h.reference) for h in got] == [
        ("heldout/t:x.jsonl#0", "4"),
        ("heldout/t:x.jsonl#1", "c"),
    ]
    assert [h.reference for h in read_heldout(config.model_copy(update={"limit": 1}), "t")] == ["4"]
    with pytest.raises(BadInputError, match=r"(?s)1 of its rows can't be read.*x.jsonl#1: no column 'note'"):
        read_heldout(config.model_copy(update={"reference": "note"}), "t")
    with pytest.raises(BadInputError, match="no column 'nope'"):
        read_heldout(config.model_copy(update={"reference": "nope"}), "t")
    bare = lines(tmp_path / "y.jsonl", {"prompt": "a"})
    assert read_heldout(HeldOutConfig(type="jsonl", path=str(bare)), "t")[0].reference is None
    lines(bare, {"prompt": "a"}, {"prompt": ""})
    with pytest.raises(BadInputError, match=r"y.jsonl#1: the prompt is empty"):
        read_heldout(HeldOutConfig(type="jsonl", path=str(bare)), "t")


def test_what_ships_is_found_and_what_does_not_is_named():
    assert Path(paths.resolve("testbed://data/coin_flip.heldout.jsonl")).is_file()
    assert paths.resolve("org/model") == "org/model"
    assert paths.resolve("~/x") == str(Path.home() / "x")
    for wrong in ("testbed://data/no.jsonl", "testbed://../errors.py", "testbed://"):
        with pytest.raises(
            BadInputError, match=r"there are: testbed://model, testbed://models/.*, testbed://data/coin_flip"
        ):
            paths.resolve(wrong)
    assert source("testbed://data/coin_flip.unlabeled.jsonl").name == "coin_flip.unlabeled"


class Choices:
    """A format of two inputs a row, whose labels only a held-out set asks for."""

    columns = ("id", "options")

    def items(self, row):
        if "options" not in row:
            raise UnreadableError("no options", "")
        return [
            Item((Message("user", option),), (Part("option", option),), group=row["id"], category="c")
            for option in row["options"]
        ]

    def references(self, row):
        return [option if option == row["best"] else None for option in row["options"]]


def test_a_format_gives_several_inputs_a_row_and_labels_to_held_out_sets_only(tmp_path):
    rows = [{"id": "q1", "options": ["a", "b"], "best": "b"}, {"id": "q2"}, {"id": "q3", "options": ["c"]}]
    path = lines(tmp_path / "rows.jsonl", *rows)
    fed = source(path, format="tests.unit.test_sources:Choices")
    delivery = fed.read(None, 10)
    assert [(x.id, x.question, x.group) for x in delivery.inputs] == [
        ("rows:rows.jsonl#0.0", "a", "q1"),
        ("rows:rows.jsonl#0.1", "b", "q1"),
        ("rows:rows.jsonl#2", "c", "q3"),
    ], "the last row has no label, and a source doesn't mind"
    assert delivery.inputs[1].part("option") == "b"
    with pytest.raises(KeyError, match=r"no part 'reply' \(it has: option\)"):
        delivery.inputs[1].part("reply")
    assert [(reject.row, reject.reason) for reject in delivery.rejects] == [(1, "no options")]
    assert fed.mapping == "format tests.unit.test_sources:Choices"
    heldout = HeldOutConfig(
        type="jsonl",
        path=str(lines(tmp_path / "held.jsonl", rows[0])),
        format="tests.unit.test_sources:Choices",
    )
    found = read_heldout(heldout, "t")
    assert [(each.reference, each.category) for each in found] == [(None, "c"), ("b", "c")]


def test_gsm8k_is_read_as_it_is_published(tmp_path):
    row = {"question": "How many?", "answer": "3 + 4 = <<3+4=7>>7\n#### 7"}
    path = lines(tmp_path / "gsm.jsonl", row, {"question": " ", "answer": "#### 1"})
    delivery = source(path, format="gsm8k").read(None, 10)
    assert [x.question for x in delivery.inputs] == ["How many?"]
    assert [reject.reason for reject in delivery.rejects] == ["no text in column 'question'"]
    heldout = HeldOutConfig(type="jsonl", path=str(lines(tmp_path / "one.jsonl", row)), format="gsm8k")
    assert read_heldout(heldout, "gsm8k")[0].reference == "7"


def test_a_group_on_the_held_out_side_never_trains():
    def x(number, group):
        messages = (Message("user", f"in other words {number}"),)
        return Input(f"s:f#{number}", "t", messages, content_hash(messages), group=group)

    class Fixed:
        name, tasks = "s", ("t",)

        def read(self, cursor, limit):
            return Delivery([x(0, "q1"), x(1, "q2"), x(2, "")], {}, exhausted=True)

    config = SimpleNamespace(run=SimpleNamespace(inputs_per_iteration=10))
    (claimed,) = claim(config, [Fixed()], {}, [NeverTrain([x(9, "q1")])], 0)
    assert claimed.inputs["id"].to_pylist() == ["s:f#1", "s:f#2"]
    assert [(each.place, each.reason, each.same_as) for each in claimed.dropped] == [(0, HELD_OUT, "s:f#9")]


TEMPLATE = "Is {city} in {where.country}? {city}!"


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_a_prompt_made_of_columns(tmp_path, kind):
    rows = [
        {"city": "Rome {city}", "where": {"country": "Italy"}, "answer": "yes", "n": 1},
        {"city": "", "where": {"country": "Peru"}, "answer": "no", "n": 2},
    ]
    path = lines(tmp_path / "x.jsonl", *rows)
    if kind == "parquet":
        path = tmp_path / "x.parquet"
        pq.write_table(pa.Table.from_pylist(rows), path)
    got = everything(path, kind, limits=(1,), template=TEMPLATE)
    assert [x.question for x in got.inputs] == ["Is Rome {city} in Italy? Rome {city}!", "Is  in Peru? !"]
    heldout = read_heldout(HeldOutConfig(type=kind, path=str(path), template="{n}. " + TEMPLATE), "t")
    assert [(h.input.question[:4], h.reference) for h in heldout] == [("1. I", "yes"), ("2. I", "no")]


def test_a_template_whose_column_is_missing_or_no_text(tmp_path):
    path = lines(tmp_path / "x.jsonl", {"city": "Rome"}, {"town": "Oslo"}, {"city": ["Bern"]})
    got = everything(path, template="Where is {city}?")
    assert [x.question for x in got.inputs] == ["Where is Rome?"]
    assert [(r.row, r.reason) for r in got.rejects] == [
        (1, "no column 'city'"),
        (2, "column 'city' is a list, not text or a number"),
    ]


def test_a_template_is_part_of_where_a_source_stands(tmp_path):
    path = lines(tmp_path / "x.jsonl", {"city": "Rome"}, {"city": "Oslo"})
    cursor = source(path, template="Where is {city}?").read(None, 1).cursor
    with pytest.raises(BadInputError, match="Who is"):
        source(path, template="Who is {city}?").read(cursor, 1)


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"template": "no column {}"}, "names no column"),
        ({"template": "{a}", "prompt": "a"}, "so does `prompt`"),
        ({"template": "{a}", "format": "gsm8k"}, "so does `format`"),
    ],
)
def test_a_template_that_cannot_work(keys, said):
    with pytest.raises(ValueError, match=said):
        SourceConfig(task="t", type="jsonl", path="x", **keys)
    with pytest.raises(ValueError, match=said):
        HeldOutConfig(type="jsonl", path="x", **keys)
