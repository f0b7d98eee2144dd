"""The ledger: one history, one driver, nothing damaged goes unnoticed."""

import json
import threading
from pathlib import Path

import pyarrow as pa
import pytest

from s2d_loop.clock import SystemClock
from s2d_loop.errors import LostLeaseError
from s2d_loop.ledger import FORMAT, Attempt, Counts, Ledger, LedgerError
from s2d_loop.store import ExistsError, FsspecStore, LocalStore, Store

ROWS = pa.table({"a": [1, 2, 3]})


@pytest.fixture(params=["local", "fsspec"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    return (
        LocalStore(str(tmp_path / "run")) if request.param == "local" else FsspecStore(f"memory://{tmp_path}")
    )


def committed(store: Store) -> Ledger:
    ledger = Ledger(store, SystemClock())
    ledger.take_lease()
    attempt = Attempt(store, 1, "intake")
    attempt.write("inputs", ROWS)
    ledger.append("stage", attempt=attempt, counts=Counts(4, 3, {"duplicate": 1}), facts={"x": 1})
    return ledger


def test_what_was_committed_is_read_back(store: Store) -> None:
    ledger = committed(store)
    again = Ledger(store, SystemClock())
    assert again.records == ledger.records
    record = again.stage(1, "intake")
    assert record is not None
    assert again.read(record, "inputs", ROWS.schema).equals(ROWS)


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
    second.append("stage", attempt=Attempt(store, 1, "generate"))


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


@pytest.mark.parametrize("damage", ["cut", "altered", "swapped", "newer"])
def test_a_damaged_record_is_refused(tmp_path: Path, damage: str) -> None:
    ledger = committed(LocalStore(str(tmp_path)))
    file = tmp_path / "ledger/00000002.json"
    match damage:
        case "cut":
            file.write_bytes(file.read_bytes()[:50])
        case "altered":
            file.write_text(file.read_text().replace("duplicate", "duplicatf"))
        case "swapped":
            file.write_bytes((tmp_path / "ledger/00000001.json").read_bytes())
        case "newer":
            body = json.loads(json.loads(file.read_text())["record"]) | {"format": FORMAT + 1}
            import hashlib

            text = json.dumps(body, sort_keys=True)
            envelope = {"sha256": hashlib.sha256(text.encode()).hexdigest(), "record": text}
            file.write_text(json.dumps(envelope))
    expected = {"newer": f"format {FORMAT + 1}", "swapped": "doesn't follow"}.get(damage, "damaged")
    with pytest.raises(LedgerError, match=expected):
        Ledger(ledger.store, SystemClock())


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
