"""Runs that earlier versions recorded go on with this one: from now on every version must.

`tests/fixtures/record.py` says how they were made.  Each has its own configuration in its ledger.
"""

import json
import tarfile
from pathlib import Path

import pytest
from typer.testing import CliRunner

from s2d_loop.cli import app
from s2d_loop.clock import SystemClock
from s2d_loop.commits import FORMAT, LedgerError
from s2d_loop.config import Config
from s2d_loop.doctor import examine
from s2d_loop.errors import ExitCode
from s2d_loop.ledger import Ledger
from s2d_loop.store import LocalStore
from tests.fixtures.record import RECORDED, RUNS
from tests.support.runs import finished
from tests.support.scripted import ScriptedEngines, ScriptedTrainer
from tests.support.tamper import records, write_ledger

ARCHIVES = sorted(RECORDED.glob("*/*.tar.xz"))


@pytest.fixture
def unpacked(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The archive's run; what its paths are relative to is the current directory."""
    with tarfile.open(request.param) as archive:
        archive.extractall(tmp_path, filter="data")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "run"


def every_run(test):  # type: ignore[no-untyped-def]
    names = [f"{path.parent.name}-{path.name.split('.')[0]}" for path in ARCHIVES]
    return pytest.mark.parametrize("unpacked", ARCHIVES, indirect=True, ids=names)(test)


def config_of(run: Path) -> Config:
    """The configuration that a run was begun with, without the sources that it forgot."""
    rows = records(run)
    (begun,) = [row["facts"]["config"] for row in rows if row["kind"] == "run"]
    gone = {row["facts"]["source"] for row in rows if row["kind"] == "forget"}
    config = Config.model_validate_json(json.dumps(begun))
    return config.model_copy(update={"sources": [s for s in config.sources if s.source_name not in gone]})


def test_there_are_runs_of_this_format() -> None:
    assert {path.name.split(".")[0] for path in ARCHIVES if path.parent.name == str(FORMAT)} >= set(RUNS)
    assert sum(path.stat().st_size for path in ARCHIVES) < 300_000


@every_run
def test_a_recorded_run_is_clean_and_goes_on_to_its_end(unpacked: Path) -> None:
    assert examine(str(unpacked)).findings == []
    before = {path.name: path.read_bytes() for path in (unpacked / "ledger").iterdir()}
    was_finished = records(unpacked)[-1]["kind"] == "finished"
    engines, trainer = ScriptedEngines(), ScriptedTrainer()
    config = config_of(unpacked)
    assert finished(config, engines=engines, trainer=trainer) in (ExitCode.DONE, ExitCode.HELD)
    checkup = examine(str(unpacked))
    assert checkup.findings == []
    assert {name: (unpacked / "ledger" / name).read_bytes() for name in before} == before
    assert bool(trainer.jobs) != was_finished, "a finished run does nothing again, another one goes on"
    ledger = Ledger(LocalStore(str(unpacked)), SystemClock())
    assert ledger.last("finished") is not None
    assert {r.iteration for r in ledger.stages("pool")} == set(range(1, config.run.iterations + 1))


@every_run
def test_a_recorded_run_can_be_looked_at(unpacked: Path) -> None:
    for command in (["status"], ["show"], ["report"], ["doctor"]):
        result = CliRunner().invoke(app, [command[0], str(unpacked), *command[1:]])
        assert result.exit_code == ExitCode.DONE, result.output


@pytest.mark.parametrize("unpacked", ARCHIVES[:1], indirect=True)
@pytest.mark.parametrize(
    ("number", "said"),
    [(FORMAT + 1, f"format {FORMAT + 1}"), (1, "format 1"), (FORMAT + 998, str(FORMAT + 998))],
)
def test_another_format_is_refused_by_its_number(unpacked: Path, number: int, said: str) -> None:
    rows = records(unpacked)
    for row in rows:
        row["format"] = number
    write_ledger(unpacked, rows)
    with pytest.raises(LedgerError, match=said):
        Ledger(LocalStore(str(unpacked)), SystemClock())
    (finding,) = [each for name, each in examine(str(unpacked)).findings if "format" in each.what]
    assert said in finding.what
