"""`s2d forget` beside a rollback: the first round that goes, what a rollback made void before, and what stays."""

from dataclasses import replace
from pathlib import Path

import pytest

from s2d_loop.config import Config
from s2d_loop.doctor import examine
from s2d_loop.ledger import Record
from s2d_loop.operate.forget import forget, plan
from s2d_loop.operate.service import roll_back
from s2d_loop.records import Generation, rows, source_of
from s2d_loop.replay import REPLAYED, done, with_replay
from s2d_loop.sources import Cursor, Delivery, Source
from s2d_loop.stages import Run
from s2d_loop.train.job import TrainJob, TrainResult
from s2d_loop.versions import in_service
from tests.integration.test_forget import (
    PAIRS,
    Capricious,
    Story,
    a_story,
    config_of,
    everything_written,
    opened,
    rounds_to,
    tables,
    write_sources,
)
from tests.support.scripted import write_questions

EDGE = a_story(sources={"a": [0, 1, 2, 3], "b": [4, 5, 6, 7], "c": list(range(8, 16)), "d": [16]}, rounds=4)
"""`b` delivers from round 3 on, when `a` has no more; `d` never does, for `c` fills all rounds."""


class KilledError(Exception):
    pass


class Telling(Capricious):
    """Names a checkpoint in each training, and is killed in that of one round."""

    def __init__(self, killed_in: int = 0) -> None:
        super().__init__()
        self.offered: dict[int, list[str]] = {}
        """The checkpoints that each round could go on from."""
        self._killed_in = killed_in

    def train(self, job: TrainJob) -> TrainResult:
        number = int(Path(job.out_dir).name[:5])
        self.offered[number] = list(job.checkpoints)
        assert job.on_checkpoint is not None
        job.on_checkpoint(1, f"of round {number}")
        if number == self._killed_in:
            raise KilledError
        return super().train(job)


@pytest.fixture(autouse=True)
def no_fsync(monkeypatch: pytest.MonkeyPatch) -> None:
    """What survives a power loss isn't at stake here."""
    monkeypatch.setattr("os.fsync", lambda _: None)


def edge(
    folder: Path,
    name: str,
    *,
    without: tuple[str, ...] = (),
    trainer: Capricious | None = None,
    story: Story = EDGE,
) -> Run:
    """A run that trains in every round, with a gate that promotes whatever comes."""
    tree = config_of(folder, story, name).model_dump()
    tree["sources"] = [source for source in tree["sources"] if source["name"] not in without]
    tree["gate"]["margin"] = 1.0
    for task in tree["tasks"].values():
        task["method"]["samples"], task["curate"]["filter"] = 1, "none"
    return replace(opened(Config.model_validate(tree)), trainer=trainer or Capricious())


def round_of(record: Record) -> int:
    """The round that a record is of; 0 where it is of none."""
    return int(record.facts["iteration"]) if record.kind == "checkpoint" else record.iteration


def come(folder: Path, source: str, numbers: list[int]) -> None:
    """More questions at the end of a source."""
    write_questions(folder / "more.jsonl", [PAIRS[number] for number in numbers])
    with (folder / f"{source}.jsonl").open("a") as file:
        file.write((folder / "more.jsonl").read_text())


def told_late(folder: Path) -> tuple[Run, Run]:
    """A run, and one that never sees `b` and `d`, whose other sources have a row more in round 2."""
    held = {"a": [0, 1], "b": [3], "c": [4, 5], "d": [6]}
    story = replace(EDGE, sources=held, inputs_per_iteration=3, rounds=2)
    write_sources(folder, story)
    runs = edge(folder, "run", story=story), edge(folder, "calm", without=("b", "d"), story=story)
    for each in runs:
        rounds_to(each, 1)
    come(folder, "a", [8])
    come(folder, "c", [9])
    for each in runs:
        rounds_to(each, 2)
    return runs


def test_rows_that_wait_are_delivered_from_the_round_on_in_which_they_came(tmp_path: Path) -> None:
    run, _ = told_late(tmp_path)
    forget(run.ledger, "b")
    made = run.ledger.last("forget")
    assert made is not None

    def read(number: int, taken: int, limit: int = 9) -> tuple[list[str], Cursor, bool]:
        source, *_ = with_replay(run.ledger, run.sources, number)
        found = source.read({REPLAYED: {"forget": made.seq, "row": taken}}, limit)
        return [each.id[-1] for each in found.inputs], found.cursor.get(REPLAYED, {}), found.exhausted

    def place(row: int) -> Cursor:
        return {"forget": made.seq, "row": row}

    assert read(1, 0) == (["0", "1"], place(2), True)
    assert read(1, 0, limit=1) == (["0"], place(1), False)
    assert read(1, 2) == ([], {}, True)
    assert read(2, 0) == (["0", "1", "2"], place(3), False)
    assert read(2, 1, limit=1) == (["1"], place(2), False), "the next one is there already"
    assert read(2, 2) == (["2"], place(3), False)


