"""A run without an end under random kills, with files arriving: what it loses (nothing) and what grows.

    python -m benchmarks.soak --rounds 200        or: make soak

Drivers are processes of their own: the real loop, ledger, sources, pool and gate, as `s2d run --forever`
runs them, over a scripted model and trainer.  Every 20 committed stages on average one is killed (SIGKILL;
one in five is asked, by SIGTERM) and started again, at moments drawn from --seed.  At the end every row that
was written must have exactly one outcome, and disk, memory, descriptors and start-up time must be flat after
the first rounds.  Writes a page with the curves; exits with 1 when a bound is broken.
"""

import argparse
import itertools
import json
import random
import signal
import statistics
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from benchmarks.faults.process import Driver
from s2d_loop.clock import SystemClock
from s2d_loop.doctor.examine import examine
from s2d_loop.ledger import Ledger
from s2d_loop.store import LocalStore
from tests.support.scripted import question, scripted_weights, words, write_questions

STAGES_BETWEEN_KILLS = 20
WARM_UP = 20
"""Rounds after which everything must be flat."""
GROWTH = 1.25
"""The last quarter's median may be at most so many times that of the first quarter after the warm-up."""
USEFUL = 0.9
LIMIT_S = 300.0
CHANGES = {
    "run__iterations": None,
    "run__inputs_per_iteration": 12,
    "run__min_inputs": 4,
    "run__max_wait_s": 0.2,
    "run__poll_s": 0.05,
    "generate__probe_inputs": 4,
    "train__steps": 2,
    "gate__margin": 1.0,
    "retention__rounds": 10,
    "retention__traces": 10,
    "retention__logs": 10,
}


@dataclass(slots=True)
class Life:
    """One driver, from start to kill."""

    round: int
    startup_cpu_s: float = 0.0
    memory_mb: float = 0.0
    descriptors: int = 0
    lost_s: float = 0.0
    """From its last commit to its end: at most so much of a stage was for nothing."""


@dataclass(slots=True)
class Soak:
    """What is measured as it goes."""

    lives: list[Life] = field(default_factory=list)
    disk: list[dict[str, Any]] = field(default_factory=list)
    written: Counter[str] = field(default_factory=Counter)


class Stream:
    """Files that arrive: some rows are repeated, some can't be read."""

    def __init__(self, folder: Path, rng: random.Random, rounds: int) -> None:
        self.folder = folder
        folder.mkdir(parents=True)
        self._rng = rng
        self._fresh = iter(words(1, 12 * (rounds + 10)))
        self._sent: list[str] = []
        self.files = 0
        self.rows = 0

    def arrive(self) -> None:
        """One more file, written elsewhere and moved here whole."""
        lines = []
        for _ in range(self._rng.randint(4, 12)):
            chance = self._rng.random()
            if chance < 0.05:
                lines.append("{ not json")
            elif chance < 0.1 and self._sent:
                lines.append(self._rng.choice(self._sent))
            else:
                lines.append(json.dumps({"prompt": question(next(self._fresh))}))
                self._sent.append(lines[-1])
        temporary = self.folder.parent / "arriving"
        temporary.write_text("".join(line + "\n" for line in lines))
        temporary.rename(self.folder / f"{self.files:05d}.jsonl")
        self.files += 1
        self.rows += len(lines)


