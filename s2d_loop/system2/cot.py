"""Chain of thought (Wei et al., 2022; the paper's section 4.5): steps first, then the answer.

Prompt: `cot` is Figure 10, which asks for the form that answers are read by.  `few_shot` has the
variants that learn from examples in their context.
"""

from s2d_loop.records import Input, Reply
from s2d_loop.system2.base import LLM
from s2d_loop.system2.prompts import fill, load


async def cot(x: Input, llm: LLM) -> Reply:
    """Zero-shot; the whole reply is the answer, so distil it with `curate.target: answer`."""
    return await llm(x.ask(fill(load("cot"), question=x.question)), step="answer")
