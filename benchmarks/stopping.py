"""What does sampling save that stops when its vote is decided, and does it ever change a verdict?

    python -m benchmarks.stopping [RUN ...] [--inputs 100000]

Votes come from the committed generations of runs (`tasks.NAME.method.stop: never` kept every sample), and
from a simulation: shares of answers from a Dirichlet distribution, one in six samples unparsable.  For each
rule and budget N: samples drawn by the exact rule, by the statistical rule, and by an oracle that knows
every sample beforehand and shows them in the best order; and how often each verdict differs from that of
all N samples.  Exits with 1 if the exact rule ever differs, or the statistical one more often than its risk.
"""

import argparse
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import get_args

import numpy as np

from s2d_loop.clock import SystemClock
from s2d_loop.curate.stopping import is_decided, risk_of_change, samples_needed
from s2d_loop.curate.vote import Rule, decide
from s2d_loop.ledger import Ledger
from s2d_loop.records import Generation, rows
from s2d_loop.store import open_store
from s2d_loop.tasks.registry import load_task

Answers = Sequence[str | None]
BUDGETS = (8, 20, 64)
RISK = 0.01
MIN_SHARE = 0.0


@dataclass(slots=True)
class Tally:
    """Over the inputs of one setting."""

    inputs: int = 0
    drawn: Counter[str] = field(default_factory=Counter)
    other: Counter[str] = field(default_factory=Counter)

    def add(self, full: Answers, rule: Rule) -> None:
        wanted = _outcome(full, rule, len(full))
        exact, likely = _exact(full, rule), _likely(full, rule)
        self.inputs += 1
        self.drawn.update(exact=exact, likely=likely, oracle=_oracle(full, rule))
        self.other["exact"] += _outcome(full[:exact], rule, len(full)) != wanted
        # Where it stopped for being likely, the vote is one over the samples that were drawn.
        self.other["likely"] += _outcome(full[:likely], rule, 0) != wanted


def _outcome(answers: Answers, rule: Rule, budget: int) -> tuple[str, str | None]:
    decision = decide(answers, rule, MIN_SHARE, 0, "x", budget)
    return decision.reason, decision.answer


def _exact(full: Answers, rule: Rule) -> int:
    drawn = 0
    while not is_decided(full[:drawn], len(full), rule, MIN_SHARE):
        drawn += samples_needed(full[:drawn], len(full), rule, MIN_SHARE)
    return drawn


def _likely(full: Answers, rule: Rule) -> int:
    drawn = 0
    while not is_decided(full[:drawn], len(full), rule, MIN_SHARE):
        if drawn and risk_of_change(full[:drawn], len(full), rule, MIN_SHARE) <= RISK:
            break
        drawn += 1
    return drawn


def _oracle(full: Answers, rule: Rule) -> int:
    """The fewest of these samples that decide the vote, shown in whatever order is best."""
    counts = Counter(a for a in full if a is not None)
    leader = counts.most_common(1)[0][0] if counts else None
    best = sorted(full, key=lambda a: (a != leader, a is not None))
    spread = sorted(full, key=lambda a: (a is not None, a == leader))
    return min(
        next(n for n in range(len(full) + 1) if is_decided(order[:n], len(full), rule, MIN_SHARE))
        for order in (best, spread)
    )


def simulated(inputs: int, budget: int, seed: int) -> Iterator[Answers]:
    """Votes over five answers, from inputs on which the model is sure to inputs on which it guesses."""
    rng = np.random.default_rng(seed)
    for _ in range(inputs):
        shares = rng.dirichlet(np.full(5, rng.choice([0.1, 0.5, 2.0])))
        votes = rng.choice(5, size=budget, p=shares)
        lost = rng.random(budget) < 1 / 6
        yield [None if gone else "abcde"[vote] for vote, gone in zip(votes, lost, strict=True)]


def recorded(run: str) -> Iterator[tuple[str, Answers]]:
    """The parsed samples of every input of a run, by task."""
    ledger = Ledger(open_store(run), SystemClock())
    begun = ledger.last("run")
    assert begun is not None, f"{run} is no run"
    parsers = {name: load_task(task["parser"]) for name, task in begun.facts["config"]["tasks"].items()}
    for record in ledger.stages("generate"):
        for row in rows(ledger.tables(record, "generations"), Generation):
            if row.samples and len(row.samples) == row.planned:
                parse = parsers[row.input.task].parse
                yield row.input.task, [parse(s.text) if s.finished else None for s in row.samples]


def report(name: str, rule: Rule, budget: int, tally: Tally) -> bool:
    """Print a line; returns whether both rules kept what they promise."""
    n = tally.inputs
    print(
        f"{name:28} {rule:19} {budget:3} {n:7,}  "
        f"{tally.drawn['exact'] / n:6.2f} {tally.drawn['likely'] / n:6.2f} {tally.drawn['oracle'] / n:6.2f}  "
        f"{1 - tally.drawn['exact'] / (n * budget):6.1%} {1 - tally.drawn['likely'] / (n * budget):6.1%} "
        f"{1 - tally.drawn['oracle'] / (n * budget):6.1%}  {tally.other['exact']:3} {tally.other['likely'] / n:7.3%}"
    )
    return tally.other["exact"] == 0 and tally.other["likely"] <= max(RISK * n, 1)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("runs", nargs="*", metavar="RUN", help="a run whose generations hold every sample")
    parser.add_argument("--inputs", type=int, default=100_000, help="simulated inputs, over all settings")
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    print(
        f"{'votes':28} {'rule':19} {'N':>3} {'inputs':>7}  drawn: exact likely oracle  "
        f"saved: exact likely oracle  other verdicts: exact, likely (risk {RISK:.0%})"
    )
    sound = True
    settings = [(rule, budget) for rule in get_args(Rule) for budget in BUDGETS]
    for rule, budget in settings:
        tally = Tally()
        for votes in simulated(-(-chosen.inputs // len(settings)), budget, chosen.seed):
            tally.add(votes, rule)
        sound &= report("simulated", rule, budget, tally)
    for run in chosen.runs:
        tallies: dict[tuple[str, Rule, int], Tally] = {}
        for task, votes in recorded(run):
            for rule in get_args(Rule):
                tallies.setdefault((task, rule, len(votes)), Tally()).add(votes, rule)
        for (task, rule, budget), tally in tallies.items():
            sound &= report(task, rule, budget, tally)
    return 0 if sound else 1


if __name__ == "__main__":
    sys.exit(main())
