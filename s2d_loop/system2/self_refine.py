"""Self-Refine (Madaan et al., 2023): draft, critique, revise.  The paper's section 2.2 counts it as System 2.

Prompts: `self_refine.critique` and `self_refine.revise` are this project's own.
"""

from typing import Annotated

from pydantic import Field

from s2d_loop.records import Input, Reply
from s2d_loop.system2.base import LLM
from s2d_loop.system2.prompts import fill, load

_SATISFIED = "no changes needed"


async def self_refine(x: Input, llm: LLM, *, rounds: Annotated[int, Field(ge=1)] = 1) -> Reply:
    """Answer, then improve the answer up to `rounds` times, or until the critique finds nothing.

    A critique that is empty or was cut off says nothing to go by: the answer stays as it is.
    """
    answer = await llm(x.messages, step="draft")
    for number in range(rounds):
        if not (answer.finished and answer.text.strip()):
            break
        said = {"question": x.question, "answer": answer.text.strip()}
        critique = await llm(x.ask(fill(load("self_refine.critique"), **said)), step="critique", index=number)
        if not (critique.finished and critique.text.strip()) or _SATISFIED in critique.text.lower():
            break
        revise = fill(load("self_refine.revise"), **said, critique=critique.text.strip())
        answer = await llm(x.ask(revise), step="revise", index=number)
    return answer
