"""What a row holds is read right, or the row is rejected (or the source refused) by name: one kind a test."""

import bz2
import datetime
import gzip
import json
import lzma
import os
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from s2d_loop.config import GeneralConfig, HeldOutConfig, SourceConfig
from s2d_loop.errors import BadInputError, UnreachableError
from s2d_loop.records import Message
from s2d_loop.sources import Delivery, Source, jsonl, open_source, read_general, read_heldout
from s2d_loop.sources.column import PARTS, REFERENCES
from s2d_loop.sources.heldout import reference_note
from s2d_loop.sources.packed import is_damage

LATER = 4e9
CHAT = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Legs of a spider?"},
    {"role": "assistant", "content": "8"},
]
ASKED = (Message("system", "Be brief."), Message("user", "Legs of a spider?"))


def source(path: Path, kind: str = "jsonl", **keys: Any) -> Source:
    config = SourceConfig.model_validate({"task": "t", "type": kind, "path": str(path), "name": "in", **keys})
    return open_source(config, now=lambda: LATER)


def read(path: Path, kind: str = "jsonl", **keys: Any) -> Delivery:
    return source(path, kind, **keys).read(None, 10_000)


def lines(path: Path, *rows: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def reasons(delivery: Delivery) -> dict[int, str]:
    return {reject.row: reject.reason for reject in delivery.rejects}


# Chat messages, however they are written down.


@pytest.mark.parametrize("column", ["messages", "prompt", "conversations"])
@pytest.mark.parametrize(
    "turns",
    [
        CHAT,
        json.dumps(CHAT),
        json.dumps(CHAT, indent=1) + "\n",
        [{"from": "system", "value": "Be brief."}, {"from": "human", "value": "Legs of a spider?"}],
        json.dumps([{"from": "system", "value": "Be brief."}, {"from": "human", "value": "Legs of a spider?"},
                    {"from": "gpt", "value": "8"}]),
        [CHAT[0], {"role": "user", "content": [{"type": "text", "text": "Legs of a spider?", "image_url": None}]}],
        [{**turn, "from": None, "value": None, "tool_calls": []} for turn in CHAT],
    ],
)  # fmt: skip
def test_chat_is_read_from_every_common_form(tmp_path: Path, column: str, turns: Any) -> None:
    (found,) = read(lines(tmp_path / "x.jsonl", {column: turns})).inputs
    assert found.messages == ASKED


def test_text_parts_are_lines_of_one_text(tmp_path: Path) -> None:
    parts = [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}]
    (found,) = read(lines(tmp_path / "x.jsonl", {"messages": [{"role": "user", "content": parts}]})).inputs
    assert found.question == "one\ntwo"


@pytest.mark.parametrize(
    "text",
    [
        "[1, 2]",
        '[{"a": 1}]',
        '[{"from": "Rome", "to": "Bern"}]',
        "[",
        "[sic] Why?",
        '{"role": "user"}',
        "[]",
        "null",
    ],
)
def test_a_text_that_only_looks_like_json_is_text(tmp_path: Path, text: str) -> None:
    assert [x.question for x in read(lines(tmp_path / "x.jsonl", {"prompt": text})).inputs] == [text]


@pytest.mark.parametrize(
    ("turns", "reason"),
    [
        (json.dumps(CHAT)[:-9], "begins like chat messages, but is no JSON"),
        (str(CHAT), "begins like chat messages, but is no JSON"),
        ('[{"role": "user", "role": "system", "content": "x"}]', "no user turn"),
        ([{"role": "user", "content": [{"type": "image_url", "image_url": "x"}]}], "part 0 of message 0 has the type 'image_url'"),
        ([{"role": "user", "content": ["x"]}], "part 0 of message 0 is text"),
        ([{"role": "user", "content": []}], "the content of message 0 is a list"),
        ([{"role": "assistant", "content": "", "tool_calls": [{"id": 1}]}, CHAT[1]], "message 0 has tool_calls"),
        ([{"role": "user", "content": "x", "images": ["a.png"]}], "message 0 has images"),
        ([{"from": "observation", "value": "3"}, {"from": "human", "value": "x"}], "message 0 has the role 'observation'"),
        ([{"from": "human", "value": 3}], "the content of message 0 is a number"),
    ],
)  # fmt: skip
def test_chat_that_is_more_than_text_or_broken_is_rejected_by_name(
    tmp_path: Path, turns: Any, reason: str
) -> None:
    got = read(lines(tmp_path / "x.jsonl", {"prompt": "fine"}, {"prompt": turns}))
    assert [x.question for x in got.inputs] == ["fine"]
    assert reason in reasons(got)[1]


