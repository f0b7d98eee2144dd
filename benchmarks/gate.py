"""Does the gate keep its word: what it lets pass, what it stops, and what it doesn't?

    python -m benchmarks.gate [--quick] [--seeds 400]

A simulated student with known truth (`benchmarks.student`) goes through rounds of votes and training; the real
gate (`evaluate.gate`) and the real stop rule (`evaluate.collapse`) see nothing but its answers to held-out
inputs.  How many loops collapse without the gate depends on the pool, so each figure names it (`POOLS`).
Prints a table with 95 % Wilson intervals and the curves by round; exits with 1 if a promise isn't kept.
"""

import argparse
import sys
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

import numpy as np
from scipy.stats import binom

from benchmarks.student import Floats, Student, Version, pairs
from s2d_loop.config import GateConfig, PoolConfig
from s2d_loop.evaluate.collapse import Signs, judge_collapse, level_of, read
from s2d_loop.evaluate.gate import PROMOTE, Against, Cell, Decision, Rule, judge
from s2d_loop.evaluate.metrics import wilson
from s2d_loop.evaluate.noninferiority import Pairs

PRODUCT, REPLACED = "default pool", "replaced pool"
POOLS = {
    # New rows, and as many old ones drawn from all earlier rounds.
    PRODUCT: PoolConfig().replay_share,
    # All rows of all rounds, each as often as any other: an old row never loses weight to newer ones.
    "undivided pool": 1.0,
    # New rows alone.
    REPLACED: 0.0,
}
"""`pool.replay_share` by name, the product's default first."""
ROUNDS, HEALTHY_ROUNDS, MONTHS_LOOKS = 30, 50, 730
CLASSES = 8
HELDOUT = 125
"""Inputs of a class: 1,000 of the task."""
MARGIN = 0.02
UNGATED = GateConfig(margin=1.0, min_class=10**6)
FALL = 0.15
"""A loop has collapsed when its accuracy ends this far below its peak."""
COLLAPSED = f"accuracy ends {FALL:.0%} or more below its peak while agreement rises"
SEEN = 0.1
"""A fall that the stop rule has to see, when the gate is off and nothing else prevents it."""
NONE = Pairs(0, 0, 0, CLASSES * HELDOUT)
"""No wrong answer is commoner than others here: this sign stays silent."""


@dataclass(frozen=True)
class Promise:
    """A share that must be at least, or at most, so much; one without a bound is only measured."""

    what: str
    hits: int
    of: int
    at_least: float = 0.0
    at_most: float = 1.0
    exact: float | None = None
    """The probability that the counts are a sample of, where it is known; it decides then."""

    @property
    def kept(self) -> bool:
        if self.exact is not None:
            return self.at_least <= self.exact <= self.at_most
        return self.of > 0 and self.at_least <= self.hits / self.of <= self.at_most

    def row(self) -> str:
        low, high = wilson(self.hits, self.of)
        at_most = f"at most {self.at_most:.0%}" if self.at_most < 1 else ""
        bound = f"at least {self.at_least:.0%}" if self.at_least else at_most
        share = f"{self.hits / max(1, self.of):.2%} ({low:.2%} to {high:.2%})"
        if self.exact is not None:
            share += f", exactly {self.exact:.2%}"
        kept = ("yes" if self.kept else "NO") if bound else ""
        return f"| {self.what} | {bound} | {share} | {self.hits} of {self.of} | {kept} |"


@dataclass
class Life:
    """A loop from its start to its end: what served in each round, and what ended it."""

    served: list[Version]
    stopped: int | None = None

    @property
    def truths(self) -> Floats:
        return np.array([each.truth for each in self.served])

    @property
    def collapsed(self) -> bool:
        """Its accuracy fell far from its peak while the systems agree more."""
        peak = int(self.truths.argmax())
        rises = self.served[-1].agreement > self.served[peak].agreement
        return bool(self.truths[peak] - self.truths[-1] >= FALL and rises)

    def within_two_rounds(self, margin: float) -> bool:
        """Never did what serves stay below the best that ever served, by more than the margin, for longer."""
        below = self.truths < np.maximum.accumulate(self.truths) - margin
        return not any(below[n : n + 3].all() for n in range(len(below) - 2))


