"""Numbers as people and models write them, read exactly.

A number's one form is a decimal without zeros that say nothing, or a fraction in lowest terms where no
decimal is exact: `1080`, `-0.5`, `1/3`.  Text that only looks like a number (a date, a time, a list) has its
place and no value, so that no part of it is taken for one.
"""

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

from s2d_loop.tasks.text import LONGEST

_LARGEST_EXPONENT = 400
_LONGEST_RATIO = 100
"""Digits; there are no fractions of longer numbers."""


@dataclass(frozen=True, slots=True)
class Number:
    """A number in a text; `value` is None where it has none of its own."""

    start: int
    end: int
    value: str | None
    is_ratio: bool = False


_MINUSES, _SPACES = "\u2212\u2010\u2011\u2012\u2013\ufe63\uff0d", "\u00a0\u2007\u2008\u2009\u200a\u202f"
_SYMBOLS = str.maketrans(
    {
        **dict.fromkeys(_MINUSES, "-"),
        **dict.fromkeys(_SPACES, "\u202f"),
        **dict.fromkeys("\u2019\uff07", "'"),
        **dict.fromkeys("\u2044\u2215\uff0f", "/"),
        **dict.fromkeys("\u2715\u22c5\u2217", "\u00d7"),
        **dict.fromkeys("\u2248\u2245", " \u2248 "),
        **dict(zip("\uff0e\uff0c\u066b\u066c\uff05\uff1d\uff0b", ".,.,%=+", strict=True)),
    }
)
_OTHER_DIGIT = re.compile(r"(?![0-9])\d")
_SUPERSCRIPTS = "\u2070\u00b9\u00b2\u00b3\u2074\u2075\u2076\u2077\u2078\u2079\u207b"
_SUPERSCRIPT = re.compile(f"[{_SUPERSCRIPTS}]+")
_PLAIN_DIGITS = str.maketrans(_SUPERSCRIPTS, "0123456789-")
_VULGAR = re.compile("([0-9]?)([\u00bc-\u00be\u2150-\u215e])")

# A true minus sign is never a dash, whatever space is behind it.
_LOOSE_MINUS = re.compile(r"(?<![\w)\]}])(?<![\w)\]}]\s)\u2212\s(?=[$0-9])")
_TIMES = re.compile(r"(?<=[0-9])[xX](?=[0-9])")

_LATEX_SPACE = re.compile(r"\\[,;:! ]|(?<=[0-9])~(?=[0-9])")
_LATEX_FRACTION = re.compile(
    r"(\w?)\\[dtc]?frac(?:\s{0,4}\{([^{}]{0,200})\}\s{0,4}\{([^{}]{0,200})\}|\s?([0-9])([0-9]))"
)
_LATEX_SIGNS = {"times": "\u00d7", "cdot": "\u00d7", "div": "\u00f7", "pm": "\u00b1", "approx": " \u2248 "}
_LATEX_COMMAND = re.compile(r"\\([A-Za-z]+)(\s{0,4}\{)?")


def plain(text: str) -> str:
    """The text with LaTeX's numbers, other scripts' digits, and all the signs of Unicode in ASCII."""
    text = _TIMES.sub("\u00d7", _LOOSE_MINUS.sub("-", text).translate(_SYMBOLS).replace("{,}", ","))
    if not text.isascii():
        text = _SUPERSCRIPT.sub(lambda found: "^" + found[0].translate(_PLAIN_DIGITS), text)
        text = _OTHER_DIGIT.sub(lambda found: str(unicodedata.decimal(found[0])), text)
        text = _VULGAR.sub(_vulgar, text)
    if "\\" not in text:
        return text
    text = _LATEX_FRACTION.sub(_fraction, _LATEX_SPACE.sub("\u202f", text))
    text = re.sub(r"\\([%$#&_])", r"\1", re.sub(r"\\[()\[\]]", " ", text))
    return _LATEX_COMMAND.sub(
        lambda found: _LATEX_SIGNS.get(found[1], "" if found[2] else " ") + (found[2] or ""), text
    )