# Columns beside the one that was found.


def test_an_instruction_and_its_input_are_one_prompt(tmp_path: Path) -> None:
    rows = [
        {"instruction": "Happy or sad?", "input": text, "output": "o"} for text in ("The kite flew.", "", " ")
    ]
    path = lines(tmp_path / "x.jsonl", *rows, {"instruction": "Why?"}, {"instruction": "Add.", "input": 2.0},
                 {"instruction": "", "input": "Alone?"})  # fmt: skip
    asked = [
        "Happy or sad?\n\nThe kite flew.",
        "Happy or sad?",
        "Happy or sad?",
        "Why?",
        "Add.\n\n2",
        "Alone?",
    ]
    assert [x.question for x in read(path).inputs] == asked
    assert source(path).mapping == (
        "prompt = column 'instruction', and 'input' as its second paragraph (found by their names)"
    )
    assert [x.question for x in read(path, prompt="instruction").inputs][:2] == ["Happy or sad?"] * 2
    heldout = HeldOutConfig(type="jsonl", path=str(path))
    assert [each.input.question for each in read_heldout(heldout, "t")] == asked
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "x.parquet")
    assert [x.question for x in read(tmp_path / "x.parquet", "parquet").inputs] == asked[:3]


@pytest.mark.parametrize("given", [float("nan"), True, ["a"], {"a": 1}])
def test_an_input_that_is_no_text_is_rejected(tmp_path: Path, given: Any) -> None:
    got = read(lines(tmp_path / "x.jsonl", {"instruction": "Why?"}, {"instruction": "Add.", "input": given}))
    assert [x.question for x in got.inputs] == ["Why?"]
    assert "column 'input' is" in reasons(got)[1]


@pytest.mark.parametrize("part", [part for part in PARTS if part not in ("instruction", "input")])
@pytest.mark.parametrize("column", ["question", "messages", "instruction"])
def test_a_column_that_may_be_a_part_of_the_prompt_is_named(tmp_path: Path, column: str, part: str) -> None:
    prompt = CHAT if column == "messages" else "Why?"
    for kind, full in (("jsonl", "A fact."), ("parquet", ["a", "b"])):
        rows = [{column: prompt, part: None}, {column: prompt, part: full}]
        path = lines(tmp_path / "x.jsonl", *rows)
        if kind == "parquet":
            path = tmp_path / "x.parquet"
            pq.write_table(pa.Table.from_pylist(rows), path)
        with pytest.raises(BadInputError, match=rf"column '{part}' beside '{column}' .*`prompt: {column}`"):
            source(path, kind)
        with pytest.raises(BadInputError, match=f"column '{part}'"):
            read_heldout(HeldOutConfig(type=kind, path=str(path)), "t")  # type: ignore[arg-type]
        assert len(read(path, kind, prompt=column).inputs) == 2


def test_the_remedies_that_are_named_work(tmp_path: Path) -> None:
    path = lines(tmp_path / "x.jsonl", {"question": "Why?", "context": "A fact."})
    with pytest.raises(BadInputError) as refused:
        source(path)
    assert r'`template: "{context}\n\n{question}"` to have both' in str(refused.value)
    assert read(path, template="{context}\n\n{question}").inputs[0].question == "A fact.\n\nWhy?"
    path = lines(tmp_path / "y.jsonl", {"question": "Which?", "choices": ["a", "b"]})
    with pytest.raises(BadInputError, match=r"make a column of text of the two first \(choices is a list\)"):
        source(path)


def test_a_part_that_turns_up_later_costs_its_rows(tmp_path: Path) -> None:
    rows = [{"question": f"q{n}", "context": "" if n != 150 else "A fact."} for n in range(200)]
    got = read(lines(tmp_path / "x.jsonl", *rows))
    assert len(got.inputs) == 199
    assert reasons(got) == {150: "column 'context' isn't empty, and isn't in the prompt"}


def test_a_run_that_read_the_instruction_alone_is_not_changed_on_the_way(tmp_path: Path) -> None:
    path = lines(tmp_path / "x.jsonl", {"instruction": "a"}, {"instruction": "b", "input": "c"})
    cursor = source(path, prompt="instruction").read(None, 1).cursor
    got = source(path).read(cursor, 9)
    assert (got.inputs, reasons(got)) == ([], {1: "column 'input' isn't empty, and isn't in the prompt"})


