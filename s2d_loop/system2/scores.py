"""Reads the scores of two answers, from 1 to 5, as models write them.

`4/5`, `Score: 4`, `4 out of 5`, `four`, after the assistants' names or one on each line, or all on one
line.  A score that might be the other answer's isn't read: a criterion without both is left out of the
average, which costs less than a score on the wrong side.
"""

import itertools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal

from s2d_loop.thoughts import spoken

Pair = tuple[Decimal | None, Decimal | None]

_WORDS = {"one": 1, "two": 2, "three": 3, "four": 4, "five": 5}
_LONGEST = 50_000
"""Characters; the prompt asks for the scores on the first two lines."""
_NUM = r"(?:\d{1,6}(?:\.\d{1,6})?|one|two|three|four|five)(?![\w%])(?!\.\d|,\d|\s+of\s+(?:the|its|a)\b)"
_OF = r"(?:\s*/\s*|\s+out\s+of\s+|\s+of\s+)"
_SCALE = re.compile(
    r"(?:\b(?:on|using|with)\s+a\s+)?(?:\b(?:scale|range)\s+)?"
    r"(?:\b(?:of|from)\s+|\()?\b(?:1|one)\s*(?:to|-|\u2013)\s*(?:5|five)\b\)?"
    r"|\bbetween\s+(?:1|one)\s+and\s+(?:5|five)\b",
    re.IGNORECASE | re.ASCII,
)
_LABEL = (
    r"\b(?:assistant|response|answer|model)[ ]*(?P<named>(?-i:[AB]))\b"
    r"|(?:^|(?<=[\s(,;&]))(?P<bare>(?-i:[AB]))(?=(?:'s\s+(?:response|answer|score))?\s*[:=])"
)
_LINK = r"(?:\s|[:=\u2013\u2014(]|-(?!\d)|\b(?:of|is|as|at|(?-i:a)|an|the|would|be|to|it|with)\b)*"
_STRONG = (
    rf"(?<![\w.,/-])(?P<of>{_NUM}){_OF}(?P<top>\d{{1,6}}|five|ten)\b"
    rf"|\b(?:scores?|scored|ratings?|rated?|grade)\b{_LINK}(?P<said>{_NUM})"
    rf"|(?<![\w.,/-])(?P<points>{_NUM})\s*(?:points?|stars?)\b"
)
_TOP = re.compile(rf"{_OF}(\d{{1,6}}|five|ten)\b", re.IGNORECASE | re.ASCII)
_TOKEN = re.compile(f"{_LABEL}|{_STRONG}", re.IGNORECASE | re.ASCII)
_NEXT = "(?:and|while|whereas|but|because|since|as|for|assistant|response|answer)"
# A bare number counts only where nothing but such words stands between the name and it, and ends there.
_AFTER_NAME = re.compile(
    r"(?:'s?)?(?:\s|[:=\u2013\u2014()]|-(?!\d)|\b(?:response|answer|score|gets?|receives?|earns?|is|(?-i:a)|an|of|the)\b)*"
    rf"(?<![\w.,/-])(?P<num>{_NUM})(?=\s*(?:$|[,;:)(|]|[\u2013\u2014-](?!\s*\d)|\.(?:\s|$)|{_NEXT}\b))",
    re.IGNORECASE | re.ASCII,
)
_BARE_LINE = re.compile(
    rf"(?:score\s*)?[:(]?\s*(?P<num>{_NUM})\s*(?:[.)]?\s*$|[:(\u2013\u2014-]\s*\D)", re.IGNORECASE | re.ASCII
)
_BARE_PAIR = re.compile(
    rf"(?:scores?\s*:?\s*)?(?P<a>{_NUM})(?:\s*[,;|&]\s+|\s+and\s+|\s+vs\.?\s+|\s+)(?P<b>{_NUM})\W*",
    re.IGNORECASE | re.ASCII,
)
_BEFORE_NAME = re.compile(r"\s*(?:(?:to|for|goes\s+to)\s+(?:the\s+)?|[:(\u2013\u2014-]\s*)?", re.IGNORECASE)
_LIST_MARK = re.compile(
    r"(?:[-+\u2022#>]+[ \t]+)*(?:\d{1,2}[.)][ \t]+(?=[A-Za-z\"])|[Ll]ine[ ]\d:)?[ ]*", re.ASCII
)
_HEADS = re.compile(
    r"(?:(?:score|rating|evaluation)\s+(?:for|of))?[\s:]*(?:'s?\s+(?:response|answer|score|rating)s?[\s:]*)?",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class _Token:
    """A name (`a` or `b`), or a score; a score that isn't one from 1 to 5 keeps its place, without a value."""

    start: int
    end: int
    name: str = ""
    value: Decimal | None = None


def scores(text: str) -> Pair:
    """A's score and B's; None for one that isn't there, or could be the other's."""
    plain = re.sub(r"[*_`]+", "", spoken(text)[:_LONGEST]).replace("\u2019", "'")
    # One space for many: a model that has gone astray writes thousands, over which searches are slow.
    spaced = (_SCALE.sub(" ", " ".join(line.split())).strip() for line in plain.splitlines())
    lines = [said for line in spaced if (said := _LIST_MARK.sub("", line, count=1))]
    read = [(line, list(_tokens(line))) for line in lines]
    first = [_alone(line, tokens) for line, tokens in read[:2]]
    if len(first) == 2 and all(len(each) == 1 for each in first):
        # Just what the prompt asks for: a line for each, in order.
        return first[0][0], first[1][0]
    named = _named(read)
    if named:
        return named.get("a"), named.get("b")
    alone = [value for line, tokens in read for value in _alone(line, tokens)]
    return (alone[0], alone[1]) if len(alone) > 1 else (alone[0] if alone else None, None)


def _tokens(line: str) -> Iterator[_Token]:
    """Names and scores in order."""
    place = 0
    while found := _TOKEN.search(line, place):
        place = found.end()
        name = found.group("named") or found.group("bare")
        if not name:
            number, top = (
                found.group("of") or found.group("said") or found.group("points"),
                found.group("top"),
            )
            if not top and (of := _TOP.match(line, place)):  # the 10 of "Score: 8/10"
                top, place = of.group(1), of.end()
            yield _Token(found.start(), place, value=_value(number, top or ""))
            continue
        yield _Token(found.start(), place, name=name.lower())
        bare = _AFTER_NAME.match(line, place)
        if bare:
            yield _Token(bare.start("num"), bare.end("num"), value=_value(bare.group("num")))
            place = bare.end("num")


def _value(number: str, top: str = "") -> Decimal | None:
    if top and top.lower() not in ("5", "five"):
        return None
    value = Decimal(_WORDS.get(number.lower(), number))
    return value if 1 <= value <= 5 else None


def _named(read: Sequence[tuple[str, Sequence[_Token]]]) -> dict[str, Decimal | None]:
    """The first score of each name that has one."""
    found: dict[str, Decimal | None] = {}
    waiting = ""
    for line, tokens in read:
        alone = _alone(line, tokens)
        pairs = [(waiting, alone[0])] if waiting and len(alone) == 1 else _pairs(line, tokens)
        for name, value in pairs:
            found.setdefault(name, value)
        waiting = _heads(line, tokens) if not alone else ""
    return found


def _heads(line: str, tokens: Sequence[_Token]) -> str:
    """The name that a line consists of, whose score stands on the next line."""
    if (
        len(tokens) == 1
        and tokens[0].name
        and _HEADS.fullmatch(line[: tokens[0].start] + line[tokens[0].end :])
    ):
        return tokens[0].name
    return ""


def _pairs(line: str, tokens: Sequence[_Token]) -> list[tuple[str, Decimal | None]]:
    """Which name has which score on one line; none of them where that isn't plain."""
    shape = "".join("n" if token.name else "s" for token in tokens)
    if re.fullmatch(r"nnss", shape) and tokens[0].name != tokens[1].name:
        return [(tokens[0].name, tokens[2].value), (tokens[1].name, tokens[3].value)]
    if re.fullmatch(r"(?:ns+)+n?", shape):
        return [
            (name.name, score.value)
            for name, score in itertools.pairwise(tokens)
            if name.name and not score.name
        ]
    if re.fullmatch(r"(?:sn)+", shape):
        pairs = list(zip(tokens[::2], tokens[1::2], strict=True))
        if all(_BEFORE_NAME.fullmatch(line, score.end, name.start) for score, name in pairs):
            return [(name.name, score.value) for score, name in pairs]
    return []


def _alone(line: str, tokens: Sequence[_Token]) -> list[Decimal | None]:
    """The scores that a line starts with, where it doesn't say whose they are."""
    if pair := _BARE_PAIR.fullmatch(line):
        return [_value(pair.group("a")), _value(pair.group("b"))]
    if bare := _BARE_LINE.match(line):
        return [_value(bare.group("num"))]
    if not tokens or tokens[0].name or tokens[0].start > 0 or _pairs(line, tokens):
        return []
    return [token.value for token in itertools.takewhile(lambda token: not token.name, tokens)][:2]
