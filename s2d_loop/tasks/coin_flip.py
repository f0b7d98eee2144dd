"""Coin flip (section 4.2.2): is the coin still heads up?  Exact match on a reply's yes or no."""

import re
from collections.abc import Mapping

from s2d_loop.records import Messages
from s2d_loop.tasks.base import Perturbation, reworded, with_last_turn
from s2d_loop.tasks.text import boxes, text_of, words

# Not \b, for which the underscores of _yes_ would be part of the word.
_FLAGS = re.IGNORECASE | re.ASCII
_YES_NO = re.compile(r"(?<![^\W_])(yes|no(?!\s(?:one|doubt|matter|idea)\b))(?![^\W_])", _FLAGS)
_ANSWER = re.compile(r"\banswer[\s*_`\"']{0,4}(?:\bis\b|[:=])[\s*_`\"':(]{0,8}(yes|no)(?![^\W_])", _FLAGS)
# The question's own words: "Yes/No", "answer Yes or No".
_EITHER = re.compile(
    r"(?<![^\W_])(?:yes|no)[\"'*_`),]{0,3}\s?(?:[/|]|\bor\b)\s?[\"'*_`(]{0,3}(?:yes|no)(?![^\W_])", _FLAGS
)

# The public data's wording; the prompt suffixes of Table 6 may follow, another question may not.
_ACT = r"[^\s.?!][^.?!]*? (?:flips|does not flip) the coin\."
_PUBLIC_FORM = re.compile(
    rf"(\s*A coin is heads up\. )({_ACT}(?: {_ACT})+)(\s+Is the coin still heads up\?[^?]*)"
)


def swap_people(messages: Messages) -> Messages | None:
    """The people in reverse order: how often the coin is flipped stays."""
    found = _PUBLIC_FORM.fullmatch(messages[-1].content)
    if found is None:
        return None
    before, acts, after = found.groups()
    return with_last_turn(messages, before + " ".join(reversed(re.findall(_ACT, acts))) + after)


class CoinFlip:
    """Reads what a reply says the answer is, else its first `yes` or `no`.

    A reply with neither, or with nothing but the question's "yes or no", can't be parsed (a "miss match").
    """

    name = "coin_flip"
    perturbations: Mapping[str, Perturbation] = {"swap_people": reworded(swap_people)}

    def parse(self, reply: str) -> str | None:
        text = text_of(reply)
        boxed = [found for box in boxes(text) if (found := _YES_NO.search(words(box.text)))]
        text = _EITHER.sub(" ", text)
        found = next(reversed(boxed or list(_ANSWER.finditer(text))), None) or _YES_NO.search(text)
        return found.group(1).lower() if found else None

    def format(self, answer: str) -> str:
        return answer.capitalize()

    def score(self, answer: str | None, reference: str) -> bool:
        return answer is not None and answer == self.parse(reference)