# Values in templates and references.


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (18, "18"), (18.0, "18"), (1e3, "1000"), (-0.0, "0"), (0.1, "0.1"), (1e-7, "0.0000001"), (2.5, "2.5"),
        (10**30, "1" + 30 * "0"), (float(2**53 - 1), str(2**53 - 1)), ("18.0", "18.0"), ("007", "007"),
    ],
)  # fmt: skip
def test_a_number_is_the_shortest_text_that_is_equal_to_it(tmp_path: Path, value: Any, text: str) -> None:
    path = lines(tmp_path / "x.jsonl", {"prompt": "Why?", "n": value, "answer": value})
    assert [x.question for x in read(path, template="n = {n}").inputs] == [f"n = {text}"]
    assert [each.reference for each in read_heldout(HeldOutConfig(type="jsonl", path=str(path)), "t")] == [
        text
    ]


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (None, "null"), (True, "true or false"), (["a", "b"], "a list"), ({"a": 1}, "an object"),
        (float("nan"), "nan, which is no number"), (float("inf"), "inf, which is no number"),
        (2.0**53, "too big to be exact"), (1e300, "too big to be exact"),
    ],
)  # fmt: skip
def test_what_is_neither_text_nor_a_number_is_refused_by_name(tmp_path: Path, value: Any, said: str) -> None:
    path = lines(
        tmp_path / "x.jsonl",
        {"prompt": "a", "n": 1, "answer": 1},
        {"prompt": "b", "n": value, "answer": value},
    )
    got = read(path, template="n = {n}")
    assert [x.question for x in got.inputs] == ["n = 1"]
    assert "column 'n' is" in reasons(got)[1]
    assert said in reasons(got)[1]
    with pytest.raises(BadInputError, match=rf"x.jsonl#1: the reference is {said.split(',')[0]}|{said}"):
        read_heldout(HeldOutConfig(type="jsonl", path=str(path)), "t")


def test_types_of_tables_are_read_right_or_refused(tmp_path: Path) -> None:
    table = pa.table(
        {
            "single": pa.array([0.1], pa.float32()),
            "decimal": pa.array(["12.50"]).cast(pa.decimal128(9, 2)),
            "day": pa.array([datetime.date(2024, 5, 1)]),
            "bytes": pa.array([b"x"]),
        }
    )
    pq.write_table(table, tmp_path / "x.parquet")
    path = tmp_path / "x.parquet"
    assert read(path, "parquet", template="{single} {decimal}").inputs[0].question == "0.1 12.5"
    for column, said in (("day", "a date"), ("bytes", "bytes")):
        with pytest.raises(BadInputError, match=f"column '{column}' is {said}, not text or a number"):
            read(path, "parquet", template=f"{{{column}}}")


def test_references_that_are_named_and_not_there_or_come_late_are_refused(tmp_path: Path) -> None:
    path = lines(tmp_path / "x.jsonl", {"prompt": "a", "gold": "b"})
    with pytest.raises(BadInputError, match="no column 'answer'; there are 'prompt', 'gold'"):
        read_heldout(HeldOutConfig(type="jsonl", path=str(path), reference="answer"), "t")
    late = lines(
        tmp_path / "y.jsonl", *({"prompt": f"p{n}"} for n in range(120)), {"prompt": "z", "answer": "1"}
    )
    with pytest.raises(
        BadInputError, match=r"y.jsonl#120: has a column 'answer', and the first rows have none"
    ):
        read_heldout(HeldOutConfig(type="jsonl", path=str(late)), "t")
    for keys in ({"reference": "gold"}, {"prompt": "prompt"}):
        with pytest.raises(ValueError, match="`format: gsm8k` knows its own"):
            HeldOutConfig.model_validate({"type": "jsonl", "path": "x", "format": "gsm8k", **keys})


@pytest.mark.parametrize("name", ["gold", "expected", "ground_truth", "solution", "output", "response", "completion",
                                  "final_answer", "answers"])  # fmt: skip
