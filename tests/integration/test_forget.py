"""`s2d forget`: the run as if it had never seen a source, on random lineages and in the cases they hide."""

import json
import os
import random
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from s2d_loop.config import Config
from s2d_loop.doctor import examine
from s2d_loop.driver import begin, same_config
from s2d_loop.errors import BadInputError, LostLeaseError
from s2d_loop.ledger import Ledger
from s2d_loop.loop import run_loop
from s2d_loop.operate.forget import forget, plan
from s2d_loop.operate.service import roll_back
from s2d_loop.preflight import Checked
from s2d_loop.records import Example, Generation, digest, rows, source_of
from s2d_loop.stages import Run
from s2d_loop.train.job import TrainJob, TrainResult
from s2d_loop.versions import in_service
from s2d_loop.weights import weights_digest
from tests.support.scripted import ScriptedEngines, ScriptedTrainer, scripted_run, words, write_questions

PAIRS = words(3, 24)
FED = {"a": "one", "b": "one", "c": "two", "d": "two"}
"""Sources and the task that each feeds: none is all that feeds a task."""


@dataclass(frozen=True)
class Story:
    """What happens to a run: what each source holds (numbers are questions, -1 is no question), and when."""

    sources: dict[str, list[int]]
    inputs_per_iteration: int
    rounds: int
    rollback_after: int | None
    teacher: str
    start: str
    gone: str


stories = st.builds(
    Story,
    sources=st.fixed_dictionaries(
        {name: st.lists(st.integers(-1, len(PAIRS) - 1), max_size=9) for name in FED}
    ).map(lambda sources: {name: [7 * n, *held] for n, (name, held) in enumerate(sources.items())}),
    inputs_per_iteration=st.integers(1, 3),
    rounds=st.integers(1, 3),
    rollback_after=st.none() | st.integers(1, 2),
    teacher=st.sampled_from(["current", "start"]),
    start=st.sampled_from(["current", "base"]),
    gone=st.sampled_from(list(FED)),
)


class Capricious(ScriptedTrainer):
    """Its skill follows from what it was given alone, better or worse, so that the gate holds some."""

    def train(self, job: TrainJob) -> TrainResult:
        result = super().train(job)
        given_rows = [str(row) for path in job.examples for row in pq.read_table(path).to_pylist()]
        came_of = digest(job.start.digest, *given_rows)
        state = {"skill": random.Random(came_of).random(), "came_of": came_of}
        Path(result.weights.path, "state.json").write_text(json.dumps(state))
        return replace(result, weights=replace(result.weights, digest=weights_digest(result.weights.path)))


def config_of(folder: Path, story: Story, name: str, *, without: str | None = None) -> Config:
    task = {
        "parser": "last_letters",
        "method": {"name": "rar_2step", "options": {"prompt": "last_letters"}, "samples": 2},
        "direct_samples": 0,
        "heldout": {"type": "jsonl", "path": str(folder / "heldout.jsonl")},
    }
    return Config.model_validate(
        {
            "run": {
                "dir": str(folder / name),
                "iterations": story.rounds,
                "inputs_per_iteration": story.inputs_per_iteration,
                "min_free_gb": 0.0,
            },
            "model": {"path": str(folder / "start")},
            "tasks": {"one": task, "two": task},
            "sources": [
                {"task": fed, "type": "jsonl", "path": str(folder / f"{source}.jsonl"), "name": source}
                for source, fed in FED.items()
                if source != without
            ],
            "generate": {"probe_inputs": 0, "teacher": story.teacher},
            "train": {"steps": 1, "start": story.start},
            "evaluate": {"system2_every": 0},
            # Three held-out inputs are no evidence at any usual level: here it is enough not to measure worse.
            "gate": {"margin": 0.1, "level": 0.99, "looks": 3},
        }
    )


def write_sources(folder: Path, story: Story) -> None:
    for source, held in story.sources.items():
        path = folder / f"{source}.jsonl"
        write_questions(path, [PAIRS[n] for n in held], labels=False)
        lines = [
            line if n >= 0 else "{}" for n, line in zip(held, path.read_text().splitlines(), strict=True)
        ]
        path.write_text("".join(f"{line}\n" for line in lines))
    write_questions(folder / "heldout.jsonl", words(4, 3))


