"""Last letter concatenation (section 4.2.1): two words in quotes, exact match on their last letters."""

import re
import unicodedata
from collections.abc import Mapping

from s2d_loop.records import Messages
from s2d_loop.tasks.base import Perturbation, reworded, with_last_turn

# Single quotes and apostrophes look alike, so a single-quoted span must not touch a letter outside it.
_QUOTED = re.compile(
    r"""
      "([^"]*)"
    | [\u201c\u201d\u201e]([^\u201c\u201d]*)[\u201c\u201d]
    | `([^`]*)`
    | (?<!\w)['\u2018]([^'\u2018\u2019]*)['\u2019](?!\w)
    """,
    re.VERBOSE,
)


def lower_case(messages: Messages) -> Messages | None:
    """The quoted words in lower case: scoring ignores case, so the answer stays."""
    text = messages[-1].content
    if not _QUOTED.search(text):
        return None
    return with_last_turn(messages, _QUOTED.sub(lambda found: found.group().lower(), text))


class LastLetters:
    """Reads the last quoted span of a reply, else its last token; only letters and digits count.

    So `"s-o"`, `**So**.` and `S, O` in quotes are all `so`.  A span or token in which nothing is left
    is passed over, and a reply in which nothing is left anywhere can't be parsed.
    """

    name = "last_letters"
    perturbations: Mapping[str, Perturbation] = {"lower_case": reworded(lower_case)}

    def parse(self, reply: str) -> str | None:
        quoted = [found.group(found.lastindex or 0) for found in _QUOTED.finditer(reply)]
        for text in [*reversed(quoted), *reversed(reply.split())]:
            if answer := letters(text):
                return answer
        return None

    def format(self, answer: str) -> str:
        return answer

    def score(self, answer: str | None, reference: str) -> bool:
        return answer is not None and answer == letters(reference)


def letters(text: str) -> str:
    """Only the letters and digits of a text, in lower case."""
    return "".join(c for c in unicodedata.normalize("NFC", text).lower() if c.isalnum())
