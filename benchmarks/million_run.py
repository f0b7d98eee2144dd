"""One run of the stages over made-up inputs, measured: a process of its own for `benchmarks.million`.

    python -m benchmarks.million_run FOLDER INPUTS ROUNDS [--near]

Prints one JSON object.  The stages are the loop's own, curation on Ray; in the place of `generate`,
recorded samples are committed as it commits them.  Nothing is trained.
"""

import argparse
import json
import threading
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import psutil
import pyarrow as pa
import pyarrow.json
import pyarrow.parquet as pq

from benchmarks.million_rows import WEIGHTS, Recorded, write_sources
from s2d_loop import stages
from s2d_loop.clock import SystemClock
from s2d_loop.config import Config
from s2d_loop.dataflow import RayDataflow
from s2d_loop.ledger import Attempt, Counts, Ledger, Record
from s2d_loop.loop import commit
from s2d_loop.ray_session import ray_session
from s2d_loop.records import Generation, Trace, Weights, schema
from s2d_loop.report.progress import SilentProgress
from s2d_loop.sources import open_source
from s2d_loop.stages import Balance, Run
from s2d_loop.store import LocalStore

MEASURED = ("intake", "curate", "pool")


def configuration(folder: Path, per_round: int, near: bool) -> Config:
    heldout, stream = str(folder / "heldout.jsonl"), str(folder / "stream/*.jsonl")
    return Config.model_validate(
        {
            "run": {"dir": str(folder / "run"), "inputs_per_iteration": per_round, "min_free_gb": 0.0},
            "model": {"path": "none"},
            "intake": {"near_duplicates": {"threshold": 0.7} if near else None},
            "tasks": {
                "letters": {
                    "parser": "last_letters",
                    "method": {"name": "rar_2step", "options": {"prompt": "last_letters"}},
                    "heldout": {"type": "jsonl", "path": heldout},
                }
            },
            "sources": [{"task": "letters", "type": "jsonl", "path": stream, "name": "stream"}],
        }
    )


