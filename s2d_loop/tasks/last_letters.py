"""Last letter concatenation (section 4.2.1): two words in quotes, exact match on their last letters."""

import re
import unicodedata
from collections.abc import Mapping, Sequence

from s2d_loop.records import Messages
from s2d_loop.tasks.base import Perturbation, reworded, with_last_turn
from s2d_loop.tasks.text import boxes, tail, text_of, words

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
# "n" and "u", one by one.
_APART = re.compile(r"[\s,+&-]{0,3}(?:and\s)?")
_ANSWER = re.compile(
    r"\b(?:answer|result|output|concatenation)\b[\s*_`\"']{0,4}(?:\b(?:is|would be|becomes)\b|[:=])",
    re.IGNORECASE,
)
_MOST_ANSWERS = 20
_SENTENCE = re.compile(r"[.!?](?=\s|$)|\n")
_SPELLED = re.compile(r"\w(?:[\s,+.&-]{1,3}(?:and\s)?\w(?!\w)){1,16}", re.IGNORECASE)
_CONCLUSION = re.compile(
    r"(?:\b(?:is|are|was|be|becomes?|gives?|giving|gets?|makes?|making|forms?|forming|spells?|spelling"
    r"|yields?|yielding|produces?|producing|equals?|as|into|so|thus)\b"
    rf"|[:=\u2192]|->)[\s*_`]{{0,8}}(?P<word>{_SPELLED.pattern}|\S{{1,64}})\W{{0,16}}$",
    re.IGNORECASE,
)
_LONGEST_WORD = 120
_NO_ANSWERS = frozenset(
    ["sure", "okay", "thanks", "cheers", "certainly", "great", "done", "answer", "result", "solution"]
)


def lower_case(messages: Messages) -> Messages | None:
    """The quoted words in lower case: scoring ignores case, so the answer stays."""
    text = messages[-1].content
    if not _QUOTED.search(text):
        return None
    return with_last_turn(messages, _QUOTED.sub(lambda found: found.group().lower(), text))


class LastLetters:
    """Reads what a reply says the answer is, else its last quoted span, else the word that it ends in.

    Only letters and digits count, so `"s-o"`, `**So**.`, `s, o` and `S + O = SO` are all `so`.  A last word
    is read where it stands alone or is said to be the result: of a remark ("hope that helps") it isn't one.
    """

    name = "last_letters"
    perturbations: Mapping[str, Perturbation] = {"lower_case": reworded(lower_case)}

    def parse(self, reply: str) -> str | None:
        text = tail(text_of(reply))
        boxed = [said for box in boxes(text) if (said := letters(words(box.text)))]
        if boxed:
            return boxed[-1]
        for found in reversed(list(_ANSWER.finditer(text))[-_MOST_ANSWERS:]):
            said = text[found.end() : found.end() + _LONGEST_WORD].lstrip(" \t\n:*_`")
            if answer := _word(_SENTENCE.split(said, maxsplit=1)[0]):
                return answer
        quoted = [found for found in _QUOTED.finditer(text) if letters(_inside(found))]
        return _quoted(text, quoted) if quoted else _unquoted(text)

    def format(self, answer: str) -> str:
        return answer

    def score(self, answer: str | None, reference: str) -> bool:
        return answer is not None and answer == letters(reference)


def _inside(found: re.Match[str]) -> str:
    return str(found.group(found.lastindex or 0))


def _word(text: str) -> str | None:
    """The letters of a text that is one word, or letters one by one; of a sum, its result."""
    text = text.replace("->", "=").replace("\u2192", "=").rpartition("=")[2].strip()
    if len(text) > _LONGEST_WORD:
        return letters(text) if text.isalnum() else None
    text = re.sub(r"^\W+|\W+$", "", text)
    if _SPELLED.fullmatch(text):
        return letters(re.sub(r"\band\b", "", text, flags=re.IGNORECASE))
    return letters(text) or None if len(text.split()) == 1 else None


def _quoted(text: str, quoted: Sequence[re.Match[str]]) -> str | None:
    """The last quoted span, unless the rest of its sentence says what follows from it."""
    last = quoted[-1]
    rest = _SENTENCE.split(text[last.end() : last.end() + _LONGEST_WORD], maxsplit=1)[0]
    if concluded := _CONCLUSION.search(rest):
        said = _word(concluded["word"])
        # 'The last letter of "Pelu" is u': a part of the answer, or all of it?
        return said if said and len(said) > 1 else None
    answer, end = letters(_inside(last)), last.start()
    singles = [each for each in quoted if len(letters(_inside(each))) == 1]
    if len(answer) > 1 or len(singles) == 1:
        return answer
    for each in reversed(singles[:-1]):
        if not _APART.fullmatch(text, each.end(), end):
            break
        answer, end = letters(_inside(each)) + answer, each.start()
    # 'It is "n" of "Mon" and "u" of "Pelu"' has named them, and not yet joined them.
    return answer if len(answer) > 1 else None


def _unquoted(text: str) -> str | None:
    """A word on a line of its own, else the last one that is said to be the result or stands alone."""
    lines = text.strip().split("\n")
    if len(lines) == 1 and (whole := _word(text)):
        return whole
    alone = {said for line in lines if (said := _word(line)) and said not in _NO_ANSWERS}
    if len(alone) == 1:
        return alone.pop()
    sentences = [each for each in _SENTENCE.split(text) if letters(each)]
    last = _word(sentences[-1]) if sentences else None
    if last is None or last in _NO_ANSWERS:
        concluded = [found["word"] for each in sentences if (found := _CONCLUSION.search(each))]
        last = _word(concluded[-1]) if concluded else None
    # "Mon: n.  Pelu: u." has named the letters, and not yet joined them.
    parts = sum(len(each) == 1 for each in alone)
    return last if last and (len(last) > 1 or parts < 2) else None


def letters(text: str) -> str:
    """Only the letters and digits of a text, in lower case."""
    return "".join(c for c in unicodedata.normalize("NFC", text).lower() if c.isalnum())
