"""`s2d doctor`: clean on a run, and for each promise a forged run that breaks only that one."""

import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from s2d_loop.clock import SystemClock
from s2d_loop.doctor import NotThereError, as_json, as_text, examine
from s2d_loop.doctor import rows as doctors_rows
from s2d_loop.doctor.root import Local
from s2d_loop.labels import read_labels
from s2d_loop.ledger import Ledger
from s2d_loop.operate.service import roll_back
from s2d_loop.store import LocalStore
from s2d_loop.train.job import TrainJob, TrainResult
from tests.support.runs import finished
from tests.support.scripted import ScriptedTrainer, letters_config, words, write_questions
from tests.support.tamper import Row, change_record, change_table, find, records, write_ledger


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("doctor")
    write_questions(folder / "heldout.jsonl", words(2, 40))
    write_questions(folder / "stream.jsonl", words(1, 70))
    again = (folder / "stream.jsonl").read_text().splitlines()[:2]
    again += (folder / "heldout.jsonl").read_text().splitlines()[:2]
    lines = (folder / "stream.jsonl").read_text().splitlines()
    (folder / "stream.jsonl").write_text("\n".join([*lines[:40], "not json", *again, *lines[40:]]) + "\n")
    finished(letters_config(folder, run__iterations=3))
    labels = read_labels(LocalStore(str(folder / "run")))
    labels.append("ada", input_id="stream:stream.jsonl#0", task="letters", said="unsure", time="")
    return folder / "run"


@pytest.fixture
def run(original: Path, tmp_path: Path) -> Path:
    shutil.copytree(original, tmp_path / "run", symlinks=True)
    return tmp_path / "run"


def found(run: Path) -> list[tuple[str, str, str]]:
    return [(check, each.file, each.what) for check, each in examine(str(run)).findings]


def test_a_run_is_clean_and_every_check_looked_at_something(run: Path) -> None:
    checkup = examine(str(run))
    assert checkup.findings == []
    assert [check.name for check in checkup.checks if not check.looked] == [
        "nothing left of forgotten sources",
        "nothing of sources under quarantine trains",
        "one outcome for each input of triage",
    ]
    assert as_text(checkup).endswith("Clean.")


def test_what_is_no_run_is_said(tmp_path: Path) -> None:
    with pytest.raises(NotThereError, match="no run here"):
        examine(str(tmp_path))


def first(key: str, value: object) -> Callable[[list[Row]], list[Row]]:
    """The first row with another value; `a.b` is b inside a."""
    outer, _, inner = key.partition(".")

    def change(rows: list[Row]) -> list[Row]:
        new = {**rows[0][outer], inner: value} if inner else value
        return [{**rows[0], outer: new}, *rows[1:]]

    return change


def repeated(rows: list[Row]) -> list[Row]:
    return [rows[0], *rows]


def swapped(rows: list[Row]) -> list[Row]:
    return [rows[1], *rows[1:]]


def dropped(rows: list[Row]) -> list[Row]:
    kept = next(row for row in rows if row["reason"] == "kept")
    return [{**row, "reason": "tie"} if row is kept else row for row in rows]


