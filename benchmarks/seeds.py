"""How much of a run's result is its seed?  The same configuration, once for each seed.

    python -m benchmarks.seeds configs/quickstart.yaml --seeds 0 1 2

Each seed is a run of its own under --dir, and can be resumed; prints a row a task and seed with the
95 % Wilson interval of each figure, and the mean and range over seeds.
"""

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

from s2d_loop.report.text import markdown_table

WAYS = {
    "system1_start": "System 1 at the start",
    "system1_now": "System 1 now",
    "system2_start": "System 2 at the start (one sample)",
}


def run(config: str, seed: int, folder: Path, overrides: list[str]) -> dict[str, Any]:
    """`s2d run` to its end, and what `s2d status` says then."""
    directory = folder / f"seed-{seed}"
    s2d = [sys.executable, "-m", "s2d_loop.cli"]
    done = subprocess.run([*s2d, "run", config, *overrides, f"run.seed={seed}", f"run.dir={directory}"])
    if done.returncode not in (0, 3):  # 3: the gate held the last round, which is a result too
        raise SystemExit(f"seed {seed}: s2d run ended with {done.returncode}")
    said = subprocess.run([*s2d, "status", str(directory), "--json"], check=True, capture_output=True)
    state: dict[str, Any] = json.loads(said.stdout)
    return state


def table(states: dict[int, dict[str, Any]]) -> str:
    """Markdown: a row a task and seed, and one a task over all seeds."""
    heads = [
        "task",
        "seed",
        *WAYS.values(),
        "tokens an answer, System 1 / System 2",
        "rounds promoted",
        "minutes",
    ]
    lines = [heads]
    for task in next(iter(states.values()))["tasks"]:
        for seed, state in states.items():
            figures = state["tasks"][task]
            minutes = sum(state["seconds_by_stage"].values()) / 60
            promoted = f"{len(state['promoted'])} of {state['iteration']}"
            scored = [_scored(figures[way]) for way in WAYS]
            lines.append([task, str(seed), *scored, _tokens(figures), promoted, f"{minutes:.1f}"])
        spread = [
            _spread([100 * state["tasks"][task][way]["accuracy"] for state in states.values()])
            for way in WAYS
        ]
        lines.append([task, "mean (range)", *spread, "", "", ""])
    return markdown_table(lines)


def _scored(figure: dict[str, Any]) -> str:
    return f"{figure['accuracy']:.1%} ({100 * figure['low']:.1f} to {100 * figure['high']:.1f})"


def _tokens(figures: dict[str, Any]) -> str:
    return f"{figures['system1_now']['tokens']:.1f} / {figures['system2_start']['tokens']:.1f}"


def _spread(values: list[float]) -> str:
    return f"{statistics.mean(values):.1f} ({min(values):.1f} to {max(values):.1f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("config")
    parser.add_argument("overrides", nargs="*", metavar="key.sub=value")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--dir", type=Path, default=Path("runs/seeds"))
    args = parser.parse_args()
    states = {seed: run(args.config, seed, args.dir, args.overrides) for seed in args.seeds}
    print(table(states))


if __name__ == "__main__":
    main()
