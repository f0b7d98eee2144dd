"""A run directory from a stranger reaches no terminal alive: whatever string stands in any of its records.

A forger (`tests/support/tamper.py`) puts an escape sequence, a direction override and markup in front of every
string of a run, in its ledger, its tables and its labels, and every checksum fits.  Each command that reads a
run then shows them spelled out, as text and as JSON.
"""

import hashlib
import itertools
import json
import shutil
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from s2d_loop.cli import main
from s2d_loop.labels import Labels
from s2d_loop.store import LocalStore
from tests.fixtures.record import RECORDED
from tests.support.tamper import change_record, records, write_ledger

EVIL = "\x1b]0;t\x07\x1b[2J\x9b31m\x7f\u202e[bold]"

STEERS = {
    "kind", "stage", "prev", "nonce", "attempt", "path", "paths", "table", "sha256", "decision", "parser", "system",
}  # fmt: skip
"""Fields that say what is read, and how; changed, a command ends with an error (which is tested apart)."""
NAMES = {"letters", "other", "stream"}
"""Names of tasks and sources, which are keys of sections too."""


def evil(value: Any, key: str = "") -> Any:
    """A value with every string in it made evil, the same way everywhere, so that names still meet."""
    if isinstance(value, dict):
        return {EVIL + k if k in NAMES else k: evil(v, k) for k, v in value.items()}
    if isinstance(value, list):
        return [evil(each, key) for each in value]
    return value if not isinstance(value, str) or key in STEERS or value == "kept" else EVIL + value


def steered(value: Any, field: str, key: str = "") -> Any:
    """A value in which only the strings of one field are evil."""
    if isinstance(value, dict):
        return {k: steered(v, field, k) for k, v in value.items()}
    if isinstance(value, list):
        return [steered(each, field, key) for each in value]
    return EVIL + value if isinstance(value, str) and key == field else value