def _vulgar(found: re.Match[str]) -> str:
    ratio = unicodedata.normalize("NFKD", found[2]).replace("\u2044", "/")
    return f"{found[1]} {ratio}" if found[1] else ratio


def _fraction(found: re.Match[str]) -> str:
    before, above, below = found[1], found[2] or found[4] or "", found[3] or found[5] or ""
    simple = all(re.fullmatch(r"[0-9.,\s]+", each) for each in (above, below))
    ratio = f"{above.strip()}/{below.strip()}" if simple else f"({above})/({below})"
    return f"{before} {ratio}" if before else ratio


_BODY = (
    # A space between thousands only: between other digits it parts two numbers, as in "3 100-watt bulbs".
    r"(?:[0-9]{1,3}(?:[ \u202f][0-9]{3})+(?![0-9]|-[A-Za-z])(?:[.,][0-9]+)?"
    r"|[0-9]++(?:[.,'_][0-9]++)*+|(?<![\w.,])\.[0-9]++)"
)
_EXPONENT = r"[{(]?(?P<%s>[-+]?[0-9]{1,4})(?![0-9])[})]?"
_SCALES = {"hundred": 2, "thousand": 3, "lakh": 5, "million": 6, "crore": 7, "billion": 9, "trillion": 12}
_NUMBER = re.compile(
    rf"""
    # A sign, and the markup or currency between it and its number.  Behind a number it would be an operator.
    (?:(?<![^\W_])(?<![-)\]}}^])(?P<sign>[-+])[*_`$\u20ac\u00a3\u00a5\u20b9\\{{(]{{0,6}}
      |\b(?P<word>minus|negative|plus|positive)[ \u202f]{{1,2}}[*_`$\u20ac\u00a3\u00a5\u20b9\\{{(]{{0,6}})?
    (?<![^\W_])(?<![\^\u00b1])
    (?:
      (?P<whole>[0-9]{{1,9}})(?:[ \u202f]and)?[ \u202f](?P<above>[0-9]{{1,6}})/(?P<below>[0-9]{{1,6}})(?![0-9/.,:]?[0-9])
    |
      (?P<body>{_BODY})
      (?:
        (?P<other>(?::[0-9]+)++|(?-i:[kKMB]\b)|[bm]n\b|[ \u202f]and[ \u202f]a[ \u202f](?:half|third|quarter)\b)
      | (?P<ratio>(?:[ \u202f]?/[ \u202f]?{_BODY})++)
      | [eE](?P<e>[-+]?[0-9]{{1,4}})(?!\w|\.[0-9])
      | [ \u202f]?(?:[x*\u00d7]|times)[ \u202f]?10[ \u202f]?(?:\^|\*\*)[ ]?{_EXPONENT % "ten"}
      | (?:[ \u202f]?\^[ \u202f]?|\*\*){_EXPONENT % "power"}
      | [ \u202f]?(?P<scale>{"|".join(_SCALES)})s?\b
      )?
    )
    """,
    re.VERBOSE | re.IGNORECASE,
)
_SIGN_MAY_STAND = re.compile(r"[=,;:.!?(\n]|\b(?:is|are|was|were|or|to|equals?)\b")


def numbers(text: str) -> Iterator[Number]:
    """The numbers of a text that went through `plain`, in order."""
    end = -1
    for found in _NUMBER.finditer(text):
        start, minus = found.start(), found["sign"] == "-"
        if word := found["word"]:
            # "3 minus 2" takes away; "it is minus 2" doesn't.
            if end < 0 or _SIGN_MAY_STAND.search(text, end, start):
                minus = word.lower() in ("minus", "negative")
            else:
                start += len(word)
        end = found.end()
        value = None if text[end : end + 1] == "^" else _value(found)
        yield Number(start, end, _signed(value, minus), is_ratio=bool(found["ratio"] or found["whole"]))


