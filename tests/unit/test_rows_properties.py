"""Every reader of rows: no value raises, every row has one outcome, and a text comes back as it was."""

import bz2
import gzip
import json
import lzma
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from s2d_loop.config import HeldOutConfig, SourceConfig
from s2d_loop.errors import BadInputError
from s2d_loop.formats.base import UnreadableError, messages_in
from s2d_loop.records import Message
from s2d_loop.sources import Delivery, fold, open_source, read_heldout
from s2d_loop.sources.column import GuessedPrompt, conversation, plain, reference
from s2d_loop.sources.tables import table_rows

FEW = settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])

any_text = st.text(st.characters(codec=None), max_size=12)  # with halves of characters
scalars = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), any_text, st.just(Decimal("1" + 5000 * "0")), st.just("\x00"), st.just("1e5")
)  # fmt: skip
keys = st.sampled_from(["role", "content", "from", "value", "type", "text", "a", "\ud800"])
turns = st.lists(
    st.fixed_dictionaries(
        {},
        optional={
            "role": st.sampled_from(["user", "assistant", "system", "tool", None, 3, ["user"]]),
            "from": st.sampled_from(["human", "gpt", "system", "observation", 3, {}]),
            "content": st.one_of(scalars, st.lists(st.dictionaries(keys, any_text, max_size=3), max_size=2)),
            "value": scalars,
            "tool_calls": scalars,
        },
    ),
    max_size=3,
)
values = st.one_of(
    st.recursive(
        scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3)
    ),
    turns,
    turns.map(lambda each: json.dumps(each, default=str)),
)
names = st.sampled_from(["prompt", "messages", "input", "context", "answer", "n", "request"])
rows = st.dictionaries(names, values, max_size=4)


def dumped(value: Any) -> str:
    """JSON of any value: Python writes no integers of thousands of digits by itself."""
    return json.dumps(value).replace('"ten to the 5000"', "1" + 5000 * "0")


def writable(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: writable(each) for key, each in value.items()}
    if isinstance(value, list):
        return [writable(each) for each in value]
    return "ten to the 5000" if isinstance(value, Decimal) else value


PACK: dict[str, Callable[[bytes], bytes]] = {
    "": bytes,
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
    ".zst": lambda data: pa.compress(data, codec="zstd", asbytes=True),
}


def write_json(folder: Path, end: str, values: list[Any], *, as_list: bool = False) -> Path:
    texts = [dumped(writable(value)) for value in values]
    text = f"[{', '.join(texts)}]" if as_list else "".join(each + "\n" for each in texts)
    path = folder / f"x.json{'' if as_list else 'l'}{end}"
    path.write_bytes(PACK[end](text.encode()))
    return path


def everything(path: Path, kind: str, limit: int = 3, **keys: Any) -> Delivery:
    """All rows, each read by a source that is opened anew."""
    config = SourceConfig.model_validate({"task": "t", "type": kind, "path": str(path), "name": "in", **keys})
    found, cursor = [], None
    while True:
        got = open_source(config, now=lambda: 4e9).read(cursor, limit)
        found += got.rows
        cursor = fold([cursor or {}, json.loads(json.dumps(got.cursor))])
        if got.exhausted:
            return Delivery(found, cursor, True)


def texts_of(delivery: Delivery) -> list[str]:
    return [x.question for x in delivery.inputs]


# Any value, anywhere.


@pytest.mark.parametrize("as_list", [False, True])
@pytest.mark.parametrize("end", ["", ".gz"])
@FEW
@given(
    given_rows=st.lists(rows, max_size=5),
    form=st.sampled_from([{}, {"prompt": "prompt"}, {"template": "{prompt} {n}"}]),
)
def test_no_value_in_any_column_raises_and_each_row_has_an_outcome(
    tmp_path: Path, end: str, as_list: bool, given_rows: list[dict[str, Any]], form: dict[str, str]
) -> None:
    first = {"prompt": "first", "n": 1}
    path = write_json(tmp_path, end, [first, *given_rows], as_list=as_list)
    try:
        got = everything(path, "jsonl", **form)
    except BadInputError as refused:
        assert not form
        assert "may be a part of the prompt" in str(refused)  # noqa: PT017
        return
    assert len(got.inputs) + len(got.rejects) == 1 + len(given_rows)
    assert got.inputs[0].question.startswith("first")
    json.dumps([[m.content for m in x.messages] for x in got.inputs], ensure_ascii=False).encode()
    json.dumps([r.reason + r.excerpt for r in got.rejects], ensure_ascii=False).encode()


@FEW
@given(given_rows=st.lists(rows, max_size=4))
def test_a_held_out_set_is_read_or_refused_by_name(tmp_path: Path, given_rows: list[dict[str, Any]]) -> None:
    path = write_json(tmp_path, "", [{"prompt": "first", "answer": "a"}, *given_rows])
    try:
        found = read_heldout(HeldOutConfig(type="jsonl", path=str(path)), "t")
    except BadInputError as refused:
        str(refused).encode()
        return
    assert len(found) == 1 + len(given_rows)
    assert all(each.reference and each.reference.encode() for each in found)


