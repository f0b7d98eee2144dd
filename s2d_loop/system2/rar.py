"""Rephrase and Respond (Deng et al., 2023; the paper's section 4.2 and Figures 3 to 5).

Prompts: `rar_1step` is Figure 3, `rar_2step.rephrase.last_letters` Figure 4, the `default` rephrase
and `rar_2step.respond.coin_flip` Figure 5; the `default` response is the bare rephrased question.
"""

import asyncio
from collections.abc import Sequence
from typing import Annotated, Literal, get_args

from pydantic import Field

from s2d_loop.records import Input, Reply
from s2d_loop.system2.base import LLM
from s2d_loop.system2.prompts import DEFAULT, fill, load

Variant = Literal["default", "last_letters", "coin_flip"]


async def rar_1step(x: Input, llm: LLM) -> Reply:
    """Rephrase and answer in one reply; the whole reply is the answer."""
    return await llm(x.ask(fill(load("rar_1step"), question=x.question)), step="answer")


async def rar_2step(
    x: Input,
    llm: LLM,
    *,
    answers: Annotated[int, Field(ge=1)] = 1,
    prompt: Variant | None = None,
) -> Sequence[Reply]:
    """Rephrase, then answer the rephrasing alone, `answers` times.

    Eight samples of eight answers are the paper's coin-flip votes; eight of one are its last letters.
    `prompt` picks the wording; unless given, the task's own if its key in the configuration is the name
    of one, else the general wording.

    A rephrasing that is empty or was cut off has lost the question, so it isn't answered: its answers
    come back as cut off, which the vote counts among all samples and lets win nothing.
    """
    variant = prompt or (x.task if x.task in get_args(Variant) else DEFAULT)
    request = fill(load("rar_2step.rephrase", variant), question=x.question)
    rephrased = await llm(x.ask(request), step="rephrase")
    question = rephrased.text.strip()
    if not (rephrased.finished and question):
        return [Reply(text="", finished=False)] * answers
    respond = x.ask(fill(load("rar_2step.respond", variant), rephrased=question))
    # A task group, not gather: when one call fails, the others of a lost row must not go on costing.
    async with asyncio.TaskGroup() as group:
        calls = [group.create_task(llm(respond, step="respond", index=index)) for index in range(answers)]
    return [call.result() for call in calls]