def number(text: str) -> str | None:
    """The number that a text is, but for white space, currencies, percent signs and points at its end."""
    if len(text) > LONGEST:
        return None
    said = plain(text).strip().rstrip(".").strip("$%\u20ac\u00a3\u00a5\u20b9 \u202f")
    said = re.sub(r"^([-+])[\s$\u20ac\u00a3\u00a5\u20b9]+", r"\1", said)
    read = list(numbers(said))
    whole = len(read) == 1 and (read[0].start, read[0].end) == (0, len(said))
    return read[0].value if whole else None


def _signed(value: str | None, minus: bool) -> str | None:
    return f"-{value}" if minus and value not in (None, "0") else value


def _value(found: re.Match[str]) -> str | None:
    if found["whole"]:
        above, below = int(found["above"]), int(found["below"])
        return _of_fraction(int(found["whole"]) + Fraction(above, below)) if above < below else None
    if found["other"]:
        return None
    if found["ratio"]:
        return _of_ratio([found["body"], *re.split(r"[ \u202f]?/[ \u202f]?", found["ratio"])[1:]])
    digits = _digits(found["body"])
    if digits is None:
        return None
    if found["power"]:
        return _shifted("1", "", int(found["power"])) if digits == ("10", "") else None
    shift = found["e"] or found["ten"] or (found["scale"] and _SCALES[found["scale"].lower()]) or 0
    return _shifted(*digits, int(shift))


def _of_ratio(bodies: list[str]) -> str | None:
    """`3/4` is a fraction; `1/2/2024` is a date."""
    if len(bodies) != 2 or max(map(len, bodies)) > _LONGEST_RATIO:
        return None
    above, below = (_digits(body) for body in bodies)
    if above is None or below is None:
        return None
    divisor = Fraction(".".join((below[0] or "0", below[1] or "0")))
    return _of_fraction(Fraction(".".join((above[0] or "0", above[1] or "0"))) / divisor) if divisor else None


def _of_fraction(value: Fraction) -> str | None:
    """The exact decimal where there is one."""
    rest, places = value.denominator, [0, 0]
    for each, prime in enumerate((2, 5)):
        while rest % prime == 0:
            rest, places[each] = rest // prime, places[each] + 1
    if rest > 1:
        return f"{value.numerator}/{value.denominator}"
    return _shifted(str(value.numerator * 10 ** max(places) // value.denominator), "", -max(places))


def _digits(body: str) -> tuple[str, str] | None:
    """The digits before the decimal point and behind it; None where it isn't plain what the signs mean."""
    first, *rest = re.split(r"([.,'_ \u202f])", body)
    signs, groups = rest[::2], [first, *rest[1::2]]
    before = signs[:-1]
    if not signs or (signs != ["."] and _are_thousands(groups, signs)):
        return "".join(groups), ""
    if signs[-1] in ".," and (
        not before or (signs[-1] not in before and _are_thousands(groups[:-1], before))
    ):
        return "".join(groups[:-1]), groups[-1]
    return None


def _are_thousands(groups: list[str], signs: list[str]) -> bool:
    """Whether one sign parts groups of three digits, or India's of two before the last three."""
    first, *others = groups
    if len(set(signs)) != 1 or first.startswith("0"):
        return False
    if 1 <= len(first) <= 3 and all(len(group) == 3 for group in others):
        return True
    sizes = {len(group) for group in others[:-1]}
    return signs[0] == "," and len(first) <= 2 and sizes == {2} and len(others[-1]) == 3


def _shifted(whole: str, part: str, places: int) -> str | None:
    """A decimal with its point moved to the right, as text in which equal numbers are equal."""
    if abs(places) > _LARGEST_EXPONENT:
        return None
    if places >= 0:
        part = part.ljust(places, "0")
        whole, part = whole + part[:places], part[places:]
    else:
        whole = whole.rjust(-places, "0")
        whole, part = whole[:places], whole[places:] + part
    whole, part = whole.lstrip("0") or "0", part.rstrip("0")
    return f"{whole}.{part}" if part else whole
