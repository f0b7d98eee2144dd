"""What stays on disk over many rounds, and what can be returned to."""

from pathlib import Path

import pytest

from s2d_loop.clock import SystemClock
from s2d_loop.errors import BadInputError, ExitCode
from s2d_loop.ledger import Ledger, LedgerError
from s2d_loop.loop import run_loop
from s2d_loop.operate.service import roll_back
from s2d_loop.records import Example, Scored, rows
from s2d_loop.retention import tidy
from s2d_loop.stages import Run
from s2d_loop.store import LocalStore
from s2d_loop.versions import best_so_far, in_service, versions
from tests.support.scripted import ScriptedTrainer, letters_config, scripted_run, words, write_questions

ROUNDS = 8


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_questions(tmp_path / "stream.jsonl", words(1, 6 * ROUNDS))
    write_questions(tmp_path / "heldout.jsonl", words(2, 4))
    return tmp_path


def small_run(folder: Path, *, rounds: int = ROUNDS, trainer: ScriptedTrainer | None = None) -> Run:
    config = letters_config(
        folder,
        run__iterations=rounds,
        run__inputs_per_iteration=6,
        generate__probe_inputs=0,
        gate__margin=1.0,
        retention__promoted=2,
        retention__rounds=2,
        retention__traces=1,
        retention__pool=1,
    )
    return scripted_run(config, trainer=trainer)


def reread(folder: Path) -> Ledger:
    return Ledger(LocalStore(str(folder / "run")), SystemClock())


def files(folder: Path, kind: str) -> set[str]:
    return {p.parent.parent.name for p in (folder / "run/data").rglob(f"{kind}.parquet")}


def rounds(*numbers: int) -> set[str]:
    return {f"{number:05d}" for number in numbers}


def test_weights_and_tables_of_old_rounds_go_and_pool_and_inputs_stay(folder: Path) -> None:
    assert run_loop(small_run(folder)) == ExitCode.DONE
    ledger = reread(folder)
    kept = {Path(v.path).name for v in versions(ledger) if not ledger.swept(v.path)}
    # Swept in the course of the last round, when 6 and 7 were the last two promoted ones; 2 is the best so far.
    assert kept == {each.name for each in (folder / "run/weights").iterdir()}
    assert set(best_so_far(ledger).values()) == {2}
    assert {name[:5] for name in kept} == rounds(2, 6, 7, 8)
    assert files(folder, "generations") == files(folder, "verdicts") == rounds(7, 8)
    assert files(folder, "scored") == rounds(0, 2, 6, 7, 8)
    assert files(folder, "training") == rounds(8)
    every = rounds(*range(1, ROUNDS + 1))
    assert files(folder, "inputs") == files(folder, "examples") == every
    # Whatever is gone was named first, and whatever was named is gone.
    for record in ledger.live:
        for file in record.files:
            assert (folder / "run" / file.path).exists() != ledger.swept(file.path)
    assert [e.iteration for r in ledger.stages("pool") for e in rows(ledger.tables(r, "examples"), Example)]
    with pytest.raises(LedgerError, match="no longer kept"):
        list(rows(ledger.tables(ledger.stages("evaluate")[1], "scored"), Scored))


def test_a_killed_sweep_and_attempts_of_earlier_drivers_are_cleared_away_by_the_next(folder: Path) -> None:
    class Killed(BaseException):
        pass

    run = small_run(folder)
    remove = run.ledger.store.remove

    def dying(path: str) -> None:
        if path.endswith("traces.parquet"):
            raise Killed
        remove(path)

    run.ledger.store.remove = dying  # type: ignore[method-assign]
    with pytest.raises(Killed):
        run_loop(run)
    run.ledger.attempt(1, "pool").write_text("README.md", "half of a stage")
    named = reread(folder).last("swept")
    assert named is not None
    assert all((folder / "run" / path).exists() for path in named.facts["paths"])
    assert run_loop(small_run(folder, rounds=2)) == ExitCode.DONE
    assert not any((folder / "run" / path).exists() for path in named.facts["paths"])
    counted = {Path(file.path).parent for record in reread(folder).live for file in record.files}
    assert {p.relative_to(folder / "run") for p in (folder / "run/data").glob("*/*")} <= counted


def test_a_driver_that_lost_its_lease_does_not_touch_what_its_successor_is_writing(folder: Path) -> None:
    first = small_run(folder)
    second = small_run(folder)
    attempt = second.ledger.attempt(1, "intake")
    attempt.write_text("README.md", "under way")
    tidy(first.ledger, first.weights_dir)
    assert (folder / "run" / attempt.folder / "README.md").exists()
    tidy(small_run(folder).ledger, first.weights_dir)
    assert not (folder / "run" / attempt.folder).exists()


def test_a_rollback_puts_an_earlier_version_in_service_and_the_next_round_starts_from_it(
    folder: Path,
) -> None:
    run_loop(small_run(folder, rounds=3))
    ledger = reread(folder)
    assert in_service(ledger) == 3
    said = roll_back(ledger, None)
    assert said == "In service now: version 2. The next to start from it is round 4."
    assert (folder / "run/promoted").resolve().name.startswith("00002-")
    trainer = ScriptedTrainer()
    run_loop(small_run(folder, rounds=4, trainer=trainer))
    assert [Path(job.start.path).name[:5] for job in trainer.jobs] == ["00002"]
    again = reread(folder)
    assert again.stages("train")[-1].facts["start_version"] == 2
    assert in_service(again) == 4
    assert (folder / "run/promoted").resolve().name.startswith("00004-")


def test_a_round_under_way_is_done_again_from_its_claimed_inputs(folder: Path) -> None:
    class Killed(BaseException):
        pass

    class Dying(ScriptedTrainer):
        def train(self, job):  # type: ignore[no-untyped-def]
            if len(self.jobs) == 2:
                raise Killed
            return super().train(job)

    with pytest.raises(Killed):
        run_loop(small_run(folder, rounds=3, trainer=Dying()))
    before = reread(folder)
    claimed = before.stage(3, "intake")
    assert "round 3, which is done again from its claimed inputs" in roll_back(before, "1")
    run_loop(small_run(folder, rounds=3))
    after = reread(folder)
    assert after.stage(3, "intake") == claimed
    assert [r.facts["version"] for r in after.stages("generate")] == [0, 1, 1]
    assert in_service(after) == 3


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ("3", "version 3 is in service already"),
        ("1", "version 1 was swept: its weights are gone"),
        ("9", "there is no version '9'"),
        ("abcd", "there is no version 'abcd'"),
    ],
)
def test_a_rollback_that_cannot_be_is_refused_with_those_that_can(
    folder: Path, wanted: str, expected: str
) -> None:
    run_loop(small_run(folder, rounds=4))
    ledger = reread(folder)
    roll_back(ledger, "3")
    with pytest.raises(BadInputError, match=expected) as raised:
        roll_back(ledger, wanted)
    assert "Versions to return to:\n  0  start\n  2  " in str(raised.value)
    assert [r.kind for r in ledger.records].count("rollback") == 1
