"""System 1: the model answers the input as it stands.

Sampled as a program it is also the paper's `Distill System 1` baseline (section 4.2).
"""

from s2d_loop.records import Input, Reply
from s2d_loop.system2.base import LLM


async def direct(x: Input, llm: LLM) -> Reply:
    return await llm(x.messages, step="answer")
