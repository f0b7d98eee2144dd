"""Runs side by side: one `weights_dir`, or one bucket, and neither ever touches what is the other's."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from s2d_loop.errors import ExitCode
from s2d_loop.ledger import LedgerError
from s2d_loop.loop import run_loop
from s2d_loop.train import TrainJob, TrainResult
from tests.support.scripted import ScriptedTrainer, letters_config, scripted_run, words, write_questions
from tests.support.tamper import Row, find, records, write_ledger


class Killed(BaseException):
    """Stands for kill -9: nothing behind it runs."""


class Dying(ScriptedTrainer):
    """Leaves checkpoints and half an export, and is killed in its second training."""

    def train(self, job: TrainJob) -> TrainResult:
        if len(self.jobs) == 1:
            for folder in (Path(job.scratch_dir), Path(f"{job.out_dir}.partial-01234567")):
                folder.mkdir(parents=True)
                (folder / "part").write_text("of " + job.out_dir)
            raise Killed
        return super().train(job)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def small(folder: Path, name: str, **changes: object):  # type: ignore[no-untyped-def]
    return letters_config(
        folder,
        run__dir=str(folder / name / "run"),
        run__weights_dir=str(folder / "shared"),
        run__iterations=3,
        run__inputs_per_iteration=8,
        retention__promoted=1,
        retention__held=1,
        **changes,
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_questions(tmp_path / "stream.jsonl", words(1, 24))
    write_questions(tmp_path / "heldout.jsonl", words(2, 4))
    return tmp_path


def test_runs_that_share_a_weights_dir_leave_each_others_files_alone(folder: Path) -> None:
    """Two runs of one name, and a copy of one, killed in a training, swept, and started in turns."""
    one, two = small(folder, "one"), small(folder, "two")
    for config in (one, two):
        with pytest.raises(Killed):
            run_loop(scripted_run(config, trainer=Dying()))
    shutil.copytree(folder / "one", folder / "copy", symlinks=True)
    copy = small(folder, "copy")
    owned = {config.run.dir: scripted_run(config).weights_dir for config in (one, two, copy)}
    assert len(set(owned.values())) == 3
    assert all(each.parent == folder / "shared" for each in owned.values())
    for config in (one, copy, two):
        others = [each for name, each in owned.items() if name != config.run.dir]
        before = [contents(each) for each in others]
        assert run_loop(scripted_run(config)) == ExitCode.DONE
        assert [contents(each) for each in others] == before, config.run.dir
        mine = owned[config.run.dir]
        assert not [path for path in contents(mine) if "partial" in path or "scratch" in path]
        assert len(list(mine.iterdir())) < 3, "retention lets go of versions"


def forged(run: Path, change: Callable[[list[Row]], None], rounds: int = 3) -> None:
    rows = [row for row in records(run) if row["iteration"] <= rounds and row["kind"] != "finished"]
    change(rows)
    write_ledger(run, rows)


@pytest.mark.parametrize(
    "path", ["weights/..", "weights/.", "weights/mine", "weights/00001-00001-0123456789ab"]
)
def test_weights_are_where_their_round_and_attempt_say(folder: Path, path: str) -> None:
    config = small(folder, "one")
    assert run_loop(scripted_run(config)) == ExitCode.DONE
    shared = folder / "shared"
    (shared / "mine").mkdir()
    (shared / "mine" / "precious").write_text("mine")

    def elsewhere(rows: list[Row]) -> None:
        for stage in ("train", "promote"):
            record = find(rows, stage, 1)
            record["facts"] = json.loads(
                json.dumps(record["facts"]).replace(record["facts"]["weights"]["path"], path)
            )

    forged(Path(config.run.dir), elsewhere, rounds=1)
    before = contents(shared / "mine")
    with pytest.raises(LedgerError, match="the run was altered"):
        run_loop(scripted_run(config))
    assert contents(shared / "mine") == before


@pytest.mark.parametrize(
    "path",
    [
        *(
            "weights/mine",
            "weights/..",
            "weights/.",
            "weights/",
            "data/00001",
            "data/00001/../00002",
            "data/",
        ),
        *("weights/x00001-00001-0123456789ab", "weights/00001-00001-0123456789ab/../../mine", "ledger"),
    ],
)
def test_a_record_sweeps_nothing_but_attempts(folder: Path, path: str) -> None:
    config = small(folder, "one")
    assert run_loop(scripted_run(config)) == ExitCode.DONE
    own = scripted_run(config).weights_dir
    (own / "mine").mkdir()
    (own / "mine" / "precious").write_text("mine")

    def sweeping(rows: list[Row]) -> None:
        rows.append(dict(rows[-1]) | {"kind": "swept", "stage": "", "attempt": "", "files": []})
        rows[-1]["facts"] = {"paths": [path], "why": "retention"}

    forged(Path(config.run.dir), sweeping)
    kept = (folder / "shared", Path(config.run.dir, "data"))
    before = [contents(each) for each in kept]
    with pytest.raises(LedgerError, match="the run was altered"):
        run_loop(scripted_run(config))
    assert [contents(each) for each in kept] == before


@pytest.mark.parametrize("name", [".scratch-00002", "weights"])
def test_a_link_in_place_of_a_folder_of_the_run_is_named_and_nothing_is_written_through_it(
    folder: Path, name: str
) -> None:
    config = small(folder, "one", train__checkpoint_every=1)
    with pytest.raises(Killed):
        run_loop(scripted_run(config, trainer=Dying()))
    own = scripted_run(config).weights_dir
    outside = folder / "outside"
    outside.mkdir()
    (outside / "precious").write_text("mine")
    if name == "weights":
        (name,) = (each.name for each in own.iterdir() if each.name.startswith("00001-"))
        shutil.copytree(own / name, outside, dirs_exist_ok=True)
    shutil.rmtree(own / name)
    (own / name).symlink_to(outside, target_is_directory=True)
    before = contents(outside)
    with pytest.raises(Exception, match=f"{name}: it is a link"):
        run_loop(scripted_run(config))
    assert contents(outside) == before


def test_a_copy_whose_links_became_folders_is_named(folder: Path) -> None:
    config = small(folder, "one")
    assert run_loop(scripted_run(config)) == ExitCode.DONE
    shutil.copytree(folder / "one", folder / "copy")
    with pytest.raises(LedgerError, match="promoted: it is a folder, where a link"):
        run_loop(scripted_run(small(folder, "copy")))