@given(values)
def test_a_value_alone_is_read_or_refused(value: Any) -> None:
    for read in (conversation, reference, lambda each: plain(each, "it")):
        try:
            assert read(value)
        except UnreadableError as why:
            (str(why) + why.excerpt).encode()
        except AssertionError:
            assert value == ""


arrow_types = st.sampled_from(
    [
        *(pa.int8(), pa.uint64(), pa.float32(), pa.float64(), pa.bool_(), pa.string(), pa.large_string()),
        *(
            pa.binary(),
            pa.date32(),
            pa.timestamp("us"),
            pa.timestamp("ns"),
            pa.duration("s"),
            pa.time64("ns"),
        ),
        *(pa.decimal128(20, 3), pa.json_(), pa.null(), pa.list_(pa.json_()), pa.list_(pa.string())),
        pa.struct([("role", pa.string()), ("content", pa.json_()), ("n", pa.float32())]),
        pa.dictionary(pa.int8(), pa.string()),
    ]
)


@st.composite
def arrow_columns(draw: st.DrawFn) -> Any:
    """Three values of any type, made of bytes that mean nothing."""
    stored = draw(arrow_types)

    def array(kind: Any) -> Any:
        if isinstance(kind, pa.JsonType):
            return pa.ExtensionArray.from_storage(kind, array(pa.string()))
        if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_binary(kind):
            wide = pa.types.is_large_string(kind)
            held = pa.array(draw(st.lists(st.binary(max_size=6), min_size=3, max_size=3)), pa.large_binary() if wide else pa.binary())  # fmt: skip
            return pa.Array.from_buffers(kind, 3, held.buffers())
        if pa.types.is_struct(kind):
            return pa.StructArray.from_arrays([array(field.type) for field in kind], fields=list(kind))
        if pa.types.is_list(kind):
            return pa.ListArray.from_arrays(pa.array([0, 1, 1, 3], pa.int32()), array(kind.value_type))
        if pa.types.is_dictionary(kind):
            return pa.DictionaryArray.from_arrays(pa.array([0, 2, 1], pa.int8()), array(pa.string()))
        if pa.types.is_null(kind):
            return pa.nulls(3)
        if pa.types.is_boolean(kind):
            return pa.array([True, None, False])
        if pa.types.is_decimal(kind):
            return pa.array(draw(st.lists(st.decimals(-9999, 9999, places=3), min_size=3, max_size=3)), kind)
        width = kind.bit_width // 8
        return pa.Array.from_buffers(kind, 3, [None, pa.py_buffer(draw(st.binary(min_size=3 * width, max_size=3 * width)))])  # fmt: skip

    return array(stored)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(column=arrow_columns(), beside=arrow_columns())
def test_no_value_of_a_table_raises_and_a_bad_one_costs_its_row(
    tmp_path: Path, column: Any, beside: Any
) -> None:
    table = pa.table({"prompt": column, "n": beside})
    found = list(table_rows(table))
    assert len(found) == 3
    for number, row in enumerate(found):
        alone = next(table_rows(table.slice(number, 1)))
        assert isinstance(row, dict) == isinstance(alone, dict), "a row is read as if it stood alone"
    try:
        pq.write_table(table, tmp_path / "x.parquet")
    except (pa.ArrowException, ValueError):
        return  # Parquet has no such value
    for keys in ({"prompt": "prompt"}, {"template": "{prompt} {n}"}):
        try:
            got = everything(tmp_path / "x.parquet", "parquet", limit=2, **keys)
        except BadInputError as refused:
            assert "none of its rows can be read" in str(refused)  # noqa: PT017
        else:
            assert len(got.inputs) + len(got.rejects) == 3


# Texts come back.


def is_plain(text: str) -> bool:
    try:
        return bool(text.strip()) and messages_in(text) is None
    except UnreadableError:
        return False


def is_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


plain_texts = st.one_of(
    st.text(max_size=30), st.sampled_from(['"q"', "[1]", "{}", "\ufeffx", "a\r\nb\u2028c\0"])
).filter(is_plain)


@pytest.mark.parametrize("end", PACK)
@FEW
@given(texts=st.lists(plain_texts, min_size=1, max_size=8))
def test_a_text_comes_back_from_every_kind_of_file(tmp_path: Path, end: str, texts: list[str]) -> None:
    wanted = [{"prompt": text, "answer": text} for text in texts]
    paths = [write_json(tmp_path, end, wanted), write_json(tmp_path, end, wanted, as_list=True)]
    for path in paths:
        assert texts_of(everything(path, "jsonl")) == texts
        assert texts_of(everything(path, "jsonl", template="{prompt}")) == texts
        heldout = read_heldout(HeldOutConfig(type="jsonl", path=str(path)), "t")
        assert [(each.input.question, each.reference) for each in heldout] == [(text, text) for text in texts]


