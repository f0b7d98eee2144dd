"""Text of strangers stays text: control tokens that a message spells out never become those tokens.

A template puts messages between its own control tokens, so the tokenizer can't tell which `<|im_end|>` is
whose once both are one string.  `hidden` replaces each one in the messages by a mark before the template
sees them, and `pieces` finds the marks in what it rendered: what lies between them is encoded as ever, and
what they stand for is encoded as letters.
"""

import itertools
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from s2d_loop.records import Message, Messages

# Code points that no standard gives a meaning, and that no template touches.
_OPENING, _CLOSING = "\ue000", "\ue001"


@dataclass(frozen=True, slots=True)
class Piece:
    """A stretch of a rendered conversation; `spelled` ones say a control token in letters."""

    text: str
    spelled: bool = False


@dataclass(frozen=True, slots=True)
class Hidden:
    """Messages without a control token in them, and what each mark in them stands for."""

    messages: Messages
    mark: re.Pattern[str]
    spelled: tuple[str, ...]


def control_tokens(tokenizer: Any, template: str) -> Mapping[str, int]:
    """The tokens that steer a model, by how they are written.

    They are a tokenizer's special tokens, and of those that were added to its vocabulary for another reason
    (`<think>` of Qwen) the ones that its template writes.  Others, such as Gemma's for tags of HTML and
    runs of line ends, are text.
    """
    special = set(tokenizer.all_special_tokens)
    decoder = getattr(tokenizer, "added_tokens_decoder", {})
    special |= {str(token) for token in decoder.values() if getattr(token, "special", False)}
    added: Mapping[str, int] = tokenizer.get_added_vocab()
    known = {name: added[name] for name in added if name in special or (name.strip() and name in template)}
    missing = special - set(known)
    return {**known, **{name: tokenizer.convert_tokens_to_ids(name) for name in missing}}


def pattern_of(tokens: Iterable[str]) -> re.Pattern[str]:
    """Finds any of the tokens in a text, the longest where several begin."""
    names = sorted((name for name in tokens if name), key=len, reverse=True)
    return re.compile("|".join(map(re.escape, names)) or r"(?!)")


def hidden(messages: Messages, control: re.Pattern[str]) -> Hidden:
    """The messages with a mark in place of every control token that they spell."""
    texts = [message.content for message in messages]
    opening, closing = _unused(texts)
    spelled: list[str] = []

    def marked(found: re.Match[str]) -> str:
        spelled.append(found.group())
        return f"{opening}{len(spelled) - 1}{closing}"

    def safe(text: str) -> str:
        if not text.isascii() and _arises(text, control):
            spelled.append(text)
            return f"{opening}{len(spelled) - 1}{closing}"
        return control.sub(marked, text)

    return Hidden(
        tuple(Message(message.role, safe(message.content)) for message in messages),
        re.compile(f"{opening}([0-9]+){closing}"),
        tuple(spelled),
    )


def pieces(rendered: str, found: Hidden) -> list[Piece]:
    """What a template made of hidden messages, in order; empty stretches are left out."""
    parts = found.mark.split(rendered)
    every = [
        Piece(found.spelled[int(part)], spelled=True) if number % 2 else Piece(part)
        for number, part in enumerate(parts)
    ]
    return [piece for piece in every if piece.text]


def as_pieces(text: str, control: re.Pattern[str]) -> list[Piece]:
    """A stranger's text by itself."""
    found = hidden((Message("", text),), control)
    return pieces(found.messages[0].content, found)


def letters(text: str, encode: Callable[[str], list[int]], control: frozenset[int]) -> list[int]:
    """Tokens that say `text` without any control token: halves are encoded by themselves where they must."""
    return list(_letters(text, encode, control))


def _letters(text: str, encode: Callable[[str], list[int]], control: frozenset[int]) -> Iterator[int]:
    ids = encode(text)
    if control.isdisjoint(ids):
        yield from ids
    elif len(text) > 1:
        # A name such as <|im_end|> is cut behind its first character: the rest is no name any more.
        cut = 1 if len(text) <= _LONGEST_NAME else len(text) // 2
        yield from _letters(text[:cut], encode, control)
        yield from _letters(text[cut:], encode, control)


_LONGEST_NAME = 64


def _arises(text: str, control: re.Pattern[str]) -> bool:
    """Whether a tokenizer that folds compatible characters (NFKC) could read a control token here."""
    folded = unicodedata.normalize("NFKC", text)
    return folded != text and len(control.findall(folded)) > len(control.findall(text))


def _unused(texts: list[str]) -> tuple[str, str]:
    """What opens and closes a mark; none of the texts holds the opening."""
    openings = (f"{_OPENING}{number}:" for number in itertools.count())
    return next(each for each in openings if not any(each in text for text in texts)), _CLOSING
