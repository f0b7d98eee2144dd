"""A model for tests of programs: it says what it was told to say, and remembers what it was asked."""

from collections.abc import Sequence

from s2d_loop.records import Input, Message, Messages, Reply, content_hash


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
        return Reply(reply) if isinstance(reply, str) else reply


def question(text: str, task: str = "test") -> Input:
    """An input that is one user turn."""
    messages = (Message("user", text),)
    return Input("test:0", task, messages, content_hash(messages))
