"""kill -9 of the driver on real vLLM and DeepSpeed; the same command goes on and loses nothing."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import psutil
import pytest

from s2d_loop.clock import SystemClock
from s2d_loop.ledger import Ledger
from s2d_loop.records import Example, Input, Verdict, rows
from s2d_loop.store import LocalStore

ROOT = Path(__file__).parents[2]
# Engines and workers end within seconds.  Ray's own two agents first tell its dead control store that
# its raylet is dead, and give up on that after a minute.
GONE_S = 30.0
AGENTS_GONE_S = 90.0
AGENTS = ("ray::DashboardAgent", "ray::RuntimeEnvAgent")


class Driver:
    """`s2d run` in a process of its own, and everything it starts."""

    def __init__(self, folder: Path) -> None:
        overrides = [
            f"run.dir={folder / 'run'}",
            "run.iterations=1",
            "run.inputs_per_iteration=60",
            "generate.probe_inputs=4",
            "tasks.last_letters.heldout.limit=30",
            "tasks.coin_flip.heldout.limit=30",
            "train.steps=12",
            "train.checkpoint_every=3",
            "gate.margin=1.0",
        ]
        command = [
            sys.executable,
            "-m",
            "s2d_loop.cli",
            "run",
            str(ROOT / "configs/quickstart.yaml"),
            *overrides,
        ]
        env = {k: v for k, v in os.environ.items() if k != "RAY_ADDRESS"}
        self.output = folder / f"output-{time.time_ns()}.txt"
        with self.output.open("w") as file:
            self.process = subprocess.Popen(
                command, cwd=folder, env=env, stdout=file, stderr=subprocess.STDOUT
            )
        self.started: dict[int, psutil.Process] = {}

    def look(self) -> str:
        """What it has said so far; also notes every process it has started."""
        with_children = psutil.Process(self.process.pid).children(recursive=True) if self.alive() else []
        self.started |= {child.pid: child for child in with_children}
        return self.output.read_text()

    def alive(self) -> bool:
        return self.process.poll() is None

    def wait_for(self, text: str, limit_s: float) -> None:
        deadline = time.monotonic() + limit_s
        while text not in self.look():
            assert self.alive(), f"the driver ended: {self.output.read_text()[-3000:]}"
            assert time.monotonic() < deadline, f"no {text!r}: {self.output.read_text()[-3000:]}"
            time.sleep(0.2)

    def kill(self) -> None:
        self.look()
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(10)

    def finish(self, limit_s: float) -> int:
        deadline = time.monotonic() + limit_s
        while self.alive():
            self.look()
            assert time.monotonic() < deadline, f"not done: {self.output.read_text()[-3000:]}"
            time.sleep(0.5)
        return self.process.returncode

    def orphans(self, limit_s: float, but: Sequence[str] = ()) -> list[str]:
        """Processes it started that still live after a while."""
        deadline = time.monotonic() + limit_s
        while left := {pid: said for pid in self.started if (said := self._command(pid)) and said not in but}:
            if time.monotonic() > deadline:
                break
            time.sleep(0.5)
        return [f"{pid} {said[:100]}" for pid, said in left.items()]

    def _command(self, pid: int) -> str:
        """How a process it started calls itself; empty when it has ended."""
        process = self.started[pid]
        try:
            gone = not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
            return "" if gone else " ".join(process.cmdline()).strip()
        except psutil.NoSuchProcess:
            return ""


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path
    for each in psutil.Process().children(recursive=True):  # only what a failed test left of ours
        each.kill()


@pytest.mark.timeout(900)
def test_a_driver_killed_in_generate_and_in_train_loses_nothing(folder: Path) -> None:
    first = Driver(folder)
    first.wait_for("generate: started", 180)
    first.kill()
    assert first.orphans(GONE_S, but=AGENTS) == []

    second = Driver(folder)
    second.wait_for("Resuming", 60)
    second.wait_for("train: started", 180)
    scratch = folder / "run/weights/.scratch-00001"
    deadline = time.monotonic() + 120
    while not any(scratch.rglob("manifest-rank-00000.json")):
        second.look()
        assert second.alive(), second.output.read_text()[-3000:]
        assert time.monotonic() < deadline, "no checkpoint was written"
        time.sleep(0.1)
    second.kill()
    assert second.orphans(GONE_S, but=AGENTS) == []

    third = Driver(folder)
    code = third.finish(240)
    said = third.output.read_text()
    assert code == 0, said[-3000:]
    assert "Resuming" in said
    assert "generate: started" not in said, "committed work was done again"
    for driver in (first, second, third):
        assert driver.orphans(AGENTS_GONE_S) == []

    ledger = Ledger(LocalStore(str(folder / "run")), SystemClock())
    for record in ledger.records:
        record.counts.check(record.stage)
    stages = [(r.iteration, r.stage) for r in ledger.records if r.kind == "stage"]
    assert len(stages) == len(set(stages)), "a stage was committed twice"
    claimed = [x.id for r in ledger.stages("intake") for x in rows(ledger.tables(r, "inputs"), Input)]
    judged = [
        v.input.id for r in ledger.stages("curate") for v in rows(ledger.tables(r, "verdicts"), Verdict)
    ]
    assert sorted(claimed) == sorted(judged)
    assert len(claimed) == len(set(claimed)) == 120
    pooled = [e.input_id for r in ledger.stages("pool") for e in rows(ledger.tables(r, "examples"), Example)]
    assert len(pooled) == len(set(pooled)) == ledger.stages("curate")[0].counts.out
    assert ledger.stages("train")[0].facts["steps"] == 12
