"""Damage: a flipped byte, a cut, a byte too many, anywhere in what a run stands on, is found and named.

The ledger's records are damaged at every byte and every length, and read as both readers read them: the
loop and `s2d doctor`.  Tables and weights are held against a SHA-256 as a whole, so samples do.
"""

import hashlib
import shutil
from pathlib import Path

import pytest

from s2d_loop.clock import SystemClock
from s2d_loop.commits import LedgerError, parse
from s2d_loop.doctor import examine
from s2d_loop.doctor.chain import DamagedError, entry_of
from s2d_loop.ledger import Ledger
from s2d_loop.loop import run_loop
from s2d_loop.store import LocalStore
from tests.support.damage import damages
from tests.support.runs import finished
from tests.support.scripted import (
    ScriptedEngines,
    ScriptedTrainer,
    letters_config,
    scripted_run,
    words,
    write_questions,
)
from tests.support.tamper import find, records

ROUNDS = 1


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("damage")
    write_questions(folder / "stream.jsonl", words(1, 12))
    write_questions(folder / "heldout.jsonl", words(2, 4))
    finished(letters_config(folder, run__iterations=ROUNDS, run__inputs_per_iteration=8))
    return folder


@pytest.fixture
def folder(original: Path, tmp_path: Path) -> Path:
    shutil.copytree(original, tmp_path / "copy", symlinks=True)
    return tmp_path / "copy"


def test_every_damage_of_every_record_is_found_by_both_readers(original: Path) -> None:
    head, tried = "", 0
    for number, path in enumerate(sorted((original / "run/ledger").glob("*.json")), 1):
        data = path.read_bytes()
        parse(data, number, head, path.name)
        for what, damaged in damages(data):
            tried += 1
            with pytest.raises(LedgerError, match=path.name):
                pytest.fail(f"the loop reads {path.name}, {what}: {parse(damaged, number, head, path.name)}")
            with pytest.raises(DamagedError):
                pytest.fail(
                    f"the doctor reads {path.name}, {what}: {entry_of(path.name, damaged, number, head)}"
                )
        head = hashlib.sha256(data).hexdigest()
    assert tried > 10_000


def sampled(folder: Path) -> list[str]:
    """A file of each kind that a record names."""
    kinds = {file["table"]: file["path"] for row in records(folder / "run") for file in row["files"]}
    return [path for path in kinds.values() if (folder / "run" / path).exists()]


def test_damage_of_a_committed_file_is_named(folder: Path) -> None:
    for path in sampled(folder):
        file = folder / "run" / path
        whole = file.read_bytes()
        middle = len(whole) // 2
        flipped = whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :]
        for damaged in (flipped, whole[:-1], whole + b"\n"):
            file.write_bytes(damaged)
            found = [each.file for _, each in examine(str(folder / "run")).findings]
            assert found.count(path) == 1, f"{path}: {found}"
        file.write_bytes(whole)
    assert examine(str(folder / "run")).findings == []


@pytest.mark.parametrize(
    ("stage", "table"),
    [
        ("intake", "inputs"),
        ("generate", "generations"),
        ("curate", "verdicts"),
        ("pool", "training"),
        ("pool", "examples"),
    ],
)
def test_no_damaged_table_is_ever_trained_on(folder: Path, stage: str, table: str) -> None:
    """Cut the ledger behind the stage, damage its table, and go on as a resume does."""
    run = folder / "run"
    rows = records(run)
    record = find(rows, stage, 1)
    for row in rows:
        if row["seq"] > record["seq"]:
            (run / f"ledger/{row['seq']:08d}.json").unlink()
    (path,) = [run / file["path"] for file in record["files"] if file["table"] == table]
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0x10
    path.write_bytes(data)
    before = sorted(each.name for each in (run / "ledger").iterdir())
    engines, trainer = ScriptedEngines(), ScriptedTrainer()
    resumed = scripted_run(
        letters_config(folder, run__iterations=2, run__inputs_per_iteration=8),
        engines=engines,
        trainer=trainer,
    )
    with pytest.raises(LedgerError, match=path.name):
        run_loop(resumed)
    examples = {str(each) for job in trainer.jobs for each in job.examples}
    assert str(path) not in examples
    kept = sorted(each.name for each in (run / "ledger").iterdir())
    assert kept[: len(before)] == before, "what was committed is kept"


def test_the_loop_opens_no_ledger_with_a_gap(folder: Path) -> None:
    (folder / "run/ledger/00000005.json").unlink()
    with pytest.raises(LedgerError, match="00000005"):
        Ledger(LocalStore(str(folder / "run")), SystemClock())
