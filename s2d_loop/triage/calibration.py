"""At which agreement of System 1's samples System 2 may be left out, at a stated miss rate.

A miss is an input that was left out on which System 2's verdict would have been kept with another
answer than System 1's.  What is known of misses comes from inputs that both systems answered, counted
by how many of System 1's samples agreed.  Bounds are Clopper and Pearson's (Biometrika 26, 1934), each
one-sided: the chance of a bound being wrong is at most 1 - confidence for any true rate.
"""

from collections.abc import Sequence
from dataclasses import dataclass

Pairs = Sequence[Sequence[int]]
"""For 0, 1, ... agreeing samples: how many inputs both systems answered, and how many were misses."""


@dataclass(frozen=True, slots=True)
class Rate:
    """Misses among inputs that both systems answered, with a lower and an upper bound of their rate."""

    n: int
    misses: int
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Calibration:
    """From how many agreeing samples on inputs are skipped, and what that rests on.

    `threshold` is None where nothing can be skipped; `rate` is then that of the strictest one, where
    all samples agree.
    """

    threshold: int | None
    rate: Rate


def calibrate(pairs: Pairs, miss_rate: float, confidence: float) -> Calibration:
    """The lowest threshold at and above which the miss rate's upper bound is at most `miss_rate`.

    Thresholds are tried from the strictest down, and the first that fails ends it.  That is testing in a
    fixed sequence (Maurer, Hothorn and Lehmacher 1995): however many are tried, the chance of taking any
    whose rate is above `miss_rate` stays at most 1 - confidence.
    """
    strictest = len(pairs) - 1
    taken = Calibration(None, rate(pairs, strictest, confidence))
    # Where no sample holds an answer, there is none to stand in for System 2's.
    for threshold in range(strictest, 0, -1):
        found = rate(pairs, threshold, confidence)
        if found.high > miss_rate:
            break
        taken = Calibration(threshold, found)
    return taken


def rate(pairs: Pairs, threshold: int, confidence: float) -> Rate:
    """The miss rate among inputs on which at least `threshold` samples agreed."""
    n, misses = (sum(each[i] for each in pairs[threshold:]) for i in (0, 1))
    return Rate(n, misses, *bounds(misses, n, confidence))


def bounds(count: int, n: int, confidence: float) -> tuple[float, float]:
    """Clopper and Pearson's lower and upper bound of a rate, one-sided each; of nothing, 0 and 1."""
    if n == 0:
        return 0.0, 1.0
    from scipy.special import betaincinv  # a tenth of a second that only a run with triage should cost

    low = betaincinv(count, n - count + 1, 1 - confidence) if count else 0.0
    high = betaincinv(count + 1, n - count, confidence) if count < n else 1.0
    return float(low), float(high)


def added(rounds: Sequence[Pairs]) -> list[list[int]]:
    """The pairs of several rounds as one."""
    widths = [len(pairs) for pairs in rounds]
    whole = [[0, 0] for _ in range(max(widths, default=2))]
    for pairs in rounds:
        for total, each in zip(whole, pairs, strict=True):
            total[0] += each[0]
            total[1] += each[1]
    return whole


def drifted(found: Rate, miss_rate: float) -> bool:
    """Whether a round's own audit says that the rate was above the stated one."""
    return found.low > miss_rate
