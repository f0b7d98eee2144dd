"""The faults: what is done to a driver that holds, and how it, or the same command again, must end.

Each function gets a `Scene` whose driver waits at its hold.  It raises `Lost` when the driver did not
end as promised; when it returns, the run has finished.
"""

import contextlib
import json
import os
import signal
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psutil

from benchmarks.faults.cases import Case
from benchmarks.faults.hold import Hold
from benchmarks.faults.process import Driver, Lost, gone
from s2d_loop.errors import ExitCode

GONE_S = 60.0


@dataclass(frozen=True, slots=True)
class Scene:
    """A driver that holds, and how to start the same command again."""

    case: Case
    root: Path
    hold: Hold
    driver: Driver
    again: Callable[[], Driver]

    def go(self) -> None:
        self.hold.go.touch()

    def engine(self, part: str) -> psutil.Process:
        """A process of the newest engine: its `actor`, or its `rank` (vLLM's core)."""
        if self.case.kind == "real":
            return self.driver.find("EngineCore" if part == "rank" else "ray::Engine")
        newest = max(Path(self.hold.orders).glob("*.pids"), key=lambda path: path.stat().st_mtime)
        return psutil.Process(json.loads(newest.read_text())[part])


def driver_killed(scene: Scene) -> None:
    scene.driver.look()
    scene.driver.process.kill()
    scene.driver.finish()
    scene.again().must_end_with(ExitCode.DONE)


def driver_paused(scene: Scene) -> None:
    """Another takes over; the first wakes up, and must neither commit nor go on."""
    scene.driver.process.send_signal(signal.SIGSTOP)
    other = scene.again()
    other.must_end_with(ExitCode.DONE)
    scene.driver.process.send_signal(signal.SIGCONT)
    scene.go()
    scene.driver.must_end_with(ExitCode.LOST_LEASE)


def sigterm(scene: Scene) -> None:
    scene.driver.process.send_signal(signal.SIGTERM)
    scene.go()
    last = (scene.case.iteration, scene.case.stage) == (2, "promote")
    # Behind the last commit there is nothing to leave.
    scene.driver.must_end_with(ExitCode.DONE if last else ExitCode.INTERRUPTED)
    scene.again().must_end_with(ExitCode.DONE)


def disk_full(scene: Scene) -> None:
    filler = scene.root / "filler"
    with contextlib.suppress(OSError), filler.open("wb") as file:
        while True:
            file.write(bytes(1 << 16))
            file.flush()
    scene.go()
    code = scene.driver.finish()
    filler.unlink()
    said = scene.driver.said
    if code not in (ExitCode.FAILED, ExitCode.BAD_INPUT) or "s2d: " not in said:
        raise Lost(f"on a full disk it ended with {code}: {said[-1500:]}")
    if "disk is full" not in said:
        raise Lost(f"it doesn't say that the disk is full: {said[-1500:]}")
    scene.again().must_end_with(ExitCode.DONE)


def runner_killed(scene: Scene) -> None:
    if scene.case.kind == "real":
        runner = scene.driver.find("MapBatches(Runner)")
    else:
        runner = _under_this("MapBatches(Runner)")
    runner.kill()
    scene.go()
    scene.driver.must_end_with(ExitCode.DONE)


def engine_process_killed(scene: Scene) -> None:
    actor, rank = scene.engine("actor"), scene.engine("rank")
    rank.kill()
    gone([actor], GONE_S)
    scene.go()
    scene.driver.must_end_with(ExitCode.DONE)


def engine_rank_hung(scene: Scene) -> None:
    rank = scene.engine("rank")
    rank.suspend()
    scene.go()
    scene.driver.must_end_with(ExitCode.DONE)
    gone([rank], GONE_S)


def train_worker_killed(scene: Scene) -> None:
    (progress,) = scene.root.glob("weights/.scratch-*/progress-*.jsonl")
    os.kill(json.loads(progress.read_text().splitlines()[-1])["pid"], signal.SIGKILL)
    scene.go()
    scene.driver.must_end_with(ExitCode.DONE)


def hung_for_good(scene: Scene) -> None:
    """A rank hangs where calls may take longer than the run may stand still."""
    scene.engine("rank").suspend()
    scene.go()
    scene.driver.must_end_with(ExitCode.FAILED)
    # The driver sees the processes of a Ray that it started itself.
    seen = ("state 'stopped'",) if scene.case.kind == "real" else ()
    for part in ("no progress for", "does not answer", *seen):
        if part not in scene.driver.said:
            raise Lost(f"the watchdog's message lacks {part!r}: {scene.driver.said[-1500:]}")
    scene.again().must_end_with(ExitCode.DONE)


FAULTS: dict[str, Callable[[Scene], None]] = {
    "driver killed": driver_killed,
    "driver paused": driver_paused,
    "SIGTERM": sigterm,
    "disk full": disk_full,
    "runner killed": runner_killed,
    "engine process killed": engine_process_killed,
    "engine rank hung": engine_rank_hung,
    "train worker killed": train_worker_killed,
    "hung for good": hung_for_good,
}


@contextlib.contextmanager
def small_disk(root: Path, megabytes: int):  # type: ignore[no-untyped-def]
    """A file system of its own at `root`; needs the right to mount."""
    root.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(root)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(root)], check=True)


def _under_this(part: str) -> psutil.Process:
    """Processes of the Ray that this process started for its cases."""
    found = [each for each in psutil.Process().children(recursive=True) if part in " ".join(each.cmdline())]
    if not found:
        raise Lost(f"no process with {part!r} in its title is there")
    return max(found, key=lambda each: each.create_time())
