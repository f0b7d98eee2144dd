"""GSM8K (section 4.5): a number, in the format that the prompt of Figure 10 asks for."""

import re
from collections.abc import Mapping

from s2d_loop.tasks.base import Perturbation
from s2d_loop.tasks.numbers import numbers, plain
from s2d_loop.tasks.stated import last_sentence, stated
from s2d_loop.tasks.text import boxes, tail, text_of

# "final answer" with a colon, "is" or the end of its line behind it (a mere mention is no answer), and
# the mark that the data set's own solutions have.
_FINAL = re.compile(
    r"final[\W_]{1,8}answers?(?:[ ]?\([^()\n]{0,80}\))?[\s*_`\"']{0,16}(?:\bis\b|[:=\uff1a]|$)|####",
    re.IGNORECASE | re.MULTILINE,
)
_MOST_STATEMENTS = 20
_ANSWER = re.compile(r"\banswers?\b[\s*_`\"']{0,8}(?:\bis\b|[:=])", re.IGNORECASE)


class Gsm8k:
    """Reads the last line that says `Final answer: 18`, or a later `\\boxed{18}`, else a reply's last number.

    That is the one that its sentence states, where it states one.  Commas, currencies, percent signs, units and zeros that say nothing don't count, so `$1,080.00` is
    `1080`.  A final answer in words without a number can't be parsed, whatever numbers come before it, nor
    can one of several numbers of which none is plainly the answer (`between 3 and 5`).
    """

    name = "gsm8k"
    perturbations: Mapping[str, Perturbation] = {}

    def parse(self, reply: str) -> str | None:
        text = tail(text_of(reply))
        begin, line = _final(text)
        box = next(reversed(list(boxes(text))), None)
        if box is not None and box.start >= begin + len(line):
            return stated(box.text)
        return stated(line) if line else _last(text)

    def format(self, answer: str) -> str:
        return f"Final answer: {answer}"

    def score(self, answer: str | None, reference: str) -> bool:
        return answer is not None and answer == self.parse(reference)


def _final(text: str) -> tuple[int, str]:
    """Where the last line that says the final answer begins, and the line; it's empty where none does."""
    for found in reversed(list(_FINAL.finditer(text))[-_MOST_STATEMENTS:]):
        begin = found.end()
        # Models often put the number on a line of its own, or below one that leads up to it ("In dollars:").
        for line in text[begin:].split("\n"):
            leads = line.rstrip("*_ \r").endswith(":") and not re.search(r"\d", line)
            if re.search(r"[^\W_]", line) and not leads:
                return begin, line
            begin += len(line) + 1
    return 0, ""


def _last(text: str) -> str | None:
    """The last number of a reply that doesn't say what its final answer is."""
    for line in reversed(text.split("\n")):
        said = plain(line)
        values = [each.value for each in numbers(said) if each.value is not None]
        if values:
            *_, mark = [0, *(found.end() for found in _ANSWER.finditer(said))]
            # Where its sentence states one number, that counts: "she sells 18 eggs in 7 days".
            return stated(said[mark:] if mark else last_sentence(said)) or values[-1]
    return None
