"""OpenAssistant message trees (Koepf et al., 2023; the paper's section 4.4): ranked replies to a prompt.

A row is a tree.  Every two replies to its first prompt that people ranked are a pair, as in the paper:
first turn, English.  A model's own replies in the trees (`synthetic`) were never reviewed: they and
their ranks are left out.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from typing import Any

from s2d_loop.formats.base import Item, Row, UnreadableError, excerpt, text
from s2d_loop.formats.pairs import pair, turned

_Reply = Mapping[str, Any]


class Oasst:
    """First-turn pairs.  A tree without any (one reply, another language) holds no input."""

    columns = ("prompt",)

    def items(self, row: Row) -> Sequence[Item]:
        return [pair(question, text(a, "text"), text(b, "text")) for question, a, b in _pairs(row)]

    def references(self, row: Row) -> Sequence[str | None]:
        """The reply of the better (lower) rank."""
        return [_better(a["rank"], b["rank"]) for _, a, b in _pairs(row)]


def _pairs(row: Row) -> Iterator[tuple[str, _Reply, _Reply]]:
    """The prompt and two replies, as A and B.  Looks at whether replies are ranked, never at how."""
    prompt = row.get("prompt")
    if not isinstance(prompt, Mapping):
        raise UnreadableError("no tree in column 'prompt'", excerpt(prompt))
    question = text(prompt, "text")
    replies = prompt.get("replies")
    if not isinstance(replies, list):
        raise UnreadableError("no list in column 'prompt.replies'", excerpt(replies))
    if prompt.get("lang") != "en":
        return
    for first, second in combinations([reply for reply in replies if _ranked(reply)], 2):
        if turned(question, text(first, "text"), text(second, "text")):
            first, second = second, first
        yield question, first, second


def _ranked(reply: Any) -> bool:
    if not isinstance(reply, Mapping):
        raise UnreadableError("a reply is not an object", excerpt(reply))
    return isinstance(reply.get("rank"), int) and not (reply.get("synthetic") or reply.get("deleted"))


def _better(a: int, b: int) -> str:
    return "C" if a == b else "A" if a < b else "B"
