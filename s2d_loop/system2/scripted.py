"""A model for tests of programs: it says what it was told to say, and remembers what it was asked."""

from collections.abc import Sequence
from dataclasses import replace

from s2d_loop.records import Input, Message, Messages, Reply, content_hash
from s2d_loop.thoughts import split


class Scripted:
    """A reply for each step, or a list with one for each index."""

    def __init__(self, **replies: str | Reply | Sequence[str | Reply]) -> None:
        self.asked: dict[str, list[str]] = {}
        """The last turn of each call, by step."""
        self._replies = replies

    async def __call__(
        self,
        prompt: str | Messages,
        *,
        step: str,
        index: int = 0,
        shared: bool = False,  # noqa: ARG002 - part of what an LLM takes
    ) -> Reply:
        text = prompt if isinstance(prompt, str) else prompt[-1].content
        self.asked.setdefault(step, []).append(text)
        reply = self._replies[step]
        if not isinstance(reply, str | Reply):
            reply = reply[index]
        # As from an engine: a program is never shown thoughts, and a reply of nothing else was cut off.
        whole = Reply(reply) if isinstance(reply, str) else reply
        said = split(whole.text)
        return replace(whole, text=said.text, finished=whole.finished and said.closed)


def question(text: str, task: str = "test") -> Input:
    """An input that is one user turn."""
    messages = (Message("user", text),)
    return Input("test:0", task, messages, content_hash(messages))
