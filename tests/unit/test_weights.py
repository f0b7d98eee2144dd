"""Weights as committed files: nothing is served or trained from that isn't what was committed."""

from pathlib import Path

import pytest

from s2d_loop import weights
from s2d_loop.clock import SystemClock
from s2d_loop.ledger import Attempt, Counts, Ledger, LedgerError, Record
from s2d_loop.records import Weights
from s2d_loop.store import LocalStore
from s2d_loop.weights import fetch, publish, weights_digest

FILES = {"config.json": b"{}", "model-1.safetensors": b"one" * 100, "chat/extra.jinja": b"{{ x }}"}


@pytest.fixture(params=["in place", "in place, behind a link", "a copy"])
def directory(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Where exports are written and opened: the root's own folder, or a directory beside it."""
    if request.param == "in place, behind a link":
        (tmp_path / "run/weights").mkdir(parents=True)
        (tmp_path / "link").symlink_to(tmp_path / "run/weights")
        return tmp_path / "link"
    return tmp_path / ("run/weights" if request.param == "in place" else "cache")


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    ledger = Ledger(LocalStore(str(tmp_path / "run")), SystemClock())
    ledger.take_lease()
    return ledger


def export(ledger: Ledger, directory: Path) -> tuple[Attempt, Weights]:
    attempt = Attempt(ledger.store, 1, "train")
    path = directory / f"00001-{attempt.id}"
    for name, data in {**FILES, "README.md": b"# A card"}.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(data)
    return attempt, Weights(str(path), weights_digest(str(path)))


def committed(ledger: Ledger, directory: Path) -> Record:
    attempt, made = export(ledger, directory)
    facts = publish(ledger.store, attempt, made)
    return ledger.append("stage", attempt=attempt, counts=Counts(0, 0), facts={"weights": facts})


def get(ledger: Ledger, record: Record, directory: Path, notes: list[str] | None = None) -> Weights:
    """As a new process does."""
    return fetch(ledger, record, directory, set(), [].append if notes is None else notes.append)


def test_every_file_is_listed_with_its_checksum_and_comes_back(ledger: Ledger, directory: Path) -> None:
    record = committed(ledger, directory)
    folder = f"weights/00001-{record.attempt}"
    assert [file.path for file in record.files] == [f"{folder}/{name}" for name in sorted(FILES)]
    assert record.facts["weights"]["path"] == folder
    assert ledger.store.read(f"{folder}/README.md") == b"# A card"
    found = get(ledger, record, directory)
    assert {n: (Path(found.path) / n).read_bytes() for n in FILES} == FILES
    assert found.digest == weights_digest(found.path) == record.facts["weights"]["digest"]


def test_a_lost_copy_is_fetched_from_the_root(ledger: Ledger, tmp_path: Path) -> None:
    record = committed(ledger, tmp_path / "cache")
    found = get(ledger, record, tmp_path / "another")
    assert {n: (Path(found.path) / n).read_bytes() for n in FILES} == FILES
    assert [each.name for each in (tmp_path / "another").iterdir()] == [f"00001-{record.attempt}"]


def damage(file: Path, how: str) -> None:
    whole = file.read_bytes()
    match how:
        case "flipped":
            file.write_bytes(bytes([whole[0] ^ 1]) + whole[1:])
        case "cut":
            file.write_bytes(whole[:-1])
        case "gone":
            file.unlink()


@pytest.mark.parametrize("how", ["flipped", "cut", "gone"])
@pytest.mark.parametrize("name", FILES)
def test_damage_under_the_root_is_named_and_nothing_comes_back(
    ledger: Ledger, directory: Path, tmp_path: Path, name: str, how: str
) -> None:
    record = committed(ledger, directory)
    damage(tmp_path / "run" / record.facts["weights"]["path"] / name, how)
    where = tmp_path / "new cache" if directory.name == "cache" else directory
    with pytest.raises(LedgerError, match=name):
        get(ledger, record, where)


@pytest.mark.parametrize("how", ["flipped", "cut", "gone"])
def test_a_damaged_copy_is_made_anew(ledger: Ledger, tmp_path: Path, how: str) -> None:
    record = committed(ledger, tmp_path / "cache")
    damage(tmp_path / "cache" / f"00001-{record.attempt}" / "config.json", how)
    notes: list[str] = []
    found = get(ledger, record, tmp_path / "cache", notes)
    assert {n: (Path(found.path) / n).read_bytes() for n in FILES} == FILES
    assert "config.json" in notes[0]


def test_files_are_read_once_in_a_process(
    ledger: Ledger, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = committed(ledger, directory)
    read: list[Path] = []
    take = weights.sha256_of
    monkeypatch.setattr(weights, "sha256_of", lambda path: read.append(path) or take(path))
    checked: set[str] = set()
    for _ in range(3):
        fetch(ledger, record, directory, checked, print)
    assert len(read) == len(FILES)


def test_bytes_that_the_trainer_did_not_check_are_never_committed(ledger: Ledger, directory: Path) -> None:
    attempt, made = export(ledger, directory)
    (Path(made.path) / "config.json").write_bytes(b"[]")
    with pytest.raises(LedgerError, match="not those that the trainer checked"):
        publish(ledger.store, attempt, made)


def test_a_record_that_lists_other_files_is_refused(ledger: Ledger, directory: Path) -> None:
    attempt, made = export(ledger, directory)
    facts = publish(ledger.store, attempt, made)
    attempt.files.pop()
    record = ledger.append("stage", attempt=attempt, counts=Counts(0, 0), facts={"weights": facts})
    with pytest.raises(LedgerError, match="doesn't list the files"):
        get(ledger, record, directory)
