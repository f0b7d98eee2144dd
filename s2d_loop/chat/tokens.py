"""From messages to token ids, by one tokenizer and its chat template.

A row that trains an answer is exactly: the ids that System 1 is prompted with, the answer's ids, the end
token that stops generation.  It is put together from these, never found by rendering the conversation again
with the answer in it: templates of today leave thoughts out, add empty ones, or name a channel there.
"""

import functools
import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from s2d_loop.chat import control
from s2d_loop.chat.control import Piece
from s2d_loop.chat.template import (
    Frame,
    check_source,
    frame,
    refused,
    render,
    source_of,
    takes_parts,
)
from s2d_loop.errors import BadInputError
from s2d_loop.records import Messages, TemplateArguments

_NO_ARGUMENTS: TemplateArguments = ()
# What SentencePiece and byte-level tokenizers put before a text for the space that could stand there.
_PREFIXES = ("\u2581", "\u0120")


@dataclass(frozen=True, slots=True)
class Row:
    """One training row: `prompt_ids` without a loss, `answer_ids` (with the end token) with one."""

    prompt_ids: tuple[int, ...]
    answer_ids: tuple[int, ...]


class UnusableError(Exception):
    """An answer that can't be trained on; `reason` is counted, the text says why."""

    def __init__(self, reason: str, text: str) -> None:
        super().__init__(text)
        self.reason = reason