TABLES = [
    ("one outcome for each row delivered", "intake", "dropped", first("input.id", "stream:stream.jsonl#0")),
    ("one outcome for each row delivered", "intake", "dropped", first("same_as", "stream:stream.jsonl#5")),
    ("one outcome for each row delivered", "intake", "rejects", first("place", 11)),
    ("outcomes are those that were counted", "intake", "dropped", first("reason", "matches_heldout")),
    ("outcomes are those that were counted", "intake", "rejects", lambda rows: rows[1:]),
    ("no input used twice", "intake", "inputs", first("id", "stream:stream.jsonl#0")),
    ("no input used twice", "intake", "inputs", first("content_hash", "0" * 32)),
    ("counts add up within stages", "generate", "generations", lambda rows: rows[1:]),
    ("one outcome for each input of generate", "generate", "generations", swapped),
    ("rows carry the weights that made them", "generate", "generations", first("weights", "f" * 32)),
    ("one outcome for each input of curate", "curate", "verdicts", swapped),
    ("rows carry the weights that made them", "curate", "verdicts", first("weights", "f" * 32)),
    ("every pool row traced back", "curate", "verdicts", dropped),
    ("outcomes are those that were counted", "curate", "verdicts", dropped),
    ("outcomes are those that were counted", "pool", "examples", lambda rows: rows[1:]),
    ("every pool row traced back", "pool", "examples", repeated),
    ("every pool row traced back", "pool", "examples", first("input_id", "stream:other#1")),
    (
        "every pool row traced back",
        "pool",
        "examples",
        first("completion", [{"role": "assistant", "content": "no"}]),
    ),
    ("rows carry the weights that made them", "pool", "examples", first("weights", "f" * 32)),
    ("every trained row in the pool", "pool", "training", first("id", "f" * 32)),
    (
        "every trained row in the pool",
        "pool",
        "training",
        first("prompt", [{"role": "user", "content": "?"}]),
    ),
]


@pytest.mark.parametrize(("check", "stage", "table", "change"), TABLES)
def test_a_forged_table_is_found(
    run: Path, check: str, stage: str, table: str, change: Callable[[list[Row]], list[Row]]
) -> None:
    change_table(run, stage, table, change)
    record = next(
        number for number, row in enumerate(records(run), 1) if (row["stage"], row["iteration"]) == (stage, 2)
    )
    assert check in {name for name, _, _ in found(run)}
    assert any(file == f"ledger/{record:08d}.json" or stage in file for _, file, _ in found(run)), found(run)


def test_a_held_out_input_in_the_pool_is_found(run: Path) -> None:
    (heldout,) = find(records(run), "heldout", 0)["files"]
    secret = pq.read_table(run / heldout["path"]).to_pylist()[0]["input"]["messages"]
    change_table(run, "pool", "examples", first("prompt", secret))
    assert ("held out from intake and pool", "1 examples ask what is held out") in {
        (check, what.partition(", such as")[0]) for check, _, what in found(run)
    }


def fact(path: str, value: object) -> Callable[[Row], None]:
    def change(row: Row) -> None:
        *outer, last = path.split(".")
        for key in outer:
            row = row[key]
        row[last] = value

    return change


def one_less(row: Row) -> None:
    row["counts"]["out"] -= 1


RECORDS = [
    ("counts add up within stages", "curate", one_less),
    ("counts add up between stages", "curate", fact("counts", {"in": 7, "out": 7, "dropped": {}})),
    ("counts add up between stages", "train", fact("counts", {"in": 7, "out": 7, "dropped": {}})),
    ("stages in order, each once", "generate", fact("iteration", 1)),
    ("stages in order, each once", "gate", fact("stage", "guess")),
    ("each round on the weights then in service", "generate", fact("facts.weights", "f" * 32)),
    ("each round on the weights then in service", "train", fact("facts.start", "f" * 32)),
    ("each round on the weights then in service", "evaluate", fact("facts.weights", "f" * 32)),
    ("promoted weights traced back", "promote", fact("facts.weights.digest", "f" * 32)),
    ("promoted weights traced back", "gate", fact("facts.decision", "hold")),
    ("trained weights are what was committed", "train", fact("facts.weights.digest", "f" * 32)),
]


def moved(by: int) -> Callable[[Row], None]:
    """The cursor stands so many rows further."""

    def change(row: Row) -> None:
        (move,) = row["facts"]["cursors"].values()
        (position,) = move["shards"].values()
        position["row"] += by

    return change


RECORDS += [
    ("cursors fit what was delivered", "intake", moved(-40)),
    ("cursors fit what was delivered", "intake", moved(-1)),
]


@pytest.mark.parametrize(("check", "stage", "change"), RECORDS)
def test_a_forged_record_is_found(run: Path, check: str, stage: str, change: Callable[[Row], None]) -> None:
    change_record(run, stage, change)
    assert check in {name for name, _, _ in found(run)}


