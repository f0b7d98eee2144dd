"""A driver of a case as seen from outside: a process, what it said, and all that it started."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(__file__).parents[2]
AGENTS = ("ray::DashboardAgent", "ray::RuntimeEnvAgent")
"""Ray's own two agents outlive a killed driver by a minute: they first give up on its dead control store."""


class Lost(Exception):  # noqa: N818
    """A promise that a case broke, in words."""


class Driver:
    """`python -m benchmarks.faults.driver` with these settings."""

    def __init__(self, folder: Path, settings: dict[str, Any], limit_s: float) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        number = len(list(folder.glob("output-*.txt")))
        self._limit_s = limit_s
        self._output = folder / f"output-{number}.txt"
        path = folder / f"settings-{number}.json"
        path.write_text(json.dumps(settings))
        with self._output.open("w") as file:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "benchmarks.faults.driver", str(path)],
                cwd=ROOT,
                env={**os.environ, "PYTHONPATH": str(ROOT)},
                stdout=file,
                stderr=subprocess.STDOUT,
            )
        self.started: dict[int, psutil.Process] = {}

    @property
    def said(self) -> str:
        return self._output.read_text()

    def look(self) -> None:
        """Note every process that it has started."""
        if self.process.poll() is None:
            for child in psutil.Process(self.process.pid).children(recursive=True):
                self.started.setdefault(child.pid, child)

    def wait_for(self, ready: Callable[[], bool], what: str) -> None:
        """Until `ready`; it must not end before."""
        end = time.monotonic() + self._limit_s
        while not ready():
            self.look()
            if self.process.poll() is not None:
                raise Lost(f"it ended with {self.process.returncode} before {what}: {self.said[-800:]}")
            if time.monotonic() > end:
                raise Lost(f"{what} took more than {self._limit_s:g} s: {self.said[-800:]}")
            time.sleep(0.02)

    def finish(self) -> int:
        """Its exit code."""
        end = time.monotonic() + self._limit_s
        while self.process.poll() is None:
            self.look()
            if time.monotonic() > end:
                self.process.kill()
                raise Lost(f"it was not done after {self._limit_s:g} s: {self.said[-800:]}")
            time.sleep(0.05)
        return int(self.process.returncode)

    def must_end_with(self, *codes: int) -> None:
        code = self.finish()
        if code not in codes:
            raise Lost(f"exit code {code}, not {' or '.join(map(str, codes))}: {self.said[-1500:]}")

    def find(self, part: str) -> psutil.Process:
        """The newest living process that it started whose title has `part`."""
        self.look()
        found = [each for each in self.started.values() if part in title(each)]
        if not found:
            raise Lost(f"no process with {part!r} in its title is under the driver")
        return max(found, key=lambda each: each.create_time())

    def end(self) -> None:
        """Whatever is left of a case that went wrong."""
        self.look()
        for each in [*self.started.values(), self.process]:
            if not isinstance(each, psutil.Process) or each.is_running():
                each.kill()


def title(process: psutil.Process) -> str:
    """How a process calls itself; empty when it has ended."""
    try:
        if not process.is_running() or process.status() == psutil.STATUS_ZOMBIE:
            return ""
        return " ".join(process.cmdline()).strip() or process.name()
    except psutil.Error:
        return ""


def gone(processes: Iterable[psutil.Process], limit_s: float, but: tuple[str, ...] = ()) -> None:
    """Raises Lost when one of them lives on for longer."""
    end = time.monotonic() + limit_s
    watched = list(processes)
    while left := [each for each in watched if (said := title(each)) and said not in but]:
        if time.monotonic() > end:
            raise Lost(
                f"after {limit_s:g} s there still are: " + ", ".join(f"{p.pid} {title(p)[:60]}" for p in left)
            )
        time.sleep(0.1)