def opened(config: Config, engines: ScriptedEngines | None = None) -> Run:
    run = scripted_run(config, engines=engines, trainer=Capricious())
    checked = Checked(run.ledger.store, run.start, run.sources, {})
    begin(config, checked)
    run.ledger.refresh()
    return run


def rounds_to(run: Run, last: int) -> None:
    config = run.config.model_copy(update={"run": run.config.run.model_copy(update={"iterations": last})})
    run_loop(replace(run, config=config))


def lived(folder: Path, story: Story, name: str, *, without: str | None = None) -> Ledger:
    """The run of a story, with its rollback."""
    run = opened(config_of(folder, story, name, without=without))
    back = story.rollback_after
    if back is not None and back < story.rounds:
        rounds_to(run, back)
        if in_service(run.ledger):
            roll_back(run.ledger, "start")
    rounds_to(run, story.rounds)
    return run.ledger


def naive_taint(ledger: Ledger, source: str) -> set[str]:
    """Digests of tainted weights, by walking the tables themselves again and again."""
    edges = {}
    for record in ledger.stages("train"):
        pooled = ledger.stage(record.iteration, "pool")
        assert pooled is not None
        trained = list(rows(ledger.tables(pooled, "training"), Example))
        comes_of = {record.facts["start"], *(row.weights for row in trained)}
        edges[record.facts["weights"]["digest"]] = comes_of, {source_of(row.input_id) for row in trained}
    found: set[str] = set()
    for _ in edges:
        found |= {version for version, (of, sources) in edges.items() if source in sources or of & found}
    return found


def tables(ledger: Ledger) -> list[tuple[int, str, str, str]]:
    """Everything that counts, by its bytes.

    Of `generate` without its traces: those of kept inputs are gone after `curate`, so what was said in a
    void round is taken over without them.
    """
    return [
        (record.iteration, record.stage, file.table, file.sha256)
        for record in ledger.live
        if record.kind == "stage"
        for file in record.files
        if (record.stage, file.table) != ("generate", "traces")
    ]


def decisions(ledger: Ledger) -> list[str]:
    return [record.facts["sentence"] for record in ledger.stages("gate")]


def everything_written(root: Path) -> Iterator[tuple[Path, str]]:
    """What the files under a root hold, tables decoded; the ledger's records aside."""
    for path in root.rglob("*"):
        if path.suffix == ".parquet":
            yield path, json.dumps(pq.read_table(path).to_pylist())
        elif path.is_file() and path.parent.name != "ledger":
            yield path, path.read_bytes().decode("utf-8", "replace")


@pytest.fixture(autouse=True)
def no_fsync(monkeypatch: pytest.MonkeyPatch) -> None:
    """What survives a power loss isn't at stake here, and waiting for the disk is most of the time."""
    monkeypatch.setattr("os.fsync", lambda _: None)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(story=stories)
def test_what_is_forgotten_was_never_there(story: Story) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_sources(folder, story)
        ledger = lived(folder, story, "run")
        expected = naive_taint(ledger, story.gone)
        planned = plan(ledger, story.gone)
        assert forget(ledger, story.gone) == planned
        assert {v["digest"] for v in planned.versions if v["reason"]} == expected

        survived = any(record.kind == "rollback" for record in ledger.live)
        never = story if survived else replace(story, rollback_after=None)
        calm = lived(folder, never, "never", without=story.gone)

        config = config_of(folder, story, "run", without=story.gone)
        rounds_to(opened(config), story.rounds)
        again = opened(config).ledger
        assert tables(again) == tables(calm)
        assert decisions(again) == decisions(calm)
        assert in_service(again) == in_service(calm)
        for path, text in everything_written(folder / "run"):
            if path.name != "config.yaml":
                assert f"{story.gone}:" not in text, path


