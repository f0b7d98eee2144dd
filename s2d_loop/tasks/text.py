"""What the readers of answers have in common: which text they read, and how much of it.

Model text is a stranger's.  Every reader is linear in a reply's length, or reads a part of bounded length.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

import regex

from s2d_loop.thoughts import spoken

LONGEST = 50_000
"""Characters, some 12,000 tokens: no reader looks at more of a text than this."""

_ANSWER_TAG = re.compile(r"<(answer|final_answer|response|output|solution)>", re.IGNORECASE)
# Unicode's stream-safe format allows 30; putting more of them in their normal order takes quadratic time.
_MARKS = regex.compile(r"(\p{M}{30})\p{M}+")

_BOX = re.compile(r"([-\u2212]?)\\f?box(?:ed)?\s{0,4}\{")
_LONGEST_BOX = 400
_MOST_BOXES = 20
_LATEX_WORDS = re.compile(r"\\(?:text|math|operatorname)\w{0,8}\s{0,4}\{([^{}]*)\}")


def text_of(reply: str) -> str:
    """What a reply says: without thoughts, and of `<answer>so</answer>` what stands between the tags."""
    text = spoken(reply)
    tags = list(_ANSWER_TAG.finditer(text))
    if tags:
        begin = tags[-1].end()
        end = text.lower().find(f"</{tags[-1].group(1).lower()}>", begin)
        text = text[begin : end if end >= 0 else None].strip()
    return text if text.isascii() else _MARKS.sub(r"\1", text)


def tail(text: str) -> str:
    """The end of a text, where answers stand; a word that the cut would halve is left out."""
    if len(text) <= LONGEST:
        return text
    end = text[-LONGEST:]
    space = re.search(r"\s", end)
    return end[space.end() :] if space else ""


@dataclass(frozen=True, slots=True)
class Box:
    """A `\\boxed{...}` of LaTeX, where answers to questions of mathematics stand."""

    start: int
    end: int
    text: str
    """What is in it, with a minus that stands before it."""


def boxes(text: str) -> Iterator[Box]:
    """The last boxes of a text, in order; an unclosed one, or one of paragraphs, is none."""
    for found in list(_BOX.finditer(text))[-_MOST_BOXES:]:
        depth = 1
        for place in range(found.end(), min(len(text), found.end() + _LONGEST_BOX)):
            depth += {"{": 1, "}": -1}.get(text[place], 0)
            if depth == 0:
                yield Box(found.start(), place + 1, found[1] + text[found.end() : place])
                break


def words(latex: str) -> str:
    """What a piece of LaTeX says: `Yes` for `\\text{Yes}`."""
    return _LATEX_WORDS.sub(r"\1", latex).replace("$", "").strip()