def live(student: Student, rounds: int, gate: GateConfig, stop_margin: float | None = None) -> Life:
    """Rounds under the gate and the stop rule as a run has them; margin 1 is no gate.

    Args:
        stop_margin: that of the stop rule, where it isn't the gate's.
    """
    life, best = Life([student.base]), student.base
    before: list[dict[str, Any]] = []
    for number in range(1, rounds + 1):
        current = life.served[-1]
        candidate = student.trained(current)
        rule = Rule.of(gate, rounds, number)
        decision = _decision(candidate, current, best, rule)
        signs = Signs(pairs(best, candidate), NONE, candidate.agreement, best.agreement)
        found = judge_collapse(
            {"task": read(signs, stop_margin or rule.margin, level_of(rule.looks, 1))}, before
        )
        before.append(found)
        if found["stop"]:
            life.stopped = number
            life.served.append(current)
            break
        promoted = decision.decision == PROMOTE
        life.served.append(candidate if promoted else current)
        if promoted and decision.by_task["task"].better:
            best = candidate
    return life


def _decision(candidate: Version, current: Version, best: Version, rule: Rule) -> Decision:
    def cell(of: int | None) -> Cell:
        beside = Against(1, pairs(current, candidate, of))
        return Cell(beside, beside if best is current else Against(0, pairs(best, candidate, of)))

    classes = {str(n): cell(n) for n in range(len(candidate.system1)) if rule.min_class <= HELDOUT}
    return judge({"task": cell(None)}, rule, {"task": classes})


def mixed(seed: int) -> Floats:
    """Classes from those that votes ruin to those that they complete."""
    return np.random.default_rng(seed + 10**6).uniform(0.2, 0.9, CLASSES)


def healthy(seed: int) -> Floats:
    return np.random.default_rng(seed + 10**6).uniform(0.65, 0.95, CLASSES)


def collapses(pool: str, seeds: int) -> list[int]:
    """The seeds whose loop collapses without a gate."""
    lives = [live(_mixed_student(pool, n), ROUNDS, UNGATED) for n in range(seeds)]
    return [n for n, life in enumerate(lives) if life.collapsed]


def collapse_is_stopped(pool: str, fell: Sequence[int]) -> Iterator[Promise]:
    """The loops that collapse without the gate: with it, and with the stop rule alone."""
    by_class = {"class_margin": 0.08, "min_class": HELDOUT}
    for name, settings in (("by task", {"min_class": 10**6}), ("by task and class", by_class)):
        gate = GateConfig.model_validate({"margin": MARGIN, **settings})
        lives = [live(_mixed_student(pool, n), ROUNDS, gate) for n in fell]
        safe = sum(each.within_two_rounds(MARGIN) for each in lives)
        what = f"{pool}, the same loops gated {name}: back at the best within two rounds"
        yield Promise(what, safe, len(lives), 0.99)
        stopped = sum(each.stopped is not None for each in lives)
        lost = np.mean([each.truths.max() - each.truths[-1] for each in lives])
        print(
            f"{pool}, gated {name}: {stopped} of {len(lives)} stopped; "
            f"{100 * lost:.1f} points below the best, in the end"
        )
    alone = [live(_mixed_student(pool, n), ROUNDS, UNGATED, stop_margin=MARGIN) for n in fell]
    late = [_rounds_late(life) for life in alone]
    in_time = sum(each is not None and each <= 2 for each in late)
    what = f"{pool}, the stop rule alone: stopped within two rounds of {SEEN:.0%} below the peak"
    yield Promise(what, in_time, len(fell), 0.99)


def _mixed_student(pool: str, seed: int, *, from_base: bool = False) -> Student:
    return Student(seed, mixed(seed), heldout=HELDOUT, replay_share=POOLS[pool], from_base=from_base)


def _rounds_late(life: Life) -> int | None:
    """How long after it was far below its peak a loop was stopped; 0 if before, None if never."""
    if life.stopped is None:
        return None
    far = np.flatnonzero(life.truths < np.maximum.accumulate(life.truths) - SEEN)
    return max(0, life.stopped - int(far[0])) if len(far) else 0


def healthy_is_left_alone(pool: str, seeds: int) -> Iterator[Promise]:
    gate = GateConfig(margin=MARGIN, min_class=10**6)
    students = (Student(n, healthy(n), heldout=HELDOUT, replay_share=POOLS[pool]) for n in range(seeds))
    lives = [live(each, HEALTHY_ROUNDS, gate) for each in students]
    stopped = sum(each.stopped is not None for each in lives)
    what = f"{pool}, healthy runs of {HEALTHY_ROUNDS} rounds that are stopped"
    yield Promise(what, stopped, seeds, at_most=0.01)
    gains = [each.truths[-1] - each.truths[0] for each in lives]
    print(f"{pool}, healthy: {100 * np.mean(gains):+.1f} points in the mean")


