"""A run sent to a real Ray cluster: refused, followed, left alone, stopped, gone on with, finished."""

import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from s2d_loop.clock import SystemClock
from s2d_loop.errors import ExitCode
from s2d_loop.ledger import Ledger, Record
from s2d_loop.store import open_store
from s2d_loop.submit.job import STOP_WAIT_S
from s2d_loop.testbed import MODEL_DIR
from tests.cluster.raylets import Raylets

ROOT = Path(__file__).parents[2]
# Only the first node has room for an engine, and beside it for one of the two train workers.
NODES = (3, 1)
SHORT = [
    "run.iterations=1",
    "run.inputs_per_iteration=24",
    "run.min_free_gb=0.1",
    *(f"tasks.{task}.{key}" for task in ("last_letters", "coin_flip") for key in (
        "method.samples=4", "direct_samples=1", "heldout.limit=12",
    )),
    "generate.probe_inputs=4",
    "generate.min_kept_share=0.0",
    "engine.cpus_per_engine=2",
    "engine.max_num_seqs=64",
    "train.steps=4",
    "train.tokens_per_step=1024",
    "train.num_workers=2",
    "train.cpus_per_worker=1",
    "train.zero_stage=1",
]  # fmt: skip
REFUSED_S = 60.0
STAGE_S = 420.0


class Command:
    """`s2d submit` under way."""

    def __init__(self, raylets: Raylets, name: str, *options: str, **environment: str) -> None:
        self._log = raylets.base / f"submit-{name}.out"
        command = [sys.executable, "-m", "s2d_loop.cli", "submit", str(raylets.base / "quickstart.yaml")]
        command += [*SHORT, f"run.dir={run_dir(raylets)}", f"model.path={raylets.base}/shared/model"]
        command += ["--address", raylets.address, *options]
        self._began = time.monotonic()
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                command, cwd=ROOT, env=raylets.environment | environment, stdout=log, stderr=log
            )

    @property
    def said(self) -> str:
        return self._log.read_text()

    def until(self, happened: Callable[[], Any], limit_s: float = STAGE_S) -> None:
        """Wait while the command runs."""
        while not happened():
            assert self._process.poll() is None, self.said
            assert time.monotonic() < self._began + limit_s, self.said
            time.sleep(0.2)

    def interrupt(self) -> None:
        self._process.send_signal(signal.SIGINT)

    def code(self, limit_s: float = STAGE_S) -> int:
        return self._process.wait(limit_s)

    def end(self) -> None:
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait(10)


def run_dir(raylets: Raylets) -> str:
    return str(raylets.base / "shared" / "run")


def stages(raylets: Raylets) -> list[Record]:
    ledger = Ledger(open_store(run_dir(raylets)), SystemClock())
    return [record for record in ledger.records if record.kind == "stage"]


@pytest.fixture(scope="module")
def raylets() -> Iterator[Raylets]:
    with Raylets(*NODES) as cluster:
        # As on a cluster, the model is on the shared file system; the data goes along with the code.
        shutil.copytree(MODEL_DIR, cluster.base / "shared" / "model")
        shutil.copy(ROOT / "configs" / "quickstart.yaml", cluster.base)
        yield cluster
        base = cluster.base
    assert cluster.left() == []
    assert not base.exists()


@pytest.fixture
def submit(raylets: Raylets) -> Iterator[Callable[..., Command]]:
    commands: list[Command] = []
    # A shell that runs the tests in the background has them ignore Ctrl-C, and their children with them.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)

    def start(name: str, *options: str, **environment: str) -> Command:
        commands.append(Command(raylets, name, *options, **environment))
        return commands[-1]

    yield start
    for command in commands:
        command.end()
    signal.signal(signal.SIGINT, before)


@pytest.mark.cluster
@pytest.mark.timeout(900)
def test_a_run_on_three_nodes(raylets: Raylets, submit: Callable[..., Command]) -> None:
    # Without the token, and with another cluster's, nothing is sent.
    stranger = submit("stranger", HOME="/nonexistent")
    assert stranger.code(REFUSED_S) == ExitCode.BAD_INPUT
    assert "wants its cluster's token" in stranger.said
    forger = submit("forger", RAY_AUTH_TOKEN="f" * 64)
    assert forger.code(REFUSED_S) == ExitCode.BAD_INPUT
    assert "refused the token" in forger.said
    assert raylets.get("/api/jobs/") == []

    # Ctrl-C leaves the job alone.
    first = submit("first", "--follow")
    first.until(lambda: any(record.stage == "generate" for record in stages(raylets)))
    first.interrupt()
    assert first.code(30) == ExitCode.INTERRUPTED
    assert "the job goes on" in first.said
    (job,) = jobs(raylets)
    assert job["status"] == "RUNNING"

    # The same command finds it, and sees it stopped once it has trained.
    second = submit("second", "--follow")
    second.until(lambda: any(record.stage == "train" for record in stages(raylets)))
    assert "has this run in hand" in second.said
    raylets.get(f"/api/jobs/{job['submission_id']}/stop", method="POST")
    # Sooner than Ray would kill it: the driver ends what it started, and then itself.
    assert second.code(STOP_WAIT_S - 20) == ExitCode.INTERRUPTED
    assert "was stopped" in second.said
    assert len(jobs(raylets)) == 1
    wait_until_gone(raylets, {"Engine", "Pool", "RayTrainWorker"})
    before = len(stages(raylets))

    # Once more, and it goes on to the end.
    third = submit("third", "--follow")
    code = third.code()
    assert code in (ExitCode.DONE, ExitCode.HELD), third.said
    assert f"Resuming: {before} stages committed" in third.said
    assert len(jobs(raylets)) == 2
    done = [(record.iteration, record.stage) for record in stages(raylets)]
    assert (1, "gate") in done
    assert len(done) == len(set(done))
    check_placement(raylets)

    # A finished run is finished.
    last = submit("last", "--follow")
    assert last.code() == code, last.said
    assert "is finished: nothing to do" in last.said


def jobs(raylets: Raylets) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = raylets.get("/api/jobs/")
    return [row for row in rows if row["submission_id"]]


def wait_until_gone(raylets: Raylets, classes: set[str]) -> None:
    """Until these actors have ended, and every process that an engine started."""
    deadline = time.monotonic() + 60
    while True:
        actors = [a for a in raylets.actors() if a["class_name"] in classes and a["state"] != "DEAD"]
        processes = [p for p in raylets.left() if "VLLM" in p.name()]
        if not actors and not processes:
            return
        assert time.monotonic() < deadline, (actors, processes)
        time.sleep(0.5)


def check_placement(raylets: Raylets) -> None:
    """Every engine on the node with room for it; the two train workers on a node each."""
    by_cpus = {cpus: node for node, cpus in raylets.nodes().items()}
    roomy, small = by_cpus[NODES[0]], by_cpus[NODES[1]]
    actors = raylets.actors()
    engines = {actor["node_id"] for actor in actors if actor["class_name"] == "Engine"}
    workers = [actor["node_id"] for actor in actors if actor["class_name"] == "RayTrainWorker"]
    assert engines == {roomy}
    assert sorted(workers) == sorted([roomy, small])
