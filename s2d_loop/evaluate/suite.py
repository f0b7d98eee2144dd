"""Scores System 1 and System 2 on held-out inputs, from what `generate` brought back."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from s2d_loop.config import TaskConfig
from s2d_loop.curate.vote import decide
from s2d_loop.evaluate.metrics import wilson
from s2d_loop.evaluate.references import Reference, is_correct
from s2d_loop.records import Generation, HeldOut, Scored
from s2d_loop.tasks.base import Task

SYSTEM1 = "system1"
SYSTEM2 = "system2"


class ExactMatch(NamedTuple):
    """Shares of right answers, and of replies in which no answer can be read; null of nothing."""

    exact_match: float | None
    miss_match: float | None
    n: int


def score(
    generation: Generation,
    *,
    system: str,
    task: Task,
    config: TaskConfig,
    seed: int,
    reference: Reference | None,
) -> Scored:
    """One held-out input's answer against its reference.

    Several samples are voted on by the task's own rule; one is taken as it is.
    """
    finished = [sample for sample in generation.samples if sample.finished]
    if len(generation.samples) == 1:
        answer = task.parse(finished[0].text) if finished else None
    else:
        parsed = [task.parse(s.text) if s.finished else None for s in generation.samples]
        answer = decide(parsed, config.curate.vote, config.curate.min_share, seed, generation.input.id).answer
    return Scored(
        input_id=generation.input.id,
        task=generation.input.task,
        system=system,
        answer=answer,
        correct=is_correct(answer, reference, task),
        text=generation.samples[0].text if generation.samples else "",
        num_tokens=generation.num_tokens,
    )


def is_right(each: Scored) -> bool:
    """`correct` of System 2 on the starting weights: without a reference, its answer is the reference."""
    return each.answer is not None if each.correct is None else each.correct


def figures(scored: Sequence[Scored]) -> dict[str, Any]:
    """Accuracy with its 95 % Wilson interval, and #Tokens per input (PROTOCOL.md, Scoring).

    Answers without any reference count in `n` of tokens but not in the accuracy.
    """
    judged = [each.correct for each in scored if each.correct is not None]
    hits = sum(judged)
    low, high = wilson(hits, len(judged))
    return {
        "accuracy": hits / len(judged) if judged else None,
        "low": low,
        "high": high,
        "n": len(judged),
        "answers": len(scored),
        "tokens": sum(each.num_tokens for each in scored) / len(scored) if scored else None,
        "unparsable": sum(each.answer is None for each in scored),
    }


def by_task(scored: Iterable[Scored]) -> Mapping[str, list[Scored]]:
    """Grouped, in the order of first appearance."""
    return _grouped((each.task, each) for each in scored)


def by_category(scored: Iterable[Scored], heldout: Iterable[HeldOut]) -> Mapping[str, list[Scored]]:
    """Grouped by the heading of their held-out input, such as biased and unbiased (Table 2)."""
    category = {each.input.id: each.category for each in heldout}
    return _grouped((category[each.input_id], each) for each in scored)


def exact_match(scored: Sequence[Scored]) -> ExactMatch:
    """Table 6's two columns, over all answers: a miss match counts against the exact match too."""
    n = len(scored)
    hits = sum(bool(each.correct) for each in scored)
    missed = sum(each.answer is None for each in scored)
    return ExactMatch(hits / n if n else None, missed / n if n else None, n)


def _grouped(keyed: Iterable[tuple[str, Scored]]) -> Mapping[str, list[Scored]]:
    groups: dict[str, list[Scored]] = {}
    for key, each in keyed:
        groups.setdefault(key, []).append(each)
    return groups
