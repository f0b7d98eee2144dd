"""Prompts in an engine: a long one holds up nobody, and a hopeless one is refused unread."""

import asyncio
import time
from typing import Any

import pytest

from s2d_loop.chat.tokens import Chat
from s2d_loop.engine.prompts import Prompts, TooLongError
from s2d_loop.records import Message, Messages, TemplateArguments
from s2d_loop.testbed.tokenizer import build_tokenizer


@pytest.fixture(scope="module")
def chat() -> Chat:
    return Chat(build_tokenizer(["Is the coin heads up?", "Yes No", "a b " * 50], 512))


def said(text: str) -> Messages:
    return (Message("user", text),)


class Counting:
    """A chat that counts what it renders, slowly where it is told to."""

    def __init__(self, chat: Chat, seconds: float = 0.0) -> None:
        self.tokenizer, self._chat, self._seconds = chat.tokenizer, chat, seconds
        self.rendered: list[int] = []

    def prompt_ids(self, messages: Messages, arguments: TemplateArguments = ()) -> tuple[int, ...]:
        self.rendered.append(len(messages[0].content))
        time.sleep(self._seconds)
        return self._chat.prompt_ids(messages, arguments)


async def test_a_prompt_that_fits_is_the_chats_own_and_remembered(chat: Chat) -> None:
    counting: Any = Counting(chat)
    prompts = Prompts(counting, 64)
    ids = await prompts.ids(said("Is the coin heads up?"))
    assert (
        ids
        == await prompts.ids(said("Is the coin heads up?"))
        == chat.prompt_ids(said("Is the coin heads up?"))
    )
    assert len(counting.rendered) == 1


async def test_the_last_prompt_that_fits_leaves_room_for_a_token(chat: Chat) -> None:
    text = "Is the coin heads up? " * 20
    length = len(chat.prompt_ids(said(text)))
    assert len(await Prompts(chat, length + 1).ids(said(text))) == length
    with pytest.raises(TooLongError, match=f"{length} tokens"):
        await Prompts(chat, length).ids(said(text))


async def test_what_cannot_fit_is_refused_unread(chat: Chat) -> None:
    counting: Any = Counting(chat)
    prompts = Prompts(counting, 64)
    longest = max(chat.tokenizer.get_vocab(), key=len)
    assert prompts.most_characters == 64 * len(longest)
    text = "a" * (prompts.most_characters + 1)
    with pytest.raises(TooLongError, match=f"{len(text)} characters, of which {len(text) - 1} could fit"):
        await prompts.ids(said(text))
    with pytest.raises(TooLongError):
        await prompts.ids((*said("a"), Message("assistant", text)))
    assert counting.rendered == []


async def test_a_long_prompt_is_rendered_beside_the_others_and_never_remembered(chat: Chat) -> None:
    counting: Any = Counting(chat, seconds=0.3)
    prompts = Prompts(counting, 1 << 20)
    text = "Is the coin heads up? " * 4000
    long = asyncio.create_task(prompts.ids(said(text)))
    await asyncio.sleep(0)
    ticks = 0
    while not long.done():
        await asyncio.sleep(0.01)
        ticks += 1
    assert ticks > 3, "the loop went on meanwhile"
    assert long.result() == await prompts.ids(said(text))
    assert counting.rendered == [len(text), len(text)]
