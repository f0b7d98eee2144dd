"""Runs cases: the undisturbed runs that they are compared with, and each case from start to verdict."""

import contextlib
import os
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import psutil

from benchmarks.faults import disturb
from benchmarks.faults.cases import CALLING, ENGINE_FAULTS, Case, Kind
from benchmarks.faults.compare import State, as_it_stood_before, differences, state
from benchmarks.faults.hold import At, Hold
from benchmarks.faults.process import AGENTS, ROOT, Driver, Lost, gone
from s2d_loop.doctor.examine import examine
from s2d_loop.errors import ExitCode
from tests.support.scripted import scripted_weights, words, write_questions

LIMIT_S = {"scripted": 120.0, "ray": 240.0, "real": 900.0}
DISK_MB = {"scripted": 8, "ray": 8, "real": 96}
AGENTS_GONE_S = 120.0

SCRIPTED = {
    "run__inputs_per_iteration": 12,
    "generate__probe_inputs": 4,
    "generate__rows_in_flight": 4,
    "train__steps": 4,
    "gate__margin": 1.0,
    # An engine that hangs is found out within seconds.
    "engine__call_timeout_s": 3.0,
    "engine__refresh_timeout_s": 10.0,
    "engine__start_timeout_s": 120.0,
}
REAL = (
    "run.iterations=1",
    "run.inputs_per_iteration=60",
    "run.min_free_gb=0.0",
    "generate.probe_inputs=4",
    "tasks.last_letters.method.samples=4",
    "tasks.coin_flip.method.samples=4",
    "tasks.last_letters.heldout.limit=40",
    "tasks.coin_flip.heldout.limit=40",
    "engine.refresh_timeout_s=60.0",
    "train.steps=24",
    "train.checkpoint_every=4",
    "gate.margin=1.0",
)
HANGS_S = {"scripted": 20.0, "ray": 60.0, "real": 120.0}
"""How long a run may stand still in the cases that hang for good: more than its engines need to start."""


