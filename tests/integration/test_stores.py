"""What every store promises, held against a local directory and a real HTTP S3 server alike."""

import multiprocessing
import os
import threading
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest

from s2d_loop import object_store
from s2d_loop.clock import SystemClock
from s2d_loop.errors import BadInputError, LostLeaseError
from s2d_loop.ledger import Counts, Ledger
from s2d_loop.retention import tidy
from s2d_loop.store import ExistsError, Store, StoreError, open_store
from tests.support.racing import create_all
from tests.support.s3_server import Fault, S3Server, puts

ROWS = pa.table({"a": list(range(10_000))})


@pytest.fixture(params=["local", "s3"])
def root(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    uri: str = str(tmp_path / "run") if request.param == "local" else request.getfixturevalue("bucket")
    return uri


@pytest.fixture
def store(root: str) -> Store:
    return open_store(root)


# What both promise


def test_a_created_file_is_there_whole_and_never_replaced(store: Store) -> None:
    assert store.read("ledger/1") is None
    store.create("ledger/1", b"one")
    with pytest.raises(ExistsError):
        store.create("ledger/1", b"two")
    assert store.read("ledger/1") == b"one"


def test_what_was_written_can_be_read_in_parts_at_once(store: Store) -> None:
    with store.writing("data/x.bin") as file:
        for part in (b"0123", b"456789"):
            file.write(part)
    assert (file.size, len(file.sha256())) == (10, 64)
    with store.reading("data/x.bin") as handle:
        handle.seek(5)
        assert handle.read(3) == b"567"
        handle.seek(-2, os.SEEK_END)
        assert handle.read() == b"89"
    with pytest.raises(FileNotFoundError), store.reading("data/y.bin"):
        pass


def test_a_writer_that_fails_puts_nothing_into_a_bucket(store: Store, root: str) -> None:
    def write() -> None:
        with store.writing("data/x.bin") as file:
            file.write(b"0123")
            raise KeyError

    with pytest.raises(KeyError):
        write()
    assert store.read("data/x.bin") == (None if root.startswith("s3://") else b"0123")


def test_what_lies_under_a_folder_is_listed_and_removed_and_nothing_beside_it(store: Store) -> None:
    for path in ("data/00001/a-1/x", "data/00001/a-2/y", "data/00001/a-1x", "data/00002/z"):
        store.create(path, path.encode())
    assert store.list("data") == ["00001", "00002"]
    assert store.list("data/00001") == ["a-1", "a-1x", "a-2"]
    store.remove("data/00001/a-1")
    assert store.list("data/00001") == ["a-1x", "a-2"]
    assert store.list("nothing") == []
    store.remove("nothing")


@pytest.mark.parametrize("path", ["../x", "data/../../x", "/etc/passwd", "a//b", "./a", "", "a\0b", "a/."])
def test_a_path_that_could_leave_the_root_is_refused_by_name(store: Store, path: str) -> None:
    uses: list[Callable[[str], object]] = [store.read, store.remove, store.list]
    uses.append(lambda path: store.create(path, b"x"))
    if store.local_path("x") is not None:
        uses.append(store.local_path)
    for use in uses:
        with pytest.raises(StoreError, match="not a path inside"):
            use(path)
    for opening in (store.reading, store.writing):
        with pytest.raises(StoreError, match="not a path inside"), opening(path):
            pass


def race(work: Callable[[int], None], racers: int = 8) -> None:
    barrier = threading.Barrier(racers)

    def run(number: int) -> None:
        barrier.wait()
        work(number)

    threads = [threading.Thread(target=run, args=[number]) for number in range(racers)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()


def test_of_racing_creates_exactly_one_wins(store: Store) -> None:
    won: list[int] = []

    def create(number: int) -> None:
        try:
            store.create("ledger/1", b"%d" % number)
            won.append(number)
        except ExistsError:
            pass

    race(create)
    assert len(won) == 1
    assert store.read("ledger/1") == b"%d" % won[0]


def test_of_racing_drivers_one_drives_and_the_others_have_lost_their_lease(root: str) -> None:
    ledgers = [Ledger(open_store(root), SystemClock()) for _ in range(6)]
    lost: list[int] = []

    def drive(number: int) -> None:
        try:
            ledgers[number].take_lease()
            attempt = ledgers[number].attempt(1, "intake")
            attempt.write("numbers", ROWS)
            facts = {"cursors": {}, "sources": {}, "exhausted": []}
            ledgers[number].append(
                "stage", attempt=attempt, counts=Counts(4, 3, {"duplicate": 1}), facts=facts
            )
        except LostLeaseError:
            lost.append(number)

    race(drive, len(ledgers))
    assert len(lost) == 5
    again = Ledger(open_store(root), SystemClock())
    assert [record.kind for record in again.records] == ["lease", "stage"]
    assert pa.concat_tables(again.tables(again.records[-1], "numbers")).equals(ROWS)


def test_of_racing_processes_exactly_one_wins_each_record(root: str) -> None:
    spawn = multiprocessing.get_context("spawn")
    barrier, won, records = spawn.Barrier(2), spawn.Queue(), 20
    racers = [spawn.Process(target=create_all, args=(root, n, records, barrier, won)) for n in range(2)]
    for each in racers:
        each.start()
    found = dict(won.get(timeout=120) for _ in range(records))
    for each in racers:
        each.join(60)
    assert won.empty()
    store = open_store(root)
    assert {n: b"%d" % number for n, number in found.items()} == {
        n: store.read(f"ledger/{n}") for n in range(records)
    }


# What a file system can do besides


@pytest.mark.parametrize("link", ["data", "data/00001", "data/00001/x"])
def test_a_link_that_leads_out_of_the_root_is_refused_by_name(tmp_path: Path, link: str) -> None:
    outside = tmp_path / "outside"
    (outside / "00001").mkdir(parents=True)
    (outside / "00001/x").write_text("secret")
    at = tmp_path / "run" / link
    at.parent.mkdir(parents=True)
    at.symlink_to(outside if link == "data" else outside / link.removeprefix("data/"))
    store = open_store(str(tmp_path / "run"))
    for use in (store.read, store.remove, store.local_path, lambda path: store.create(path, b"y")):
        with pytest.raises(StoreError, match="is a symbolic link"):
            use("data/00001/x")
    with pytest.raises(StoreError), store.writing("data/00001/x"):
        pass
    assert (outside / "00001/x").read_text() == "secret"


def test_the_root_itself_may_be_behind_a_link(tmp_path: Path) -> None:
    (tmp_path / "big disk").mkdir()
    (tmp_path / "run").symlink_to(tmp_path / "big disk")
    store = open_store(str(tmp_path / "run"))
    store.create("ledger/1", b"one")
    assert open_store(str(tmp_path / "big disk")).read("ledger/1") == b"one"


def test_what_a_crash_left_of_a_record_is_never_read_and_goes_at_the_next_start(tmp_path: Path) -> None:
    ledger = Ledger(open_store(str(tmp_path)), SystemClock())
    ledger.take_lease()
    left = [tmp_path / f"ledger/.0000000{n}.json.0123456789abcdef" for n in (1, 2, 4)]
    for each in left:
        each.write_text('{"half')
    again = Ledger(open_store(str(tmp_path)), SystemClock())
    assert len(again.records) == 1
    again.take_lease()
    tidy(again, None)
    # Number 4 is still to be won: whoever is at it may live.
    assert [each.exists() for each in left] == [False, False, True]


def test_a_create_whose_file_was_swept_has_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = open_store(str(tmp_path))
    link = os.link

    def overtaken(source: Path, target: Path) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(os, "link", link)
            open_store(str(tmp_path)).create("ledger/1", b"theirs")
        Path(source).unlink()
        link(source, target)

    monkeypatch.setattr(os, "link", overtaken)
    with pytest.raises(ExistsError):
        store.create("ledger/1", b"mine")


# What can happen between a driver and S3


@pytest.fixture
def s3(bucket: str) -> Store:
    """Has proved already that the server's creates are exclusive, so that faults meet what is tested."""
    store = open_store(bucket)
    store.create("before", b"x")
    return store


@pytest.mark.parametrize(
    "fault",
    [
        Fault(lost=True),
        Fault(lost=True, times=2),
        Fault(late_s=1.5),
        Fault(status=409, code="ConditionalRequestConflict"),
        Fault(status=412, code="PreconditionFailed"),
        Fault(status=500, code="InternalError", times=3),
        Fault(status=503, code="SlowDown", times=3),
    ],
    ids=["lost", "lost twice", "late", "409", "412 in error", "500", "503"],
)
def test_a_create_that_won_says_so_whatever_was_answered(s3: Store, server: S3Server, fault: Fault) -> None:
    with server.failing(fault):
        s3.create("ledger/1", b"mine")
    assert fault.times == 0
    assert s3.read("ledger/1") == b"mine"


@pytest.mark.parametrize("fault", [Fault(lost=True), Fault(late_s=1.5), Fault(status=409, code="Conflict")])
def test_a_create_that_lost_says_so_whatever_was_answered(s3: Store, server: S3Server, fault: Fault) -> None:
    s3.create("ledger/1", b"theirs")
    with server.failing(fault), pytest.raises(ExistsError):
        s3.create("ledger/1", b"mine")
    assert s3.read("ledger/1") == b"theirs"


def test_a_409_of_a_race_that_somebody_else_wins_is_a_lost_race(s3: Store, server: S3Server) -> None:
    def they_win(environ: dict[str, object]) -> bool:
        if not puts(environ):
            return False
        server.faults = []
        open_store(s3.root).create("ledger/1", b"theirs")
        return True

    fault = Fault(they_win, status=409, code="ConditionalRequestConflict")
    with server.failing(fault), pytest.raises(ExistsError):
        s3.create("ledger/1", b"mine")


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (Fault(status=500, code="InternalError", times=99), r"could not create ledger/1: .*injected"),
        (Fault(status=409, code="ConditionalRequestConflict", times=99), "ConditionalRequestConflict"),
        (Fault(status=403, code="AccessDenied", times=99), "no access: .*s3:ListBucket"),
    ],
)
def test_a_create_that_can_not_be_done_says_what_and_where(
    s3: Store, server: S3Server, fault: Fault, said: str
) -> None:
    with server.failing(fault), pytest.raises((StoreError, BadInputError), match=said) as raised:
        s3.create("ledger/1", b"mine")
    assert s3.root in str(raised.value)
    assert s3.read("ledger/1") is None