def test_a_commit_without_a_lease_is_found(run: Path) -> None:
    write_ledger(run, [row for row in records(run) if row["kind"] != "lease"])
    assert "every commit made under a lease" in {name for name, _, _ in found(run)}


def test_a_gap_in_the_ledger_is_found_and_what_stands_behind_it(run: Path) -> None:
    (run / "ledger/00000009.json").unlink()
    assert ("ledger unbroken", "ledger/00000010.json") in {(check, file) for check, file, _ in found(run)}


def test_a_lost_file_is_told_from_a_swept_one(run: Path) -> None:
    path = find(records(run), "curate", 2)["files"][0]["path"]
    (run / path).unlink()
    assert ("committed files unchanged", path) in {(check, file) for check, file, _ in found(run)}
    rows = records(run)
    swept = {**rows[-1], "kind": "swept", "facts": {"paths": [path]}, "nonce": "0"}
    write_ledger(run, [*rows, swept])
    assert "committed files unchanged" not in {check for check, _, _ in found(run)}


def test_what_lies_about_is_told_apart(run: Path) -> None:
    (run / "data/00002/generate-00001-0123456789ab").mkdir()
    (run / "data/00002/generate-00001-0123456789ab/generations.parquet").write_bytes(b"half")
    checkup = examine(str(run))
    assert checkup.findings == []
    assert any("1 files of attempts that were never committed" in note for note in checkup.notes)
    committed = (run / find(records(run), "pool", 2)["files"][0]["path"]).parent
    (committed / "more.parquet").write_bytes(b"")
    (run / "ledger/notes.txt").write_text("")
    (run / "evil.sh").write_text("")
    (run / "weights/link").symlink_to("/etc/passwd")
    wrong = {file for check, file, _ in found(run) if check == "no stray files that look committed"}
    assert wrong == {
        f"{committed.relative_to(run)}/more.parquet",
        "ledger/notes.txt",
        "evil.sh",
        "weights/link",
    }


def test_a_pipe_that_lies_about_is_told_and_not_waited_for(run: Path) -> None:
    os.mkfifo(run / "data/pipe")
    os.mkfifo(run / "ledger/99999999.json")
    wrong = {(file, what) for _, file, what in found(run)}
    assert {
        (f"{name}", "is a pipe, which no run has") for name in ("data/pipe", "ledger/99999999.json")
    } <= wrong


