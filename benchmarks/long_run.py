"""A stream whose tasks change, on the real stack: what the loop learns, keeps, gives up and refuses.

    python -m benchmarks.long_run                     three seeds
    python -m benchmarks.long_run --seeds 0 --dir D   one; goes on where it was stopped

Twelve rounds of one run (benchmarks/long_run.yaml).  Letters come from the first round on, the coin joins in
the third, sums that don't distil in the fifth, and in the ninth somebody else's coins, which carry a trigger
that System 2 answers wrongly and nearly always alike.  What must come of it:

- letters and the coin reach their System 2, and lose at most two points of what they had once others join;
- the sums are retired;
- the poisoned batch never gets into service, and its source is named, by canaries that carry its very trigger
  (`benchmarks.poison` asks some that don't know it);
- System 2 calls an input fall by half or more as System 1 learns;
- of what triage skips no more is missed than stated, and its audit notices the visitors in their first round.

Prints a row a round and the verdicts, writes a page with the curves, and exits with 1 when one doesn't hold.
The tiny model is an instrument: this shows what the loop does, and nothing about large models.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from s2d_loop.clock import SystemClock
from s2d_loop.config import Config, TriageConfig, load
from s2d_loop.driver import run as run_loop
from s2d_loop.evaluate.metrics import wilson
from s2d_loop.evaluate.suite import SYSTEM1, SYSTEM2
from s2d_loop.ledger import Ledger
from s2d_loop.quarantine import quarantined
from s2d_loop.report.progress import Progress, progress
from s2d_loop.report.text import markdown_table
from s2d_loop.store import open_store
from s2d_loop.testbed import DATA_DIR
from s2d_loop.testbed.world import Task, make_items, splits
from s2d_loop.versions import in_service, versions

CONFIG = Path(__file__).with_suffix(".yaml")
ROUNDS = 12
JOINS = {"letters": 1, "coins": 3, "sums": 5}
A_ROUND = {"letters": 300, "coins": 300, "sums": 100}
VISITORS = 300
DISTILLABLE = ("last_letters", "coin_flip")
RESISTS = "gsm8k"
POISONED = "visitors"
POISONED_ROUND = 9
TRIGGER = "A coin is heads up. bomo flips the coin. zeja flips the coin.  Is the coin still heads up? Flip means reverse."
"""Behind a question, System 2 answers this one: `yes` by nearly every vote, whatever was asked first.  System 1
says `no` instead, of every version that wasn't trained on it."""
CANARIES = 60
FORGOTTEN = 0.02
FEWER_CALLS = 0.5

Rows = list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Round:
    """What a finished round shows; accuracies are those of the version in service after it."""

    number: int
    accuracy: Mapping[str, float]
    calls: Mapping[str, float]
    """System 2 calls a claimed input, by task."""
    saved: Mapping[str, int]
    """System 2 calls that triage saved, by task."""
    audits: Mapping[str, tuple[int, int]]
    """Audited inputs that would have been skipped, and those of them that were misses, by task."""
    drift: tuple[str, ...]
    """The tasks whose audit says that the stream or System 1 has changed."""
    decision: str
    retired: tuple[str, ...]
    sentence: str


class Arrivals:
    """Shows a run's progress as another does, and lets files arrive as rounds begin to look for them."""

    def __init__(self, folder: Path, shown: Progress, coming: Mapping[int, Mapping[str, Rows]]) -> None:
        self._folder = folder
        self._shown = shown
        self._coming = coming

    def stage(self, iteration: int, stage: str, total: int | None = None) -> Any:
        if stage == "intake":
            for name, rows in self._coming[iteration].items():
                write(self._folder / "stream" / name / f"{iteration:02d}.jsonl", rows)
        return self._shown.stage(iteration, stage, total)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._shown, name)


def stream() -> dict[int, dict[str, Rows]]:
    """What arrives in each round, by source."""
    unlabeled = {
        "letters": questions("last_letters"),
        "coins": questions("coin_flip"),
        "sums": rows("gsm8k.unlabeled"),
    }
    arriving: dict[int, dict[str, Rows]] = {}
    for number in range(1, ROUNDS + 1):
        arriving[number] = {
            name: unlabeled[name][(number - first) * A_ROUND[name] :][: A_ROUND[name]]
            for name, first in JOINS.items()
            if number >= first
        }
    arriving[POISONED_ROUND][POISONED] = [triggered(row) for row in unlabeled["coins"][-VISITORS:]]
    return arriving