class Watch:
    """A run seen from outside, by its ledger."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.ledger = Ledger(LocalStore(str(root)), SystemClock())
        self.moved = time.monotonic()

    def look(self) -> int:
        """How many stages were committed since the last look."""
        before = len(self.ledger.records)
        self.ledger.refresh()
        new = self.ledger.records[before:]
        if new:
            self.moved = time.monotonic()
        return sum(record.kind == "stage" for record in new)

    @property
    def round(self) -> int:
        return max((record.iteration for record in self.ledger.records), default=0)

    @property
    def delivered(self) -> int:
        return sum(record.counts.into for record in self.ledger.stages("intake"))


def soak(folder: Path, rounds: int, seed: int) -> tuple[Soak, Watch, Stream]:
    """Run until so many rounds are committed, killing as it goes."""
    rng = random.Random(seed)
    stream = Stream(folder / "stream", rng, rounds)
    write_questions(folder / "heldout.jsonl", words(2, 10))
    scripted_weights(folder / "start", 0.1)
    watch, found = Watch(folder / "run"), Soak()
    end = False
    while not end:
        stages = max(1, round(rng.expovariate(1 / STAGES_BETWEEN_KILLS)))
        end = live(folder, watch, stream, found, stages, rounds, rng)
    return found, watch, stream


def live(
    folder: Path, watch: Watch, stream: Stream, found: Soak, stages: int, rounds: int, rng: random.Random
) -> bool:
    """One driver until it is killed after so many stages; whether the run has come to its end."""
    settings = {"kind": "scripted", "hold": None, "inputs": str(folder), **changes(folder)}
    driver = Driver(folder / "drivers", settings, LIMIT_S)
    process = psutil.Process(driver.process.pid)
    life = Life(watch.round)
    leases = sum(record.kind == "lease" for record in watch.ledger.records)
    began = watch.moved = time.monotonic()
    left, over = stages, False
    while left > 0 and not over:
        time.sleep(0.01)
        if stream.files - len(watch.ledger.stages("intake")) < 2 and watch.round < rounds:
            stream.arrive()
        left -= watch.look()
        if driver.process.poll() is not None or time.monotonic() - watch.moved > LIMIT_S:
            raise SystemExit(f"the driver ended or hangs: {driver.said[-2000:]}")
        if not life.startup_cpu_s and sum(r.kind == "lease" for r in watch.ledger.records) > leases:
            life.startup_cpu_s = sum(process.cpu_times()[:2])
        life.memory_mb = max(life.memory_mb, process.memory_info().rss / 2**20)
        life.descriptors = max(life.descriptors, process.num_fds())
        if watch.round > (found.disk[-1]["round"] if found.disk else -1) + 4:
            found.disk.append({"round": watch.round, **disk(watch.root)})
        # The end: everything that was written is claimed, and the last round is through.
        over = watch.round >= rounds and watch.delivered == stream.rows and time.monotonic() - watch.moved > 2
    if not over:
        time.sleep(rng.uniform(0, 0.1))
    asked = over or rng.random() < 0.2
    driver.process.send_signal(signal.SIGTERM if asked else signal.SIGKILL)
    life.lost_s = 0.0 if over else time.monotonic() - max(watch.moved, began)
    # Until it has the lease a driver has nothing to leave in order.
    codes = (130, -signal.SIGTERM) if not life.startup_cpu_s else (130,)
    driver.must_end_with(*codes if asked else (-signal.SIGKILL,))
    watch.look()
    found.lives.append(life)
    return over


def changes(folder: Path) -> dict[str, Any]:
    source = {"task": "letters", "type": "directory", "path": str(folder / "stream"), "name": "stream"}
    return {"changes": {**CHANGES, "run__dir": str(folder / "run")}, "sources": [source]}


def disk(root: Path) -> dict[str, float]:
    """KiB by part of the run directory."""
    parts = {"ledger": 0.0, "data": 0.0, "weights": 0.0, "logs": 0.0}
    for part in parts:
        parts[part] = sum(f.stat().st_size for f in (root / part).rglob("*") if f.is_file()) / 1024
    return parts


def verdicts(found: Soak, watch: Watch, stream: Stream) -> dict[str, tuple[bool, str]]:
    """Every bound, whether it holds, and its figures."""
    checkup = examine(str(watch.root))
    committed = sum(record.seconds for record in watch.ledger.records if record.kind == "stage")
    lost = sum(life.lost_s for life in found.lives)
    useful = committed / (committed + lost)
    said = {
        "every row written was delivered once": (
            watch.delivered == stream.rows,
            f"{stream.rows} rows in {stream.files} files, {watch.delivered} delivered",
        ),
        "doctor finds nothing": (not checkup.findings, "; ".join(map(str, checkup.findings[:5])) or "clean"),
        "useful work": (
            useful >= USEFUL,
            f"{useful:.1%}: {committed:.1f} s in committed stages, at most {lost:.1f} s in others; "
            f"{len(found.lives) - 1} kills",
        ),
    }
    warm = [life for life in found.lives if life.round >= WARM_UP and life.startup_cpu_s]
    for name in ("startup_cpu_s", "memory_mb", "descriptors"):
        said[name] = flat([getattr(life, name) for life in warm])
    rows = [each for each in found.disk if each["round"] >= WARM_UP]
    for part in ("weights", "logs"):
        said[f"{part}, KiB"] = flat([each[part] for each in rows])
    for part in ("ledger", "data"):
        said[f"{part}, KiB a round"] = flat(slopes(rows, part))
    return said


def slopes(rows: list[dict[str, Any]], part: str) -> list[float]:
    """What is kept of every input grows with the inputs: by how much a round."""
    pairs = itertools.pairwise(rows)
    return [(b[part] - a[part]) / (b["round"] - a["round"]) for a, b in pairs]


def flat(values: list[float]) -> tuple[bool, str]:
    """Whether the last quarter is like the first."""
    quarter = max(1, len(values) // 4)
    first, last = statistics.median(values[:quarter]), statistics.median(values[-quarter:])
    return last <= GROWTH * first, f"{first:.2f} at first, {last:.2f} in the end"


def page(found: Soak, path: Path) -> None:
    """The curves."""
    import altair as alt

    lives = [
        {"round": life.round, "figure": name, "value": getattr(life, attribute)}
        for life in found.lives
        for name, attribute in (
            ("start-up, CPU s", "startup_cpu_s"),
            ("memory, MiB", "memory_mb"),
            ("descriptors", "descriptors"),
        )
    ]
    kept = [
        {"round": each["round"], "figure": f"{part}, KiB", "value": each[part]}
        for each in found.disk
        for part in ("ledger", "data", "weights", "logs")
    ]
    chart = (
        alt.Chart(alt.Data(values=[*lives, *kept]))
        .mark_line(point=alt.OverlayMarkDef(size=12))
        .encode(x="round:Q", y=alt.Y("value:Q", title=None))
        .properties(width=320, height=160)
        .facet("figure:N", columns=2)
        .resolve_scale(y="independent")
    )
    chart.save(str(path), inline=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--dir", type=Path, help="where the run is kept; a temporary folder unless given")
    parser.add_argument("--out", type=Path, default=Path("soak.html"), help="the page")
    args = parser.parse_args()
    if args.rounds < 3 * WARM_UP:
        parser.error(f"--rounds: growth can't be judged on fewer than {3 * WARM_UP}")
    folder = (args.dir or Path(tempfile.mkdtemp(prefix="s2d-soak-"))).absolute()
    began = time.monotonic()
    found, watch, stream = soak(folder, args.rounds, args.seed)
    page(found, args.out)
    said = verdicts(found, watch, stream)
    for name, (holds, figures) in said.items():
        print(f"{'ok    ' if holds else 'BROKEN'} {name}: {figures}")
    print(f"{watch.round} rounds in {(time.monotonic() - began) / 60:.1f} min; {args.out}")
    sys.exit(0 if all(holds for holds, _ in said.values()) else 1)


if __name__ == "__main__":
    main()