def a_story(**changes: object) -> Story:
    held = {"a": list(range(6)), "b": list(range(6, 12)), "c": list(range(12, 18)), "d": list(range(18, 24))}
    story = Story(held, 2, 3, None, "current", "current", "b")
    return replace(story, **changes)  # type: ignore[arg-type]


def test_generations_of_the_same_weights_are_not_asked_for_again(tmp_path: Path) -> None:
    story = a_story(teacher="start", gone="a")
    write_sources(tmp_path, story)
    ledger = lived(tmp_path, story, "run")
    said = {
        g.input.id
        for r in ledger.stages("generate")
        for g in rows(ledger.tables(r, "generations"), Generation)
    }
    forget(ledger, "a")
    asked: list[str] = []
    engines = ScriptedEngines(lambda request: asked.append(request.messages[-1].content))
    rounds_to(opened(config_of(tmp_path, story, "run", without="a"), engines), 3)
    again = opened(config_of(tmp_path, story, "run", without="a")).ledger
    claimed = {
        g.input.id for r in again.stages("generate") for g in rows(again.tables(r, "generations"), Generation)
    }
    # Rephrasing is System 2's: one call a sample of an input that no void round had generated.
    new = [text for text in asked if "rephrase the question" in text]
    assert len(new) == 2 * len(claimed - said)
    assert claimed & said


def test_a_second_forget_before_the_first_was_redone(tmp_path: Path) -> None:
    story = a_story()
    write_sources(tmp_path, story)
    ledger = lived(tmp_path, story, "run")
    forget(ledger, "a")
    run = opened(config_of(tmp_path, story, "run", without="a"))
    rounds_to(run, 1)
    config = config_of(tmp_path, story, "run", without="a")
    config = config.model_copy(update={"sources": [s for s in config.sources if s.name != "c"]})
    forget(run.ledger, "c")
    rounds_to(opened(config), 3)
    calm = opened(
        config.model_copy(update={"run": config.run.model_copy(update={"dir": str(tmp_path / "calm")})})
    )
    rounds_to(calm, 3)
    assert tables(opened(config).ledger) == tables(calm.ledger)


def test_what_a_source_no_longer_has_is_replayed(tmp_path: Path) -> None:
    """The live source has moved on: its file was read to the end and cleared away."""
    story = a_story(rounds=4, sources={"a": [0, 1, 2], "b": [3], "c": [4, 5, 6], "d": []}, gone="b")
    write_sources(tmp_path, story)
    for source in FED:
        (tmp_path / source).mkdir()
        (tmp_path / f"{source}.jsonl").rename(tmp_path / source / "1.jsonl")
        os.utime(tmp_path / source / "1.jsonl", (1e9, 1e9))  # settled long ago

    def folders(config: Config) -> Config:
        moved = [
            s.model_copy(update={"type": "directory", "path": str(tmp_path / s.source_name)})
            for s in config.sources
        ]
        return config.model_copy(update={"sources": moved})

    run = opened(folders(config_of(tmp_path, story, "run")))
    rounds_to(run, 4)
    rounds_to(calm := opened(folders(config_of(tmp_path, story, "calm", without="b"))), 4)
    forget(run.ledger, "b")
    for source in ("a", "c"):
        (tmp_path / source / "1.jsonl").unlink()
    again = opened(folders(config_of(tmp_path, story, "run", without="b")))
    rounds_to(again, 4)
    assert tables(again.ledger) == tables(calm.ledger)


def test_rows_are_not_replayed_in_a_round_before_they_came(tmp_path: Path) -> None:
    story = a_story(sources={"a": [0, 1], "b": [3], "c": [4, 5], "d": [6]}, gone="b", inputs_per_iteration=3)
    write_sources(tmp_path, story)
    run = opened(config_of(tmp_path, story, "run"))
    calm = opened(config_of(tmp_path, story, "calm", without="b"))
    for each in (run, calm):
        rounds_to(each, 1)
    for source, number in (("a", 8), ("c", 9)):
        write_questions(tmp_path / "more.jsonl", [PAIRS[number]])
        with (tmp_path / f"{source}.jsonl").open("a") as file:
            file.write((tmp_path / "more.jsonl").read_text())
    for each in (run, calm):
        rounds_to(each, 2)
    forget(run.ledger, "b")
    again = opened(config_of(tmp_path, story, "run", without="b"))
    rounds_to(again, 2)
    assert tables(again.ledger) == tables(calm.ledger)
    assert [r.counts.out for r in again.ledger.stages("intake")] == [5, 2]


