"""Universal self-consistency (Chen et al., 2023; the paper's Figure 12): the model picks among its samples.

Not a program: it chooses between what a program's samples said, where answers are too free to be voted
on.  Whether the samples fit is decided by the engine, with the model's own tokenizer and context.
"""

import re
from collections.abc import Sequence

from s2d_loop.errors import PromptTooLongError
from s2d_loop.records import Input, Selection
from s2d_loop.system2.base import LLM
from s2d_loop.system2.prompts import fill, load
from s2d_loop.thoughts import spoken

SELECTED = "selected"
SELECTED_OF_FEWER = "selected_of_fewer"
TOO_LONG = "too_long"
UNREADABLE = "unreadable"

_CHOICE = re.compile(r"most consistent response is\W{0,4}Response\W{0,4}([0-9]{1,4})(?![0-9])", re.IGNORECASE)


async def select(x: Input, texts: Sequence[str], llm: LLM, fewer: int) -> Selection:
    """Ask which sample agrees with most; with the first `fewer` of them if all are too long (A.2)."""
    for reason, candidates in ((SELECTED, texts), (SELECTED_OF_FEWER, texts[:fewer])):
        responses = "\n\n".join(f"Response {n}: {text.strip()}" for n, text in enumerate(candidates))
        prompt = x.ask(fill(load("usc"), question=x.question, responses=responses + "\n"))
        try:
            reply = await llm(prompt, step="usc", index=int(reason == SELECTED_OF_FEWER))
        except PromptTooLongError:
            continue
        chosen = parse(reply.text)
        if chosen is None or chosen >= len(candidates):
            return Selection(None, UNREADABLE)
        return Selection(chosen, reason)
    return Selection(None, TOO_LONG)


def parse(reply: str) -> int | None:
    """The number that a selection names, from 0; None where it names none."""
    found = _CHOICE.search(spoken(reply))
    return int(found.group(1)) if found else None
