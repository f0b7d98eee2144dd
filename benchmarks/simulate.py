"""Simulates whole runs in one process from a seed, with faults at every storage operation.

    python -m benchmarks.simulate                    all of it: crashes, seeds, planted bugs; three tables
    python -m benchmarks.simulate --quick            a slice of each, in seconds
    python -m benchmarks.simulate --part lives       one of the three: crashes, lives, bugs
    python -m benchmarks.simulate --seed 17 --trace  one seed again, with every storage operation
    python -m benchmarks.simulate --crash disk/40-during-power/12-after-kill --trace

Exits with 1 when anything is lost, taken twice, out of place or stuck, or a planted bug isn't found.
docs/simulation.md says what is simulated and what is not.
"""

import argparse
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from typing import TypeVar

from benchmarks.simulation.bugs import BUGS
from benchmarks.simulation.exhaustive import Tally, explore, replay
from benchmarks.simulation.scenario import Outcome, run_seed

MODES = ("disk", "bucket")
COMMAND = "python -m benchmarks.simulate"
_BATCH = 20
_MAX_SEEDS_FOR_A_BUG = 200
_SHOWN = 10

T = TypeVar("T")
R = TypeVar("R")


def main(arguments: Sequence[str] | None = None) -> int:
    args = _arguments(arguments)
    say: Callable[[str], None] | None = print if args.trace else None
    if args.crash:
        return _told(replay(args.crash, print if args.trace else lambda _: None))
    if args.seed is not None:
        outcome = run_seed(args.seed, bug=BUGS[args.bug] if args.bug else None, trace=say)
        print(
            f"{outcome.mode}: {outcome.drivers} drivers, {outcome.crashes} crashes, {outcome.ops} operations"
        )
        return _told(outcome.problems)
    jobs = 1 if args.quick else args.jobs
    seeds = args.seeds or (20 if args.quick else 2000)
    parts: dict[str, Callable[[], bool]] = {
        "crashes": partial(crashed, jobs, pairs=not args.quick, every=97 if args.quick else 1),
        "lives": partial(lived, range(args.first, args.first + seeds), jobs),
        "bugs": partial(found, jobs),
    }
    results = [part() for name, part in parts.items() if args.part in (None, name)]
    return 0 if all(results) else 1


def crashed(jobs: int, *, pairs: bool, every: int = 1) -> bool:
    """(a) A crash at every operation, and at every operation of the recovery."""
    print("Crashes at every operation of a run of three rounds; each must end as the undisturbed run does.\n")
    _row(
        "storage",
        "operations that change it",
        "crashes",
        "pairs of crashes",
        "runs",
        "steps",
        "s",
        "failures",
    )
    _row(*["---"] * 8)
    failures: list[str] = []
    for mode in MODES:
        began = time.monotonic()
        total = Tally(mode)
        # More shares than processes: early crashes cost more than late ones.
        shares = 8 * jobs if jobs > 1 else 1
        work = partial(_share, mode, shares, pairs, every)
        for tally in _spread(work, range(shares), jobs):
            total.add(tally)
        seconds = time.monotonic() - began
        figures = (total.operations, total.singles, total.pairs, total.runs, total.ops)
        _row(mode, *(f"{each:,}" for each in figures), f"{seconds:.0f}", f"{len(total.failures)}")
        failures += total.failures
    for failure in failures[:_SHOWN]:
        print(f"\n{failure}\n  again: {COMMAND} --crash {failure.split(': ')[0]} --trace")
    print()
    return not failures


def _share(mode: str, shares: int, pairs: bool, every: int, share: int) -> Tally:
    return explore(mode, share, shares, pairs=pairs, every=every)


def lived(seeds: range, jobs: int) -> bool:
    """(b) Random lives."""
    began = time.monotonic()
    batches = [seeds[at : at + _BATCH] for at in range(0, len(seeds), _BATCH)]
    outcomes = [each for batch in _spread(_lives, batches, jobs) for each in batch]
    print("Random lives, one a seed: faults while they last, then one driver that must finish.\n")
    _row("storage", "seeds", "drivers", "killed", "faults", "steps", "failures")
    _row(*["---"] * 7)
    for mode in MODES:
        of_mode = [each for each in outcomes if each.mode == mode]
        sums = [
            sum(getattr(each, name) for each in of_mode) for name in ("drivers", "crashes", "faults", "ops")
        ]
        failures = sum(bool(each.problems) for each in of_mode)
        _row(mode, f"{len(of_mode):,}", *(f"{each:,}" for each in sums), f"{failures}")
    print(f"\n{len(outcomes):,} seeds in {time.monotonic() - began:.0f} s, {jobs} process(es).")
    failed = [each for each in outcomes if each.problems]
    for each in failed[:_SHOWN]:
        print(f"\nseed {each.seed}: {each.problems[0]}\n  again: {COMMAND} --seed {each.seed} --trace")
    print()
    return not failed


def _lives(seeds: range) -> list[Outcome]:
    return [run_seed(seed) for seed in seeds]


def found(jobs: int) -> bool:
    """(c) Planted bugs."""
    print("Bugs planted one at a time, and the first seed that shows each.\n")
    _row("bug", "seeds until found", "s", "what the checker said")
    _row(*["---"] * 4)
    missed = []
    for name, outcome, seconds in _spread(_hunt, list(BUGS), jobs):
        if outcome is None:
            missed.append(name)
            _row(name, f"not in {_MAX_SEEDS_FOR_A_BUG}", f"{seconds:.1f}", "")
        else:
            _row(name, str(outcome.seed + 1), f"{seconds:.1f}", outcome.problems[0][:160])
    print(f"\nagain: {COMMAND} --seed N --bug NAME --trace\n")
    return not missed


def _hunt(name: str) -> tuple[str, Outcome | None, float]:
    began = time.monotonic()
    lives = (run_seed(seed, bug=BUGS[name]) for seed in range(_MAX_SEEDS_FOR_A_BUG))
    outcome = next((each for each in lives if each.problems), None)
    return name, outcome, time.monotonic() - began


def _spread(work: Callable[[T], R], items: Iterable[T], jobs: int) -> Iterator[R]:
    """Results in the order of items, from several processes or this one."""
    if jobs == 1:
        yield from map(work, items)
        return
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        yield from pool.map(work, items)


def _row(*cells: str) -> None:
    print(f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |", flush=True)


def _told(problems: Sequence[str]) -> int:
    for problem in problems:
        print(problem)
    return 1 if problems else 0


def _arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    assert __doc__ is not None
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="a slice of everything")
    parser.add_argument("--part", choices=["crashes", "lives", "bugs"], help="only this part")
    parser.add_argument("--seeds", type=int, help="how many seeds (2000; 20 with --quick)")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--jobs", type=int, default=2, help="processes")
    parser.add_argument("--seed", type=int, help="replay this seed")
    parser.add_argument("--bug", choices=BUGS, help="with --seed: with this bug planted")
    parser.add_argument("--crash", help="replay this crash, or pair of crashes")
    parser.add_argument("--trace", action="store_true", help="with --seed or --crash: print every operation")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
