"""What keeps System 2 alive while it is distilled?  The same loop with each remedy, once for each seed.

    python -m benchmarks.keeping                          # configs/testbed/keep.yaml, seeds 0 1 2
    python -m benchmarks.keeping --config configs/testbed/think.yaml gate.margin=1.0 run.iterations=5 \\
        run.inputs_per_iteration=200

Each run is kept under --dir and can be resumed.  After every round both systems of the newly trained weights answer
the held-out inputs, whatever the gate says of them.  Prints a row a remedy: means over seeds, least and most.
"""

import argparse
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from s2d_loop.clock import SystemClock
from s2d_loop.evaluate.suite import SYSTEM1, SYSTEM2
from s2d_loop.ledger import Ledger
from s2d_loop.report.text import markdown_table
from s2d_loop.store import open_store

REMEDIES: Mapping[str, tuple[str, ...]] = {
    "none: the last round's weights teach": ("generate.teacher=current",),
    "the teacher is pinned to the start": ("generate.teacher=start",),
    "a quarter of the rows replay System 2's calls": ("generate.teacher=current", "pool.system2_share=0.25"),
    "half of the rows replay System 2's calls": ("generate.teacher=current", "pool.system2_share=0.5"),
    "a quarter of the steps": ("generate.teacher=current", "train.steps=4"),
    "averaged with the start, a half each": ("generate.teacher=current", "train.average_with_start=0.5"),
    "the teacher pinned, half of the rows replay its calls": (
        "generate.teacher=start",
        "pool.system2_share=0.5",
    ),
}


@dataclass(frozen=True, slots=True)
class Rounds:
    """What one run's weights did on the held-out inputs, at the start and after each round.

    Accuracies are shares; tokens are a mean answer's after the last round.
    """

    system1: tuple[float, ...]
    system2: tuple[float, ...]
    tokens1: float
    tokens2: float


def rounds_of(directory: Path) -> Rounds:
    """A finished run's figures, over all its tasks alike."""
    ledger = Ledger(open_store(str(directory)), SystemClock())
    facts = [record.facts["by_task"] for record in ledger.stages("evaluate")]

    def over(name: str, key: str) -> tuple[float, ...]:
        return tuple(statistics.mean(task[name][key] for task in each.values()) for each in facts)

    return Rounds(
        over(SYSTEM1, "accuracy"),
        over(SYSTEM2, "accuracy"),
        over(SYSTEM1, "tokens")[-1],
        over(SYSTEM2, "tokens")[-1],
    )


def run(config: str, overrides: Sequence[str], directory: Path) -> Rounds:
    """`s2d run` to its end."""
    command = [sys.executable, "-m", "s2d_loop.cli", "run", config, *overrides, f"run.dir={directory}"]
    done = subprocess.run(command, stdout=subprocess.DEVNULL)
    if done.returncode not in (0, 3, 4):
        raise SystemExit(f"{directory}: s2d run ended with {done.returncode}")
    return rounds_of(directory)


def table(found: Mapping[str, Sequence[Rounds]]) -> str:
    """Markdown: each remedy's rounds as means over seeds, and the last round's least and most."""
    heads = [
        "remedy",
        "System 1, start and rounds",
        "System 2, start and rounds",
        "tokens, System 1 / System 2",
    ]
    lines = [heads]
    for remedy, runs in found.items():
        tokens = [statistics.mean(each) for each in zip(*((r.tokens1, r.tokens2) for r in runs), strict=True)]
        ways = [_over_seeds([r.system1 for r in runs]), _over_seeds([r.system2 for r in runs])]
        lines.append([remedy, *ways, f"{tokens[0]:.1f} / {tokens[1]:.1f}"])
    return markdown_table(lines)


def _over_seeds(runs: Sequence[tuple[float, ...]]) -> str:
    rounds = list(zip(*runs, strict=True))
    means = ", ".join(f"{100 * statistics.mean(each):.1f}" for each in rounds)
    return f"{means} % ({100 * min(rounds[-1]):.1f} to {100 * max(rounds[-1]):.1f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("overrides", nargs="*", metavar="key.sub=value")
    parser.add_argument("--config", default="configs/testbed/keep.yaml")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--only", type=int, nargs="+", help="numbers of remedies, from 0")
    parser.add_argument("--dir", type=Path, default=Path("runs/keeping"))
    args = parser.parse_args()
    chosen = [name for n, name in enumerate(REMEDIES) if args.only is None or n in args.only]
    found: dict[str, list[Rounds]] = {}
    for seed in args.seeds:
        for name in chosen:
            folder = args.dir / Path(args.config).stem / f"{list(REMEDIES).index(name)}-seed-{seed}"
            overrides = [*args.overrides, *REMEDIES[name], f"run.seed={seed}"]
            found.setdefault(name, []).append(run(args.config, overrides, folder))
        print(table(found), flush=True)


if __name__ == "__main__":
    main()
