"""MT-bench's human votes (Zheng et al., 2023; the paper's section 4.4): first turn, experts' votes.

Rows are those of `lmsys/mt_bench_human_judgments`: a vote a row, with both conversations in it.  In
FastChat's files the questions, the models' answers and the votes lie apart; this joins them, with all
the votes on a pair in one row, so that a pair is judged once:

    python -m s2d_loop.formats.mt_bench FOLDER > mt_bench.jsonl

FOLDER holds `question.jsonl`, `model_answer/*.jsonl` and `human_votes.jsonl`.
"""

import json
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

from s2d_loop.formats.base import Item, Row, UnreadableError, excerpt, text
from s2d_loop.formats.pairs import pair, turned
from s2d_loop.terminal import echo_json

_VERDICTS = {"model_a": "A", "model_b": "B"}
_CATEGORIES = ("writing", "roleplay", "reasoning", "math", "coding", "extraction", "stem", "humanities")
_FIRST_ID, _IN_CATEGORY = 81, 10
_FIRST_TURN = 1


class MtBench:
    """A pair and the experts' verdicts on it; rows of other turns and other judges hold no input."""

    columns = ("question_id", "turn", "judge", "conversation_a", "conversation_b")

    def items(self, row: Row) -> Sequence[Item]:
        if not _taken(row):
            return ()
        question, answer_a = _first_turn(row, "conversation_a")
        asked, answer_b = _first_turn(row, "conversation_b")
        if asked != question:
            raise UnreadableError("the two conversations begin with different questions", excerpt(asked))
        return (pair(question, answer_a, answer_b, category(row)),)

    def references(self, row: Row) -> Sequence[str | None]:
        if not _taken(row):
            return ()
        return (" ".join(_verdict(vote) for vote in row.get("votes", [row]) if _by_expert(vote)) or None,)


def category(row: Row) -> str:
    """Ten questions of each category, in the benchmark's order; the hub's rows don't name it."""
    number = row.get("question_id")
    if type(number) is not int or not 0 <= number - _FIRST_ID < _IN_CATEGORY * len(_CATEGORIES):
        raise UnreadableError("no MT-bench question has this id", excerpt(number))
    return _CATEGORIES[(number - _FIRST_ID) // _IN_CATEGORY]


def rows(folder: Path) -> Iterator[dict[str, Any]]:
    """Every pair of first answers to every question, with the experts' votes on it, if any.

    Which model is A says nothing about it.
    """
    answers: dict[int, dict[str, str]] = defaultdict(dict)
    for path in sorted((folder / "model_answer").glob("*.jsonl")):
        for each in lines(path):
            answers[each["question_id"]][each["model_id"]] = each["choices"][0]["turns"][0]
    cast = defaultdict(list)
    for vote in lines(folder / "human_votes.jsonl"):
        if vote["turn"] == _FIRST_TURN and _by_expert(vote):
            cast[vote["question_id"], frozenset((vote["model_a"], vote["model_b"]))].append(vote)
    for each in lines(folder / "question.jsonl"):
        number, question = each["question_id"], each["turns"][0]
        for a, b in combinations(sorted(answers[number]), 2):
            if turned(question, a, b):
                a, b = b, a
            yield {
                "question_id": number,
                "turn": _FIRST_TURN,
                "judge": "experts",
                "model_a": a,
                "model_b": b,
                "conversation_a": _conversation(question, answers[number][a]),
                "conversation_b": _conversation(question, answers[number][b]),
                "votes": [
                    {"judge": vote["judge"], "winner": winner_of(vote, a, b)}
                    for vote in cast[number, frozenset((a, b))]
                ],
            }


def winner_of(vote: Mapping[str, Any], a: str, b: str) -> str:
    """A vote's winner, for its two models in this order."""
    said: str = vote["winner"]
    names = {a: "model_a", b: "model_b"}
    return names[vote[said]] if said in _VERDICTS else said


def decided(row: Row) -> bool:
    """Whether a vote on the pair names a winner: the others have nothing to agree with."""
    return any(vote["winner"] in _VERDICTS for vote in row["votes"])


def _taken(row: Row) -> bool:
    return row.get("turn") == _FIRST_TURN and _by_expert(row)


def _by_expert(vote: Mapping[str, Any]) -> bool:
    """Not the authors of the benchmark, and not a model."""
    return text(vote, "judge").startswith("expert")


def _verdict(vote: Mapping[str, Any]) -> str:
    winner = text(vote, "winner")
    if winner not in _VERDICTS and not winner.startswith("tie"):
        raise UnreadableError("a winner is neither model_a nor model_b nor a tie", excerpt(winner))
    return _VERDICTS.get(winner, "C")


def _first_turn(row: Row, column: str) -> tuple[str, str]:
    turns = row.get(column)
    if not isinstance(turns, list) or len(turns) < 2 or not all(isinstance(turn, Mapping) for turn in turns):
        raise UnreadableError(f"no question and answer in column {column!r}", excerpt(turns))
    return text(turns[0], "content"), text(turns[1], "content", empty=True)


def _conversation(question: str, answer: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]


def lines(path: Path) -> list[dict[str, Any]]:
    """A file's JSON objects."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line.strip()]


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit("usage: python -m s2d_loop.formats.mt_bench FOLDER > mt_bench.jsonl")
    for joined in filter(decided, rows(Path(sys.argv[1]))):
        echo_json(joined)
