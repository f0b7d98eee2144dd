"""The ledger: one history, one driver, nothing damaged goes unnoticed."""

import hashlib
import json
import threading
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest

from s2d_loop.clock import SystemClock
from s2d_loop.commits import parse
from s2d_loop.errors import LostLeaseError
from s2d_loop.ledger import FORMAT, Attempt, Counts, Ledger, LedgerError
from s2d_loop.object_store import ObjectStore
from s2d_loop.records import Example, Input, Message, rows, schema, table
from s2d_loop.store import ExistsError, LocalStore, Store

ROWS = table([Input(f"s:f#{n}", "t", (Message("user", "q"),), f"{n}") for n in range(3)], Input)
TAKEN = {"cursors": {}, "sources": {}, "exhausted": []}


@pytest.fixture(params=["local", "fsspec"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    return (
        LocalStore(str(tmp_path / "run")) if request.param == "local" else ObjectStore(f"memory://{tmp_path}")
    )


def committed(store: Store) -> Ledger:
    ledger = Ledger(store, SystemClock())
    ledger.take_lease()
    attempt = Attempt(store, 1, "intake")
    attempt.write("inputs", ROWS)
    ledger.append("stage", attempt=attempt, counts=Counts(4, 3, {"duplicate": 1}), facts=TAKEN)
    return ledger


def test_what_was_committed_is_read_back(store: Store) -> None:
    ledger = committed(store)
    again = Ledger(store, SystemClock())
    assert again.records == ledger.records
    record = again.stage(1, "intake")
    assert record is not None
    assert pa.concat_tables(again.tables(record, "inputs")).equals(ROWS)


def test_a_table_from_before_a_field_was_added_is_read_with_its_default(store: Store) -> None:
    ledger = Ledger(store, SystemClock())
    ledger.take_lease()
    attempt = Attempt(store, 1, "pool")
    message = (Message("user", "q"),)
    example = Example("i", "s:f#0", "t", message, message, "a", 1.0, 1, "w", (5, 1))
    attempt.write("training", table([example], Example).drop_columns(["sampled_ids"]))
    record = ledger.append("stage", attempt=attempt, counts=Counts(1, 1), facts={})
    found = ledger.read(record, "training", Example)
    assert found.schema == schema(Example)
    assert list(rows(found, Example)) == [replace(example, sampled_ids=())]


def test_files_of_an_attempt_that_was_not_committed_are_invisible(store: Store) -> None:
    ledger = Ledger(store, SystemClock())
    Attempt(store, 1, "intake").write("inputs", ROWS)
    assert ledger.stage(1, "intake") is None


def test_a_driver_that_was_taken_over_cannot_commit(store: Store) -> None:
    first = committed(store)
    second = Ledger(store, SystemClock())
    second.take_lease()
    with pytest.raises(LostLeaseError, match="took this run over"):
        first.append("stage", attempt=Attempt(store, 1, "generate"))
    second.append("stage", attempt=Attempt(store, 2, "intake"), facts=TAKEN)


def test_of_many_drivers_that_race_for_one_record_exactly_one_wins(store: Store) -> None:
    ledgers = [Ledger(store, SystemClock()) for _ in range(8)]
    barrier, won = threading.Barrier(8), []

    def race(ledger: Ledger) -> None:
        barrier.wait()
        try:
            ledger.take_lease()
            won.append(ledger)
        except LostLeaseError:
            pass

    threads = [threading.Thread(target=race, args=[each]) for each in ledgers]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    if isinstance(store, LocalStore):  # fsspec's memory store itself is not atomic between threads
        assert len(won) == 1
    assert len(Ledger(store, SystemClock()).records) == 1


def test_a_lost_answer_to_a_create_that_won_is_not_a_lost_lease(store: Store) -> None:
    ledger = Ledger(store, SystemClock())
    create = store.create

    def create_and_lose_the_answer(path: str, data: bytes) -> None:
        create(path, data)
        raise ExistsError(path)  # as a client does that retries a put whose first answer got lost

    store.create = create_and_lose_the_answer  # type: ignore[method-assign]
    ledger.take_lease()
    assert Ledger(store, SystemClock()).records == ledger.records


def test_counts_that_do_not_add_up_are_never_committed(store: Store) -> None:
    ledger = Ledger(store, SystemClock())
    with pytest.raises(AssertionError, match="don't add up"):
        ledger.append("stage", attempt=Attempt(store, 1, "intake"), counts=Counts(5, 3, {"duplicate": 1}))
    assert Ledger(store, SystemClock()).records == []


def test_damage_is_named(tmp_path: Path) -> None:
    store = LocalStore(str(tmp_path))
    ledger = committed(store)
    file = tmp_path / ledger.records[-1].files[0].path
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    with pytest.raises(LedgerError, match=r"inputs\.parquet is damaged"):
        list(ledger.tables(ledger.records[-1], "inputs"))
    file.unlink()
    with pytest.raises(LedgerError, match="missing"):
        list(ledger.tables(ledger.records[-1], "inputs"))


def enveloped(row: object) -> bytes:
    """A record's envelope with the right checksum, whatever it holds."""
    digest = hashlib.sha256(json.dumps(row, sort_keys=True).encode()).hexdigest()
    return json.dumps({"record": row, "sha256": digest}, sort_keys=True).encode()


@pytest.mark.parametrize(
    ("damage", "expected"),
    [
        ("swapped", "doesn't follow"),
        ("newer", f"format {FORMAT + 1}; this s2d reads {FORMAT}"),
        ("older", "format 1, which this s2d no longer reads"),
        ("more", "is damaged"),
        ("missing", r"00000002\.json is missing, and 00000003\.json is there"),
    ],
)
def test_a_record_that_is_another_or_elsewhere_is_refused(tmp_path: Path, damage: str, expected: str) -> None:
    ledger = committed(LocalStore(str(tmp_path)))
    ledger.append("finished", facts={"held": False})
    file = tmp_path / "ledger/00000002.json"
    row = json.loads(file.read_bytes())["record"]
    assert enveloped(row) == file.read_bytes()
    match damage:
        case "swapped":
            file.write_bytes((tmp_path / "ledger/00000001.json").read_bytes())
        case "newer":
            file.write_bytes(enveloped(row | {"format": FORMAT + 1}))
        case "older":
            file.write_bytes(enveloped(json.dumps(row | {"format": 1}, sort_keys=True)))
        case "more":
            file.write_bytes(enveloped(row | {"more": 1}))
        case "missing":
            file.unlink()
    with pytest.raises(LedgerError, match=expected):
        Ledger(ledger.store, SystemClock())


def test_a_flipped_byte_and_a_cut_length_of_the_last_record_are_always_found(tmp_path: Path) -> None:
    """The last one: no later record carries its digest, so its own bytes have to tell."""
    ledger = committed(LocalStore(str(tmp_path)))
    first, last = (tmp_path / f"ledger/0000000{n}.json" for n in (1, 2))
    prev, whole = hashlib.sha256(first.read_bytes()).hexdigest(), last.read_bytes()
    assert parse(whole, 2, prev, "here") == ledger.records[-1]
    flipped = (whole[:at] + bytes([byte ^ 1 << at % 8]) + whole[at + 1 :] for at, byte in enumerate(whole))
    cut = (whole[:length] for length in range(len(whole)))
    for data in (*flipped, *cut, whole + b"\n", b" " + whole):
        with pytest.raises(LedgerError, match="here"):
            parse(data, 2, prev, "here")


def test_what_an_operator_made_void_no_longer_counts_and_stays_as_history(store: Store) -> None:
    ledger = committed(store)
    ledger.append("finished", facts={"held": False})
    ledger.append(
        "forget", facts={"void": [2, 3], "source": "s", "rounds": [1, 1], "waiting": {}, "versions": []}
    )
    for each in (ledger, Ledger(store, SystemClock())):
        assert each.stage(1, "intake") is None
        assert each.stages("intake") == []
        assert each.last("finished") is None
        assert [r.kind for r in each.live] == ["lease", "forget"]
        assert len(each.records) == 4
    ledger.append("stage", attempt=ledger.attempt(1, "intake"))
    assert ledger.stage(1, "intake") == ledger.records[-1]


def test_what_was_swept_is_told_from_what_was_lost(store: Store) -> None:
    ledger = committed(store)
    record = ledger.records[-1]
    folder = record.files[0].path.rpartition("/")[0]
    ledger.append("swept", facts={"paths": [folder]})
    store.remove(folder)
    for each in (ledger, Ledger(store, SystemClock())):
        with pytest.raises(LedgerError, match="no longer kept: it was swept"):
            list(each.tables(record, "inputs"))
    assert ledger.swept(f"{folder}/inputs.parquet")
    assert not ledger.swept(folder + "x")


def test_an_attempt_carries_the_number_of_its_lease(store: Store) -> None:
    ledger = committed(store)
    ledger.take_lease()
    assert ledger.lease == 3
    assert ledger.attempt(1, "intake").folder.startswith("data/00001/intake-00003-")


def test_a_create_that_dies_half_way_publishes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = LocalStore(str(tmp_path))

    def no_space(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", no_space)
    with pytest.raises(Exception, match="disk is full"):
        store.create("ledger/00000001.json", b"x" * 100)
    assert store.read("ledger/00000001.json") is None
    assert store.list("ledger") == []