def test_what_goes_begins_with_the_first_round_that_the_source_delivered_to(tmp_path: Path) -> None:
    write_sources(tmp_path, EDGE)
    run = edge(tmp_path, "run", trainer=Telling())
    rounds_to(run, 4)
    ledger = run.ledger
    counted = [r for r in ledger.live if r.kind in ("stage", "checkpoint", "finished")]
    goes = {r.seq for r in counted if round_of(r) >= 3 or r.kind == "finished"}
    assert {r.kind for r in counted if r.seq not in goes} == {"stage", "checkpoint"}
    planned = plan(ledger, "b")
    assert (planned.first, planned.last) == (3, 4)
    assert {r.seq for r in planned.void} == goes
    assert [version["version"] for version in planned.versions] == [3, 4]
    forget(ledger, "b")
    assert {r.seq for r in counted} & {r.seq for r in ledger.live} == {r.seq for r in counted} - goes
    assert in_service(ledger) == 2
    assert all(ledger.swept(r.folder) for r in planned.void if r.kind == "stage")
    assert all(ledger.swept(r.facts["weights"]["path"]) for r in planned.void if r.stage == "train")
    assert {name[:5] for name in ledger.store.list("weights") if name[0] != "."} == {"00001", "00002"}


@pytest.mark.parametrize(("after", "stays", "served"), [(1, True, 2), (2, True, 0), (3, False, 2)])
def test_a_rollback_holds_if_it_was_made_before_the_first_round_that_goes(
    tmp_path: Path, after: int, stays: bool, served: int
) -> None:
    """The one made after round 2 holds from round 3 on, which is the first that goes."""
    write_sources(tmp_path, EDGE)
    run, calm = edge(tmp_path, "run"), edge(tmp_path, "calm", without=("b",))
    for each, back in ((run, True), (calm, stays)):
        rounds_to(each, after)
        if back:
            roll_back(each.ledger, "start")
        rounds_to(each, 4)
    began_with = [0, 1, 2, 3, 4]
    began_with[after] = 0
    assert [in_service(run.ledger, number) for number in range(1, 6)] == began_with
    forget(run.ledger, "b")
    assert (run.ledger.last("rollback") is not None) == stays
    assert in_service(run.ledger) == served
    again = edge(tmp_path, "run", without=("b",))
    rounds_to(again, 4)
    trained = again.ledger.stage(3, "train")
    assert trained is not None
    assert trained.facts["start_version"] == served
    assert tables(again.ledger) == tables(calm.ledger)
    assert in_service(again.ledger) == in_service(calm.ledger)
    assert examine(str(tmp_path / "run")).findings == []


@pytest.mark.parametrize("killed_in", [3, 4])
def test_what_a_rollback_made_void_neither_goes_again_nor_comes_back(tmp_path: Path, killed_in: int) -> None:
    """It made the round void that a driver was killed in: the first that goes, or the one behind it."""
    write_sources(tmp_path, EDGE)
    run, calm = edge(tmp_path, "run", trainer=Telling(killed_in)), edge(tmp_path, "calm", without=("b",))
    with pytest.raises(KilledError):
        rounds_to(run, 4)
    roll_back(run.ledger, "1")
    before = run.ledger.last("rollback")
    assert before is not None
    assert before.facts["from"] == killed_in
    assert len(before.facts["void"]) == 4, "all but what was claimed, and the checkpoint"
    if killed_in == 3:
        rounds_to(calm, 2)
        roll_back(calm.ledger, "1")
    rounds_to(calm, 4)

    planned = plan(run.ledger, "b")
    assert not {r.seq for r in planned.void} & {*before.facts["void"]}
    assert [r.iteration for r in planned.void if r.stage == "intake"] == [*range(3, killed_in + 1)]
    forget(run.ledger, "b")
    assert (run.ledger.last("rollback") is not None) == (killed_in == 3)
    made = run.ledger.last("forget")
    assert made is not None
    assert made.facts["reusable"] == (0 if killed_in == 3 else 2), "what was said in round 3 to the rows of c"
    written = [text for path, text in everything_written(tmp_path / "run") if path.name != "config.yaml"]
    assert not any("b:" in text for text in written)

    trainer = Telling()
    again = edge(tmp_path, "run", without=("b",), trainer=trainer)
    rounds_to(again, 4)
    assert trainer.offered == {3: [], 4: []}
    assert tables(again.ledger) == tables(calm.ledger)
    assert in_service(again.ledger) == in_service(calm.ledger)
    assert examine(str(tmp_path / "run")).findings == []