def measure(folder: Path, num_inputs: int, rounds: int, near: bool) -> dict[str, Any]:
    """Runs every round and holds its counts against what was made up.

    Raises:
        AssertionError: the counts don't add up.
    """
    planted = write_sources(folder, num_inputs, rounds)
    config = configuration(folder, -(-num_inputs // rounds), near)
    expected: Counter[str] = Counter()
    with ray_session(config), Memory() as memory:
        run = new_run(config, folder)
        commit(run, 0, "heldout", stages.heldout)
        recorded = Recorded()

        def generate(run: Run, attempt: Attempt, claimed: Record) -> Balance:
            return commit_recorded(run, attempt, claimed, recorded, expected)

        for number in range(1, rounds + 1):
            memory.at = "intake"
            claimed = commit(run, number, "intake", stages.intake)
            memory.at = "generate"
            generated = commit(run, number, "generate", generate, claimed)
            memory.at = "curate"
            curated = commit(run, number, "curate", stages.curate_stage, generated)
            memory.at = "pool"
            commit(run, number, "pool", stages.pool, curated)
    check_counts(run.ledger, planted, expected, near)
    return {
        "inputs": num_inputs,
        "planted": planted,
        "near": {k: v for k, v in total(run.ledger, "intake", "dropped").items() if k.startswith("near")},
        "stages": {name: figures(folder, run.ledger, name) for name in MEASURED},
        "driver": dict(memory.driver),
        "worker": memory.worker,
    }


def new_run(config: Config, folder: Path) -> Run:
    ledger = Ledger(LocalStore(config.run.dir), SystemClock())
    ledger.take_lease()
    unused: Any = None
    return Run(
        config=config,
        ledger=ledger,
        clock=SystemClock(),
        dataflow=RayDataflow(config.generate),
        engines=unused,
        trainer=unused,
        progress=SilentProgress(),
        sources=tuple(map(open_source, config.sources)),
        start=Weights("none", WEIGHTS),
        weights_dir=folder / "weights",
    )


def commit_recorded(
    run: Run, attempt: Attempt, claimed: Record, recorded: Recorded, expected: Counter[str]
) -> Balance:
    """What `generate` would commit."""
    with (
        attempt.writer("generations", schema(Generation)) as generations,
        attempt.writer("traces", schema(Trace)) as traces,
    ):
        for inputs in run.ledger.tables(claimed, "inputs"):
            made, calls, reasons = recorded.of(inputs)
            generations.write(made)
            traces.write(calls)
            expected.update(reasons)
    return Counts(claimed.counts.out, generations.rows), {"weights": WEIGHTS, "version": 0}


def check_counts(ledger: Ledger, planted: Counter[str], expected: Counter[str], near: bool) -> None:
    """Every made-up row must have the outcome that it was made for; near ones, the one or the other."""
    dropped = Counter(total(ledger, "intake", "dropped"))
    claimed = total(ledger, "intake", "out")
    assert claimed + dropped.total() == planted.total(), f"intake: {claimed} and {dropped} of {planted}"
    made_for = {"duplicate": "copy", "matches_heldout": "held out", "unreadable": "unreadable"}
    for reason, kind in made_for.items():
        # A copy may be of an input that was dropped for being near to another.
        assert near or dropped[reason] == planted[kind], f"intake: {dropped} of {planted}"
    assert claimed >= planted["new"] * (0.999 if near else 1), f"intake: {claimed} of {planted}"
    kept = total(ledger, "curate", "out")
    judged = {"kept": kept, **total(ledger, "curate", "dropped")}
    assert judged == dict(expected), f"curate: {judged}, not {dict(expected)}"
    assert total(ledger, "pool", "out") == kept == ledger.stages("pool")[-1].facts["size"]


def total(ledger: Ledger, stage: str, side: str) -> Any:
    counts = [getattr(record.counts, side) for record in ledger.stages(stage)]
    return sum(counts) if side != "dropped" else dict(sum(map(Counter, counts), Counter[str]()))


def figures(folder: Path, ledger: Ledger, stage: str) -> dict[str, Any]:
    """Rows and seconds of a stage's rounds, and of PyArrow over the same bytes."""
    records = ledger.stages(stage)
    before = {"curate": "generate", "pool": "curate"}.get(stage)
    started = time.monotonic()
    if before is None:
        for path in sorted((folder / "stream").iterdir()):
            for _ in pa.json.open_json(path):
                pass
    root = Path(ledger.store.root)
    plain_pass(root / file.path for each in (ledger.stages(before) if before else []) for file in each.files)
    plain_pass((root / file.path for each in records for file in each.files), write=True)
    return {
        "rows": sum(record.counts.into for record in records),
        "seconds": [record.seconds for record in records],
        "plain_seconds": time.monotonic() - started,
    }


def plain_pass(paths: Iterable[Path], *, write: bool = False) -> None:
    """Read Parquet files batch by batch, and write them again to nowhere."""
    for path in paths:
        if path.exists():  # the traces of kept inputs are swept
            with pq.ParquetFile(path) as file, pa.MockOutputStream() as nowhere:
                writer = pq.ParquetWriter(nowhere, file.schema_arrow, compression="zstd") if write else None
                for batch in file.iter_batches(4096):
                    if writer:
                        writer.write_batch(batch)
                if writer:
                    writer.close()


class Memory:
    """Samples resident memory: of this process by what it is at, and of the largest Ray worker."""

    def __init__(self) -> None:
        self.driver: Counter[str] = Counter()
        self.worker = 0
        self.at = "start"
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)

    def __enter__(self) -> "Memory":
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stopped.set()
        self._thread.join()

    def _sample(self) -> None:
        me = psutil.Process()
        while not self._stopped.wait(0.05):
            self.driver[self.at] = max(self.driver[self.at], me.memory_info().rss)
            if self.at == "curate":
                self.worker = max(self.worker, *map(_worker_memory, me.children(recursive=True)), 0)


def _worker_memory(process: psutil.Process) -> int:
    try:
        found: int = process.memory_info().rss if process.name().startswith("ray::") else 0
    except psutil.NoSuchProcess:
        return 0
    return found


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("inputs", type=int)
    parser.add_argument("rounds", type=int)
    parser.add_argument("--near", action="store_true")
    args = parser.parse_args()
    print(json.dumps(measure(args.folder, args.inputs, args.rounds, args.near)))
