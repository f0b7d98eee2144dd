"""What does sampling save that stops when its vote is decided, and does it ever change a verdict?

    python -m benchmarks.stopping [--votes RUN_OR_PARQUET ...] [--inputs 100000]

Votes come from a simulation (shares of answers from a Dirichlet distribution, one in six samples unparsable;
a sample is a token), and with `--votes` from what models said (`benchmarks.recorded_votes`).  For each rule
and budget N: samples drawn and tokens saved by the exact rule, by the statistical rule, and by an oracle
that knows every sample beforehand and shows them in the best order; and how often each verdict differs from
that of all N samples.  Exits with 1 if the exact rule ever differs, or the statistical one more often than
its risk.
"""

import argparse
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import product
from typing import get_args

import numpy as np

from benchmarks.recorded_votes import Answers, Vote, recorded, subsets
from s2d_loop.curate.stopping import is_decided, risk_of_change, samples_needed
from s2d_loop.curate.vote import Rule, decide

BUDGETS = (8, 20, 64)
RISK = 0.01
MIN_SHARE = 0.0
WAYS = ("exact", "likely", "oracle")


@dataclass(slots=True)
class Tally:
    """Over the inputs of one setting."""

    inputs: int = 0
    drawn: Counter[str] = field(default_factory=Counter)
    tokens: dict[str, float] = field(default_factory=lambda: dict.fromkeys(("all", *WAYS), 0.0))
    other: Counter[str] = field(default_factory=Counter)

    def add(self, vote: Vote, rule: Rule) -> None:
        full, tokens = vote.answers, vote.tokens
        wanted = _outcome(full, rule, len(full))
        exact, likely = _exact(full, rule), _likely(full, rule)
        best = _oracle(vote, rule)
        self.inputs += 1
        self.drawn.update(exact=exact, likely=likely, oracle=len(best))
        self.tokens["all"] += sum(tokens)
        self.tokens["exact"] += sum(tokens[:exact])
        self.tokens["likely"] += sum(tokens[:likely])
        self.tokens["oracle"] += sum(tokens[number] for number in best)
        self.other["exact"] += _outcome(full[:exact], rule, len(full)) != wanted
        # Where it stopped for being likely, the vote is one over the samples that were drawn.
        self.other["likely"] += _outcome(full[:likely], rule, 0) != wanted

    def saved(self, way: str) -> float:
        """Share of the tokens of all N samples."""
        return 1 - self.tokens[way] / self.tokens["all"]


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


def _oracle(vote: Vote, rule: Rule) -> list[int]:
    """The fewest of these samples that decide the vote, shown in whatever order is best, the cheapest first."""
    full, tokens = vote.answers, vote.tokens
    counts = Counter(a for a in full if a is not None)
    leader = counts.most_common(1)[0][0] if counts else None
    numbers = range(len(full))
    best = sorted(numbers, key=lambda i: (full[i] != leader, full[i] is not None, tokens[i]))
    spread = sorted(numbers, key=lambda i: (full[i] is not None, full[i] == leader, tokens[i]))
    return min((_decisive(order, full, rule) for order in (best, spread)), key=len)


def _decisive(order: list[int], full: Answers, rule: Rule) -> list[int]:
    shown = [full[i] for i in order]
    return order[: next(n for n in range(len(full) + 1) if is_decided(shown[:n], len(full), rule, MIN_SHARE))]


def simulated(inputs: int, budget: int, seed: int) -> Iterator[Vote]:
    """Votes over five answers, from inputs on which the model is sure to inputs on which it guesses."""
    rng = np.random.default_rng(seed)
    for _ in range(inputs):
        shares = rng.dirichlet(np.full(5, rng.choice([0.1, 0.5, 2.0])))
        votes = rng.choice(5, size=budget, p=shares)
        lost = rng.random(budget) < 1 / 6
        answers = [None if gone else "abcde"[vote] for vote, gone in zip(votes, lost, strict=True)]
        yield Vote("simulated", answers, [1.0] * budget)


def report(name: str, rule: Rule, budget: int, tally: Tally) -> bool:
    """Print a line; returns whether both rules kept what they promise."""
    n = tally.inputs
    print(
        f"{name:28} {rule:19} {budget:3} {n:7,}  "
        f"{tally.drawn['exact'] / n:6.2f} {tally.drawn['likely'] / n:6.2f} {tally.drawn['oracle'] / n:6.2f}  "
        f"{tally.tokens['all'] / n:8.1f}  "
        f"{tally.saved('exact'):6.1%} {tally.saved('likely'):6.1%} {tally.saved('oracle'):6.1%}  "
        f"{tally.other['exact']:3} {tally.other['likely'] / n:7.3%}"
    )
    return tally.other["exact"] == 0 and tally.other["likely"] <= max(RISK * n, 1)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--votes",
        nargs="*",
        default=[],
        metavar="RUN_OR_PARQUET",
        help="a run, or a table of its generations, that holds every sample (method.stop: never)",
    )
    parser.add_argument("--inputs", type=int, default=100_000, help="simulated inputs, over all settings")
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    print(
        f"{'votes':28} {'rule':19} {'N':>3} {'votes':>7}  drawn: exact likely oracle  tokens at fixed N  "
        f"tokens saved: exact likely oracle  other verdicts: exact, likely (risk {RISK:.0%})"
    )
    sound = True
    settings = [(rule, budget) for rule in get_args(Rule) for budget in BUDGETS]
    for rule, budget in settings:
        tally = Tally()
        for vote in simulated(-(-chosen.inputs // len(settings)), budget, chosen.seed):
            tally.add(vote, rule)
        sound &= report("simulated", rule, budget, tally)
    for place in chosen.votes:
        tallies: dict[tuple[str, Rule, int], Tally] = {}
        for vote in recorded(place):
            for rule, part in product(get_args(Rule), subsets(vote, BUDGETS)):
                tallies.setdefault((vote.task, rule, len(part.answers)), Tally()).add(part, rule)
        for (task, rule, budget), tally in sorted(tallies.items()):
            sound &= report(task, rule, budget, tally)
    return 0 if sound else 1


if __name__ == "__main__":
    sys.exit(main())
