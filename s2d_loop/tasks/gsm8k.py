"""GSM8K (section 4.5): a number, in the format that the prompt of Figure 10 asks for."""

import re
from collections.abc import Mapping

from s2d_loop.tasks.base import Perturbation

# "final answer" with a colon, "is" or the end of its line behind it: a mere mention is no answer.
_FINAL = re.compile(r"final\W+answers?[\s*_`\"']*(?:\bis\b|[:=]|$)", re.IGNORECASE | re.MULTILINE)

_NUMERAL = r"(?:[0-9]{1,3}(?:,[0-9]{3})+(?![0-9])|[0-9]+)(?:\.[0-9]+)?|(?<!\w)\.[0-9]+"
# A minus belongs to a number only where nothing stands before it: "16-3" has none.  Ratios and dates are
# matched whole, so that none of their parts is taken for the answer.
_NUMBER = re.compile(
    rf"(?P<minus>(?<![^\W_])(?<![)\]}}])-[*_`$€£\\{{]*)?(?<![^\W_])(?P<numeral>{_NUMERAL})(?P<ratio>(?:/(?:{_NUMERAL}))+)?"
)
_MINUS_SIGNS = str.maketrans({"\u2212": "-", "\u2010": "-", "\u2011": "-", "\u2013": "-"})


class Gsm8k:
    """Reads the last line that says `Final answer: 18`, else the last number of a reply.

    Commas, currencies, percent signs, units and zeros that say nothing don't count, so `$1,080.00` is
    `1080`.  A final answer in words without a number can't be parsed, whatever numbers come before it.
    """

    name = "gsm8k"
    perturbations: Mapping[str, Perturbation] = {}

    def parse(self, reply: str) -> str | None:
        text = _untypeset(reply)
        for found in reversed(list(_FINAL.finditer(text))):
            line = _first_line(text[found.end() :])
            if line:
                return _stated(line)
        numbers = _numbers(text)
        return numbers[-1] if numbers else None

    def format(self, answer: str) -> str:
        return f"Final answer: {answer}"

    def score(self, answer: str | None, reference: str) -> bool:
        return answer is not None and answer == self.parse(reference)


def _untypeset(text: str) -> str:
    """LaTeX's numbers in plain text: `\\boxed{10{,}000}` is `{10,000}`, and a fraction is a ratio."""
    text = text.translate(_MINUS_SIGNS).replace("{,}", ",")
    text = re.sub(r"\\[dt]?frac\{([^{}]*)\}\{([^{}]*)\}", r"\1/\2", text)
    return re.sub(r"\\[A-Za-z]+", " ", re.sub(r"\\[A-Za-z]+(?=\{)", "", text))


def _first_line(text: str) -> str:
    """The first line in which a letter or digit stands: models often put the number on a line of its own."""
    return next((line for line in text.split("\n") if re.search(r"[^\W_]", line)), "")


def _stated(line: str) -> str | None:
    """A sum's result, else the number that a line starts with (`18 eggs in 7 days`), else its last one."""
    _, equals, result = line.rpartition("=")
    if equals and (numbers := _numbers(result)):
        return numbers[0]
    numbers = _numbers(line)
    if not numbers:
        return None
    starts = re.match(r"[\W_]*[0-9]", line)
    return numbers[0] if starts else numbers[-1]


def _numbers(text: str) -> list[str]:
    return [_plain(found) for found in _NUMBER.finditer(text) if not found["ratio"]]


def _plain(found: re.Match[str]) -> str:
    """The number as text in which equal decimals are equal, of any length."""
    whole, _, part = found["numeral"].replace(",", "").partition(".")
    whole, part = whole.lstrip("0") or "0", part.rstrip("0")
    value = f"{whole}.{part}" if part else whole
    return f"-{value}" if found["minus"] and value != "0" else value
