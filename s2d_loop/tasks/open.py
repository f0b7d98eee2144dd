"""Prompts with no known parser: the answer is the whole reply, normalised.

It suits short answers only.  Long replies hardly ever agree word for word, so a vote over them keeps
next to nothing (the first pass of `generate` says so); and scoring takes a right answer in other
words for a wrong one.  A task with longer answers needs a parser of its own.
"""

import re
import unicodedata
from collections.abc import Mapping

from s2d_loop.tasks.base import Perturbation
from s2d_loop.tasks.text import LONGEST, text_of

# Quotes and markup around an answer say nothing, nor does the point after it; signs such as -5, 5%
# and C++ do, so no other punctuation goes.
_WRAPPING = " \t\n\"'`*_\u2018\u2019\u201c\u201d"
_BOXED = re.compile(r"\$*\\boxed\{(?:\\text\{([^{}\\$]+)\}|([^{}\\$]+))\}\$*")


class Open:
    """Exact match on the normalised whole text; a reply that says nothing can't be parsed."""

    name = "open"
    perturbations: Mapping[str, Perturbation] = {}

    def parse(self, reply: str) -> str | None:
        before, text = "", text_of(reply)
        if len(text) > LONGEST:
            return None
        while before != text:  # each step can bring out work for another
            before, text = text, _squeezed(text)
        return text or None

    def format(self, answer: str) -> str:
        return answer

    def score(self, answer: str | None, reference: str) -> bool:
        return answer is not None and answer == self.parse(reference)


def _squeezed(reply: str) -> str:
    text = unicodedata.normalize("NFKC", text_of(reply)).casefold()
    text = re.sub(r"\s+", " ", text).lstrip(_WRAPPING).rstrip(_WRAPPING + ".,;:!")
    boxed = _BOXED.fullmatch(text)
    return boxed[1] or boxed[2] if boxed else text
