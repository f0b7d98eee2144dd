"""A world to run drivers in: inputs, held-out questions, starting weights, a disk, and the real driver code.

`World.drive` is `s2d run` without Ray: ledger, lease and loop are the product's.
"""

import contextlib
import json
import random
import time
import uuid
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, Future
from functools import lru_cache
from pathlib import Path
from typing import Any
from unittest import mock

import pyarrow.parquet

from benchmarks.simulation import tables
from benchmarks.simulation.bucket import Bucket, BucketStore
from benchmarks.simulation.checker import finished
from benchmarks.simulation.disk import Disk
from benchmarks.simulation.evidence import Evidence, Exit, History
from benchmarks.simulation.files import Files, mounted
from benchmarks.simulation.kernel import Kernel, Process
from benchmarks.simulation.model import POISON, Engines, Trainer, letters, question, write_weights
from benchmarks.simulation.settings import BUCKET, INPUTS, RUN, USUAL, Size, configuration
from s2d_loop import driver
from s2d_loop.commits import Kind
from s2d_loop.config import Config, resolved_yaml
from s2d_loop.dataflow import LocalDataflow
from s2d_loop.errors import BadInputError, ExitCode
from s2d_loop.ledger import Ledger, Record
from s2d_loop.loop import run_loop
from s2d_loop.operate.service import roll_back
from s2d_loop.preflight import Checked
from s2d_loop.records import Weights
from s2d_loop.report.progress import SilentProgress
from s2d_loop.sources import open_source
from s2d_loop.stages import Run
from s2d_loop.stop import SafePoint
from s2d_loop.store import LocalStore, Store
from s2d_loop.weights import local_folder, weights_digest