def test_a_driver_that_runs_loses_its_lease(tmp_path: Path) -> None:
    story = a_story()
    write_sources(tmp_path, story)

    def intrude(_: object) -> None:
        other = Ledger(run.ledger.store, run.clock)
        if other.last("forget") is None and other.stage(2, "intake"):
            forget(other, "b")

    run = opened(config_of(tmp_path, story, "run"), ScriptedEngines(intrude))
    with pytest.raises(LostLeaseError):
        rounds_to(run, 3)
    assert examine(str(tmp_path / "run")).findings == []
    again = opened(config_of(tmp_path, story, "run", without="b"))
    rounds_to(again, 3)
    rounds_to(calm := opened(config_of(tmp_path, story, "calm", without="b")), 3)
    assert tables(again.ledger) == tables(calm.ledger)
    assert examine(str(tmp_path / "run")).findings == []


def test_what_a_killed_forget_left_is_erased_by_the_next_driver(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    def kill(*_: object) -> None:
        raise Killed

    story = a_story()
    write_sources(tmp_path, story)
    ledger = lived(tmp_path, story, "run")
    forget(ledger, "a")
    monkeypatch.setattr("s2d_loop.operate.forget._erase", kill)
    with pytest.raises(Killed):
        forget(ledger, "c")
    config = config_of(tmp_path, story, "run", without="a")
    config = config.model_copy(update={"sources": [s for s in config.sources if s.name != "c"]})
    rounds_to(opened(config), 1)
    held = [text for path, text in everything_written(tmp_path / "run") if path.name != "config.yaml"]
    assert not any("a:" in text or "c:" in text for text in held)
    assert any("b:" in text for text in held)


def test_the_configuration_must_lose_the_source_and_nothing_else(tmp_path: Path) -> None:
    story = a_story(rounds=1)
    write_sources(tmp_path, story)
    forget(lived(tmp_path, story, "run"), "b")
    config = config_of(tmp_path, story, "run")
    run = scripted_run(config_of(tmp_path, story, "run", without="b"))
    checked = Checked(run.ledger.store, run.start, run.sources, {})
    with pytest.raises(BadInputError, match="has forgotten b: take it out of `sources`"):
        same_config(run.ledger, config, checked)
    same_config(run.ledger, run.config, checked)
    with pytest.raises(BadInputError, match=r"sources"):
        same_config(run.ledger, config_of(tmp_path, story, "run", without="a"), checked)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("x", r"no source 'x' \(it has: a, c, d\)"),
        ("b", "b is forgotten already"),
        ("a", "a is all that feeds one: without it this would be another run"),
    ],
)
def test_what_cannot_be_forgotten_is_refused(tmp_path: Path, source: str, expected: str) -> None:
    story = a_story(rounds=1)
    write_sources(tmp_path, story)
    ledger = lived(tmp_path, story, "run")
    forget(ledger, "b")
    before = len(ledger.records)
    with pytest.raises(BadInputError, match=expected):
        forget(ledger, source)
    assert len(ledger.records) == before


def test_a_source_that_delivered_nothing_makes_nothing_void(tmp_path: Path) -> None:
    story = a_story(sources={"a": [0], "b": [], "c": [1], "d": [2]}, rounds=1, inputs_per_iteration=1)
    story = replace(story, sources={**story.sources, "b": [3]})
    write_sources(tmp_path, story)
    ledger = lived(tmp_path, story, "run")  # a fills the only place of its task, so b isn't asked
    before = tables(ledger)
    assert forget(ledger, "b").first is None
    assert tables(ledger) == before
    assert ledger.last("finished")
