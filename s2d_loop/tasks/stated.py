"""The number that a line states: `18 eggs in 7 days`, `9 x 2 = 18`, `x = 18 (since y = 3)`.

Remarks and circumstances are left out, and what is left must give one number: where it could be another
one just as well (`3 to 5`, `x = 3 and y = 4`, `10 - 3`) there is none.
"""

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass

from s2d_loop.tasks.numbers import Number, numbers, plain

_SYMBOLS = r"[\s*_`$\u20ac\u00a3\u00a5\u20b9(\"'~]"

# What a statement gives reasons, conditions or approximations by: all of it up to the sentence's end goes.
_REMARK = re.compile(
    r"\b(?:since|because|as|where|when|if|given|using|which|assuming|namely|that is|i\.e)\b"
    r"|[\u2014\u2248]|[ ]--?[ ](?=[A-Za-z])",
    re.IGNORECASE,
)
_BRACKETS = re.compile(r"[(\[]([^()\[\]]*)(?:[)\]]|$)")
_SENTENCE = re.compile(r"[.!?;](?=\s|$)|\n")
_CLAUSE = re.compile(r",(?=\s)")
_EQUALS = re.compile(
    r"=>|->|[=\u21d2\u2192]+|\b(?:equals?|is|are|was|were|gives?|makes?|totals?|leaves?)\b|:(?=\s)",
    re.IGNORECASE,
)
_OPERATOR = re.compile(
    r"[+\u00d7\u00f7\u00b7]|(?<![A-Za-z])-|-(?![A-Za-z])|/(?![ ]?[A-Za-z])"
    # Other asterisks are markup, and other letters x are part of a word.
    r"|(?<=\s)\*(?=\s)|(?<=[0-9)])\*(?=[0-9(])|(?<![A-Za-z])x(?![A-Za-z])|(?<=[0-9])\((?=[0-9])"
    r"|\b(?:plus|minus|times|divided by|multiplied by|percent of)\b|%\s?of\b",
    re.IGNORECASE,
)
_OPERATOR_AT_END = re.compile(r"(?:[-+/\u00d7\u00f7\u00b7]|(?<![A-Za-z])x|(?<=\s)\*)\s?$|(?<=[0-9])\*$")
# A minus or the dash of a list?
_LOOSE_DASH = re.compile(r"(?:^\s+|[=$(]\s?)-\s+\$?[0-9]")
_UNSOLVED = re.compile(r"[0-9][xyzn]\b|\b[xyzn][ ]?[-+*/^]|[-+*/][ ]?[xyzn]\b")
_RANGE = re.compile(rf"{_SYMBOLS}*(?:%|degrees)?\s?(?:to|and|or|until|through){_SYMBOLS}*")
# What only says how long, how many, or of what: "in 7 days", "for the 3 boxes", but not "a total of 18".
_CIRCUMSTANCE = re.compile(
    r"\b(?:in|per|for|out of|every|each|from|at|over|by|on|after|within|during|with|than|before|under|through"
    r"|(?<!total )(?<!sum )(?<!amount )(?<!average )(?<!profit )(?<!cost )of)"
    rf"(?:\s(?:the|a|an|all|about|just|only|another|next|last|first))?{_SYMBOLS}*$",
    re.IGNORECASE,
)
_LONGEST_LEAD = 40
_STARTS = re.compile(rf"{_SYMBOLS}*(?:(?:and|or)\s)?{_SYMBOLS}*")


@dataclass(frozen=True, slots=True)
class _Part:
    """A clause, or a side of an equation.

    Its kind is `value`; `ratio`, which is a value or a division to be done; `sum`, one to be worked out; or
    `unclear`.  Sides of nothing but circumstances are no parts.
    """

    kind: str
    value: str | None = None
    is_equation: bool = False
    is_bare: bool = False
    """Whether it starts with its number, as the items of a list do."""


