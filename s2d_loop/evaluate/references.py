"""What an answer to a held-out input is held against: its own reference, else what people say, else a vote."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Literal

from s2d_loop.labels import Label, Standing, answer_digest
from s2d_loop.records import HeldOut, Scored
from s2d_loop.tasks.base import Task

Source = Literal["labels", "review", "vote"]
LABELS: Source = "labels"
REVIEW: Source = "review"
VOTE: Source = "vote"
NONE: Mapping[str, int] = {LABELS: 0, REVIEW: 0, VOTE: 0, "none": 0}


@dataclass(frozen=True, slots=True)
class Reviewed:
    """What most raters say of an input: the digest of the right answer, or of answers that are all wrong."""

    right: str | None
    wrong: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Reference:
    """`text` is the row's own reference or System 2's vote; `reviewed` what people say in their place."""

    source: Source
    text: str = ""
    reviewed: Reviewed | None = None


def majority(labels: Mapping[str, Label]) -> Reviewed | None:
    """What more than half of the raters who can tell say of an input; None without such a majority.

    Answers that were shown to a rater who found none of them right are wrong.  Any other may still be right.
    """
    can_tell = [label for label in labels.values() if label.said in ("right", "none")]
    counts = Counter((label.said, label.answer) for label in can_tell)
    for (said, answer), count in counts.items():
        if 2 * count > len(can_tell):
            if said == "right":
                return Reviewed(answer)
            return Reviewed(None, frozenset(a for x in can_tell if x.said == "none" for a in x.shown))
    return None


def references(
    items: Iterable[HeldOut], voted: Mapping[str, str] | None = None, standing: Standing | None = None
) -> dict[str, Reference]:
    """By input id; an input for which there is nothing to hold an answer against is not in it.

    Args:
        voted: System 2's answers on the starting weights.
        standing: what raters say.
    """
    found: dict[str, Reference] = {}
    for item in items:
        name = item.input.id
        reviewed = majority((standing or {}).get(name, {}))
        if item.reference is not None:
            found[name] = Reference(LABELS, item.reference)
        elif reviewed is not None:
            found[name] = Reference(REVIEW, reviewed=reviewed)
        elif voted is not None and name in voted:
            found[name] = Reference(VOTE, voted[name])
    return found


def is_correct(answer: str | None, reference: Reference | None, task: Task) -> bool | None:
    """Whether an answer is the right one; None where that isn't known."""
    if reference is None:
        return None
    if reference.source == LABELS:
        return task.score(answer, reference.text)
    if reference.reviewed is not None:
        return review_says(answer, reference.reviewed)
    return answer == reference.text


def review_says(answer: str | None, reviewed: Reviewed) -> bool | None:
    """Whether an answer is right by what people say; None for one that they have not seen."""
    if answer is None:
        return False
    name = answer_digest(answer)
    if reviewed.right is not None:
        return name == reviewed.right
    return False if name in reviewed.wrong else None


def rescored(
    scored: Iterable[Scored], known: Mapping[str, Reference], tasks: Mapping[str, Task]
) -> list[Scored]:
    """Answers that were committed before, against the references there are now."""
    return [
        replace(each, correct=is_correct(each.answer, known.get(each.input_id), tasks[each.task]))
        for each in scored
    ]


def by_source(items: Iterable[HeldOut], known: Mapping[str, Reference]) -> dict[str, dict[str, int]]:
    """How many held-out inputs of each task have which reference, or none."""
    counts: dict[str, dict[str, int]] = {}
    for item in items:
        reference = known.get(item.input.id)
        task = counts.setdefault(item.input.task, dict(NONE))
        task[reference.source if reference else "none"] += 1
    return counts


def foremost(counts: Mapping[str, int]) -> Source:
    """The best references that a task has: what its figures are said to rest on."""
    return LABELS if counts[LABELS] else REVIEW if counts[REVIEW] else VOTE