class World:
    """Storage, inputs and whatever a driver needs."""

    def __init__(
        self,
        kernel: Kernel,
        seed: int,
        size: Size = USUAL,
        *,
        bucket: Bucket | None = None,
    ) -> None:
        self.kernel = kernel
        self.size = size
        self.bucket = bucket
        self.history = History()
        self.files = Files(kernel, {"root": Disk(), "inputs": Disk()}, frozenset({"root"}))
        self.config = configuration(size, seed)
        self._seed = seed
        self._safe_points: dict[str, SafePoint] = {}

    @property
    def disk(self) -> Disk:
        return self.files.disks["root"]

    @disk.setter
    def disk(self, disk: Disk) -> None:
        self.files.disks["root"] = disk

    @contextlib.contextmanager
    def installed(self) -> Iterator[None]:
        """The product runs on this world's disks, clock and random ids."""
        appended = Ledger.append

        def append(ledger: Ledger, kind: Kind, **what: Any) -> Record:
            record = appended(ledger, kind, **what)
            if self.kernel.current is not None:
                self.history.appended.append((self.kernel.current.name, record.seq, record.nonce))
            return record

        with (
            mounted(self.files),
            mock.patch.object(uuid, "uuid4", self.kernel.uuid4),
            mock.patch.object(Ledger, "append", append),
            mock.patch.object(time, "time", self.clock.now),
            mock.patch.object(time, "sleep", self.clock.sleep),
            mock.patch("s2d_loop.weights.ThreadPoolExecutor", _Serial),
            mock.patch("s2d_loop.ledger.pq", tables),
            mock.patch("s2d_loop.table_files.pq", tables),
            mock.patch("s2d_loop.unpacked.check", tables.check),
            mock.patch.object(pyarrow.parquet, "write_table", tables.write_table),
            mock.patch(
                "s2d_loop.driver.resolved_yaml", lambda config: _resolved_yaml(config.model_dump_json())
            ),
        ):
            yield

    def prepare(self) -> None:
        """Starting weights, held-out questions and a first file of inputs."""
        rng = random.Random(f"inputs {self._seed}")
        write_weights(Path(INPUTS, "start"), 0.1)
        Path(INPUTS, "stream").mkdir()
        Path(RUN).parent.mkdir(parents=True, exist_ok=True)
        self.heldout = _words(rng, self.size.heldout)
        _write(
            Path(INPUTS, "heldout.jsonl"),
            [{"prompt": question(w), "answer": letters(w)} for w in self.heldout],
        )
        self.disk.sync_everything()

    def add_inputs(self, name: str, lines: Sequence[str], *, append: bool = False) -> None:
        """A file of the watched folder, or more lines of it."""
        with Path(INPUTS, "stream", name).open("a" if append else "w") as file:
            file.write("".join(lines))

    def questions(self, rng: random.Random, count: int, *, odd: bool = False) -> list[str]:
        """Lines of a source; among them, if `odd`, some that intake or an engine must cope with."""
        lines = [json.dumps({"prompt": question(w)}) + "\n" for w in _words(rng, count)]
        if odd:
            strange = [
                "not json\n",
                json.dumps({"prompt": question((POISON, "x" + str(rng.randrange(100))))}) + "\n",
                json.dumps({"prompt": question(rng.choice(self.heldout))}) + "\n",
                rng.choice(lines),
            ]
            for line in rng.sample(strange, rng.randint(0, 3)):
                lines.insert(rng.randint(0, len(lines)), line)
        return lines

    def evidence(self, exits: Sequence[Exit], *, all_taken: bool = False) -> Evidence:
        """What the checker judges by."""
        return Evidence(
            files=self.run_files(),
            history=self.history,
            exits=exits,
            inputs={"/".join(p[1:]): f.data for p, f in self.files.disks["inputs"].files(("stream",))},
            heldout=[question(words) for words in self.heldout],
            all_taken=all_taken,
        )

    def exit_of(self, process: Process) -> Exit:
        """To be asked as soon as it has ended."""
        return Exit(process.name, process.exit, process.exit in (0, 3) and finished(self.run_files()))

    def store(self) -> Store:
        return LocalStore(RUN) if self.bucket is None else BucketStore(BUCKET, self.bucket, self.kernel)

    def run_files(self) -> dict[str, bytes]:
        """What is in the store, by path from the run's root."""
        objects = self.bucket.objects if self.bucket is not None else {}
        objects = {path.removeprefix("run/"): data for path, data in objects.items()}
        with contextlib.suppress(FileNotFoundError):
            objects |= {"/".join(parts[1:]): file.data for parts, file in self.disk.files(("run",))}
        return objects

    def drive(self) -> int:
        """One driver, from its start to its exit status."""
        return int(self._drive())

    def _drive(self) -> ExitCode:
        config, store = self.config, self.store()
        start = Weights(f"{INPUTS}/start", weights_digest(f"{INPUTS}/start"))
        sources = tuple(open_source(each, now=self.clock.now) for each in config.sources)
        checked = Checked(store, start, sources, {})
        ledger = driver.begin(config, checked)
        self.kernel.say(f"begins behind record {len(ledger.records)}")
        if finished := ledger.last("finished"):
            return ExitCode.HELD if finished.facts["held"] else ExitCode.DONE
        ledger.take_lease()
        weights_dir = local_folder(config.run.weights_dir, ledger)
        weights_dir.mkdir(parents=True, exist_ok=True)
        return run_loop(
            Run(
                config=config,
                ledger=ledger,
                clock=self.clock,
                dataflow=LocalDataflow(config.generate),
                engines=Engines(lambda: self.engine_step()),
                trainer=Trainer(),
                progress=SilentProgress(),
                sources=sources,
                start=start,
                weights_dir=weights_dir,
                safe_point=self._safe_point(ledger),
            )
        )

    def roll_back(self) -> int:
        """`s2d rollback`, by an operator beside whatever runs."""
        try:
            self.kernel.say(roll_back(Ledger(self.store(), self.clock), None))
        except BadInputError as error:
            self.kernel.say(f"no rollback: {error}")
        return 0

    def _safe_point(self, ledger: Ledger) -> SafePoint:
        assert self.kernel.current is not None
        point = self._safe_points[self.kernel.current.name] = SafePoint(ledger, self.clock)
        return point

    def terminate(self, driver: str) -> None:
        """SIGTERM."""
        if driver in self._safe_points:
            self._safe_points[driver].ask("SIGTERM")

    def engine_step(self) -> None:
        """Before every call of the model; a scenario may let it fail."""

    @property
    def clock(self) -> "SimulatedClock":
        return SimulatedClock(self.kernel)


class SimulatedClock:
    """`ledger.Clock` by the kernel's time."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel

    def now(self) -> float:
        return self._kernel.now

    def monotonic(self) -> float:
        return self._kernel.now

    def sleep(self, seconds: float) -> None:
        self._kernel.sleep(seconds)


class _Serial(Executor):
    """Threads would run outside of the kernel's order."""

    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        future.set_result(fn(*args, **kwargs))
        return future


@lru_cache
def _resolved_yaml(config: str) -> str:
    return resolved_yaml(Config.model_validate_json(config))


def _words(rng: random.Random, count: int) -> list[tuple[str, str]]:
    return [
        ("".join(rng.choices("abcdefghij", k=8)), "".join(rng.choices("abcdefghij", k=8)))
        for _ in range(count)
    ]


def _write(path: Path, rows: Sequence[dict[str, str]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
