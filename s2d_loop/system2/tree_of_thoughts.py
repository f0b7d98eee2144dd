"""A small Tree of Thoughts (Yao et al., 2023), breadth first.  The paper's section 1 counts it as System 2.

Prompts: `tree_of_thoughts.propose`, `.value` and `.answer` are this project's own.
"""

import asyncio
import re
from typing import Annotated

from pydantic import Field

from s2d_loop.records import Input, Reply
from s2d_loop.system2.base import LLM
from s2d_loop.system2.prompts import fill, load
from s2d_loop.thoughts import spoken

Steps = tuple[str, ...]
Positive = Annotated[int, Field(ge=1)]


async def tree_of_thoughts(
    x: Input, llm: LLM, *, depth: Positive = 2, proposals: Positive = 3, keep: Positive = 2
) -> Reply:
    """Grow lines of reasoning by one step `depth` times, keep the `keep` best, answer from the best.

    Every kept line gets `proposals` next steps.  A step that is empty or was cut off is none; where no
    line can grow any more the best one so far is answered from, and where none ever did, nothing is.
    """
    kept: list[Steps] = [()]
    for level in range(depth):
        tasks = []
        # A task group, not gather: when one call fails, the others of a lost row must not go on costing.
        async with asyncio.TaskGroup() as group:
            for place, line in enumerate(kept * proposals):
                index = level * keep * proposals + place
                tasks.append(group.create_task(_grow(x, llm, line, index)))
        # The sort is stable, so equal values keep the order of the proposals.
        grown = sorted((each for task in tasks if (each := task.result())), key=lambda each: -each[0])
        if not grown:
            break
        kept = [line for _, line in grown[:keep]]
    if not kept[0]:
        return Reply(text="", finished=False)
    return await llm(x.ask(_fill("answer", x, kept[0])), step="answer")


async def _grow(x: Input, llm: LLM, line: Steps, index: int) -> tuple[int, Steps] | None:
    """A line with one more step, and how good the model finds it."""
    step = await llm(x.ask(_fill("propose", x, line)), step="propose", index=index)
    if not (step.finished and step.text.strip()):
        return None
    longer = (*line, step.text.strip())
    value = await llm(x.ask(_fill("value", x, longer)), step="value", index=index)
    return parse_value(value.text), longer


def parse_value(reply: str) -> int:
    """The first whole number from 1 to 10; 0 where there is none, so that such a line comes last."""
    found = re.search(r"(?<![\w./-])(10|[1-9])(?![\w]|[.,]\d)", spoken(reply), re.ASCII)
    return int(found.group(1)) if found else 0


def _fill(name: str, x: Input, line: Steps) -> str:
    steps = "\n".join(f"{number}. {step}" for number, step in enumerate(line, start=1))
    return fill(load(f"tree_of_thoughts.{name}"), question=x.question, steps=steps or "(none)")
