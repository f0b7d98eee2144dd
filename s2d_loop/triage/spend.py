"""Spreads a budget of System 2 tokens over tasks in proportion to what a token is expected to gain.

In proportion, and not all to the best task first: what is known of a gain has a wide interval, a task
that gets nothing but its audit can't learn, and neither can what is known of it change.
"""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Demand:
    """What a task could spend.

    `inputs` could be answered beside the `audited`, which always are; `tokens` is the mean of one of
    them, above 0.  `gain` is the expected gain of a token; None where nothing is known of it.
    """

    inputs: int
    audited: int
    tokens: float
    gain: float | None


def allot(demands: Mapping[str, Demand], budget: float | None) -> dict[str, int]:
    """How many inputs beside the audited each task gets answered.

    Their estimated tokens and those of the audited are at most `budget`, or none but the audited are
    answered.  No task with inputs left could have one more.  Where no gain is above 0 tokens are
    spread evenly, and so is what the tasks with a gain leave over.  A task of which nothing is known
    counts as the best that is known: only its audit can tell.
    """
    if budget is None:
        return {task: each.inputs for task, each in demands.items()}
    known = [each.gain for each in demands.values() if each.gain is not None]
    unknown = max(known, default=0.0)
    gains = {task: unknown if each.gain is None else each.gain for task, each in demands.items()}
    left = budget - sum(each.audited * each.tokens for each in demands.values())
    given = dict.fromkeys(demands, 0)
    for chosen in ({task: gain for task, gain in gains.items() if gain > 0}, dict.fromkeys(demands, 1.0)):
        left = _pour(demands, given, chosen, left)
    return given


def _pour(
    demands: Mapping[str, Demand], given: dict[str, int], weights: Mapping[str, float], left: float
) -> float:
    """Give out tokens by weight; what a task has no inputs for goes to the others.  Returns what is left."""
    while left > 0 and (open_ := _open(demands, given, weights, left)):
        total = sum(weights[task] for task in open_)
        shares = {task: left * weights[task] / total for task in open_}
        wanted = {
            task: min(demands[task].inputs - given[task], int(share / demands[task].tokens))
            for task, share in shares.items()
        }
        if not any(wanted.values()):
            # Each share is less than an input: the first that fits, by what a token gains.
            wanted = {max(open_, key=lambda task: weights[task]): 1}
        for task, number in wanted.items():
            given[task] += number
            left -= number * demands[task].tokens
    return left


def _open(
    demands: Mapping[str, Demand], given: Mapping[str, int], weights: Mapping[str, float], left: float
) -> list[str]:
    """The tasks that have an input that the tokens left are enough for."""
    return [task for task in weights if demands[task].inputs > given[task] and demands[task].tokens <= left]
