"""Strangers' runs before every command that only reads: thousands of them, forged at random.

    python -m benchmarks.hostile [--runs 10000] [--seed 0] [--jobs 1] [--only N]
    python -m benchmarks.hostile --walk

Each is a finished run, changed in one to three ways with every checksum forged (`tests/support/forged.py`), and
read by every command in this process.  A command may end with a message and an exit code.  It may not end with a
traceback, take 10 s of processor time, read a byte outside of the run, change one in it, or take more than 512 MiB
(`tests/support/hostile.py`).  --walk instead puts each kind of thing (a pipe, a link to /dev/zero, 200 GiB of
nothing, ...) in the place of each kind of file, and each kind of bomb in that of each table.

Prints every run that broke one of these, by its number, which --only repeats.  Exit code 1 if one did.
"""

import argparse
import contextlib
import multiprocessing
import os
import random
import resource
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from tests.support.forged import BOMBS, KINDS, bomb, copy_of, make_run, mutate, one_of_each
from tests.support.hostile import Peak, complaints, snapshot

MOST_MEMORY = 512 << 20
_ADDRESS_SPACE = 4 << 30
"""What a process may take beside what it has, so that a mistake here doesn't cost the machine."""

Broken = tuple[str, str, list[str]]
"""The number or name of a run, how it was forged, and what is wrong."""


def walked(original: Path) -> Iterator[tuple[Broken, float]]:
    """Every thing in the place of every kind of file, and the processor time that it took."""
    for kind in one_of_each(original):
        for how in [*KINDS, *(BOMBS if kind.startswith("table ") and kind != "table weights" else ())]:
            began = time.process_time()
            with _copied(original) as run:
                path = one_of_each(run)[kind]
                if how in KINDS:
                    KINDS[how](run / path, run.parent.parent / "outside")
                else:
                    bomb(run, path, how)
                yield (kind, how, _wrong(run)), time.process_time() - began


@contextlib.contextmanager
def _copied(original: Path) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="hostile-") as folder:
        yield copy_of(original, Path(folder))


def _wrong(run: Path) -> list[str]:
    before, peak = snapshot(run), Peak()
    wrong = complaints(run, run.parent.parent / "out")
    if peak.bytes > MOST_MEMORY:
        wrong.append(f"took {peak.bytes >> 20} MiB")
    if snapshot(run) != before:
        wrong.append("wrote into the run")
    return wrong


def _limited() -> None:
    limit = _in_use() + _ADDRESS_SPACE
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def _fuzzed(task: tuple[str, int, int]) -> tuple[Broken, float]:
    """One forged run, and the processor time that it took."""
    original, seed, number = task
    began = time.process_time()
    with _copied(Path(original)) as run:
        how = mutate(run, random.Random(f"{seed}-{number}"))
        return (str(number), how, _wrong(run)), time.process_time() - began


def _in_use() -> int:
    return int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--only", type=int, help="one run, by its number")
    parser.add_argument("--walk", action="store_true")
    args = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="hostile-run-"))
    began, broken, took = time.monotonic(), 0, 0.0
    try:
        original = make_run(folder)
        numbers = range(args.runs) if args.only is None else range(args.only, args.only + 1)
        with multiprocessing.get_context("spawn").Pool(args.jobs, _limited) as pool:
            tasks = ((str(original), args.seed, number) for number in numbers)
            done = walked(original) if args.walk else pool.imap_unordered(_fuzzed, tasks)
            for (name, how, wrong), seconds in done:
                took += seconds
                broken += bool(wrong)
                if wrong:
                    print(f"{name}: {how}", *dict.fromkeys(wrong), sep="\n    ", flush=True)
    finally:
        shutil.rmtree(folder)
    rate = "" if args.walk else f", {len(numbers) / took:.1f} runs a second of processor time"
    print(f"{broken} broken; {time.monotonic() - began:.0f} s, {took:.0f} s of processor time{rate}")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
