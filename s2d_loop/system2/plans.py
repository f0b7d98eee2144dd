"""Reads an evaluation plan: the criteria of a list, as models write lists.

Numbers, bullets, headings, bold names or bare lines; blank lines, sub-points and prose around them.
`bsm` branches on what is read here.  No text is an error: one without a list has no criteria.
"""

import itertools
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from s2d_loop.thoughts import spoken


@dataclass(frozen=True, slots=True)
class Criterion:
    """`text` is all that the plan says of it, its name included."""

    name: str
    text: str


@dataclass(frozen=True, slots=True)
class _Line:
    indent: int
    """How deep it stands: columns, or a heading's level."""
    mark: str
    """How it is set apart: `number`, `heading`, `bold`, `bullet`, or none of these."""
    number: int
    text: str
    """What stands after the mark; empty for a blank line."""


_HEADING = re.compile(r"#{1,6}(?!#)[ \t]*")
_BULLET = re.compile(r"(?:[-*+\u2022\u25cf\u25aa\u2023\u2013\u2014\u00b7]|o(?=[ \t]))[ \t]+")
_NUMBER = re.compile(
    r"(\*\*|__)?[ \t]*(?:(?:criterion|factor|aspect)[ \t]*\#?(\d{1,3})[ \t]*[.):\u2013\u2014-]"
    r"|\(?(\d{1,3})(?:[.):](?!\d)|[ \t]+[\u2013\u2014-][ \t]))[ \t]*",
    re.IGNORECASE | re.ASCII,
)
_BOLD_NAME = re.compile(r"(\*\*|__)(.+?)\1")
_SEPARATOR = re.compile(r"\s*:\s+|\s*:$|(?<=[a-z)]):(?=[A-Z])|\s+[-\u2013\u2014]+\s+|\s*\u2014\s*")
# Headings of the plan as a whole, not of a criterion.
_TITLE = re.compile(
    r"(?:the\s+)?(?:proposed\s+)?(?:evaluation|comparison|assessment)?\s*"
    r"(?:plan|criteria|criterion|factors|rubric|process|steps?|method)"
    r"|(?:scoring|score|rating)(?:\s+(?:system|scale|guide|rubric))?"
    r"|introduction|conclusion|summary|notes?|user question|(?:overall|final)(?:\s+(?:evaluation|assessment|judge?ment|verdict|score))?",
    re.IGNORECASE,
)
_LONGEST_NAME = 8
"""Words; what stands before a colon is a sentence if it has more."""
_LONGEST_PLAN = 50_000
"""Characters; the first few criteria stand long before that."""
_SLACK = 1
"""Columns by which list marks of one level may differ."""


def criteria(plan: str, limit: int = 5) -> tuple[Criterion, ...]:
    """The plan's first `limit` criteria, in order."""
    lines = [_line(raw) for raw in spoken(plan)[:_LONGEST_PLAN].expandtabs(4).splitlines()]
    starts = _starts(lines)
    found = [_criterion(item) for item in _items(lines, starts)]
    return tuple(each for each in found if each is not None)[:limit]


def _line(raw: str) -> _Line:
    # One space for many: a model that has gone astray writes thousands, over which searches are slow.
    rest = " ".join(raw.split()).removeprefix("> ")
    indent = len(raw) - len(raw.lstrip())
    mark = ""
    if found := _HEADING.match(rest):
        mark, indent, rest = "heading", len(found.group().strip()), rest[found.end() :]
    if found := _BULLET.match(rest):
        mark, rest = "bullet", rest[found.end() :]
    number = 0
    if (found := _NUMBER.match(rest)) and (text := rest[found.end() :]):
        mark, number = "number", int(found.group(2) or found.group(3))
        # "**1. Relevance:** ..." keeps its bold name.
        rest = (found.group(1) or "") + text
    elif mark == "" and _BOLD_NAME.match(rest):
        mark = "bold"
    return _Line(indent, mark, number, rest)