def stated(line: str) -> str | None:
    """The number that the first sentence with numbers states; None where it states none or several."""
    text = _without_remarks(plain(line))
    if _LOOSE_DASH.search(text):
        return None
    for sentence in _SENTENCE.split(text):
        if found := list(numbers(sentence)):
            return _sentence(sentence, found)
    return None


def last_sentence(line: str) -> str:
    """The last sentence of a plain line in which there is a number."""
    return next((each for each in reversed(_SENTENCE.split(line)) if next(numbers(each), None)), "")


def _without_remarks(line: str) -> str:
    first = next(numbers(line), None)
    if first is None:
        return line
    head, rest = line[: first.end], line[first.end :]
    for _ in range(2):  # brackets in brackets
        rest = _BRACKETS.sub(_operands, rest)
    cut = _REMARK.search(rest)
    return head + (rest[: cut.start()] if cut else rest)


def _operands(found: re.Match[str]) -> str:
    """Brackets that belong to a sum stay: `2 x (3 + 6)`."""
    before = found.string[max(0, found.start() - 3) : found.start()]
    stays = _OPERATOR_AT_END.search(before) and not re.search(r"[A-Za-wyz=]", found[1])
    return found[0] if stays else " "


def _sentence(sentence: str, found: Sequence[Number]) -> str | None:
    clauses = [part for clause in _CLAUSE.split(sentence) if (part := _clause(clause)) is not None]
    if not clauses:
        return found[0].value if len(found) == 1 else None
    first, *others = clauses
    if first.kind == "sum":
        # A chain of sums, each with its result: the last one is what it comes to.
        *_, last = itertools.takewhile(lambda part: part.kind == "sum", clauses)
        return last.value
    for other in others:
        rivals = other.is_bare or (first.is_equation and other.is_equation)
        if rivals and other.value != first.value:
            return None
    return first.value


def _clause(clause: str) -> _Part | None:
    sides = [_side(text) for text in _EQUALS.split(clause)]
    parts = [part for part in sides if part is not None]
    if not parts:
        return None
    is_bare, is_equation = parts[0].is_bare and sides[0] is not None, len(sides) > 1
    values = any(part.kind == "value" for part in parts)
    sums = [
        place for place, part in enumerate(parts) if part.kind == "sum" or (values and part.kind == "ratio")
    ]
    if not sums:
        value = _one(parts)
        return _Part("value" if value else "unclear", value, is_equation, is_bare)
    # What comes right behind a sum is its result; "18 = 2 x 9" has it before.
    behind = parts[sums[-1] + 1 :]
    value = behind[0].value if behind else _one([part for part in parts if part.kind == "value"])
    unclear = any(part.kind == "unclear" for part in parts)
    return _Part("unclear") if unclear else _Part("sum" if is_equation else "unclear", value, is_equation)


def _one(parts: Sequence[_Part]) -> str | None:
    values = {part.value for part in parts}
    return values.pop() if len(values) == 1 else None


def _side(text: str) -> _Part | None:
    found = list(numbers(text))
    if not found:
        return None
    ends = [0, *(each.end for each in found)]
    free = [
        each
        for each, end in zip(found, ends, strict=False)
        if not _CIRCUMSTANCE.search(text[max(end, each.start - _LONGEST_LEAD) : each.start])
    ]
    is_bare = _STARTS.fullmatch(text, 0, found[0].start) is not None
    gaps = list(itertools.pairwise(found))
    if _UNSOLVED.search(text):
        return _Part("unclear")
    if any(_OPERATOR.search(text, a.end, b.start + 1) for a, b in gaps):
        return _Part("sum")
    if _OPERATOR_AT_END.search(text[found[-1].end :]):
        return _Part("sum")
    if any(_RANGE.fullmatch(text, a.end, b.start) for a, b in gaps):
        return _Part("unclear", is_bare=is_bare)
    if not free:
        return None
    values = {each.value for each in free}
    if len(values) > 1 or None in values:
        return _Part("unclear", is_bare=is_bare)
    return _Part("ratio" if free[0].is_ratio else "value", values.pop(), is_bare=is_bare)
