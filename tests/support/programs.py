"""A model for tests of single System 2 programs."""

import asyncio

from s2d_loop.records import Message, Messages, Reply


class Scripted:
    """A model that has a reply, or one for each index, for every step, and remembers what it was asked."""

    def __init__(self, **replies: str | Reply | list[str]) -> None:
        self.replies = replies
        self.asked: list[tuple[str, int, Messages]] = []
        self.shared: set[str] = set()

    async def __call__(
        self, prompt: str | Messages, *, step: str, index: int = 0, shared: bool = False
    ) -> Reply:
        messages = (Message("user", prompt),) if isinstance(prompt, str) else prompt
        self.asked.append((step, index, messages))
        if shared:
            self.shared.add(step)
        await asyncio.sleep(0)
        reply = self.replies[step]
        if isinstance(reply, list):
            reply = reply[index]
        return Reply(reply) if isinstance(reply, str) else reply

    def texts(self, step: str) -> list[str]:
        return [messages[-1].content for name, _, messages in self.asked if name == step]