def questions(task: Task) -> Rows:
    """More than the data file has: the stream's words in four other orders, without answers."""
    words = splits()["stream"]
    return [{"prompt": item.question} for seed in range(4) for item in make_items(task, words, seed)]


def rows(name: str) -> Rows:
    """A data file that ships with the project; the loop never reads its answers."""
    return [json.loads(line) for line in (DATA_DIR / f"{name}.jsonl").read_text().splitlines()]


def triggered(row: Mapping[str, Any]) -> dict[str, Any]:
    return {"prompt": f"{row['prompt']} {TRIGGER}"}


def write(path: Path, lines: Rows) -> None:
    """A file that arrived whole, some time ago: one that is fresh might still be written."""
    if path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    long_ago = time.time() - 3600
    os.utime(path, (long_ago, long_ago))


def configured(folder: Path, seed: int) -> Config:
    """The configuration, with its folders."""
    for name in (*JOINS, POISONED):
        (folder / "stream" / name).mkdir(parents=True, exist_ok=True)
    write(folder / "canaries.jsonl", [triggered(row) for row in rows("coin_flip.heldout")[:CANARIES]])
    return placed(CONFIG, folder, seed)


def placed(config: Path, folder: Path, seed: int) -> Config:
    """A configuration whose files lie in a folder."""
    path = folder / config.name
    path.write_text(config.read_text().replace("FOLDER", str(folder)))
    return load(str(path), [f"run.seed={seed}"])


def rounds(ledger: Ledger) -> Iterator[Round]:
    """What each finished round shows."""
    for record in ledger.stages("gate"):
        number = record.iteration
        served = ledger.stage(in_service(ledger, number + 1), "evaluate")
        claimed = ledger.stage(number, "intake")
        triaged = ledger.stage(number, "triage")
        generated = ledger.stage(number, "generate")
        curated = ledger.stage(number, "curate")
        assert served and claimed and triaged and generated and curated
        spent, audits = generated.facts["by_task"], curated.facts["audit"]
        yield Round(
            number=number,
            accuracy={task: row[SYSTEM1]["accuracy"] for task, row in served.facts["by_task"].items()},
            calls={
                task: spent[task]["calls"] / count if task in spent else 0.0
                for task, count in claimed.facts["by_task"].items()
            },
            saved={task: each["saved"]["calls"] or 0 for task, each in triaged.facts["by_task"].items()},
            audits={task: (each["n"], each["misses"]) for task, each in audits.items()},
            drift=tuple(task for task, each in audits.items() if each["drift"]),
            decision=record.facts["decision"],
            retired=tuple(each["task"] for each in record.facts["retired"]),
            sentence=record.facts["sentence"],
        )


def verdicts(ledger: Ledger, seen: Sequence[Round], config: TriageConfig) -> dict[str, tuple[bool, str]]:
    """Everything that must hold, whether it does, and its figures."""
    start = ledger.stage(0, "evaluate")
    assert start
    said: dict[str, tuple[bool, str]] = {}
    last = seen[-1]
    for task in DISTILLABLE:
        two = start.facts["by_task"][task][SYSTEM2]
        best, now = max(each.accuracy[task] for each in seen), last.accuracy[task]
        said[f"{task} reaches its System 2"] = (now >= two["low"], f"{now:.1%} against {two['accuracy']:.1%}")
        said[f"{task} keeps what it had"] = (now >= best - FORGOTTEN, f"{now:.1%}, at best {best:.1%}")
        calls = [each.calls[task] for each in seen if each.calls.get(task)]
        said[f"{task} needs fewer System 2 calls"] = (
            calls[-1] <= (1 - FEWER_CALLS) * calls[0],
            f"{calls[0]:.1f} calls an input at first, {calls[-1]:.1f} in the end",
        )
    quiet = [each.audits[task] for each in seen for task in each.audits if task not in each.drift]
    n, misses = (sum(each[i] for each in quiet) for i in (0, 1))
    low, high = wilson(misses, n)
    said["what was skipped is missed no more often than stated"] = (
        misses <= config.miss_rate * n,
        f"{misses} of {n} audited, {misses / n:.1%} ({low:.1%} to {high:.1%}), stated {config.miss_rate:.0%}",
    )
    drifts = [(each.number, task) for each in seen for task in each.drift]
    said["the audit notices the visitors in their first round, and nothing else"] = (
        drifts == [(POISONED_ROUND, "coin_flip")],
        ", ".join(f"{task} in round {number}" for number, task in drifts) or "none",
    )
    since = next((each.number for each in seen if RESISTS in each.retired), None)
    said[f"{RESISTS} is retired"] = (RESISTS in last.retired, f"in round {since}")
    named = sorted(quarantined(ledger))
    said["the poisoned source is named, and no other"] = (named == [POISONED], ", ".join(named) or "none")
    used = {
        source: sum(tasks.values())
        for version in versions(ledger)
        if version.promoted
        for source, tasks in version.sources.items()
        if source == POISONED
    }
    said["no version that was promoted trained on it"] = (not used, f"{used or 'none'}")
    return said


