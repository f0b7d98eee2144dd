"""Promote a trained System 1 only if it is not worse than the promoted one, on the same inputs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from s2d_loop.evaluate.metrics import paired_difference
from s2d_loop.records import Scored

PROMOTE = "promote"
HOLD = "hold"


@dataclass(frozen=True, slots=True)
class TaskDecision:
    """The difference in accuracy, candidate minus current, with its 95 % interval."""

    decision: str
    difference: float
    low: float
    high: float
    n: int


@dataclass(frozen=True, slots=True)
class Decision:
    """What to do with a candidate, and a sentence that says why."""

    decision: str
    by_task: Mapping[str, TaskDecision]
    sentence: str


def judge(
    candidate: Mapping[str, Sequence[Scored]], current: Mapping[str, Sequence[Scored]], margin: float
) -> Decision:
    """Compare task by task on paired answers.

    A task holds the candidate when it measures worse by more than `margin`; without such a task it is
    promoted.
    """
    by_task = {task: _compare(candidate[task], current[task], margin) for task in current}
    worse = [task for task, each in by_task.items() if each.decision == HOLD]
    if worse:
        return Decision(HOLD, by_task, f"Held: worse by more than {margin:.0%} on {_listed(worse, by_task)}.")
    return Decision(PROMOTE, by_task, f"Promoted: {_listed(list(by_task), by_task)}.")


def _compare(candidate: Sequence[Scored], current: Sequence[Scored], margin: float) -> TaskDecision:
    before = {each.input_id: each.correct for each in current if each.correct is not None}
    pairs = [
        (before[each.input_id], each.correct)
        for each in candidate
        if each.correct is not None and each.input_id in before
    ]
    difference, low, high = paired_difference(
        [bool(old) for old, _ in pairs], [bool(new) for _, new in pairs]
    )
    decision = HOLD if not pairs or difference < -margin else PROMOTE
    return TaskDecision(decision, difference, low, high, len(pairs))


def _listed(tasks: Sequence[str], by_task: Mapping[str, TaskDecision]) -> str:
    return ", ".join(
        f"{task} {100 * each.difference:+.1f} points "
        f"({100 * each.low:+.1f} to {100 * each.high:+.1f}, n={each.n})"
        for task in tasks
        for each in [by_task[task]]
    )