@FEW
@given(texts=st.lists(plain_texts, min_size=1, max_size=8))
def test_a_text_comes_back_from_a_table(tmp_path: Path, texts: list[str]) -> None:
    mixed = pa.array([json.dumps(text) for text in texts], pa.json_())
    columns = [
        pa.array(texts),
        pa.array(texts).dictionary_encode(),
        pa.array(texts, pa.large_string()),
        mixed,
    ]
    for column in columns:
        pq.write_table(pa.table({"prompt": column}), tmp_path / "x.parquet", row_group_size=3)
        assert texts_of(everything(tmp_path / "x.parquet", "parquet")) == texts


@pytest.fixture(scope="module")
def number() -> list[int]:
    return [0]


@pytest.mark.parametrize("streaming", [False, True])
@settings(
    max_examples=4,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
)
@given(texts=st.lists(plain_texts, min_size=10, max_size=60))
def test_a_text_comes_back_from_a_set(
    tmp_path: Path, number: list[int], monkeypatch: pytest.MonkeyPatch, streaming: bool, texts: list[str]
) -> None:
    datasets = pytest.importorskip("datasets")
    number[0] += 1
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "cache"))
    pure, mixed = tmp_path / f"pure{number[0]}", tmp_path / f"mixed{number[0]}"
    pure.mkdir()
    mixed.mkdir()
    write_json(pure, "", [{"prompt": text, "n": 1} for text in texts])
    chat = [{"role": "user", "content": "chat"}]
    write_json(mixed, "", [{"prompt": value, "n": 1} for value in [*texts, chat]])
    assert texts_of(everything(pure, "dataset", limit=1000, streaming=streaming)) == texts
    # In a mixed column the library itself can't tell a text that is JSON from what it says.
    got = everything(mixed, "dataset", limit=1000, streaming=streaming)
    by_row = {int(x.id.rpartition("#")[2]): x.question for x in got.inputs}
    assert len(by_row) + len(got.rejects) == len(texts) + 1
    assert by_row[len(texts)] == "chat"
    for row, text in enumerate(texts):
        assert is_json(text) or by_row[row] == text


# Conversations, whatever they are spelled as.


said = st.text(min_size=1, max_size=15).filter(str.strip)
conversations = st.builds(
    lambda system, earlier, last: (*system, *(m for pair in earlier for m in pair), Message("user", last)),
    st.lists(st.builds(Message, st.just("system"), said), max_size=1),
    st.lists(
        st.tuples(st.builds(Message, st.just("user"), said), st.builds(Message, st.just("assistant"), said)),
        max_size=2,
    ),
    said,
)
SHAREGPT = {"system": "system", "user": "human", "assistant": "gpt"}


def spellings(asked: tuple[Message, ...], answer: str) -> list[Any]:
    whole = [*asked, Message("assistant", answer)]
    turns = [{"role": m.role, "content": m.content} for m in whole]
    parts = [{"role": m.role, "content": [{"type": "text", "text": m.content}]} for m in whole]
    sharegpt = [{"from": SHAREGPT[m.role], "value": m.content} for m in whole]
    lists = [turns, parts, sharegpt]
    return [*lists, *map(json.dumps, lists), json.dumps(turns, ensure_ascii=False, indent=2)]


@FEW
@given(asked=conversations, answer=st.text(max_size=9))
def test_a_conversation_is_the_same_in_every_spelling_and_file(
    tmp_path: Path, asked: tuple[Message, ...], answer: str
) -> None:
    written = spellings(asked, answer)
    assert {conversation(value) for value in written} == {asked}
    for column in ("messages", "conversations", "prompt"):
        path = write_json(tmp_path, "", [{column: value} for value in written])
        assert {x.messages for x in everything(path, "jsonl", limit=100).inputs} == {asked}
    for value in written:
        pq.write_table(pa.Table.from_pylist([{"messages": value}]), tmp_path / "x.parquet")
        (found,) = everything(tmp_path / "x.parquet", "parquet").inputs
        assert found.messages == asked


# A guess leaves nothing out in silence.


@given(row=rows.map(lambda row: {"question": "Why?"} | row))
def test_whatever_a_guess_does_not_read_of_the_prompt_refuses_the_row(row: dict[str, Any]) -> None:
    reader = GuessedPrompt("question")
    full = [
        name
        for name in ("input", "context")
        if row.get(name) not in (None, "", [], {}) and str(row[name]).strip()
    ]
    if not full:
        assert reader.items(row)[0].messages[-1].content == "Why?"
    else:
        with pytest.raises(UnreadableError, match="isn't empty, and isn't in the prompt"):
            reader.items(row)