def nothing_worse_passes(seeds: int, differing: Sequence[float]) -> Iterator[Promise]:
    """Candidate after candidate that is worse by just the margin on one cell, all else being as before."""
    rng = np.random.default_rng(1)
    for discordant in differing:
        rule = Rule.of(GateConfig(margin=MARGIN), None, 1)
        passed = sum(
            _any_passes(_tables(rng, 1000, -MARGIN, discordant, MONTHS_LOOKS), rule) for _ in range(seeds)
        )
        what = f"runs of {MONTHS_LOOKS} looks in which something worse passes ({discordant:.0%} differ)"
        exact = 1 - (1 - _passing(1000, -MARGIN, discordant, rule)) ** MONTHS_LOOKS
        yield Promise(what, passed, seeds, at_most=0.05, exact=exact)


def _passing(n: int, difference: float, discordant: float, rule: Rule) -> float:
    """The exact probability that the gate lets one candidate pass, over all tables."""
    worse = (discordant - difference) / 2 / discordant
    total = 0.0
    for differ in range(n + 1):
        weight = float(binom.pmf(differ, n, discordant))
        if weight > 1e-12:
            # The fewer of them are worse, the sooner it passes: where it begins to fail is searched.
            fails = partial(_fails, n, differ, rule)
            passing = bisect_left(range(differ + 1), True, key=fails)
            total += weight * float(binom.cdf(passing - 1, differ, worse))
    return total


def _fails(n: int, differ: int, rule: Rule, worse: int) -> bool:
    return not _passes(Pairs(n - differ, worse, differ - worse, 0), rule)


def better_passes(seeds: int) -> Iterator[Promise]:
    """Three points better on 1,000 held-out inputs, up to four candidates."""
    rng = np.random.default_rng(2)
    for iterations, looks in ((None, MONTHS_LOOKS), (HEALTHY_ROUNDS, HEALTHY_ROUNDS)):
        rule = Rule.of(GateConfig(margin=MARGIN), iterations, 1)
        passed = sum(_any_passes(_tables(rng, 1000, 0.03, 0.1, 4), rule) for _ in range(seeds))
        what = f"3 points better (10 % differ): promoted within 4 rounds, at a level for {looks} looks"
        yield Promise(what, passed, seeds, at_least=0.9)


def _tables(
    rng: np.random.Generator, n: int, difference: float, discordant: float, looks: int
) -> Sequence[Pairs]:
    better, worse = (discordant + difference) / 2, (discordant - difference) / 2
    same = 1 - discordant
    drawn = rng.multinomial(n, [same, worse, better], size=looks)
    return [Pairs(int(a), int(c), int(b), 0) for a, c, b in drawn]


def _any_passes(tables: Sequence[Pairs], rule: Rule) -> bool:
    return any(_passes(each, rule) for each in tables)


@lru_cache(100_000)
def _passes(table: Pairs, rule: Rule) -> bool:
    return judge({"task": Cell(Against(1, table), Against(1, table))}, rule).decision == PROMOTE


def curves(seeds: int) -> Iterator[str]:
    """Mean true accuracy by round without a gate: what the pool and the start of training change."""
    shown = [0, 1, 2, 3, 5, 10, 20, ROUNDS]
    yield "| pool | training starts from | " + " | ".join(f"round {n}" for n in shown) + " |"
    yield "|---|---|" + "---|" * len(shown)
    for pool in POOLS:
        for from_base in (False, True):
            lives = [
                live(_mixed_student(pool, n, from_base=from_base), ROUNDS, UNGATED) for n in range(seeds)
            ]
            means = np.mean([each.truths for each in lives], axis=0)
            names = (pool, "base" if from_base else "current")
            yield f"| {' | '.join(names)} | " + " | ".join(f"{100 * means[n]:.1f} %" for n in shown) + " |"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run it; 1 where a promise isn't kept."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=400)
    parser.add_argument("--quick", action="store_true", help="A slice of seconds.")
    given = parser.parse_args(arguments)
    seeds = 5 if given.quick else given.seeds
    fell = {pool: collapses(pool, seeds) for pool in POOLS}
    promises = [
        *(Promise(f"{pool}, ungated: {COLLAPSED}", len(of), seeds) for pool, of in fell.items()),
        *(each for pool in (PRODUCT, REPLACED) for each in collapse_is_stopped(pool, fell[pool])),
        *(each for pool in (PRODUCT, REPLACED) for each in healthy_is_left_alone(pool, seeds)),
        *nothing_worse_passes(seeds, (0.2,) if given.quick else (0.05, 0.2, 0.5)),
        *better_passes(seeds),
    ]
    print("\n| what | promised | share (95 %) | counts | kept |\n|---|---|---|---|---|")
    print("\n".join(each.row() for each in promises))
    print("\nMean accuracy without a gate:\n")
    print("\n".join(curves(seeds // 4)))
    return 0 if all(each.kept for each in promises) else 1


if __name__ == "__main__":
    sys.exit(main())
