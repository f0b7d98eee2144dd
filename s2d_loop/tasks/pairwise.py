"""Which of two answers is better (section 4.4): the judge prompt of Figure 13, its verdicts and its twin."""

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace

from s2d_loop.records import Input, Part
from s2d_loop.system2.prompts import fill, load
from s2d_loop.tasks.base import Perturbation, with_last_turn

TIE = "C"
QUESTION, ANSWER_A, ANSWER_B = "question", "answer_a", "answer_b"
_OTHER = {"A": "B", "B": "A"}

_MARKUP = re.compile(r"[*_`\\]+")
_NAME = r"(?i:(?:assistant|answer|response|model)\s+)?"
# The letter must end there; of `[[A>B]]` it is the first, and `[[A=B]]` isn't one.
_DOUBLE = re.compile(rf"\[\[\W*{_NAME}(?P<verdict>[ABCabc]|(?i:tie))\b(?!\s*=)")
_SINGLE = re.compile(rf"\[\s*{_NAME}(?P<verdict>[ABCabc]|(?i:tie))\s*\]")
_ALONE = re.compile(rf"\W*(?i:an?\s+(?=tie))?{_NAME}(?P<verdict>[ABCabc]|(?i:tie))\W*")
# In prose `a` is a word, so only capitals are names there.
_PROSE = (
    re.compile(
        r"(?i:verdict|judge?ment|winner|decision|choice|answer)(?:\s+(?i:is)\b\s*:?|\s*:)"
        rf"\W*{_NAME}(?P<verdict>[ABC]\b|(?i:an?\s+tie\b|tie\b))"
    ),
    re.compile(
        r"(?i:assistant|answer|response)\s+(?P<verdict>[AB])(?:'s\s+(?i:answer|response))?\s+(?i:is|was)\s+"
        r"(?i:(?:the|clearly|slightly|much|overall)\s+)*(?i:better|superior|stronger|best|winner|preferred)\b"
    ),
    re.compile(r"(?i:it is|it's|this is|call it|calling it)\s+(?P<verdict>(?i:a\s+tie))\b"),
)


def judge_prompt(question: str, answer_a: str, answer_b: str) -> str:
    """Figure 13's prompt over two answers."""
    return fill(load("judge"), question=question, answer_a=answer_a, answer_b=answer_b)


def pair_parts(question: str, answer_a: str, answer_b: str) -> tuple[Part, ...]:
    """What a program that takes the prompt apart is given."""
    return (Part(QUESTION, question), Part(ANSWER_A, answer_a), Part(ANSWER_B, answer_b))


def swap(x: Input) -> Input | None:
    """The same pair in the other order; None for what isn't this prompt over its own parts."""
    texts = {part.name: part.text for part in x.parts}
    if not {QUESTION, ANSWER_A, ANSWER_B} <= set(texts):
        return None
    question, a, b = texts[QUESTION], texts[ANSWER_A], texts[ANSWER_B]
    if x.question != judge_prompt(question, a, b):
        return None
    other = {ANSWER_A: b, ANSWER_B: a}
    return replace(
        x,
        messages=with_last_turn(x.messages, judge_prompt(question, b, a)),
        parts=tuple(replace(part, text=other.get(part.name, part.text)) for part in x.parts),
    )


def swapped_verdict(verdict: str) -> str:
    """What a verdict on the swapped pair says of the pair: A and B change places, a tie stays one."""
    return _OTHER.get(verdict, verdict)


def votes(reference: str) -> tuple[str, ...]:
    """The human verdicts that a reference holds, one letter each (`A B A`)."""
    return tuple(vote for vote in reference.split() if vote in ("A", "B", TIE))


class Pairwise:
    """Reads the last `[[A]]`, `[[B]]` or `[[C]]` of a reply, else what it clearly says in other words.

    Prose that names two winners can't be parsed.  A reference is one verdict or several people's; the
    verdict of most of them is right, and a tie where no verdict leads.  (`evaluate.judges` counts votes
    one by one, as the paper does.)
    """

    name = "pairwise"
    perturbations: Mapping[str, Perturbation] = {"swap": Perturbation(swap, swapped_verdict)}

    def parse(self, reply: str) -> str | None:
        text = _MARKUP.sub("", reply)
        for form in (_DOUBLE, _SINGLE):
            if found := list(form.finditer(text)):
                return _letter(found[-1])
        if alone := _ALONE.fullmatch(text):
            return _letter(alone)
        said = {_letter(found) for form in _PROSE for found in form.finditer(text)}
        return said.pop() if len(said) == 1 else None

    def format(self, answer: str) -> str:
        return f"[[{answer}]]"

    def score(self, answer: str | None, reference: str) -> bool:
        counts = Counter(votes(reference)).most_common(2)
        if answer is None or not counts:
            return False
        leads = len(counts) == 1 or counts[0][1] > counts[1][1]
        return answer == (counts[0][0] if leads else TIE)


def _letter(found: re.Match[str]) -> str:
    said = found["verdict"].upper()
    return said if len(said) == 1 else TIE
