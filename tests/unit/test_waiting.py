"""Without an end: when a round starts, what ends a wait, and what an idle poll looks at."""

import json
import os
import uuid
from pathlib import Path
from types import SimpleNamespace

import pytest

from s2d_loop.config import SourceConfig
from s2d_loop.errors import StoppedError
from s2d_loop.ledger import Ledger
from s2d_loop.report.progress import SilentProgress
from s2d_loop.sources import open_source
from s2d_loop.sources.files import File
from s2d_loop.stages import wait_for_inputs
from s2d_loop.stages.waiting import NAP_S
from s2d_loop.store import LocalStore


class Time:
    """A clock on which things happen: `plan` holds what is done at which second."""

    def __init__(self, plan=()) -> None:
        self.seconds = 0.0
        self.plan = sorted(plan, key=lambda each: each[0])

    def now(self) -> float:
        return 4e9 + self.seconds

    def monotonic(self) -> float:
        return self.seconds

    def sleep(self, seconds: float) -> None:
        assert 0 < seconds <= NAP_S
        self.seconds += seconds
        while self.plan and self.plan[0][0] <= self.seconds:
            self.plan.pop(0)[1]()


class Said(SilentProgress):
    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


def waiting(folder: Path, clock: Time, *, limit=None, intakes=(), safe_point=lambda: None, **keys):
    config = SourceConfig(task="t", type="directory", path=str(folder), name="in", limit=limit)
    settings = {"min_inputs": 5, "inputs_per_iteration": 8, "max_wait_s": 300.0, "poll_s": 10.0} | keys
    return SimpleNamespace(
        config=SimpleNamespace(run=SimpleNamespace(**settings)),
        clock=clock,
        sources=(open_source(config, now=clock.now),),
        ledger=ledger_of(folder, clock, intakes),
        progress=Said(),
        safe_point=safe_point,
    )


def ledger_of(folder: Path, clock: Time, intakes) -> Ledger:
    """A ledger in which each of these cursors' moves was committed by a round."""
    ledger = Ledger(LocalStore(str(folder.with_name(f"{folder.name}-run-{uuid.uuid4().hex}"))), clock)
    ledger.take_lease()
    for number, moved in enumerate(intakes, 1):
        ledger.append("stage", attempt=ledger.attempt(number, "intake"), facts={"cursors": {"in": moved}})
    return ledger


def arrive(folder: Path, name: str, rows: int):
    def write() -> None:
        path = folder / f"{name}.jsonl"
        path.write_text("".join(json.dumps({"prompt": f"{name} {n}"}) + "\n" for n in range(rows)))
        os.utime(path, (1e9, 1e9))

    return write


def test_a_round_starts_when_enough_inputs_have_come(tmp_path):
    clock = Time([(100, arrive(tmp_path, "a", 4)), (200, arrive(tmp_path, "b", 1))])
    run = waiting(tmp_path, clock)
    wait_for_inputs(run, 1)
    assert 200 <= clock.seconds <= 210
    assert run.progress.notes == [
        "Waiting for inputs: 0 of 5 (run.min_inputs) are there; a round starts with fewer 5 min after the "
        "first of them (run.max_wait_s)."
    ]


def test_fewer_start_one_when_they_have_waited_long_enough(tmp_path):
    clock = Time([(100, arrive(tmp_path, "a", 4))])
    wait_for_inputs(waiting(tmp_path, clock), 1)
    assert 400 <= clock.seconds <= 410


def test_a_row_that_can_not_be_read_waits_no_longer_than_others_to_be_counted(tmp_path):
    (tmp_path / "rows.jsonl").write_text('{"prompt": "one"}\n{"no": "prompt"}\n')
    first = open_source(
        SourceConfig(task="t", type="directory", path=str(tmp_path), name="in"), now=Time().now
    )
    taken = first.read({}, 1)
    clock = Time()
    wait_for_inputs(waiting(tmp_path, clock, intakes=[taken.cursor]), 2)
    assert 300 <= clock.seconds <= 310


def test_enough_that_are_there_already_are_not_waited_for_and_unless_given_a_round_is_full(tmp_path):
    arrive(tmp_path, "a", 5)()
    clock = Time([(50, arrive(tmp_path, "b", 3))])
    wait_for_inputs(waiting(tmp_path, clock), 1)
    assert clock.seconds == 0
    wait_for_inputs(waiting(tmp_path, clock, min_inputs=None), 1)
    assert 50 <= clock.seconds <= 60


def test_inputs_of_a_source_under_quarantine_wait_to_be_counted_and_start_no_round(tmp_path):
    arrive(tmp_path, "a", 9)()
    clock = Time()
    run = waiting(tmp_path, clock)
    run.ledger.append("stage", attempt=run.ledger.attempt(1, "attribute"), facts={"named": ["in"]})
    wait_for_inputs(run, 2)
    assert 300 <= clock.seconds <= 310


def test_a_round_under_way_is_not_waited_for(tmp_path):
    wait_for_inputs(waiting(tmp_path, Time(), intakes=[{}]), 1)


def test_what_earlier_rounds_took_does_not_count_and_a_source_at_its_limit_ends_the_wait(tmp_path):
    arrive(tmp_path, "a", 6)()
    source = waiting(tmp_path, Time()).sources[0]
    first = source.read(None, 4).cursor
    intakes = [first]
    clock = Time()
    wait_for_inputs(waiting(tmp_path, clock, intakes=intakes), 2)
    assert 300 <= clock.seconds <= 310, "two are left, and five are wanted"
    wait_for_inputs(waiting(tmp_path, clock, intakes=intakes, limit=4), 2)
    assert clock.seconds <= 310, "nothing will ever come"


def test_a_request_to_stop_ends_the_wait_at_once(tmp_path):
    asked = []
    clock = Time([(33, lambda: asked.append(1))])

    def safe_point() -> None:
        if asked:
            raise StoppedError("SIGTERM")

    with pytest.raises(StoppedError):
        wait_for_inputs(waiting(tmp_path, clock, safe_point=safe_point), 1)
    assert clock.seconds <= 33 + NAP_S


def test_an_idle_poll_opens_no_file_and_says_nothing(tmp_path, monkeypatch):
    for number in range(30):
        arrive(tmp_path, f"old{number}", 1)()
    done = waiting(tmp_path, Time()).sources[0].read(None, 100).cursor
    intakes = [done]
    opened: list[str] = []
    open_file = File.open
    monkeypatch.setattr(File, "open", lambda file: opened.append(file.path) or open_file(file))
    after_first_look: list[int] = []
    clock = Time([(5, lambda: after_first_look.append(len(opened))), (7200, arrive(tmp_path, "new", 5))])
    run = waiting(tmp_path, clock, intakes=intakes, poll_s=60.0)
    wait_for_inputs(run, 2)
    assert {path.rsplit("/", 1)[1] for path in opened[after_first_look[0] :]} == {"new.jsonl"}
    assert len(run.progress.notes) == 2, "at the start, and after an hour"