def test_a_held_out_set_says_which_column_its_references_may_be_in(tmp_path: Path, name: str) -> None:
    path = lines(tmp_path / "x.jsonl", {"prompt": "a", name: "b", "id": 1})
    config = HeldOutConfig(type="jsonl", path=str(path))
    assert [each.reference for each in read_heldout(config, "t")] == [None]
    note = reference_note(config) or ""
    assert note.startswith("no references, so System 2's vote counts")
    assert f"columns: 'prompt', '{name}', 'id'" in note
    assert note.endswith(f"'{name}' looks like one: write `reference: {name}`")
    named = config.model_copy(update={"reference": name})
    assert [each.reference for each in read_heldout(named, "t")] == ["b"]
    assert reference_note(named) is None


def test_a_guessed_reference_is_said_too(tmp_path: Path) -> None:
    for name in REFERENCES:
        config = HeldOutConfig(
            type="jsonl", path=str(lines(tmp_path / "x.jsonl", {"prompt": "a", name: "b"}))
        )
        assert reference_note(config) == f"reference = column '{name}' (found by its name)"
    assert reference_note(config.model_copy(update={"format": "gsm8k"})) is None


def test_prompts_that_need_no_references_are_read_whatever_lies_in_such_a_column(tmp_path: Path) -> None:
    path = lines(tmp_path / "x.jsonl", *({"prompt": f"p{n}", "answer": [n]} for n in range(12)))
    assert len(read_general(GeneralConfig(type="jsonl", path=str(path)))) == 12


# JSON, as files really have it.


def raw(path: Path, *rows: bytes, end: bytes = b"\n") -> Path:
    path.write_bytes(b"".join(row + end for row in rows))
    return path


