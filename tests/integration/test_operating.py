"""The operator's commands, on a small scripted run: what they say, and that a root is all they need."""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from s2d_loop.cli import app
from s2d_loop.errors import BadInputError
from s2d_loop.ledger import Ledger
from s2d_loop.operate.lineage import lineage
from s2d_loop.operate.service import roll_back
from s2d_loop.operate.state import state
from s2d_loop.operate.why import why
from s2d_loop.records import Example, Input, rows
from tests.integration.test_forget import PAIRS, a_story, lived, write_sources
from tests.support.scripted import question


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    held = {"a": [0, 1, 2, 0], "b": [1, 3, 4, -1, 5, 6, 7], "c": [8, 9, 10], "d": [11, 12, 13]}
    story = a_story(sources=held, inputs_per_iteration=3)
    write_sources(folder, story)
    lived(folder, story, "run")
    lived(folder, replace(story, rounds=1), "other")
    shutil.copytree(folder / "run", folder / "going")
    max((folder / "going/ledger").iterdir()).unlink()  # that it is finished
    (folder / "damaged/ledger").mkdir(parents=True)
    (folder / "damaged/ledger/00000001.json").write_text("{}")
    return folder


@pytest.fixture
def ledger(folder: Path) -> Ledger:
    from s2d_loop.cli.opening import open_ledger

    return open_ledger(str(folder / "run"))


def s2d(*args: object) -> str:
    done = CliRunner().invoke(app, [str(arg) for arg in args], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def test_they_load_neither_ray_nor_an_engine_nor_torch(folder: Path) -> None:
    run = str(folder / "run")
    commands = [
        ["status", run],
        ["runs", str(folder)],
        ["lineage", run, "promoted", "--rows"],
        ["why", run, "a:a.jsonl#0"],
        ["forget", run, "b", "--dry-run"],
        ["rollback", run, "x"],
    ]
    code = f"""
import sys, time
from s2d_loop.cli import main
for args in {commands!r}:
    try:
        main(args)
    except SystemExit as end:
        print(args[0], end.code, file=sys.stderr)
print(sorted({{"ray", "vllm", "torch", "transformers", "deepspeed"}} & set(sys.modules)), file=sys.stderr)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    said = done.stderr.splitlines()
    assert [line for line in said if line.split()[0] in {c[0] for c in commands}] == [
        *(f"{command[0]} 0" for command in commands[:-1]),
        "rollback 2",
    ]
    assert said[-1] == "[]"


def test_why_tells_the_way_of_every_delivered_row(ledger: Ledger) -> None:
    claimed = [x for r in ledger.stages("intake") for x in rows(ledger.tables(r, "inputs"), Input)]
    examples = [e for r in ledger.stages("pool") for e in rows(ledger.tables(r, "examples"), Example)]
    for x in claimed:
        (found,) = why(ledger, x.id)
        pooled = [e.id for e in examples if e.input_id == x.id]
        assert found["pool_rows"] == pooled
        assert (found["outcome"] == "kept") == bool(pooled)
        times = {
            r.iteration: n
            for r in ledger.stages("pool")
            if (n := sum(e.id in pooled for e in rows(ledger.tables(r, "training"), Example)))
        }
        assert {v["version"]: v["times"] for v in found["versions"]} == times
        assert sum(vote["count"] for vote in found["votes"]) <= 2
    assert any(v["versions"] for x in claimed for v in why(ledger, x.id))


def test_why_by_text_names_the_duplicates_and_whom_they_repeat(ledger: Ledger) -> None:
    found = {each["input"]: each for each in why(ledger, question(PAIRS[0]))}
    assert found.keys() == {"a:a.jsonl#0", "a:a.jsonl#3"} or found.keys() == {"a:a.jsonl#0"}
    (repeat,) = why(ledger, "b:b.jsonl#0")
    assert (repeat["outcome"], repeat["same_as"]) == ("dropped at intake: duplicate", "a:a.jsonl#1")
    (unreadable,) = why(ledger, "b:b.jsonl#3")
    assert unreadable["outcome"].startswith("unreadable:")
    assert why(ledger, "no such text") == []


def test_lineage_leads_back_to_the_start_and_to_every_pool_row(folder: Path, ledger: Ledger) -> None:
    newest = ledger.stages("train")[-1].iteration
    found = lineage(ledger, str(newest))
    assert found[0]["version"] == newest
    assert found[-1]["version"] == 0
    pooled = ledger.stage(newest, "pool")
    assert pooled is not None
    trained = list(rows(ledger.tables(pooled, "training"), Example))
    assert sum(n for tasks in found[0]["rows"].values() for n in tasks.values()) == len(trained)
    for by in (found[0]["digest"][:8], found[0]["path"], Path(found[0]["path"]).name):
        assert lineage(ledger, by) == found
    said = json.loads(s2d("lineage", folder / "run", newest, "--rows", "--json"))
    assert [row["row"] for row in said["rows"]] == [e.id for e in trained]
    assert "started from" in s2d("lineage", folder / "run", newest)
    with pytest.raises(BadInputError, match=r"no version 'zzzz' \(it has: 1 "):
        lineage(ledger, "zzzz")


def test_runs_are_told_with_one_that_is_damaged(folder: Path) -> None:
    found = {row["run"]: row for row in json.loads(s2d("runs", folder, "--json"))}
    assert found.keys() == {"run", "other", "going", "damaged"}
    assert (found["run"]["state"], found["run"]["round"], found["run"]["rounds"]) == ("finished", 3, 3)
    assert found["going"]["state"] == "open"
    assert found["damaged"]["state"] == "damaged"
    assert "finished" in s2d("runs", folder)


def test_the_exit_status_is_the_runs_own(folder: Path, ledger: Ledger) -> None:
    def status(run: str) -> int:
        args = ["status", str(folder / run), "--follow", "--exit-status", "--json"]
        return CliRunner().invoke(app, args).exit_code

    finished = ledger.last("finished")
    assert finished is not None
    assert status("run") == (3 if finished.facts["held"] else 0)
    going = Ledger(_store(folder / "going"), _clock())
    going.append("stopped", facts={"why": "asked to stop", "last": ""})
    assert (status("going"), state(going).why) == (130, "asked to stop")
    going.append("stalled", facts={"found": ["an engine hangs"]})
    assert status("going") == 1


def test_a_finished_run_stays_so_whatever_an_operator_does(folder: Path) -> None:
    ledger = Ledger(_store(folder / "other"), _clock())
    before = state(ledger)
    roll_back(ledger, "start")
    assert (before.name, state(ledger)) == ("finished", before)


def test_following_ends_with_the_run(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = folder / "going"
    ledger = Ledger(_store(run), _clock())
    ledger.take_lease()
    naps = _naps(ledger)
    monkeypatch.setattr("time.sleep", lambda _: next(naps))
    lines = s2d("status", run, "--follow", "--json").splitlines()
    assert [json.loads(line)["state"] for line in lines] == ["open", "open", "stopped"]


def _naps(ledger: Ledger) -> Iterator[None]:
    """What happens to a run while its follower sleeps."""
    yield
    ledger.append("swept", facts={"paths": []})
    yield
    ledger.append("stopped", facts={"why": "asked to stop", "last": ""})
    yield


def _store(path: Path):  # type: ignore[no-untyped-def]
    from s2d_loop.store import LocalStore

    return LocalStore(str(path))


def _clock():  # type: ignore[no-untyped-def]
    from s2d_loop.clock import SystemClock

    return SystemClock()