class Chat:
    """A tokenizer's way from messages to tokens and back.

    Args:
        tokenizer: as `loading.load_tokenizer` gives it.
        ends: the tokens at which the engine stops.

    Raises:
        BadInputError: the tokenizer has no chat template, or what it has is none.
    """

    def __init__(self, tokenizer: Any, ends: frozenset[int] = frozenset()) -> None:
        self.tokenizer = tokenizer
        self.ends = ends or frozenset({tokenizer.eos_token_id} - {None})
        self._native = is_mistral(tokenizer)
        self._source = source_of(tokenizer)
        if not (self._native or self._source):
            raise BadInputError(
                "the model's tokenizer has no chat template, so prompts can't be rendered: add "
                "chat_template.jinja to the model directory, or name a file with model.chat_template"
            )
        check_source(self._source)
        named = {} if self._native else control.control_tokens(tokenizer, self._source)
        self._pattern = control.pattern_of(named)
        self._control = frozenset(tokenizer.all_special_ids if self._native else named.values())
        self._frames: dict[TemplateArguments, Frame] = {}

    def prompt_ids(self, messages: Messages, arguments: TemplateArguments = _NO_ARGUMENTS) -> tuple[int, ...]:
        """The ids that the model is prompted with.

        Raises:
            ConversationRefusedError: the template refuses the conversation.
        """
        if self._native:
            return self._native_ids(messages, arguments)
        return tuple(self._ids(self._prompt(messages, arguments)))

    def prompt_text(self, messages: Messages, arguments: TemplateArguments = _NO_ARGUMENTS) -> str:
        """The prompt as a person would read it."""
        if self._native:
            return self.decode(self._native_ids(messages, arguments))
        return "".join(piece.text for piece in self._prompt(messages, arguments))

    def answer_ids(
        self, messages: Messages, answer: str, arguments: TemplateArguments = _NO_ARGUMENTS
    ) -> tuple[int, ...]:
        """An answer's ids as a continuation of its prompt, behind the template's opening; no end token."""
        said = self._spelled(answer)
        if self._native:
            return tuple(self._encode(answer))
        opened = [Piece(self.frame(arguments).opening), *said]
        prompt = self._prompt(messages, arguments)
        ids, both = self._ids(prompt), self._ids([*prompt, *opened])
        if both[: len(ids)] == ids:
            return tuple(both[len(ids) :])
        # The prompt's last token and the answer's first would be one: the model can't generate that.
        return tuple(self._ids([Piece(""), *opened]))

    def row(
        self,
        messages: Messages,
        answer: str,
        arguments: TemplateArguments = _NO_ARGUMENTS,
        sampled_ids: Sequence[int] = (),
    ) -> Row:
        """The row that trains an answer.

        Args:
            sampled_ids: the answer's ids as this tokenizer's model gave them, with their end token; empty for
                an answer that was written or recorded.

        Raises:
            UnusableError: what would be trained is not what the model would generate here.
            ConversationRefusedError: the template refuses the conversation.
        """
        prompt, opening, closing = (
            self.prompt_ids(messages, arguments),
            self._opening_ids(arguments),
            self.end_ids(arguments),
        )
        if not answer.strip():
            raise UnusableError("empty_answer", "nothing stands before the end token")
        if sampled_ids:
            said, end = _without_end(tuple(sampled_ids), closing, self.ends)
            if not end:
                raise UnusableError(
                    "no_end_token",
                    f"the sampled reply ends in token {sampled_ids[-1]}, at which no engine stops",
                )
            ids = said if said[: len(opening)] == opening else (*opening, *said)
        else:
            # The opening has the white space that stands before an answer.
            text = answer.lstrip() if self.frame(arguments).opening else answer
            ids, end = self.answer_ids(messages, text, arguments), closing
        self._check(ids, opening, answer)
        return Row(prompt, (*ids, *end))

    def sampled_row(
        self, messages: Messages, sampled_ids: Sequence[int], arguments: TemplateArguments = _NO_ARGUMENTS
    ) -> Row:
        """The row that trains a whole reply as this tokenizer's model gave it, thoughts and their marks included.

        Raises:
            UnusableError: it doesn't end where the engine stops, or goes on behind such an end.
            ConversationRefusedError: the template refuses the conversation.
        """
        prompt, ids = self.prompt_ids(messages, arguments), tuple(sampled_ids)
        ends = [place for place, token in enumerate(ids) if token in self.ends]
        if ends != [len(ids) - 1]:
            raise UnusableError(
                "no_end_token",
                f"the sampled reply doesn't end where the engine stops: {tail(self.decode(ids))!r}",
            )
        return Row(prompt, ids)

    def end_ids(self, arguments: TemplateArguments = _NO_ARGUMENTS) -> tuple[int, ...]:
        """What ends an answer: the template's own tokens, up to the first at which the engine stops.

        White space before them is the template's and not the model's: it ends its answer at once.

        Raises:
            UnusableError: the template ends an answer with a token at which no engine stops.
        """
        closing = "" if self._native else self.frame(arguments).closing.lstrip()
        written = self._encode(closing)
        stops = [place for place, token in enumerate(written) if token in self.ends]
        if stops:
            return tuple(written[: stops[0] + 1])
        if not self._control.isdisjoint(written):
            raise UnusableError(
                "no_end_token",
                f"the chat template ends an answer with {closing.strip()!r}, but the engine stops only at "
                f"{', '.join(repr(self.decode([end])) for end in sorted(self.ends)) or 'no token'}, so the model would "
                "never learn to stop: add that token to eos_token_id in generation_config.json",
            )
        eos = self.tokenizer.eos_token_id
        if not self.ends:
            raise UnusableError("no_end_token", "the tokenizer has no end token (eos_token)")
        return (eos if eos in self.ends else min(self.ends),)

    def frame(self, arguments: TemplateArguments = _NO_ARGUMENTS) -> Frame:
        """What surrounds an answer under these arguments."""
        if self._native:
            return Frame("", "")
        if arguments not in self._frames:
            self._frames[arguments] = frame(self.tokenizer, arguments, parts=self._parts)
        return self._frames[arguments]

    def decode(self, ids: Sequence[int]) -> str:
        """Ids as text, control tokens included."""
        if self._native:
            # Asked for both, Mistral's SentencePiece tokenizers give pieces and no text.
            runs = itertools.groupby(ids, self._control.__contains__)
            return "".join(
                self.tokenizer.decode(list(run), skip_special_tokens=not steers) for steers, run in runs
            )
        return str(
            self.tokenizer.decode(list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False)
        )

    @property
    def control(self) -> re.Pattern[str]:
        """Finds what a text spells out that the model would otherwise take for a control token."""
        return self._pattern

    def is_control(self, token: int) -> bool:
        """Whether a token steers the model."""
        return token in self._control

    def _prompt(self, messages: Messages, arguments: TemplateArguments) -> list[Piece]:
        found = control.hidden(messages, self._pattern)
        text = render(self.tokenizer, found.messages, arguments, parts=self._parts)
        return control.pieces(text, found)

    def _spelled(self, text: str) -> list[Piece]:
        return control.as_pieces(text, self._pattern)

    @functools.lru_cache(maxsize=64)  # noqa: B019 - as many as there are arguments
    def _opening_ids(self, arguments: TemplateArguments) -> tuple[int, ...]:
        """The ids of an opening that says something; a space alone is part of the answer's first token."""
        opening = self.frame(arguments).opening
        return tuple(self._ids([Piece(""), Piece(opening)])) if opening.strip() else ()

    def _check(self, ids: tuple[int, ...], opening: tuple[int, ...], answer: str) -> None:
        """The ids say the answer behind its opening, and steer nothing."""
        said = ids[len(opening) :]
        if ids[: len(opening)] != opening:
            raise UnusableError("answer_altered", f"its tokens don't begin with {self.decode(opening)!r}")
        stray = next((token for token in said if token in self._control or token in self.ends), None)
        if stray is not None:
            raise UnusableError(
                "control_token", f"the answer holds the control token {self.decode([stray])!r}"
            )
        text = self.decode(said)
        # SentencePiece puts a space before an answer, and a template may: ends don't count.
        if text.strip() != answer.strip():
            raise UnusableError(
                "answer_altered", f"its tokens say {tail(text)!r}, the answer says {tail(answer)!r}"
            )

    def _ids(self, pieces: Sequence[Piece]) -> list[int]:
        """The ids of pieces, joined where nothing spelled lies between; a first piece of nothing is a prompt's end."""
        ids: list[int] = []
        first = True
        for piece in _joined(pieces):
            if piece.text:
                encode = self._encode if first else self._continued
                ids += (
                    control.letters(piece.text, encode, self._control)
                    if piece.spelled
                    else encode(piece.text)
                )
            first = False
        return ids

    def _encode(self, text: str) -> list[int]:
        ids: list[int] = self.tokenizer.encode(text, add_special_tokens=False) if text else []
        return ids

    def _continued(self, text: str) -> list[int]:
        """The ids of a text that others come before: without the space that a tokenizer puts at a start."""
        if not self._prefixes:
            return self._encode(text)
        before = self._encode("\n")
        both = self._encode("\n" + text)
        return both[len(before) :] if both[: len(before)] == before else self._encode(text)

    @functools.cached_property
    def _parts(self) -> bool:
        return takes_parts(self.tokenizer)

    @functools.cached_property
    def _prefixes(self) -> bool:
        tokens = self.tokenizer.convert_ids_to_tokens(self._encode("x"))
        return bool(tokens) and str(tokens[0]).startswith(_PREFIXES)

    def _native_ids(self, messages: Messages, arguments: TemplateArguments) -> tuple[int, ...]:
        """Mistral's own tokenizers take messages, and no template: text can't become a control token there."""
        turns = [{"role": message.role, "content": message.content} for message in messages]
        try:
            return tuple(
                self.tokenizer.apply_chat_template(turns, add_generation_prompt=True, **dict(arguments))
            )
        except Exception as error:
            raise refused(messages, error) from error


