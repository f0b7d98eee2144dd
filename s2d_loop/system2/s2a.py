"""System 2 Attention (Weston and Sukhbaatar, 2023; the paper's section 4.3 and Figure 6).

Prompts: `s2a.extract` is Figure 6's first stage, `s2a.answer` its second.  The paper samples both
stages at top-p 0.9 and lets the model pick among 20 answers (`curate.filter: usc`).
"""

from s2d_loop.records import Input, Reply
from s2d_loop.system2.base import LLM
from s2d_loop.system2.prompts import fill, load


async def s2a(x: Input, llm: LLM) -> Reply:
    """Rewrite the input without its opinions, then answer the rewriting alone.

    The second stage gets all of the first one's text, whether the two labels are in it or not.  One
    that is empty or was cut off has lost the question, so it isn't answered: the sample comes back as
    cut off, which lets it win nothing.
    """
    extracted = await llm(x.ask(fill(load("s2a.extract"), question=x.question)), step="extract")
    if not (extracted.finished and extracted.text.strip()):
        return Reply(text="", finished=False)
    answer = fill(load("s2a.answer"), extracted=extracted.text.strip())
    return await llm(x.ask(answer), step="answer")
