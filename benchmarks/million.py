"""A million inputs through intake, curation and the pool: how fast, in how much memory, how it grows.

    python -m benchmarks.million [--inputs 1000000] [--rounds 10] [--near]

Runs the stages over a hundredth, a tenth and all of the inputs, each in a process of its own, and prints
what each stage did a second, beside PyArrow reading the same bytes and writing them again; how time and
memory grow; and how later rounds compare with the first.  `--near` also drops near duplicates.  Exits
with 1 where counts don't add up or the driver needs more than a GiB.
"""

import argparse
import json
import math
import subprocess
import sys
import tempfile
from typing import Any

from s2d_loop.report.text import markdown_table

BOUND = 1 << 30
"""Bytes that the driver may use."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--inputs", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--near", action="store_true")
    args = parser.parse_args()
    runs = [measured(args.inputs // part, args.rounds, args.near) for part in (100, 10, 1)]
    print(stage_table(runs[-1]))
    print()
    print(growth_table(runs))
    peak = max(runs[-1]["driver"].values())
    if args.near:
        near, planted = runs[-1]["near"], runs[-1]["planted"]
        print(f"\nNear duplicates: {near} dropped.  Planted: {planted}.")
    print(
        f"\nDriver's peak: {mib(peak)} of {mib(BOUND)} MiB allowed; largest worker: {mib(runs[-1]['worker'])} MiB."
    )
    if peak > BOUND:
        raise SystemExit("the driver needs more memory than it may")


def measured(inputs: int, rounds: int, near: bool) -> dict[str, Any]:
    """One run in a process of its own, so that its peak is its own."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "benchmarks.million_run", f"{folder}/run", str(inputs), str(rounds)]
        done = subprocess.run([*command, *(["--near"] if near else [])], stdout=subprocess.PIPE)
        if done.returncode:
            raise SystemExit(f"the run over {inputs} inputs failed: its counts, or the error above")
        found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return found


def stage_table(run: dict[str, Any]) -> str:
    lines = [
        [
            "stage",
            "rows",
            "seconds",
            "rows/s",
            "PyArrow alone, rows/s",
            "ratio",
            "driver MiB",
            "rounds, first to last, s",
        ]
    ]
    for name, stage in run["stages"].items():
        seconds = sum(stage["seconds"])
        lines.append(
            [
                name,
                f"{stage['rows']:,}",
                f"{seconds:.1f}",
                f"{stage['rows'] / seconds:,.0f}",
                f"{stage['rows'] / stage['plain_seconds']:,.0f}",
                f"{seconds / stage['plain_seconds']:.1f}",
                f"{mib(run['driver'][name])}",
                " ".join(f"{each:.1f}" for each in stage["seconds"] if each > 0),
            ]
        )
    return markdown_table(lines)


def growth_table(runs: list[dict[str, Any]]) -> str:
    sizes = [run["inputs"] for run in runs]
    lines = [["", *(f"{size:,}" for size in sizes), "exponent"]]
    for name in runs[0]["stages"]:
        seconds = [sum(run["stages"][name]["seconds"]) for run in runs]
        lines.append([f"{name}, s", *(f"{each:.2f}" for each in seconds), f"{exponent(sizes, seconds):.2f}"])
    for name in runs[0]["stages"]:
        peaks = [run["driver"][name] for run in runs]
        lines.append([f"driver in {name}, MiB", *map(mib, peaks), f"{exponent(sizes, peaks):.2f}"])
    workers = [run["worker"] for run in runs]
    lines.append(["largest worker, MiB", *map(mib, workers), f"{exponent(sizes, workers):.2f}"])
    return markdown_table(lines)


def exponent(sizes: list[int], values: list[float]) -> float:
    """The slope of a line through the logarithms: 1 is linear growth."""
    x, y = [math.log(size) for size in sizes], [math.log(max(value, 1e-9)) for value in values]
    mean_x, mean_y = sum(x) / len(x), sum(y) / len(y)
    over = sum((a - mean_x) * (b - mean_y) for a, b in zip(x, y, strict=True))
    return over / sum((a - mean_x) ** 2 for a in x)


def mib(size: float) -> str:
    return f"{size / 2**20:,.0f}"


if __name__ == "__main__":
    main()