def test_reads_and_writes_live_through_a_short_outage(s3: Store, server: S3Server) -> None:
    def anything(environ: dict[str, object]) -> bool:
        return True

    with server.failing(Fault(anything, status=503, code="SlowDown")):
        assert s3.read("before") == b"x"
    with server.failing(Fault(status=500, code="InternalError")), s3.writing("data/x") as file:
        file.write(b"abc")
    with server.failing(Fault(anything, status=500, code="InternalError")), s3.reading("data/x") as handle:
        assert handle.read() == b"abc"
    with server.failing(Fault(lost=True, times=99)), s3.writing("data/y") as file:
        file.write(b"abc")
    assert s3.read("data/y") == b"abc"
    with server.failing(Fault(anything, status=503, code="Unavailable", times=99)):
        with pytest.raises(StoreError, match="could not read before"):
            s3.read("before")
        with pytest.raises(StoreError, match="could not list data"):
            s3.list("data")


def test_files_of_many_parts_come_back_whole(s3: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    part = os.urandom(5 * 2**20)
    monkeypatch.setattr(object_store, "PART_BYTES", len(part))
    with open_store(s3.root).writing("weights/big") as file:
        for _ in range(3):
            file.write(part)
    assert s3.read("weights/big") == 3 * part


def test_a_server_that_ignores_the_condition_is_refused(bucket: str, server: S3Server) -> None:
    def forget_the_condition(environ: dict[str, object]) -> bool:
        environ.pop("HTTP_IF_NONE_MATCH", None)
        return False

    store = open_store(bucket)
    with (
        server.failing(Fault(forget_the_condition)),
        pytest.raises(BadInputError, match="ignores If-None-Match"),
    ):
        store.create("ledger/1", b"mine")
    assert store.read("ledger/1") is None


def test_every_create_is_conditional(s3: Store, server: S3Server) -> None:
    server.requests.clear()
    s3.create("ledger/1", b"mine")
    assert [asked[2] for asked in server.requests if asked[0] == "PUT"] == ["*"]


def test_a_bucket_that_is_not_there_is_named(bucket: str) -> None:
    for use in (lambda s: s.read("x"), lambda s: s.create("x", b"x"), lambda s: s.list("x")):
        with pytest.raises(BadInputError, match=r"run\.dir s3://nowhere/run: .*no such bucket"):
            use(open_store("s3://nowhere/run"))


def test_missing_credentials_are_named(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nowhere")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nowhere")
    import s3fs

    s3fs.S3FileSystem.clear_instance_cache()
    with pytest.raises(BadInputError, match="AWS_ACCESS_KEY_ID"):
        open_store(bucket).read("x")


@pytest.mark.parametrize("uri", ["gs://bucket/run", "az://c/run", "hf://x/y"])
def test_stores_without_a_proved_conditional_create_are_refused(uri: str) -> None:
    with pytest.raises(BadInputError, match="conditional create"):
        open_store(uri)
