"""Branch-Solve-Merge as a judge of two answers (Saha et al., 2023; the paper's section 4.4 and Figure 14).

Prompts: `bsm.branch` is Figure 7, `bsm.solve` Figure 8, `bsm.merge` Figure 9.  The program judges one
order of the answers; the other one is the input's twin (`curate.perturbations: [swap]`), which is given
the same plan.  One greedy sample of each is the paper's budget.
"""

import asyncio
from collections.abc import Sequence
from decimal import Decimal
from typing import Annotated, Literal

from pydantic import Field

from s2d_loop.records import Input, Reply
from s2d_loop.system2.base import LLM
from s2d_loop.system2.plans import Criterion, criteria
from s2d_loop.system2.prompts import fill, load
from s2d_loop.system2.scores import scores

_NO_VERDICT = ""
"""A reply that no task can read, so that the input is dropped and counted."""


async def bsm(
    x: Input,
    llm: LLM,
    *,
    merge: Literal["score", "llm"] = "score",
    max_criteria: Annotated[int, Field(ge=1)] = 5,
) -> Reply | str:
    """Plan how to compare the answers, judge each criterion apart, merge the judgements.

    `score` gives the verdict that the average scores say, `llm` the model's own summary with its verdict.
    """
    # Plain strings: the calls are about x's parts, not turns of its conversation.
    branch = fill(load("bsm.branch"), question=x.part("question"))
    plan = criteria(_whole(await llm(branch, step="branch", shared=True)), max_criteria)
    if not plan:
        return _NO_VERDICT
    # A task group, not gather: when one call fails, the others of a lost row must not go on costing.
    async with asyncio.TaskGroup() as group:
        calls = [
            group.create_task(llm(_solve(x, criterion), step="solve", index=index))
            for index, criterion in enumerate(plan)
        ]
    solved = [call.result() for call in calls]
    if merge == "score":
        return verdict([_whole(reply) for reply in solved])
    said = [
        f"Evaluation of {criterion.name}:\n{reply.text.strip()}"
        for criterion, reply in zip(plan, solved, strict=True)
        if reply.finished and reply.text.strip()
    ]
    if not said:
        return _NO_VERDICT
    return await llm(fill(load("bsm.merge"), solved="\n\n".join(said)), step="merge")


def verdict(solved: Sequence[str]) -> str:
    """Whose average is higher, over the criteria that hold a score for both."""
    totals = [Decimal(0), Decimal(0)]
    both = False
    for text in solved:
        a, b = scores(text)
        if a is not None and b is not None:
            totals, both = [totals[0] + a, totals[1] + b], True
    if not both:
        return _NO_VERDICT
    # Over the same criteria, so the higher sum is the higher average.
    if totals[0] == totals[1]:
        return "[[C]]"
    return "[[A]]" if totals[0] > totals[1] else "[[B]]"


def _solve(x: Input, criterion: Criterion) -> str:
    return fill(
        load("bsm.solve"),
        question=x.part("question"),
        answer_a=x.part("answer_a"),
        answer_b=x.part("answer_b"),
        criterion=criterion.text,
        name=criterion.name,
    )


def _whole(reply: Reply) -> str:
    """A reply without the line that it was cut off in: a score or a criterion may be half said there."""
    return reply.text if reply.finished else reply.text.rpartition("\n")[0]
