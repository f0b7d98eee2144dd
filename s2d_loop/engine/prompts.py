"""Prompts as token ids, without one long row holding up everybody else's.

An engine's event loop serves hundreds of calls: what takes longer than a moment is done beside it, and what can't
fit is refused by its length in characters, before anything reads it.
"""

import asyncio
from functools import lru_cache

from s2d_loop.chat.tokens import Chat
from s2d_loop.records import Messages, TemplateArguments

_REMEMBERED = 4096
# In characters; some milliseconds of a tokenizer's time.
_AT_ONCE = 1 << 15


class TooLongError(Exception):
    """A conversation that can't fit the context; the text says how long it is."""


class Prompts:
    """A tokenizer's prompts for a context of so many tokens."""

    def __init__(self, chat: Chat, context: int) -> None:
        self._chat, self._context = chat, context
        longest = max(map(len, chat.tokenizer.get_vocab()), default=1)
        self.most_characters = context * longest
        """A token stands for no more characters than its own name has, so a longer text has too many tokens."""
        # Prompts are asked for again: once a sample.
        self._remembered = lru_cache(_REMEMBERED)(chat.prompt_ids)

    async def ids(self, messages: Messages, arguments: TemplateArguments = ()) -> tuple[int, ...]:
        """The ids that a conversation is prompted with; they leave room for an answer of one token.

        Raises:
            TooLongError: they are too many.
            ConversationRefusedError: the chat template refuses the conversation.
        """
        size = sum(len(message.content) for message in messages)
        if size > self.most_characters:
            raise TooLongError(f"{size} characters, of which {self.most_characters} could fit")
        if size <= _AT_ONCE:
            ids = self._remembered(messages, arguments)
        else:
            ids = await asyncio.to_thread(self._chat.prompt_ids, messages, arguments)
        if len(ids) >= self._context:
            raise TooLongError(f"{len(ids)} tokens")
        return ids
