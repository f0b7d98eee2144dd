"""Intervals for accuracies, and the difference of two accuracies on the same inputs with its p-value."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist, fmean, stdev
from typing import NamedTuple


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure with its interval, as the ledger's facts hold it."""

    value: float
    low: float
    high: float


class Difference(NamedTuple):
    """`second` minus `first` in accuracy, with its interval."""

    value: float
    low: float
    high: float


class McNemar(NamedTuple):
    """On how many inputs only one of two systems is right, and how likely as uneven a split is by chance."""

    only_first: int
    only_second: int
    p: float

    @property
    def p_first_better(self) -> float:
        """One-sided: of "the first is right no more often"; 1 where it isn't right more often."""
        return self.p / 2 if self.only_first > self.only_second else 1.0


def wilson(successes: int, n: int, level: float = 0.95) -> tuple[float, float]:
    """Wilson's score interval of a proportion (1927).

    Unlike the normal one it holds for small n and at 0 and 1, where a distilled task may well end up.
    Of nothing measured it is everything: (0, 1).
    """
    if n == 0:
        return 0.0, 1.0
    z = NormalDist().inv_cdf((1 + level) / 2)
    p = successes / n
    middle = p + z * z / (2 * n)
    half = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    low, high = (middle - half) / (1 + z * z / n), (middle + half) / (1 + z * z / n)
    # At 0 and 1 an end is the proportion itself, but for rounding.
    return (0.0 if successes == 0 else low), (1.0 if successes == n else high)


def paired_difference(first: Sequence[bool], second: Sequence[bool], level: float = 0.95) -> Difference:
    """How much more often `second` is right than `first` on the same inputs, pair by pair.

    The interval is Newcombe's tenth method (Statistics in Medicine 17, 1998): Wilson's intervals of the
    two accuracies, squared and added with the correlation of the pairs.  Two systems that mostly get
    the same inputs right differ by less noise than two samples would, and the gate needs to see that.
    """
    _check_paired(first, second)
    n = len(first)
    if n == 0:
        return Difference(0.0, -1.0, 1.0)
    right1, right2 = sum(first), sum(second)
    p1, p2 = right1 / n, right2 / n
    low1, high1 = wilson(right1, n, level)
    low2, high2 = wilson(right2, n, level)
    phi = _correlation(first, second)
    value = p2 - p1
    below = _add(p2 - low2, high1 - p1, phi)
    above = _add(high2 - p2, p1 - low1, phi)
    return Difference(value, max(-1.0, value - below), min(1.0, value + above))


def ratio(part: Sequence[float], whole: Sequence[float]) -> Estimate | None:
    """Bounds of a ratio from those of its parts; None when the whole is not shown to be above 0.

    Args:
        part: value, low and high; so is `whole`.  Each has to hold its truth with half of the error that the
            ratio may have (Bonferroni): then both do, and the ratio lies between the ends.
    """
    if whole[1] <= 0:
        return None
    value, low, high = part
    return Estimate(value / whole[0], low / whole[2 if low > 0 else 1], high / whole[1 if high > 0 else 2])


def mean(values: Sequence[float], level: float = 0.95) -> Estimate:
    """The mean of at least two values, with Student's interval."""
    from scipy.special import stdtrit  # imported late: most of what reads this module needs none of it

    n, middle = len(values), fmean(values)
    half = float(stdtrit(n - 1, (1 + level) / 2)) * stdev(values) / math.sqrt(n)
    return Estimate(middle, middle - half, middle + half)


def mcnemar(first: Sequence[bool], second: Sequence[bool]) -> McNemar:
    """McNemar's exact test (1947), two-sided: is one system better than the other on the same inputs?

    Inputs on which both are right or both wrong say nothing.  Were the systems equally good, each of the
    others would be a fair coin's throw, so p is the binomial's, without an approximation.
    """
    _check_paired(first, second)
    only_first = sum(a and not b for a, b in zip(first, second, strict=True))
    only_second = sum(b and not a for a, b in zip(first, second, strict=True))
    n = only_first + only_second
    tail = sum(math.comb(n, k) for k in range(min(only_first, only_second) + 1))
    return McNemar(only_first, only_second, min(1.0, 2 * tail / 2**n))


def _check_paired(first: Sequence[bool], second: Sequence[bool]) -> None:
    if len(first) != len(second):
        raise ValueError(f"pairs need the same inputs on both sides: got {len(first)} and {len(second)}")


def _add(a: float, b: float, phi: float) -> float:
    return math.sqrt(max(0.0, a * a - 2 * phi * a * b + b * b))


def _correlation(first: Sequence[bool], second: Sequence[bool]) -> float:
    """Of the two-by-two table; a positive one with Newcombe's correction for continuity."""
    n = len(first)
    both = sum(a and b for a, b in zip(first, second, strict=True))
    right1, right2 = sum(first), sum(second)
    neither = n - right1 - right2 + both
    spread = math.sqrt(right1 * (n - right1) * right2 * (n - right2))
    if spread == 0:
        return 0.0
    cross: float = both * neither - (right1 - both) * (right2 - both)
    if cross > 0:
        cross = max(0.0, cross - n / 2)
    return cross / spread
