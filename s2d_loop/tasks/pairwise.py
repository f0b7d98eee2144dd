"""Which of two answers is better (section 4.4): the judge prompt of Figure 13, its verdicts and its twin."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace

from s2d_loop.records import Input, Part
from s2d_loop.system2.prompts import fill, load
from s2d_loop.tasks.base import Perturbation, with_last_turn
from s2d_loop.tasks.text import boxes, tail, text_of, words

TIE = "C"
QUESTION, ANSWER_A, ANSWER_B = "question", "answer_a", "answer_b"
_OTHER = {"A": "B", "B": "A"}

_MARKUP = re.compile(r"[*_`\\]+")
_NAME = r"(?i:(?:assistant|answer|response|model|option|candidate)\s)?"
_SAID = rf"\W*(?i:an?\s(?=tie|draw))?{_NAME}(?P<verdict>[ABCabc]\b|(?i:tie|draw)\b)"
_LINE = re.compile(rf"^[^\w\n]{{0,9}}{_NAME}(?P<verdict>[ABC]|(?i:tie))[^\w\n]{{0,9}}$", re.MULTILINE)
# In brackets stands a verdict, or a comparison of the two, as in `[[A>>B]]`.
_BRACKETS = (
    re.compile(r"\[\[([^\[\]\n]{1,60})(?:\]{1,2}|$)", re.MULTILINE),
    re.compile(r"(?<!\[)\[([^\[\]\n]{1,60})\](?!\])"),
)
_IN_BRACKETS = re.compile(rf"{_SAID}(?:\s(?i:(?:is|was)\s(?:the\s)?(?:better|best|winner)|wins))?\W*")
_COMPARED = re.compile(
    rf"\W*{_NAME}(?P<left>[ABab])\s?(?P<sign>>{{1,3}}|<{{1,3}}|={{1,3}}|\u2248)\s?{_NAME}(?P<right>[ABab])\W*"
)
# The prompt's words, said again: "[[A]]" if assistant A is better, ... and "[[C]]" for a tie.
_IF = re.compile(r"[\"'.\u201d]{0,2}\s(?i:if|when|whenever|unless|means|stands)\b")
_FOR_A_TIE = re.compile(r"[\"'\u201d]{0,2}\s(?i:for|in case)\b")
_LISTED = re.compile(r"\][\"'\u201d]{0,2}[ ]?[,/|]?[ ]?(?:(?i:or|and|vs\.?)[ ])?[\"'\u201c]{0,2}\Z")
_ENDS_LINE = re.compile(r"[ \"'\u201d.!)}\]]*(?:\n|$)")
_ANNOUNCED = re.compile(
    r"(?i:verdict|judge?ment|winner|decision|choice|answer|conclusion)\W{0,6}(?i:is)?\W{0,6}$"
)
_LONGEST_LEAD = 40

_SENTENCE = re.compile(r"(?<=[.!?;])\s|\n")
# What follows one of these names an answer without calling it the better one.
_UNCLEAR = re.compile(
    r"\b(?:not|never|neither|nor|cannot|if|whether|unless|could|might|may)\b|n['\u2019]t\b", re.IGNORECASE
)
_DEGREE = r"(?:(?:the|a|an|clearly|slightly|much|far|overall|somewhat|marginally|also|still|a bit)\s){0,4}"
_ANSWER = rf"{_NAME}(?P<verdict>[AB])(?:['\u2019]s)?(?:\s(?i:answer|response))?"
# In prose `a` is a word, and so is `A` before one: a name is a capital that ends its phrase or has a verb
# behind it, or a small letter that ends the sentence.
_LETTER = (
    r"(?:[ABC](?=\W{0,9}$|[.,;:!?)\"']|\s?[-\u2013\u2014(]|['\u2019]s\b"
    r"|\s(?i:is|was|wins|won|has|gives|does|provides|because|since|due|by|over|for|with)\b)|[abc](?=\W{0,9}$))"
)
_PROSE = (
    re.compile(
        r"(?i:verdict|judge?ment|winner|decision|choice|vote|answer|preference|better\s(?:one|response|assistant))"
        r"[\"']?(?:\s(?i:is|goes\sto)\b\s?:?|\s?:|\s?[\u2013\u2014]\s)"
        rf"\W{{0,8}}{_NAME}(?P<verdict>{_LETTER}|(?i:(?:an?\s)?(?:tie|draw)\b))"
    ),
    re.compile(
        rf"\b{_ANSWER}\s(?i:(?:is|was)\s{_DEGREE}(?:better|superior|stronger|best|winner|preferred|preferable)"
        r"|wins|won|has\s(?:the|an?)\s(?:slight\s|clear\s)?(?:edge|advantage))\b"
    ),
    re.compile(
        r"\b(?i:(?:edge|win|point|nod|victory|preference|verdict)\s(?:goes|belongs)\sto|in\sfavou?r\sof"
        rf"|i(?:\swould|'d)?\s(?:prefer|choose|pick|select|vote\sfor)):?\s(?:the\s)?{_ANSWER}(?=\W|$)"
    ),
    re.compile(
        r"\b(?i:it is|it's|this is|call it|calling it|ends in)\s(?P<verdict>(?i:an?\s(?:tie|draw)))\b"
    ),
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

    The prompt's own words about the format are no verdict.  Brackets that contradict each other can't be
    parsed unless the last ones are said as the final verdict, nor can prose that names two winners.  A reference is one verdict or several people's; the
    verdict of most of them is right, and a tie where no verdict leads.  (`evaluate.judges` counts votes
    one by one, as the paper does.)
    """

    name = "pairwise"
    perturbations: Mapping[str, Perturbation] = {"swap": Perturbation(swap, swapped_verdict)}

    def parse(self, reply: str) -> str | None:
        text = _one_space(tail(text_of(reply)))
        for brackets in _BRACKETS:
            if verdict := _bracketed(text, brackets):
                return verdict
        if alone := _in_brackets(text):
            return alone
        said = {each for sentence in _SENTENCE.split(text) for each in _in_prose(sentence)}
        # On a line of its own a small letter may be anything, such as a language of code.
        said |= {_letter(line["verdict"]) for line in _LINE.finditer(text)}
        return said.pop() if len(said) == 1 else None

    def format(self, answer: str) -> str:
        return f"[[{answer}]]"

    def score(self, answer: str | None, reference: str) -> bool:
        counts = Counter(votes(reference)).most_common(2)
        if answer is None or not counts:
            return False
        leads = len(counts) == 1 or counts[0][1] > counts[1][1]
        return answer == (counts[0][0] if leads else TIE)


