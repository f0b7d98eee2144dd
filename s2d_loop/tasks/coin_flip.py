"""Coin flip (section 4.2.2): is the coin still heads up?  Exact match on the first yes or no."""

import re
from collections.abc import Mapping

from s2d_loop.records import Messages
from s2d_loop.tasks.base import Perturbation, reworded, with_last_turn

# Not \b, for which the underscores of _yes_ would be part of the word.
_YES_NO = re.compile(r"(?<![^\W_])(yes|no)(?![^\W_])", re.IGNORECASE | re.ASCII)

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
    """Reads the first `yes` or `no` of a reply; one with neither can't be parsed (a "miss match")."""

    name = "coin_flip"
    perturbations: Mapping[str, Perturbation] = {"swap_people": reworded(swap_people)}

    def parse(self, reply: str) -> str | None:
        found = _YES_NO.search(reply)
        return found.group(1).lower() if found else None

    def format(self, answer: str) -> str:
        return answer.capitalize()

    def score(self, answer: str | None, reference: str) -> bool:
        return answer is not None and answer == self.parse(reference)
