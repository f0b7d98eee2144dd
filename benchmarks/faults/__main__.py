"""Disturbs real runs in every stage and proves that they lose nothing.

    python -m benchmarks.faults               all cases; about half an hour on two idle cores
    python -m benchmarks.faults --scripted    without vLLM and DeepSpeed
    python -m benchmarks.faults --real        with them
    python -m benchmarks.faults --case generate/driver     those whose name has this in it

Prints a table, stage x fault; exits with 1 when a case lost anything.
"""

import argparse
import shutil
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

from benchmarks.faults.bench import Bench
from benchmarks.faults.cases import FAULTS, Case, cases
from benchmarks.faults.process import Lost
from s2d_loop.report.text import markdown_table


def table(results: dict[Case, str]) -> str:
    """Markdown: a row a stage of a kind, a column a fault."""
    heads = ["parts", "stage", *FAULTS]
    lines = [heads]
    for kind, iteration, stage in dict.fromkeys((c.kind, c.iteration, c.stage) for c in results):
        cells = [results.get(Case(kind, iteration, stage, fault), "") for fault in FAULTS]
        lines.append([kind, f"{stage}, round {iteration}", *cells])
    return markdown_table(lines)


def run_all(chosen: Iterable[Case], bench: Bench) -> dict[Case, str]:
    results: dict[Case, str] = {}
    for case in chosen:
        began = time.monotonic()
        try:
            bench.run(case)
            results[case] = f"ok, {time.monotonic() - began:.0f} s"
        except Lost as lost:
            results[case] = "LOST"
            print(f"{case.name}: {lost}", flush=True)
        print(f"{case.name}: {results[case]}", flush=True)
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--real", action="store_true", help="only the cases on vLLM and DeepSpeed")
    parser.add_argument("--scripted", action="store_true", help="only the others")
    parser.add_argument("--case", default="", help="only cases whose name has this in it")
    parser.add_argument("--dir", type=Path, help="where the runs are kept; a temporary folder unless given")
    args = parser.parse_args()
    chosen = [
        case
        for case in cases()
        if args.case in case.name and (args.real == args.scripted or args.real == (case.kind == "real"))
    ]
    folder = args.dir or Path(tempfile.mkdtemp(prefix="s2d-faults-"))
    with Bench(folder.absolute()) as bench:
        results = run_all(chosen, bench)
    print("\n" + table(results))
    lost = sum(result == "LOST" for result in results.values())
    print(f"\n{len(results)} cases, {lost} lost something.", *bench.notes, sep="\n")
    if args.dir is None and not lost:
        shutil.rmtree(folder)
    sys.exit(1 if lost else 0)


if __name__ == "__main__":
    main()
