"""Whether one system is shown to be no worse than another by a margin, on the same inputs.

Tango's score test for the difference of two paired proportions, and its interval (Statistics in Medicine
17, 1998, p. 891).  Unlike an interval that holds zero, a rejection here is evidence: with few inputs there is
none, whatever they measure.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from statistics import NormalDist

_HALVINGS = 40
"""Of the interval's search: from 2 down to 2e-12."""


@dataclass(frozen=True, slots=True)
class Pairs:
    """On how many inputs both systems are right, one alone, or none."""

    both: int
    only_first: int
    only_second: int
    neither: int

    @classmethod
    def of(cls, answers: Iterable[tuple[bool, bool]]) -> "Pairs":
        """Counted from (first is right, second is right), an input each."""
        counts = [0, 0, 0, 0]
        for first, second in answers:
            counts[2 * first + second] += 1
        return cls(both=counts[3], only_first=counts[2], only_second=counts[1], neither=counts[0])

    @property
    def n(self) -> int:
        return self.both + self.only_first + self.only_second + self.neither

    @property
    def difference(self) -> float:
        """How much more often the second is right; 0 of nothing."""
        return (self.only_second - self.only_first) / self.n if self.n else 0.0


def score(pairs: Pairs, difference: float) -> float:
    """Tango's z: how far the second is above "better than the first by exactly `difference`".

    At 0 its square is McNemar's (b - c)^2 / (b + c).  Of nothing, and where neither the counts nor the
    difference leave anything to chance, it is 0.

    Args:
        difference: between -1 and 1, both excluded; negative: the second is worse.
    """
    n, b, c = pairs.n, pairs.only_second, pairs.only_first
    # The share of `only_first` that is likeliest if the difference is the given one, by a quadratic.
    middle = (2 * n - b + c) * difference - b - c
    last = -c * difference * (1 - difference)
    root = math.sqrt(max(0.0, middle * middle - 8 * n * last))
    share = (root - middle) / (4 * n) if n else 0.0
    variance = n * (2 * share + difference * (1 - difference))
    return (b - c - n * difference) / math.sqrt(variance) if variance > 0 else 0.0


def p_worse_by(pairs: Pairs, margin: float) -> float:
    """The one-sided p-value of "the second is worse than the first by `margin` or more".

    Small: it is shown not to be.  By exact enumeration (50 to 200 pairs, margins of 0.02 to 0.1) it rejects
    falsely at most 1.2 times as often as a level of 0.05 says, 1.02 times at 0.01 and 0.001, and less often than
    a level of 0.0001 says; where few pairs differ, far less often.
    """
    return _above(score(pairs, -margin))


def p_not_worse_by(pairs: Pairs, margin: float) -> float:
    """The one-sided p-value of "the second is worse than the first by at most `margin`".

    Small: it is shown to be worse by more.
    """
    return _above(-score(pairs, -margin))


def p_better(pairs: Pairs) -> float:
    """The one-sided p-value of "the second is no better than the first": McNemar's, by its score."""
    return _above(score(pairs, 0.0))


def interval(pairs: Pairs, level: float = 0.95) -> tuple[float, float]:
    """The differences that the two-sided test doesn't reject; of nothing, all of them: (-1, 1)."""
    if pairs.n == 0:
        return -1.0, 1.0
    z = NormalDist().inv_cdf((1 + level) / 2)
    return _where_score_is(pairs, z), _where_score_is(pairs, -z)


def pairs_needed(pairs: Pairs, margin: float, level: float) -> int | None:
    """How many pairs that split as these do would show it at `level`; None where no number would.

    The score grows with the root of the number of pairs.
    """
    z = score(pairs, -margin)
    return math.ceil(pairs.n * (_z(level) / z) ** 2) if z > 0 else None


def pairs_without_a_difference(margin: float, level: float) -> int:
    """How many pairs show it at `level` if not one of them differs: with fewer, nothing ever does."""
    return math.ceil(_z(level) ** 2 * (1 - margin) / margin)


def _where_score_is(pairs: Pairs, z: float) -> float:
    """The score falls as the difference grows; an end is 1 or -1 where it doesn't get that far."""
    low, high = -1.0, 1.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        if score(pairs, middle) > z:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def _above(z: float) -> float:
    """The normal distribution's tail above z, exact where it is tiny."""
    return 0.5 * math.erfc(z / math.sqrt(2))


def _z(level: float) -> float:
    return -NormalDist().inv_cdf(level)