def _without_end(
    ids: tuple[int, ...], closing: tuple[int, ...], ends: frozenset[int]
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """A sampled reply and what ended it; no end where no engine stops at its last token."""
    if ids[-len(closing) :] == closing:
        return ids[: -len(closing)], closing
    return (ids[:-1], ids[-1:]) if ids[-1] in ends else (ids, ())


def is_mistral(tokenizer: Any) -> bool:
    """Whether it is one of mistral-common's, which encode conversations themselves."""
    return bool(getattr(tokenizer, "IS_MISTRAL_TOKENIZER", False))


@functools.lru_cache(maxsize=8)
def _chat(tokenizer: Any, source: str, ends: frozenset[int]) -> Chat:  # noqa: ARG001 - a template may be replaced
    return Chat(tokenizer, ends)


def chat_of(tokenizer: Any, ends: frozenset[int] = frozenset()) -> Chat:
    """The `Chat` of a tokenizer, made once."""
    return _chat(tokenizer, source_of(tokenizer), ends)


def tail(text: str) -> str:
    """The end of a text, for a message."""
    return text if len(text) <= 80 else f"...{text[-80:]}"


def _joined(pieces: Sequence[Piece]) -> list[Piece]:
    """Neighbours that spell nothing become one; a first piece of nothing stays by itself."""
    found: list[Piece] = []
    for piece in pieces:
        last = found[-1] if found else None
        if last is not None and last.text and not last.spelled and not piece.spelled:
            found[-1] = Piece(last.text + piece.text)
        else:
            found.append(piece)
    return found
