"""`run --forever`: rounds start as inputs arrive, one source's limit ends it, duplicates don't."""

import json
from dataclasses import replace
from pathlib import Path

from s2d_loop.clock import SystemClock
from s2d_loop.config import Config
from s2d_loop.errors import ExitCode
from s2d_loop.ledger import Ledger
from s2d_loop.loop import run_loop
from s2d_loop.records import Input, rows
from s2d_loop.report.status import status
from s2d_loop.report.view import RunView
from s2d_loop.sources import open_source
from s2d_loop.store import LocalStore
from tests.support.scripted import letters_config, scripted_run, words, write_questions
from tests.unit.test_waiting import Time


def without_an_end(folder: Path, **source: object) -> Config:
    feed = {"task": "letters", "type": "directory", "path": str(folder / "in"), "name": "in"}
    config = letters_config(folder, run__iterations=None, run__min_inputs=10, run__max_wait_s=600.0)
    return Config.model_validate(config.model_dump() | {"sources": [feed | source]})


def test_rounds_start_as_inputs_arrive_and_each_is_taken_once(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    write_questions(tmp_path / "heldout.jsonl", words(2, 10))
    pairs = words(1, 25)

    def arrive(name: str, some: list[tuple[str, str]]):  # type: ignore[no-untyped-def]
        return lambda: write_questions(folder / f"{name}.jsonl", some)

    clock = Time(
        [
            (1000, arrive("a", pairs[:12])),
            (2000, arrive("again", pairs[:11])),  # duplicates make a round that claims nothing
            (3000, arrive("few", pairs[12:15])),
            (9000, arrive("rest", pairs[15:])),
        ]
    )
    config = without_an_end(tmp_path, limit=36)
    run = scripted_run(config)
    begun = {
        "config": json.loads(config.model_dump_json()),
        "start": run.start.digest,
        "model": "",
        "sources": {},
    }
    run.ledger.append("run", facts=begun)
    run = replace(run, clock=clock, sources=tuple(open_source(s, now=clock.now) for s in config.sources))
    assert run_loop(run) in (ExitCode.DONE, ExitCode.HELD)
    ledger = Ledger(LocalStore(config.run.dir), SystemClock())
    assert [(r.counts.into, r.counts.out) for r in ledger.stages("intake")] == [
        (12, 12),
        (11, 0),
        (3, 3),
        (10, 10),
        (0, 0),
    ]
    taken = [x.id for r in ledger.stages("intake") for x in rows(ledger.tables(r, "inputs"), Input)]
    assert len(taken) == len(set(taken)) == 25
    moved = [sorted(r.facts["cursors"]["in"]["shards"]) for r in ledger.stages("intake")]
    assert moved == [["a.jsonl"], ["again.jsonl"], ["few.jsonl"], ["rest.jsonl"], []], "only what changed"
    assert ledger.last("finished")
    view = RunView(record.to_json() for record in ledger.records)
    assert status(view)["sources"] == {
        "in": {
            "rows": 36,
            "inputs": 25,
            "dropped": {"duplicate": 11},
            "limit": 36,
            "limit_reached": True,
        }
    }