def forge(run: Path) -> None:
    """Make every string of a run evil, and every checksum right."""
    rows = [evil(row) for row in records(run)]
    for file in (each for row in rows for each in row["files"] if each["path"].endswith(".parquet")):
        path = run / file["path"]
        if not path.is_file() or not (old := pq.read_table(path)).num_rows:
            continue  # swept, or nothing to make evil
        table = [evil(row) for row in old.to_pylist()]
        for row in table if file["table"] == "heldout" else ():
            row["reference"] = None  # so that there is something to review
        pq.write_table(pa.Table.from_pylist(table, schema=old.schema), path)
        data = path.read_bytes()
        file |= {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    write_ledger(run, rows)
    labels = Labels(LocalStore(str(run)))
    heldout = pq.read_table(next(run.glob("data/00000/heldout-*/heldout.parquet"))).to_pylist()
    for rater, row in itertools.product(("ada", "bob"), heldout[:2]):
        name, task = row["input"]["id"], row["input"]["task"]
        labels.append(rater, input_id=name, task=task, said="none", shown=[EVIL], time=EVIL)


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("stranger")
    for name in ("finished", "rolled-back"):
        with tarfile.open(RECORDED / f"2/{name}.tar.xz") as archive:
            archive.extractall(folder / name, filter="data")
    return folder


@pytest.fixture(scope="module")
def folder(unpacked: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two forged runs whose own names are evil too."""
    folder = tmp_path_factory.mktemp("forged")
    for name in ("finished", "rolled-back"):
        shutil.copytree(unpacked / name / "run", folder / f"{EVIL}{name}", symlinks=True)
        forge(folder / f"{EVIL}{name}")
    return folder


def s2d(*args: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(list(args))
    return int(ended.value.code or 0)


def harmless(said: str) -> bool:
    return (
        not any(c in said for c in "\x1b\x07\x9b\x7f\u202e")
        and said.replace("\n", "").replace("\t", "").isprintable()
    )


COMMANDS = {
    "status": ["status", "RUN"],
    "runs": ["runs", "FOLDER"],
    "lineage": ["lineage", "RUN", "1", "--rows"],
    "why": ["why", "RUN", f"{EVIL}stream:stream.jsonl#1"],
    "doctor": ["doctor", "RUN"],
    "show": ["show", "RUN"],
    "show-kept": ["show", "RUN", "--reason", "kept"],
    "show-input": ["show", "RUN", "--id", f"{EVIL}stream:stream.jsonl#1"],
    "show-heldout": ["show", "RUN", "--heldout", "all"],
    "forget": ["forget", "RUN", f"{EVIL}other", "--dry-run"],
    "review": ["review", "RUN", "--summary"],
}
"""What reads a run and can say it in JSON too."""
OTHERS = {
    "promote-held": ["promote", "RUN", "2"],
    "promote-none": ["promote", "RUN"],
    "rollback-none": ["rollback", "RUN", EVIL],
    "release-none": ["release", "RUN", EVIL],
    "forget": ["forget", "RUN", f"{EVIL}other"],
    "forget-none": ["forget", "RUN", EVIL],
    "lineage-none": ["lineage", "RUN", EVIL],
    "show-none": ["show", "RUN", "--reason", EVIL],
    "no-run": ["status", f"RUN{EVIL}"],
    "no-command": [EVIL],
    "no-option": ["status", "RUN", f"--{EVIL}"],
}
"""What changes a run, or has nothing to say but that something isn't there."""


def parsed(said: str) -> Any:
    """JSON in one piece, or a line for each value."""
    try:
        return json.loads(said)
    except json.JSONDecodeError:
        return [json.loads(line) for line in said.splitlines()]


def strings(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        value = [*value, *value.values()]
    yield from [value] if isinstance(value, str) else ()
    yield from (s for each in value for s in strings(each)) if isinstance(value, list) else ()


def filled_in(command: list[str], run: Path) -> list[str]:
    return [each.replace("RUN", str(run)).replace("FOLDER", str(run.parent)) for each in command]


@pytest.mark.parametrize("command", COMMANDS)
def test_what_reads_a_run_shows_it_spelled_out(
    folder: Path, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = filled_in(COMMANDS[command], folder / f"{EVIL}finished")
    s2d(*asked)
    said = "".join(capsys.readouterr())
    assert harmless(said), said
    assert "\\x1b" in said, "a command that shows nothing of the run tests nothing"
    s2d(*asked, "--json")
    as_json = capsys.readouterr().out
    assert harmless(as_json), as_json
    assert as_json.isascii()
    assert EVIL in "".join(strings(parsed(as_json)))


@pytest.mark.parametrize("command", OTHERS)
def test_what_changes_a_run_or_finds_nothing_spells_it_out_too(
    folder: Path, command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / f"{EVIL}rolled-back"
    shutil.copytree(folder / run.name, run, symlinks=True)
    s2d(*filled_in(OTHERS[command], run))
    said = "".join(capsys.readouterr())
    assert harmless(said), said
    assert "\\x1b" in said


@pytest.mark.parametrize("field", sorted(STEERS - {"prev"}))
def test_a_field_that_makes_a_command_fail_is_quoted_spelled_out(
    unpacked: Path, field: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    shutil.copytree(unpacked / "finished/run", run, symlinks=True)
    write_ledger(run, [steered(row, field) for row in records(run)])
    for command in ("status", "show-heldout", "lineage"):
        s2d(*filled_in(COMMANDS[command], run))
        said = "".join(capsys.readouterr())
        assert harmless(said), said


def test_half_a_character_is_spelled_out_as_well(
    unpacked: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """No file of UTF-8 can hold one, and JSON can."""
    run = tmp_path / "run"
    shutil.copytree(unpacked / "rolled-back/run", run, symlinks=True)
    change_record(run, "gate", lambda row: row["facts"].update(sentence="\ud800 \x1b[2J"), iteration=2)
    assert s2d("promote", str(run), "2") == 0
    assert "which said: \\ud800 \\x1b[2J" in capsys.readouterr().out