def test_only_what_versions_that_stay_said_can_be_used_again(tmp_path: Path) -> None:
    write_sources(tmp_path, EDGE)
    run = edge(tmp_path, "run")
    rounds_to(run, 4)
    ledger = run.ledger

    def said(record: Record | None) -> list[tuple[str, str]]:
        assert record is not None
        found = rows(ledger.tables(record, "generations"), Generation)
        return [(row.input.id, row.weights) for row in found if source_of(row.input.id) != "b"]

    digests = {record.iteration: record.facts["weights"]["digest"] for record in ledger.stages("train")}
    by_round = {number: said(ledger.stage(number, "generate")) for number in (3, 4)}
    assert {weights for _, weights in by_round[3]} == {digests[2]}
    assert {weights for _, weights in by_round[4]} == {digests[3]}
    forget(ledger, "b")
    assert said(ledger.last("forget")) == by_round[3]

    # Another one that delivered nothing, before anything was redone, takes over what is left to replay.
    assert forget(ledger, "d").first is None
    second = ledger.last("forget")
    assert second is not None
    assert said(second) == by_round[3]
    assert second.facts["waiting"] == {"a": 0, "c": 4}
    again = edge(tmp_path, "run", without=("b", "d"))
    rounds_to(again, 3)
    assert not done(again.ledger, second)
    assert not again.ledger.swept(second.folder)
    rounds_to(again, 4)
    assert done(again.ledger, second)
    assert again.ledger.swept(second.folder)


class Late:
    """A source that has nothing yet."""

    def __init__(self, live: Source) -> None:
        self.name, self.tasks, self.mapping = live.name, live.tasks, live.mapping

    def read(self, cursor: Cursor | None, limit: int) -> Delivery:
        return Delivery([], {}, exhausted=True)


def test_a_round_in_which_a_source_was_asked_and_had_nothing_stays(tmp_path: Path) -> None:
    write_sources(tmp_path, replace(EDGE, sources={**EDGE.sources, "a": [0, 1, 2]}))
    run = edge(tmp_path, "run")
    early = tuple(Late(source) if source.name == "b" else source for source in run.sources)
    rounds_to(replace(run, sources=early), 2)
    rounds_to(run, 3)
    asked = [record.facts["sources"]["b"]["rows"] for record in run.ledger.stages("intake")[1:]]
    assert asked == [0, 2]
    assert plan(run.ledger, "b").first == 3


def test_rounds_that_a_forget_made_void_are_none_that_a_second_one_counts(tmp_path: Path) -> None:
    """`a` delivered to round 1 already, so all went; what it made void is what is left to replay, no more."""
    write_sources(tmp_path, EDGE)
    run = edge(tmp_path, "run")
    rounds_to(run, 2)
    ledger = run.ledger
    forget(ledger, "a")
    planned = plan(ledger, "c")
    assert (planned.first, planned.last, planned.void, planned.versions) == (None, 0, (), ())
    assert forget(ledger, "c") == planned
    again, calm = (edge(tmp_path, name, without=("a", "c")) for name in ("run", "calm"))
    for each in (again, calm):
        rounds_to(each, 2)
    assert tables(again.ledger) == tables(calm.ledger)
    assert examine(str(tmp_path / "run")).findings == []


def test_the_copy_stays_until_the_rounds_of_an_earlier_forget_are_redone_too(tmp_path: Path) -> None:
    """All that waits is delivered in round 3; the first one made round 4 void as well."""
    write_sources(tmp_path, replace(EDGE, sources={**EDGE.sources, "c": list(range(8, 14))}))
    run = edge(tmp_path, "run")
    rounds_to(run, 4)
    forget(run.ledger, "b")
    forget(run.ledger, "d")
    second = run.ledger.last("forget")
    assert second is not None
    assert second.facts["waiting"] == {"a": 0, "c": 2}
    come(tmp_path, "c", [17, 18])
    for last, through in ((3, False), (4, True)):
        again = edge(tmp_path, "run", without=("b", "d"))
        rounds_to(again, last)
        assert done(again.ledger, second) == again.ledger.swept(second.folder) == through


def test_a_second_forget_knows_in_which_round_rows_came(tmp_path: Path) -> None:
    run, calm = told_late(tmp_path)
    forget(run.ledger, "b")
    forget(run.ledger, "d")
    again = edge(tmp_path, "run", without=("b", "d"), story=replace(EDGE, inputs_per_iteration=3, rounds=2))
    rounds_to(again, 2)
    assert tables(again.ledger) == tables(calm.ledger)
    assert [record.counts.out for record in again.ledger.stages("intake")] == [4, 2]