class Bench:
    """The runs of a benchmark, under one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.notes: list[str] = []
        self._left: list[psutil.Process] = []
        self._undisturbed: dict[Kind, State] = {}
        self._differs: dict[Kind, tuple[str, ...]] = {}
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> "Bench":
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()
        try:
            gone(self._left, AGENTS_GONE_S)
        except Lost as lost:
            self.notes.append(f"Left behind: {lost}")

    def run(self, case: Case) -> None:
        """Raises Lost when the case broke a promise."""
        if case.kind == "ray":
            self._ray  # noqa: B018 (started once, for all that need it)
        wanted = self.undisturbed(case.kind)
        folder = self.folder / case.name.replace("/", "_")
        root, orders = folder / "run", folder / "orders"
        orders.mkdir(parents=True)
        hold = Hold(str(orders), case.iteration, case.stage, *_place(case))
        with contextlib.ExitStack() as stack:
            if case.fault == "disk full":
                stack.enter_context(disturb.small_disk(root, DISK_MB[case.kind]))
            if case.kind == "real":
                # An engine that idles while a round trains was started by its generation.
                idle = case.stage == "train" and case.fault in ENGINE_FAULTS
                before = "generate" if idle else case.stage
                as_it_stood_before(self._root("real"), root, case.iteration, before)
            start = partial(self.start, case.kind, root, fault=case.fault)
            driver = start(hold=hold)
            drivers = [driver]

            def again() -> Driver:
                drivers.append(start())
                return drivers[-1]

            stack.callback(_end, drivers)
            driver.wait_for(hold.reached.exists, f"the hold in {case.stage}")
            driver.look()
            disturb.FAULTS[case.fault](disturb.Scene(case, root, hold, driver, again))
            found = differences(state(root), wanted, self._differs[case.kind])
            if found:
                raise Lost("not what an undisturbed run holds: " + "; ".join(found))
            if findings := examine(str(root)).findings:
                raise Lost(f"s2d doctor found: {findings[:5]}")
            self._check_orphans(case, drivers)

    def start(self, kind: Kind, root: Path, *, hold: Hold | None = None, fault: str = "") -> Driver:
        """A driver of this kind on a run directory; the same command goes on where one left it."""
        return Driver(root.parent, self._settings(kind, root, hold, fault), LIMIT_S[kind])

    def _settings(self, kind: Kind, root: Path, hold: Hold | None, fault: str) -> dict[str, Any]:
        hangs = fault == "hung for good"
        common = {"kind": kind, "hold": hold.settings() if hold else None}
        if kind == "real":
            limits = [f"run.no_progress_s={HANGS_S[kind]}"] if hangs else ["engine.call_timeout_s=15.0"]
            overrides = [*REAL, *limits, f"run.dir={root}"]
            return common | {"config": str(ROOT / "configs/quickstart.yaml"), "overrides": overrides}
        changes: dict[str, Any] = {**SCRIPTED, "run__dir": str(root)}
        if hangs:
            changes |= {"run__no_progress_s": HANGS_S[kind], "engine__call_timeout_s": 600.0}
        return common | {"inputs": str(self._inputs), "changes": changes}

    def _root(self, kind: Kind, number: int = 0) -> Path:
        return self.folder / f"undisturbed-{kind}-{number}" / "run"

    def undisturbed(self, kind: Kind) -> State:
        """What an undisturbed run comes to; on real parts two runs, to see whether they are deterministic."""
        if kind in self._undisturbed:
            return self._undisturbed[kind]
        states = []
        for number in range(2 if kind == "real" else 1):
            root = self._root(kind, number)
            driver = self.start(kind, root)
            if driver.finish() != ExitCode.DONE:
                raise SystemExit(f"an undisturbed run failed: {driver.said[-2000:]}")
            states.append(state(root))
        unlike = differences(states[-1], states[0])
        self._differs[kind] = tuple(line.split(":")[0] for line in unlike)
        if kind == "real":
            self.notes.append(
                f"Two undisturbed real runs differ in: {', '.join(self._differs[kind]) or 'nothing'}."
            )
        self._undisturbed[kind] = states[0]
        return states[0]

    @cached_property
    def _inputs(self) -> Path:
        folder = self.folder / "inputs"
        if folder.exists():  # of an earlier start with the same --dir, whose undisturbed runs count as well
            return folder
        folder.mkdir(parents=True)
        write_questions(folder / "stream.jsonl", words(1, 60))
        write_questions(folder / "heldout.jsonl", words(2, 10))
        scripted_weights(folder / "start", 0.1)
        return folder

    @cached_property
    def _ray(self) -> None:
        """One Ray for all scripted cases that need it; their drivers connect to it."""
        os.environ |= {"RAY_worker_niceness": "0", "PYTHONPATH": str(ROOT)}
        import ray

        context = ray.init(num_cpus=4, include_dashboard=False, log_to_driver=False)
        self._stack.callback(ray.shutdown)
        os.environ["RAY_ADDRESS"] = context.address_info["gcs_address"]
        self._stack.callback(os.environ.pop, "RAY_ADDRESS")

    def _check_orphans(self, case: Case, drivers: list[Driver]) -> None:
        if case.kind == "ray":
            mine = psutil.Process().children(recursive=True)
            gone([each for each in mine if _works(each)], disturb.GONE_S)
        started = [each for driver in drivers for each in driver.started.values()]
        gone(started, disturb.GONE_S, but=AGENTS)
        self._left += started


def _place(case: Case) -> tuple[At, int]:
    """Where a case's driver holds, so that the fault meets work that is under way."""
    if case.kind == "ray" and case.stage in CALLING:
        return "calls", 0
    if case.kind == "real" and case.stage in CALLING and case.fault in (*ENGINE_FAULTS, "hung for good"):
        return "before calls", 0
    # Behind the second checkpoint of a training.
    return "safe point", 9 if (case.kind, case.stage) == ("real", "train") else 0


def _end(drivers: list[Driver]) -> None:
    for each in drivers:
        each.end()


def _works(process: psutil.Process) -> bool:
    """Whether it is one of a run's own actors or ranks, not a part of Ray itself."""
    try:
        said = " ".join(process.cmdline())
    except psutil.Error:
        return False
    return said == "cat" or any(part in said for part in ("RankedEngine", "ray::Pool", "(Runner)"))
