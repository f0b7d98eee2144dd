"""When a vote is decided before all of its samples are drawn.

N samples are a budget, not a duty.  The exact rule stops once no outcome of the samples that are left
can change the verdict, so it gives the verdict of the full budget for every input.  The statistical rule
stops once the leader is likely enough to win, and its errors are bounded by `risk` (a Beta posterior, as
in Adaptive-Consistency, Aggarwal et al. 2023).
"""

from collections import Counter
from collections.abc import Sequence

from scipy.stats import beta

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


def is_likely(answers: Sequence[str | None], risk: float) -> bool:
    """Whether the leader stays ahead of the runner-up with probability 1 - `risk`, were sampling to go on.

    With v1 and v2 votes for the two best answers, the share of the first among the two has the posterior
    Beta(v1 + 1, v2 + 1) under a uniform prior; the leader loses where that share is below a half.
    """
    first, second = _two_best(answers)
    return first > second and float(beta.cdf(0.5, first + 1, second + 1)) <= risk


def _two_best(answers: Sequence[str | None]) -> tuple[int, int]:
    counts = sorted(Counter(a for a in answers if a is not None).values(), reverse=True)
    return (*counts, 0, 0)[0], (*counts, 0, 0)[1]
