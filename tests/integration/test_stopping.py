"""Runs in which a person decides, and runs that eat themselves: what is recorded, served and said."""

import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from s2d_loop.cli import app
from s2d_loop.clock import SystemClock
from s2d_loop.config import Config
from s2d_loop.doctor import examine
from s2d_loop.errors import BadInputError, ExitCode
from s2d_loop.ledger import Ledger
from s2d_loop.loop import run_loop
from s2d_loop.operate.service import promote, roll_back, waiting
from s2d_loop.operate.state import state
from s2d_loop.report.view import RunView
from s2d_loop.store import LocalStore
from s2d_loop.train.job import TrainJob, TrainResult
from s2d_loop.versions import in_service
from tests.support.runs import begun, finished
from tests.support.scripted import (
    ScriptedTrainer,
    letters_config,
    scripted_weights,
    words,
    write_questions,
)


class Skills(ScriptedTrainer):
    """Round n comes out with the n-th skill."""

    def __init__(self, *skills: float) -> None:
        super().__init__()
        self._skills = skills

    def train(self, job: TrainJob) -> TrainResult:
        result = super().train(job)
        number = int(Path(job.out_dir).name[:5])
        shutil.rmtree(job.out_dir)
        weights = scripted_weights(Path(job.out_dir), self._skills[number - 1])
        object.__setattr__(result, "weights", weights)
        return result


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_questions(tmp_path / "stream.jsonl", words(1, 60))
    write_questions(tmp_path / "heldout.jsonl", words(2, 150))
    return tmp_path


def config_of(folder: Path, rounds: int, **changes: object) -> Config:
    return letters_config(
        folder,
        run__iterations=rounds,
        run__inputs_per_iteration=10,
        gate__margin=0.05,
        evaluate__system2_every=0,
        **changes,
    )


def reread(folder: Path) -> Ledger:
    return Ledger(LocalStore(str(folder / "run")), SystemClock())


def test_with_ask_nothing_serves_until_a_person_says_so(folder: Path) -> None:
    config = config_of(folder, 2, gate__promote="ask")
    assert finished(config, trainer=Skills(0.6, 0.8)) == ExitCode.HELD
    ledger = reread(folder)
    assert [r.facts["decision"] for r in ledger.stages("gate")] == ["ask", "ask"]
    assert (in_service(ledger), [v.number for v in waiting(ledger)]) == (0, [1, 2])
    said = CliRunner().invoke(app, ["promote", str(folder / "run")]).output
    assert "In service now: version 2" in said
    after = reread(folder)
    assert (in_service(after), waiting(after)) == (2, [])
    assert (folder / "run/promoted").resolve().name.startswith("00002")
    assert examine(str(folder / "run")).findings == []
    view = RunView(r.to_json() for r in after.live)
    assert (view.promoted, view.asked, view.in_service) == ([2], [1], 2)
    with pytest.raises(BadInputError, match="no version waits"):
        promote(after, None)


def test_a_promotion_between_rounds_is_what_the_next_round_starts_from(folder: Path) -> None:
    config = config_of(folder, 3, gate__promote="ask")
    trainer = Skills(0.6, 0.8, 0.9)

    def train(job: TrainJob) -> TrainResult:
        if Path(job.out_dir).name.startswith("00002") and in_service(reread(folder)) == 0:
            promote(reread(folder), "1")
        return Skills.train(trainer, job)

    trainer.train = train  # type: ignore[method-assign]
    with pytest.raises(Exception, match="took this run over"):
        finished(config, trainer=trainer)
    assert finished(config, trainer=trainer) == ExitCode.HELD
    ledger = reread(folder)
    assert [r.facts["start_version"] for r in ledger.stages("train")] == [0, 1, 1]
    assert examine(str(folder / "run")).findings == []


def test_a_held_version_is_promoted_by_name_only_and_the_record_says_whom_it_overrides(folder: Path) -> None:
    assert finished(config_of(folder, 2), trainer=Skills(0.7, 0.1)) == ExitCode.HELD
    ledger = reread(folder)
    with pytest.raises(BadInputError, match="no version waits"):
        promote(ledger, None)
    with pytest.raises(BadInputError, match="no version '9'"):
        promote(ledger, "9")
    with pytest.raises(BadInputError, match="in service already"):
        promote(ledger, "1")
    assert "overrides the gate, which said: Held: " in promote(ledger, "2")
    record = reread(folder).last("promote")
    assert record is not None
    assert record.facts["overrides"].startswith("Held: ")
    assert (in_service(reread(folder)), examine(str(folder / "run")).findings) == (2, [])
    roll_back(reread(folder), "1")
    assert in_service(reread(folder)) == 1


def collapsing(folder: Path) -> Config:
    config = config_of(folder, 5)
    assert finished(config, trainer=Skills(0.9, 0.2, 0.1, 0.9, 0.9)) == ExitCode.COLLAPSED
    return config


def test_two_rounds_in_a_row_that_are_shown_worse_stop_the_run_and_the_best_serves(folder: Path) -> None:
    collapsing(folder)
    ledger = reread(folder)
    stop = ledger.records[-1]
    assert (stop.kind, stop.facts["round"], stop.facts["version"], in_service(ledger)) == (
        "collapsed",
        3,
        1,
        1,
    )
    assert stop.facts["sentence"].startswith("Stopped: training on its own votes makes System 1 worse")
    assert stop.facts["evidence"]["gate"]["letters"]["fall"] < -0.5
    assert set(stop.facts["evidence"]["new_inputs"]["letters"]) == {"1", "2", "3"}
    assert (state(ledger).name, state(ledger).exit_code) == ("collapsed", ExitCode.COLLAPSED)
    said = CliRunner().invoke(app, ["status", str(folder / "run"), "--exit-status"])
    assert said.exit_code == ExitCode.COLLAPSED
    assert "Stopped: training" in said.output.replace("\n", " ")
    told = json.loads(CliRunner().invoke(app, ["status", str(folder / "run"), "--json"]).output)
    assert told["next"] is None
    assert examine(str(folder / "run")).findings == []


def test_a_stopped_run_stays_stopped_until_a_person_says_from_where_to_go_on(folder: Path) -> None:
    config = collapsing(folder)
    before = len(reread(folder).records)
    assert run_loop(begun(config, trainer=Skills(0, 0, 0, 0, 0))) == ExitCode.COLLAPSED
    assert [r.kind for r in reread(folder).records[before:]] == ["lease"]
    roll_back(reread(folder), "1")
    assert state(reread(folder)).exit_code is None
    assert finished(config, trainer=Skills(0, 0, 0, 0.9, 0.95)) in (ExitCode.DONE, ExitCode.HELD)
    ledger = reread(folder)
    assert [r.facts["start_version"] for r in ledger.stages("train")][3] == 1
    assert examine(str(folder / "run")).findings == []


def test_one_bad_training_stops_nothing(folder: Path) -> None:
    finished(config_of(folder, 4), trainer=Skills(0.8, 0.1, 0.95, 0.1))
    assert [r.facts["decision"] for r in reread(folder).stages("gate")] == [
        "promote",
        "hold",
        "promote",
        "hold",
    ]
    assert not any(r.kind == "collapsed" for r in reread(folder).records)
