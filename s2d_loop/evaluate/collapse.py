"""Whether a run's training eats itself: what it teaches makes System 1 worse while the two systems agree.

A candidate shows it when it is shown to be worse than the best version so far by more than the gate's margin,
while its System 1 agrees with its System 2 at least as much as the best's does; or when it is shown to give one
and the same wrong answer on many more inputs, with its System 2 saying so too.  (A System 1 that begins to learn,
or never learns, a task also gives one answer to many inputs; its System 2 doesn't.)  Where System 2 wasn't
asked, only being worse counts.  Bad luck in one training is no collapse: two decisions in a row have to show it,
on the same task.

False alarms are bounded by construction.  A run that goes on well has candidates that are worse by the margin
at most, and each test then rejects with the probability of its level; that of the run, `LEVEL`, is divided among
looks, tasks, tests and answers.  What is tested are pairs of answers to the same held-out inputs, so a stream
that changes can't set it off.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from s2d_loop.evaluate.noninferiority import Pairs, p_not_worse_by, p_worse_by
from s2d_loop.records import Scored

LEVEL = 0.01
"""How likely a healthy run may be to be stopped, over all its looks."""
IN_A_ROW = 2
"""Decisions that have to show it."""
SAME_WRONG = 0.1
"""The further share of inputs with one and the same wrong answer that counts as lost diversity."""


@dataclass(frozen=True, slots=True)
class Signs:
    """A task's candidate beside the best version so far, on the same held-out inputs."""

    accuracy: Pairs
    """Whether they are right; the best comes first."""
    same_wrong: Pairs
    """Whether both their systems give the candidate's commonest wrong answer, and it is wrong."""
    agreement: float | None = None
    """Share of held-out inputs on which the candidate's System 1 agrees with the System 2 that teaches it; null
    where that wasn't asked."""
    best_agreement: float | None = None


@dataclass(frozen=True, slots=True)
class Sign:
    """What one decision shows of a task."""

    shows: bool
    fall: float
    """The difference in accuracy beside the best, and the p-value of "at most the margin"."""
    fall_p: float
    same_wrong: float
    """The difference in the share of one wrong answer, and the p-value of "at most SAME_WRONG"."""
    same_wrong_p: float
    agreement: float | None
    best_agreement: float | None
    level: float


def level_of(looks: int, tasks: int) -> float:
    """What each of a look's tests is held against: two tests a task."""
    return LEVEL / (2 * looks * tasks)


def read(signs: Signs, margin: float, level: float) -> Sign:
    """What the pairs of one decision show."""
    fall_p = p_not_worse_by(signs.accuracy, margin)
    same_p = p_worse_by(signs.same_wrong, -SAME_WRONG)
    # The answer is picked by the same inputs: at most 1 / SAME_WRONG answers can be that much too common.
    falls, narrows = fall_p <= level, same_p <= level / math.ceil(1 / SAME_WRONG)
    known = signs.agreement is not None and signs.best_agreement is not None
    rises = not known or signs.agreement >= signs.best_agreement  # type: ignore[operator]
    return Sign(
        shows=((falls and rises) or narrows) and margin < 1,
        fall=signs.accuracy.difference,
        fall_p=fall_p,
        same_wrong=signs.same_wrong.difference,
        same_wrong_p=same_p,
        agreement=signs.agreement,
        best_agreement=signs.best_agreement,
        level=level,
    )


def judge_collapse(now: Mapping[str, Sign], before: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What goes into a decision's record: the signs, whether the run stops, and why.

    Args:
        before: the same of the decisions before it, oldest first, since an operator last decided.
    """
    earlier = before[-(IN_A_ROW - 1) :]
    stopped = [
        task
        for task, sign in now.items()
        if sign.shows
        and len(earlier) == IN_A_ROW - 1
        and all(each["by_task"].get(task, {}).get("shows") for each in earlier)
    ]
    return {
        "stop": bool(stopped),
        "tasks": stopped,
        "sentence": _sentence({task: now[task] for task in stopped}),
        "by_task": {task: asdict(sign) for task, sign in now.items()},
    }


def commonest_wrong(scored: Sequence[Scored]) -> str | None:
    """The wrong answer that is given most often."""
    wrong = Counter(each.answer for each in scored if each.correct is False and each.answer is not None)
    return wrong.most_common(1)[0][0] if wrong else None


def both_say(
    wrong: str | None, system1: Sequence[Scored], system2: Sequence[Scored]
) -> list[tuple[str, bool | None]]:
    """Whether both systems give an answer where it is wrong, by input; null where one wasn't asked or judged."""
    slow = {each.input_id: each.answer for each in system2}
    return [
        (
            each.input_id,
            None
            if each.correct is None or each.input_id not in slow
            else not each.correct and each.answer == wrong == slow[each.input_id],
        )
        for each in system1
    ]


def agreement(system1: Sequence[Scored], system2: Sequence[Scored]) -> float | None:
    """The share of inputs to which both systems give the same answer; null of nothing."""
    slow = {each.input_id: each.answer for each in system2}
    both = [each.answer == slow[each.input_id] for each in system1 if slow.get(each.input_id) is not None]
    return sum(both) / len(both) if both else None


def _sentence(stopped: Mapping[str, Sign]) -> str:
    if not stopped:
        return ""
    said = "; ".join(_said(task, sign) for task, sign in stopped.items())
    return f"Stopped: training on its own votes makes System 1 worse, {IN_A_ROW} rounds in a row: {said}."


def _said(task: str, sign: Sign) -> str:
    said = f"{task} {100 * sign.fall:+.1f} points beside the best so far (p {sign.fall_p:.2g})"
    if sign.same_wrong_p <= sign.level:
        said += f", {100 * sign.same_wrong:+.1f} points with one wrong answer (p {sign.same_wrong_p:.2g})"
    if sign.agreement is not None and sign.best_agreement is not None:
        said += f", while System 1 agrees with System 2 on {sign.agreement:.0%} ({sign.best_agreement:.0%} before)"
    return said