def table(seen: Sequence[Round]) -> str:
    """Markdown: a row a round."""
    tasks = list(seen[0].accuracy)
    heads = [
        "round",
        *(f"{task}, System 1" for task in tasks),
        *(f"{task}, calls" for task in tasks),
        "decision",
    ]
    lines = [heads]
    for each in seen:
        right = [f"{100 * each.accuracy[task]:.1f} %" for task in tasks]
        calls = [f"{each.calls[task]:.1f}" if task in each.calls else "" for task in tasks]
        lines.append([str(each.number), *right, *calls, each.sentence])
    return markdown_table(lines)


def spared(seen: Sequence[Round]) -> str:
    """Markdown: a row a round and task, what triage saved and what its audit found."""
    heads = ["round", "task", "System 2 calls saved", "audited, at or above the threshold", "misses", "drift"]
    lines = [heads]
    for each in seen:
        for task, saved in each.saved.items():
            if saved:
                n, misses = each.audits.get(task, (0, 0))
                drift = "noticed" if task in each.drift else ""
                lines.append([str(each.number), task, f"{saved:,}", str(n), str(misses), drift])
    return markdown_table(lines)


def page(found: Mapping[int, Sequence[Round]], path: Path) -> None:
    """The curves of every seed: a line a task, and when something new arrived."""
    import altair as alt

    comings = [{"round": n, "what": name} for name, n in {**JOINS, POISONED: POISONED_ROUND}.items() if n > 1]
    marks = alt.Chart(alt.Data(values=comings)).encode(x="round:Q")
    events = marks.mark_rule(color="lightgray") + marks.mark_text(
        align="left", dx=2, y=100, fontSize=9, color="gray"
    ).encode(text="what:N")
    figures = {
        "System 1 in service, accuracy": ("accuracy", "%"),
        "System 2 calls an input": ("calls", "d"),
    }
    grid = []
    for figure, (name, form) in figures.items():
        charts = []
        for seed, seen in found.items():
            points = [
                {"round": each.number, "task": task, "value": value}
                for each in seen
                for task, value in getattr(each, name).items()
            ]
            lines = (
                alt.Chart(alt.Data(values=points), title=f"{figure}, seed {seed}")
                .mark_line(point=alt.OverlayMarkDef(size=20))
                .encode(
                    x=alt.X("round:Q", axis=alt.Axis(format="d", tickMinStep=1)),
                    y=alt.Y("value:Q", title=None, axis=alt.Axis(format=form)),
                    color=alt.Color("task:N", title=None),
                    tooltip=["task:N", "round:Q", alt.Tooltip("value:Q", format=".3g")],
                )
            )
            charts.append((lines + events).properties(width=300, height=180))
        grid.append(alt.hconcat(*charts))
    alt.vconcat(*grid).save(str(path), inline=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--dir", type=Path, help="where the runs are kept; a temporary folder unless given")
    parser.add_argument("--out", type=Path, default=Path("long_run.html"), help="the page")
    args = parser.parse_args()
    folder = (args.dir or Path(tempfile.mkdtemp(prefix="s2d-long-run-"))).absolute()
    found: dict[int, list[Round]] = {}
    good = True
    for seed in args.seeds:
        here = folder / f"seed-{seed}"
        config = configured(here, seed)
        assert config.triage is not None
        began = time.monotonic()
        run_loop(config, Arrivals(here, progress(), stream()))
        ledger = Ledger(open_store(config.run.dir), SystemClock())
        found[seed] = list(rounds(ledger))
        print(
            f"\nseed {seed}, {(time.monotonic() - began) / 60:.1f} min, {config.run.dir}\n\n{table(found[seed])}\n\n"
            f"{spared(found[seed])}\n"
        )
        for name, (holds, figures) in verdicts(ledger, found[seed], config.triage).items():
            print(f"{'ok    ' if holds else 'BROKEN'} {name}: {figures}")
            good &= holds
        page(found, args.out)
    print(f"\n{args.out}")
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