def _starts(lines: Sequence[_Line]) -> Callable[[_Line], bool]:
    """Which lines begin a criterion: the plan's outermost list decides."""
    numbers, bullets = _outermost(lines, "number"), _outermost(lines, "bullet")
    headings = _headings(lines)
    counted = [line.number for line in numbers]
    # Numbers that start anew under each heading are sub-points.
    restarts = any(later <= earlier for earlier, later in itertools.pairwise(counted))
    if numbers and not (restarts and len(headings) > 1):
        chosen = numbers
    elif len(headings) > 1 or (headings and not bullets):
        chosen = headings
    elif bullets:
        chosen = bullets
    else:
        chosen = [line for line in lines if _is_bare(line)]
        chosen = chosen if len(chosen) > 1 else []
    places = {id(line) for line in chosen}
    return lambda line: id(line) in places


def _outermost(lines: Sequence[_Line], mark: str) -> list[_Line]:
    marked = [line for line in lines if line.mark == mark and line.text]
    least = min((line.indent for line in marked), default=0)
    return [line for line in marked if line.indent <= least + _SLACK]


def _headings(lines: Sequence[_Line]) -> list[_Line]:
    """The names that are set apart: of the highest level with several, else those in bold."""
    named = [line for line in lines if line.text and not _is_title(line)]
    for level in range(1, 7):
        of_level = [line for line in named if line.mark == "heading" and line.indent == level]
        if len(of_level) > 1:
            return of_level
    bold = [line for line in named if line.mark == "bold"]
    return bold or [line for line in named if line.mark == "heading"]


def _is_title(line: _Line) -> bool:
    return _TITLE.fullmatch(_clean(line.text)) is not None


def _is_bare(line: _Line) -> bool:
    """Whether an unmarked line is `Name: description`, as the prompt asks for."""
    found = _SEPARATOR.search(line.text)
    return (
        line.mark == ""
        and found is not None
        and 0 < len(line.text[: found.start()].split()) <= _LONGEST_NAME
        and bool(line.text[found.end() :].strip())
        and not _TITLE.fullmatch(_clean(line.text[: found.start()]))
    )


def _items(lines: Sequence[_Line], starts: Callable[[_Line], bool]) -> Iterator[list[str]]:
    """The texts of each criterion's lines.  `bare`: the one before had none but its name."""
    item: list[str] = []
    bare = False
    is_open = after_blank = False
    for line in lines:
        if item and after_blank and line.mark in ("heading", "bold") and _is_title(line):
            break  # "**Conclusion**": a list under it is no longer the plan's
        if starts(line):
            if item:
                yield item
                bare = not _described(item)
            item, is_open = [line.text], True
        elif line.text and is_open:
            # Prose after a blank line ends a criterion that has been described, and so does a heading.
            apart = line.mark in ("", "bold") and line.indent == 0 and after_blank
            prose = apart and (bare or _described(item))
            if prose or line.mark == "heading":
                is_open = False
            else:
                item.append(line.text)
        after_blank = not line.text
    if item:
        yield item


def _described(item: Sequence[str]) -> bool:
    return len(item) > 1 or bool(_split(item[0])[1])


def _criterion(item: Sequence[str]) -> Criterion | None:
    name, described = _split(item[0])
    rest = " ".join(text for each in [described, *item[1:]] if (text := _clean(each, ends="")))
    if not name:
        return None
    return Criterion(name, f"{name}: {rest}" if rest else name)


def _split(text: str) -> tuple[str, str]:
    """A line's name and description; a line without either mark between them is all name."""
    bold = _BOLD_NAME.match(text)
    if bold and not _SEPARATOR.search(bold.group(2).rstrip(" :")):
        return _clean(bold.group(2)), text[bold.end() :].lstrip(" \t:-\u2013\u2014")
    found = _SEPARATOR.search(text)
    if found and len(text[: found.start()].split()) <= _LONGEST_NAME:
        return _clean(text[: found.start()]), text[found.end() :]
    return _clean(text), ""


def _clean(text: str, ends: str = " :.-\u2013\u2014") -> str:
    """Without markup and, for names, without what stands at their ends."""
    plain = re.sub(r"\*+|__+|`+", "", text)
    return re.sub(r"\s+", " ", plain).strip().strip(ends).strip()