def test_questions_that_would_take_for_ever_are_given_up(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stranger's rows can all be of one id, and pair with each other."""
    monkeypatch.setattr(doctors_rows, "_PER_CALL", 10)
    monkeypatch.setattr(doctors_rows, "_STEPS", 0)
    monkeypatch.setattr(doctors_rows, "_STEPS_PER_ROW", 1000)
    assert found(run) == [], "a tenth of what is given is many times what an honest run takes"
    monkeypatch.setattr(doctors_rows, "_STEPS_PER_ROW", 1)
    assert any(
        "could not be checked to the end (OperationalError: interrupted" in what for *_, what in found(run)
    )


def test_long_texts_take_little_of_the_disk_and_stay_apart() -> None:
    one, two = ("x" * 10**6 + end for end in "ab")
    ((first,), (second,)) = (doctors_rows._shortened((text,)) for text in (one, two))
    assert first != second
    assert len(first) == len(second) < 1000
    assert doctors_rows._shortened(("s:f#0", 3, None)) == ("s:f#0", 3, None)


@pytest.mark.parametrize(
    "path", ["../../etc/passwd", "/etc/passwd", "data/../../x", "data//x", "data/x\x1b[2J", "C:\\x", ""]
)
def test_no_path_in_a_record_leaves_the_root(run: Path, path: str) -> None:
    def change(row: Row) -> None:
        row["files"][0]["path"] = path

    change_record(run, "curate", change)
    (check, _, what), *_ = found(run)
    assert check == "ledger unbroken"
    assert "isn't a path of a run" in what or "stay inside" in what or "characters" in what
    assert "\x1b" not in as_text(examine(str(run)))


def test_a_table_that_is_a_link_is_not_followed(run: Path, tmp_path: Path) -> None:
    path = run / find(records(run), "curate", 2)["files"][0]["path"]
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    assert any("symbolic link" in what for _, _, what in found(run))


def test_json_says_the_same(run: Path) -> None:
    change_record(run, "curate", one_less)
    checkup = examine(str(run))
    said = json.loads(as_json(checkup))
    assert len(said["findings"]) == len(checkup.findings) > 0
    assert {"check", "file", "what", "remedy"} == set(said["findings"][0])


@pytest.mark.parametrize(
    ("stage", "key", "value"),
    [("train", "weights", {}), ("evaluate", "weights", 3), ("intake", "cursors", {"stream": []})],
)
def test_a_fact_of_another_form_is_named_with_its_record(
    run: Path, stage: str, key: str, value: object
) -> None:
    change_record(run, stage, fact(f"facts.{key}", value))
    record = find(records(run), stage, 2)["seq"]
    assert ("ledger unbroken", f"ledger/{record:08d}.json", key) in {
        (check, file, key if f"facts.{key} is missing or of another form" in what else what)
        for check, file, what in found(run)
    }


@pytest.mark.parametrize("key", ["table", "path", "sha256"])
def test_a_file_that_is_named_by_no_text_is_told(run: Path, key: str) -> None:
    change_record(run, "curate", lambda row: row["files"][0].update({key: {}}))
    assert ("ledger unbroken", "a file without a name") in {
        (check, what.rpartition(": ")[2]) for check, _, what in found(run)
    }


def test_whatever_else_a_check_stumbles_over_is_a_finding_not_a_crash(run: Path) -> None:
    change_record(run, "evaluate", fact("facts.labels", {"ada": 3}))
    assert any("could not be checked" in what for _, _, what in found(run))


class Killed(BaseException):
    """As sudden as a kill."""


class DyingInRound3(ScriptedTrainer):
    def train(self, job: TrainJob) -> TrainResult:
        if len(self.jobs) == 2:
            raise Killed
        return super().train(job)


def test_a_run_that_was_killed_rolled_back_swept_and_finished_is_clean(tmp_path: Path) -> None:
    write_questions(tmp_path / "stream.jsonl", words(1, 60))
    write_questions(tmp_path / "heldout.jsonl", words(2, 4))
    config = letters_config(
        tmp_path,
        run__iterations=6,
        run__inputs_per_iteration=8,
        gate__margin=1.0,
        retention__promoted=2,
        retention__rounds=2,
        retention__traces=1,
        retention__pool=1,
    )
    run = str(tmp_path / "run")
    with pytest.raises(Killed):
        finished(config, trainer=DyingInRound3())
    assert examine(run).findings == []
    roll_back(Ledger(LocalStore(run), SystemClock()), "1")
    assert examine(run).findings == []
    finished(config)
    checkup = examine(run)
    assert checkup.findings == []
    assert any("no longer kept" in note for note in checkup.notes)
    roll_back(Ledger(LocalStore(run), SystemClock()), "5")
    assert examine(run).findings == []
    (tmp_path / "run/promoted").unlink()
    (tmp_path / "run/promoted").symlink_to("weights")
    assert [each.file for _, each in examine(run).findings] == ["promoted"]


def test_a_driver_that_commits_meanwhile_is_no_finding(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The ledger is read before a promotion, and the link after it."""
    last = sorted((run / "ledger").iterdir())[-2:]
    assert [json.loads(path.read_text())["record"]["stage"] for path in last] == ["promote", ""]
    late = {path: path.read_bytes() for path in last}
    for path in last:
        path.unlink()
    links = Local.links

    def commit_then_look(self: Local) -> Iterator[tuple[str, str]]:
        for path, data in late.items():
            path.write_bytes(data)
        return links(self)

    monkeypatch.setattr(Local, "links", commit_then_look)
    assert examine(str(run)).findings == []
