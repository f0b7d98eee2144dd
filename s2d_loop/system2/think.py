"""The model's own thinking mode, as System 2: it thinks in one reply and answers at its end.

Whether a prompt asks for thoughts is the chat template's matter (`chat_template_kwargs`, such as
`enable_thinking: true`), and how many may come the sampling's (`thinking_token_budget`).  Thoughts are split
off before a program sees a reply, so what is distilled is the answer, behind the prompt that asks for none.
"""

from s2d_loop.records import Input, Reply
from s2d_loop.system2.base import LLM


async def think(x: Input, llm: LLM) -> Reply:
    """The input as it stands, asked so that the model thinks first."""
    return await llm(x.messages, step="think")