def _one_space(text: str) -> str:
    """The text without markup, with one space for many, and `[[A]]` for `\\boxed{A}`."""
    for box in reversed(list(boxes(text))):
        text = f"{text[: box.start]}[[{words(box.text)}]]{text[box.end :]}"
    return "\n".join(" ".join(line.split()) for line in _MARKUP.sub("", text).splitlines())


def _letter(said: str) -> str:
    return said.upper() if len(said) == 1 else TIE


def _in_brackets(text: str) -> str | None:
    """The verdict that stands alone, as in a pair of brackets; None for what is none, such as `X` or `A/B`."""
    if found := _IN_BRACKETS.fullmatch(text):
        return _letter(found["verdict"])
    found = _COMPARED.fullmatch(text)
    if not found or found["left"].upper() == found["right"].upper():
        return None
    return {">": found["left"].upper(), "<": found["right"].upper()}.get(found["sign"][0], TIE)


def _bracketed(text: str, brackets: re.Pattern[str]) -> str | None:
    """The verdict in brackets: the only one, or the last of several where it is said as the final one."""
    found = [(each, verdict) for each in brackets.finditer(text) if (verdict := _in_brackets(each[1]))]
    said = [(each, verdict) for each, verdict in found if not _IF.match(text, each.end())]
    if len(said) < len(found):
        said = [(each, verdict) for each, verdict in said if not _FOR_A_TIE.match(text, each.end())]
    if not said:
        return None
    last, verdict = said[-1]
    if len({verdict for _, verdict in said}) == 1:
        return verdict
    lead = text[max(0, last.start() - _LONGEST_LEAD) : last.start()]
    is_final = _ANNOUNCED.search(lead) or _ENDS_LINE.match(text, last.end())
    return verdict if is_final and not _LISTED.search(lead) else None


def _in_prose(sentence: str) -> Iterator[str]:
    """The verdicts that a sentence states, which a question doesn't."""
    unclear = _UNCLEAR.search(sentence)
    end = unclear.start() if unclear else len(sentence)
    for form in _PROSE if not sentence.endswith("?") else ():
        for found in form.finditer(sentence):
            if found.start("verdict") < end:
                yield _letter(found["verdict"])
