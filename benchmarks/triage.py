"""Does triage keep its stated miss rate while System 1 learns, and does it notice when the stream changes?

    python -m benchmarks.triage [--seeds 200]

Simulated students with a known truth, real code for thresholds, audits and drift.  System 1 gives System 2's
answer to an input with a chance of that input's own, Beta distributed, whose mean rises over ten rounds; else it
gives the input's favourite wrong answer, or any other.  System 2's vote is kept on nine inputs in ten.
In the last rounds some inputs are new: System 1 is sure of a wrong answer to them.  Prints, by phase, the share of
inputs skipped, the share of misses among them with its 95 % interval, how many rounds skipped more misses
than stated by more than chance, and in how many runs the change was noticed in its first round.
Exits with 1 when the misses before the change are more than stated, or a change was noticed late too often.
"""

import argparse
import sys
from dataclasses import dataclass

import numpy as np
from scipy.stats import binom, binomtest

from s2d_loop.config import TriageConfig
from s2d_loop.triage.audit import Audit, judge
from s2d_loop.triage.calibration import added, calibrate
from s2d_loop.triage.standing import still_counting

LEARNS, STAYS, CHANGED = 10, 20, 24
"""The last rounds in which System 1 learns, in which nothing changes, and in which some inputs are new."""
WRONG_ANSWERS = 50


@dataclass(slots=True)
class Tally:
    """Over the rounds of one phase."""

    inputs: int = 0
    skipped: int = 0
    misses: int = 0
    rounds: int = 0
    alarms: int = 0
    over: int = 0


def answers(rng: np.random.Generator, inputs: int, mean: float, new: float, rules: TriageConfig):  # type: ignore[no-untyped-def]
    """How many samples agree on each input, and whether skipping it would be a miss."""
    chance = rng.beta(3 * mean, 3 * (1 - mean), inputs)
    strange = rng.random(inputs) < new
    chance[strange] = 0.02
    favourite = np.where(strange, 0.97, rng.uniform(0.2, 0.95, inputs))
    draws = rng.random((inputs, rules.samples))
    wrong = np.where(
        rng.random((inputs, rules.samples)) < favourite[:, None],
        1,
        rng.integers(2, WRONG_ANSWERS, (inputs, rules.samples)),
    )
    said = np.where(draws < chance[:, None], 0, wrong)
    counts = (said[:, :, None] == said[:, None, :]).sum(axis=2)
    first = counts.argmax(axis=1)
    commonest = said[np.arange(inputs), first]
    kept = rng.random(inputs) < 0.9
    return counts.max(axis=1), kept & (commonest != 0)


def pairs_of(agreeing: np.ndarray, missed: np.ndarray, samples: int) -> list[list[int]]:
    return [
        [int((agreeing == level).sum()), int(missed[agreeing == level].sum())] for level in range(samples + 1)
    ]


def simulate(seed: int, inputs: int, new: float, rules: TriageConfig, tallies: dict[str, Tally]) -> bool:
    """One run; returns whether the change was noticed in its first round, or nothing was skipped in it."""
    rng = np.random.default_rng(seed)
    history: dict[int, Audit] = {}
    noticed = False
    for number in range(1, CHANGED + 1):
        phase = "learns" if number <= LEARNS else "stays" if number <= STAYS else "changed"
        mean = 0.3 + 0.55 * min(number - 1, LEARNS) / LEARNS
        agreeing, missed = answers(rng, inputs, mean, new if phase == "changed" else 0.0, rules)
        counted, _ = still_counting(dict(list(history.items())[-rules.window :]))
        pairs = added([each["pairs"] for each in counted.values()])
        threshold = calibrate(pairs, rules.miss_rate, rules.confidence).threshold
        audit = rng.random(inputs) < rules.audit_share
        skipped = ~audit & (agreeing >= (rules.samples + 1 if threshold is None else threshold))
        both = audit if skipped.any() else np.ones(inputs, bool)
        history[number] = judge(
            "", pairs_of(agreeing[both], missed[both], rules.samples), threshold, "t", rules
        )
        drift = history[number]["drift"]
        if number == STAYS + 1:
            noticed = drift or not skipped.any()
        tally = tallies[phase]
        tally.rounds += 1
        tally.inputs += inputs
        tally.skipped += int(skipped.sum())
        tally.misses += int(missed[skipped].sum())
        tally.alarms += drift
        chance = binom.sf(missed[skipped].sum() - 1, skipped.sum(), rules.miss_rate)
        tally.over += bool(skipped.any() and chance < 0.05)
    return noticed


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seeds", type=int, default=200)
    parser.add_argument("--inputs", type=int, default=1000, help="of a round")
    chosen = parser.parse_args()
    rules, sound = TriageConfig(), True
    print(f"{chosen.seeds} runs, {chosen.inputs} inputs a round, {rules}")
    for new in (0.1, 0.3, 1.0):
        tallies = {phase: Tally() for phase in ("learns", "stays", "changed")}
        noticed = sum(simulate(seed, chosen.inputs, new, rules, tallies) for seed in range(chosen.seeds))
        for phase, tally in tallies.items():
            shown = "none"
            if tally.skipped:
                found = binomtest(tally.misses, tally.skipped).proportion_ci(method="exact")
                shown = f"{tally.misses / tally.skipped:.2%} ({found.low:.2%} to {found.high:.2%})"
            print(
                f"{new:4.0%} new  {phase:8} skipped {tally.skipped / tally.inputs:6.1%}  misses {shown:26} "
                f"rounds over {tally.over / tally.rounds:6.1%}  drift said {tally.alarms / tally.rounds:6.1%}"
            )
            if phase != "changed" and tally.skipped:
                sound &= tally.misses / tally.skipped <= rules.miss_rate
        print(f"{new:4.0%} new  noticed in the first round, or nothing skipped: {noticed / chosen.seeds:.1%}")
        sound &= new < 0.3 or noticed / chosen.seeds >= 0.95
    return 0 if sound else 1


if __name__ == "__main__":
    sys.exit(main())