DEEP = b"[" * 900 + b"]" * 900
ODD: list[tuple[bytes, str]] = [
    (b'{"prompt": "a", "prompt": "b"}', "an object that has the key 'prompt' twice"),
    (b'{"prompt": "\\ud800"}', "holds half a character"),
    (b'{"prompt": "\\ud800", "\\udfff": 1, "\\udfff": 2}', r"has the key '\\udfff' twice"),
    (b'{"prompt": ' + DEEP + b"}", "no user turn"),
    (b'{"prompt": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "not JSON: "),
    (b'{"prompt": ' + b"7" * 5000 + b"}", "the prompt is a number"),
    (b'{"prompt": "\xff"}', "not UTF-8 text"),
    (b"\x00" * 40, "not JSON: "),
    (b"\xef\xbb\xbf" + b'{"prompt": "a"}', "not JSON: "),
]


@pytest.mark.parametrize(("row", "reason"), ODD)
@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_odd_json_costs_its_row_and_says_so(tmp_path: Path, row: bytes, reason: str, end: bytes) -> None:
    good = b'{"prompt": "caf\xc3\xa9\\u0000"}'
    got = read(raw(tmp_path / "x.jsonl", b"\xef\xbb\xbf" + good, row, good, end=end))
    assert [x.question for x in got.inputs] == ["caf\u00e9\0"] * 2
    assert reason in reasons(got)[1]


def test_odd_json_in_a_column_that_is_not_read_costs_nothing(tmp_path: Path) -> None:
    others = (b'{"a": 1, "a": 2}', DEEP, b"7" * 5000, b"NaN", b"-Infinity", b'"\\ud800"')
    rows = [b'{"prompt": "p%d", "meta": %s}' % (n, other) for n, other in enumerate(others)]
    path = raw(tmp_path / "x.jsonl", *rows)
    (tmp_path / "x.json").write_bytes(b"[" + b",".join(rows) + b"]")
    for each in (path, tmp_path / "x.json"):
        got = read(each)
        assert (len(got.inputs), got.rejects) == (len(rows), [])


def test_a_number_of_thousands_of_digits_is_exact(tmp_path: Path) -> None:
    path = raw(tmp_path / "x.jsonl", b'{"n": ' + b"7" * 5000 + b"}")
    assert read(path, template="{n}").inputs[0].question == "7" * 5000


def test_a_byte_that_is_no_text_costs_one_row_of_a_list(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_bytes(b'[{"prompt": "a"}, {"prompt": "\xff"}, {"prompt": "b", "x": "\xff"}]')
    got = read(tmp_path / "x.json")
    assert [x.question for x in got.inputs] == ["a", "b"]
    assert reasons(got) == {1: "holds half a character (a lone surrogate)"}


# Files: packed, of other names, damaged.

PACK: dict[str, Callable[[bytes], bytes]] = {
    "gz": gzip.compress,
    "bz2": bz2.compress,
    "xz": lzma.compress,
    "zst": lambda data: pa.compress(data, codec="zstd", asbytes=True),
}
ROWS = b"".join(b'{"prompt": "p%d"}\n' % n for n in range(3000))


@pytest.mark.parametrize("end", PACK)
def test_packed_files_are_read_as_what_is_in_them(tmp_path: Path, end: str) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    half = len(ROWS) // 2 + 5
    (folder / f"A.JSONL.{end.upper()}").write_bytes(PACK[end](ROWS[:half]) + PACK[end](ROWS[half:]))
    (folder / f"b.json.{end}").write_bytes(PACK[end](b'\xef\xbb\xbf[{"prompt": "in a list"}]'))
    (folder / f"c.ndjson.{end}").write_bytes(PACK[end](b'\xef\xbb\xbf{"prompt": "last"}\r\n\n'))
    got = read(folder, "directory")
    assert [x.question for x in got.inputs] == [*(f"p{n}" for n in range(3000)), "in a list", "last"]
    assert got.inputs[2999].id == f"in:A.JSONL.{end.upper()}#2999"
    assert got.rejects == []
    one = read(folder / f"b.json.{end}")
    assert [x.question for x in one.inputs] == ["in a list"]


@pytest.mark.parametrize("end", PACK)
def test_a_packed_file_that_is_cut_off_or_damaged_gives_what_can_be_had_and_says_so(
    tmp_path: Path, end: str
) -> None:
    data = PACK[end](ROWS * 3)
    for broken in (data[: len(data) * 2 // 3], data[:-9], b"no such thing"):
        path = tmp_path / f"x.jsonl.{end}"
        path.write_bytes(broken)
        lines(tmp_path / "y.jsonl", {"prompt": "good"})
        got = read(tmp_path, "directory")
        texts = [x.question for x in got.inputs]
        (reason,) = got.rejects
        assert texts == [f"p{n % 3000}" for n in range(len(texts) - 1)] + ["good"]
        assert (reason.file, reason.row) == (path.name, len(texts) - 1)
        assert reason.reason.startswith("can't be unpacked from here on")
        assert source(tmp_path, "directory").read(got.cursor, 9).rows == []


def test_no_packed_file_can_fill_the_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jsonl, "MAX_LINE", 1000)
    monkeypatch.setattr(jsonl, "MAX_LIST", 1000)
    lines(tmp_path / "a.jsonl", {"prompt": "good"})
    (tmp_path / "b.jsonl.gz").write_bytes(gzip.compress(b" " * 10_000_000 + b'\n{"prompt": "small"}\n'))
    (tmp_path / "c.json.gz").write_bytes(gzip.compress(b"[" + b" " * 10_000_000 + b"]"))
    got = read(tmp_path, "directory")
    assert [x.question for x in got.inputs] == ["good", "small"]
    assert [(r.file, r.reason.split(":")[0][:20]) for r in got.rejects] == [
        ("b.jsonl.gz", "a line of more than "),
        ("c.json.gz", "a list of more than "),
    ]


def test_a_folder_reads_every_name_it_can_and_names_the_rest(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    for name in ("a.ndjson", "B.JSONL", "c.Json", "_d.jsonl"):
        lines(folder / name, {"prompt": name})
    pq.write_table(pa.table({"prompt": ["E.PARQUET"]}), folder / "E.PARQUET")
    for name in ("day1.csv", "f.jsonl.lz4", "g.jsonl.1", "README"):
        (folder / name).write_text("x")
    for name in ("_SUCCESS", "empty.csv", ".hidden.csv", "h.csv.tmp", "I.JSONL.PART"):
        (folder / name).write_text("" if name.startswith("empty") else "x")
    reader = source(folder, "directory")
    got = reader.read(None, 100)
    assert sorted(x.question for x in got.inputs) == [
        "B.JSONL",
        "E.PARQUET",
        "_d.jsonl",
        "a.ndjson",
        "c.Json",
    ]
    assert sorted(r.file for r in got.rejects) == ["README", "day1.csv", "f.jsonl.lz4", "g.jsonl.1"]
    assert {r.reason.split(":")[0] for r in got.rejects} == {"this file isn't read"}
    assert reader.read(got.cursor, 100).rows == []
    (folder / "day1.csv").write_text("other")
    (folder / "README").unlink()
    assert source(folder, "directory").read(got.cursor, 100).rows == [], (
        "they are named once, whatever they become"
    )


def test_a_folder_in_which_nothing_can_be_read_is_refused(tmp_path: Path) -> None:
    (tmp_path / "day1.csv").write_text("prompt\nx\n")
    with pytest.raises(
        BadInputError, match=r"(?s)none of its rows .*day1.csv#0: this file isn't read: its name"
    ):
        read(tmp_path, "directory")


def test_a_packed_file_that_changed_is_refused_and_one_being_written_is_left(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl.gz"
    path.write_bytes(gzip.compress(ROWS))
    cursor = source(tmp_path, "directory").read(None, 10).cursor
    path.write_bytes(path.read_bytes() + gzip.compress(b'{"prompt": "more"}\n'))
    with pytest.raises(BadInputError, match=r"x.jsonl.gz changed .*never change it"):
        source(tmp_path, "directory").read(cursor, 10)
    os.utime(path, (LATER - 1, LATER - 1))
    assert read(tmp_path, "directory").rows == []


# Parquet: what is damaged costs what is in it.


def strings(*texts: bytes) -> Any:
    """A column of text that holds any bytes."""
    stored = pa.array(texts, pa.binary())
    return pa.StringArray.from_buffers(len(stored), *stored.buffers()[1:])


def test_text_that_is_not_utf8_costs_its_row(tmp_path: Path) -> None:
    texts = [b"p%d" % n if n % 7 else b"\xff\xfe" for n in range(600)]
    pq.write_table(pa.table({"prompt": strings(*texts)}), tmp_path / "x.parquet")
    got = read(tmp_path / "x.parquet", "parquet")
    assert [x.question for x in got.inputs] == [f"p{n}" for n in range(600) if n % 7]
    assert reasons(got) == dict.fromkeys(range(0, 600, 7), "column 'prompt' isn't UTF-8 text")


def test_a_date_that_python_has_not_costs_its_row(tmp_path: Path) -> None:
    days = pa.array([0, 3 * 10**17, 1], pa.timestamp("us"))
    pq.write_table(pa.table({"prompt": ["a", "b", "c"], "day": days}), tmp_path / "x.parquet")
    assert len(read(tmp_path / "x.parquet", "parquet").inputs) == 3, "it is not read"
    with pytest.raises(BadInputError, match="column 'day' can't be read: "):
        read(tmp_path / "x.parquet", "parquet", prompt="day")


def test_two_columns_of_one_name_are_refused(tmp_path: Path) -> None:
    table = pa.Table.from_arrays([pa.array(["a"]), pa.array(["b"])], names=["prompt", "prompt"])
    pq.write_table(table, tmp_path / "x.parquet")
    with pytest.raises(BadInputError, match="two columns are called 'prompt'"):
        read(tmp_path / "x.parquet", "parquet")


@pytest.mark.parametrize("start", [0, 150])
def test_a_damaged_page_costs_its_rows_and_those_behind_it_in_its_group(tmp_path: Path, start: int) -> None:
    path = tmp_path / "x.parquet"
    texts = [f"prompt {n} {zlib.crc32(b'%d' % n)}" for n in range(600)]
    pq.write_table(
        pa.table({"prompt": texts}), path, row_group_size=300, use_dictionary=False, data_page_size=400,
        write_batch_size=10, compression="none", write_page_checksum=True,
    )  # fmt: skip
    data = path.read_bytes()
    at = data.index(b"prompt 207 ")
    path.write_bytes(data[:at] + b"X" + data[at + 1 :])
    reader = source(path, "parquet")
    first = reader.read(None, start) if start else Delivery([], {}, False)
    got = reader.read(first.cursor, 10_000)
    assert [x.question for x in got.inputs if int(x.question.split()[1]) >= 300] == texts[300:]
    lost = sorted(reasons(got))
    assert lost == list(range(lost[0], 300))
    assert 207 - 30 <= lost[0] <= 207
    assert [x.question for x in [*first.inputs, *got.inputs]] == texts[: lost[0]] + texts[300:]
    assert all(each.startswith("row group 0 can't be read from here on: ") for each in reasons(got).values())


@pytest.mark.parametrize(
    ("error", "damage"),
    [
        (OSError("Corrupt snappy compressed data."), True),
        (pa.ArrowInvalid("x"), True),
        (EOFError(), True),
        (gzip.BadGzipFile("x"), True),
        (OSError(5, "Input/output error"), False),
        (ConnectionResetError("x"), False),
        (TimeoutError(), False),
        (PermissionError(13, "x"), False),
        (UnreachableError("x"), False),
        (TypeError("x"), False),
    ],
)
def test_a_service_that_fails_is_not_taken_for_a_damaged_file(error: Exception, damage: bool) -> None:
    assert is_damage(error) is damage


# Sets of the `datasets` library.


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "cache"))


@pytest.mark.usefixtures("cache")
@pytest.mark.parametrize("streaming", [False, True])
def test_a_column_of_mixed_types_is_what_was_written(tmp_path: Path, streaming: bool) -> None:
    texts = ['Say "yes".\nOr no.', "caf\u00e9 \\ /", "007", "[sic]"]
    rows = [*texts, [{"role": "user", "content": "Is snow cold?"}], 5, None, {"a": 1}]
    lines(tmp_path / "set" / "x.jsonl", *({"prompt": row, "n": n} for n, row in enumerate(rows)))
    got = read(tmp_path / "set", "dataset", streaming=streaming)
    assert [x.question for x in got.inputs] == [*texts, "Is snow cold?"]
    assert [reason.split(",")[0] for reason in reasons(got).values()] == [
        "the prompt is a number",
        "the prompt is null",
        "the prompt is an object",
    ]


@pytest.mark.usefixtures("cache")
def test_a_mixed_column_in_a_parquet_file_is_what_was_written(tmp_path: Path) -> None:
    table = pa.table({"prompt": pa.array(['"Say \\"yes\\"."', json.dumps(CHAT), "5"], pa.json_())})
    for stored in (True, False):
        pq.write_table(table, tmp_path / "x.parquet", store_schema=stored)
        got = read(tmp_path / "x.parquet", "parquet")
        assert [x.question for x in got.inputs] == ['Say "yes".', "Legs of a spider?"]
        assert "the prompt is a number" in reasons(got)[2]


@pytest.mark.usefixtures("cache")
@pytest.mark.parametrize("streaming", [False, True])
def test_texts_of_a_later_file_that_mixes_are_rejected_and_not_read_as_their_json(
    tmp_path: Path, streaming: bool
) -> None:
    lines(tmp_path / "set" / "a.jsonl", {"prompt": "a"}, {"prompt": '"To be," he said, "or not"'})
    lines(tmp_path / "set" / "b.jsonl", {"prompt": 'Say "c"'}, {"prompt": CHAT})
    got = read(tmp_path / "set", "dataset", streaming=streaming)
    assert [x.question for x in got.inputs] == ["a", '"To be," he said, "or not"', "Legs of a spider?"]
    assert "column 'prompt' is text in quotes" in reasons(got)[2]


@pytest.mark.usefixtures("cache")
@pytest.mark.parametrize("streaming", [False, True])
def test_a_text_in_quotes_is_a_text_where_nothing_mixes(tmp_path: Path, streaming: bool) -> None:
    lines(tmp_path / "set" / "a.jsonl", {"prompt": '"To be?"', "answer": "5"})
    (found,) = read(tmp_path / "set", "dataset", streaming=streaming).inputs
    assert found.question == '"To be?"'


@pytest.mark.usefixtures("cache")
@pytest.mark.parametrize("streaming", [False, True])
def test_a_set_with_text_that_is_not_utf8_loses_that_row(tmp_path: Path, streaming: bool) -> None:
    (tmp_path / "set").mkdir()
    pq.write_table(pa.table({"prompt": strings(b"a", b"\xff", b"c")}), tmp_path / "set" / "x.parquet")
    reader = source(tmp_path / "set", "dataset", streaming=streaming)
    first = reader.read(None, 2)
    rest = source(tmp_path / "set", "dataset", streaming=streaming).read(first.cursor, 9)
    assert [x.question for x in [*first.inputs, *rest.inputs]] == ["a", "c"]
    assert reasons(first) == {1: "column 'prompt' isn't UTF-8 text"}


@pytest.mark.usefixtures("cache")
def test_a_streamed_set_that_cannot_be_decoded_is_refused_and_not_tried_for_minutes(tmp_path: Path) -> None:
    lines(tmp_path / "set" / "a.jsonl", {"prompt": "a"})
    raw(tmp_path / "set" / "b.jsonl", b'{"prompt": "b"}', b"broken")
    reader = source(tmp_path / "set", "dataset", streaming=True)
    with pytest.raises(BadInputError, match=r"train can't be read from its row 1 on: .*\n.*`type: jsonl`"):
        reader.read(None, 10)
