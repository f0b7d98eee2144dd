"""When a vote is decided before all of its samples are drawn.

N samples are a budget, not a duty.  The exact rule stops once no outcome of the samples that are left
can change the verdict, so it gives the verdict of the full budget for every input.  The statistical rule
stops once that is unlikely enough, by a Beta posterior as in Adaptive-Consistency (Aggarwal et al. 2023),
taken forward to the full budget.
"""

import math
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache

from s2d_loop.curate.vote import Rule


def is_decided(answers: Sequence[str | None], budget: int, rule: Rule, min_share: float) -> bool:
    """Whether every outcome of the samples left has the same reason and the same answer.

    Args:
        answers: of the samples drawn so far; None is one that can't be parsed.
        budget: N, of which a majority and `min_share` are parts.
    """
    first, second = _two_best(answers)
    return _settled(first, second, budget - len(answers), budget, rule, min_share)


def samples_needed(answers: Sequence[str | None], budget: int, rule: Rule, min_share: float) -> int:
    """The least number of further samples after which the vote can be decided; all, if never before.

    Drawing so many at once wastes none: fewer could not have decided it.
    """
    left = budget - len(answers)
    first, second = _two_best(answers)
    for extra in range(1, left):
        # Soonest where some go to the leader and the others hold no answer.
        for more in range(extra + 1):
            if _settled(first + more, second, left - extra, budget, rule, min_share):
                return extra
    return left


def _settled(first: int, second: int, left: int, budget: int, rule: Rule, min_share: float) -> bool:
    if left <= 0:
        return True
    if rule == "absolute_majority":
        if first and 2 * (first + left) <= budget:
            return True  # nobody can get there any more
        won = 2 * first > budget
    else:
        won = first - second > left
    # The share is settled where the winner has enough already, or couldn't get enough.
    return won and (first >= min_share * budget or first + left < min_share * budget)


def risk_of_change(answers: Sequence[str | None], budget: int, rule: Rule, min_share: float) -> float:
    """A bound on the probability that the full budget's verdict is not that of these samples.

    Under uniform priors the further votes of one answer against another follow a beta-binomial
    distribution.  The bound adds up every way to another verdict: that an answer that was seen, or one
    that was not, catches up with the leader, and that the leader's share crosses what is asked of it.
    """
    drawn, left = len(answers), budget - len(answers)
    if left <= 0:
        return 0.0
    counts = sorted(Counter(a for a in answers if a is not None).values(), reverse=True)
    if not counts or (len(counts) > 1 and counts[0] == counts[1]):
        return 1.0
    first = counts[0]
    wanted = max(min_share * budget, budget // 2 + 1 if rule == "absolute_majority" else 0)
    risk = _falls_short(first, drawn, left, wanted) if first >= wanted * drawn / budget else 1.0
    if rule != "absolute_majority":
        risk += sum(_catches_up(first, other, left) for other in [*counts[1:], 0])
    return min(1.0, risk)


@lru_cache(1 << 16)
def _falls_short(first: int, drawn: int, left: int, wanted: float) -> float:
    """P(the leader ends with fewer votes than are wanted)."""
    return _at_most(math.ceil(wanted) - 1 - first, left, first + 1, drawn - first + 1)


@lru_cache(1 << 16)
def _catches_up(first: int, other: int, left: int) -> float:
    """P(the other ends with as many votes as the leader, were all that are left to go to one of the two)."""
    return _at_most((left - (first - other)) // 2, left, first + 1, other + 1)


def _at_most(k: int, n: int, a: int, b: int) -> float:
    """P(K <= k) where K is beta-binomial: n tries of a chance that is Beta(a, b)."""
    from scipy.stats import betabinom  # half a second that the exact rule should not cost

    return float(betabinom.cdf(k, n, a, b))


def _two_best(answers: Sequence[str | None]) -> tuple[int, int]:
    counts = sorted(Counter(a for a in answers if a is not None).values(), reverse=True)
    return (*counts, 0, 0)[0], (*counts, 0, 0)[1]
