"""MT-bench (the paper's section 4.4): every pair of six models' first answers to 80 questions, 1,200 in all.

Pairs without a decided human vote are among them: the paper's share of inconsistent verdicts is over all pairs.
GPT-4's published verdicts become a recording beside them, of the program `judge_cot`, whose prompt they came of.
Where models gave the same answer, GPT-4 was asked the same several times and did not always say the same: these are
further samples of one call, in the order of the rows, a pair as it is shown before its twin.
"""

import json
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from s2d_loop.data.base import TEST, DataSet, Made, Rows, Wanted
from s2d_loop.data.public import load, place_of
from s2d_loop.errors import BadInputError
from s2d_loop.formats import mt_bench as public
from s2d_loop.records import Message, content_hash
from s2d_loop.tasks.pairwise import judge_prompt, swapped_verdict

RECORDED = "recorded_gpt4.jsonl"
_QUESTIONS, _ANSWERS = "question.jsonl", "model_answer"
_HUMAN, _GPT4 = "human_votes.jsonl", "gpt4_pair_votes.jsonl"
_VOTE = ("judge", "model_a", "model_b", "question_id", "turn", "winner")
_VERDICTS = {"model_a": "A", "model_b": "B", "tie": "C"}
_SELF_CONTRADICTED = "A"
"""Named in both orders.  What GPT-4 said in each is not published."""


def make(wanted: Wanted) -> Made:
    place = place_of(wanted.origin, "lmsys/mt_bench_human_judgments")
    if isinstance(place, Path) and any((place / name).exists() for name in (_QUESTIONS, _ANSWERS, _HUMAN)):
        return joined(place)
    with tempfile.TemporaryDirectory() as folder:
        unfold(load(place, split="human"), load(place, split="gpt4_pair"), Path(folder))
        return joined(Path(folder))


def joined(folder: Path) -> Made:
    """The rows of a folder laid out as FastChat's files are.

    Raises:
        BadInputError: a file is missing, or a row of one is of another form.
    """
    for name in (_QUESTIONS, _ANSWERS, _HUMAN):
        if not (folder / name).exists():
            raise BadInputError(f"mt_bench: {folder} has no {name}")
    try:
        pairs = list(public.rows(folder))
        if not (folder / _GPT4).exists():
            return Made({TEST: pairs})
        said = {_pair(vote): vote for vote in public.lines(folder / _GPT4) if vote["turn"] == 1}
        recorded = [record for row in pairs for record in records(row, said[_pair(row)])]
    except (KeyError, TypeError, IndexError, ValueError) as error:
        raise BadInputError(
            f"mt_bench: the files in {folder} don't fit together: {type(error).__name__}: {error}"
        ) from error
    undecided = sum(not public.decided(row) for row in pairs)
    return Made(
        {TEST: pairs},
        {RECORDED: recorded},
        [
            f"{undecided:,} pairs have no expert's vote that names a winner: they count for consistency alone",
            f"{RECORDED} is GPT-4 as the program judge_cot; where it contradicted itself, what it said in each order is "
            "not published, and the first answer stands for it",
        ],
    )


def records(row: Mapping[str, Any], vote: Mapping[str, Any]) -> Iterator[dict[str, str]]:
    """GPT-4's verdict as two calls, of the pair as it is shown and of its twin."""
    verdict = _VERDICTS.get(public.winner_of(vote, row["model_a"], row["model_b"]))
    question, a, b = (turn["content"] for turn in (*row["conversation_a"], row["conversation_b"][1]))
    yield _record(judge_prompt(question, a, b), verdict or _SELF_CONTRADICTED)
    yield _record(judge_prompt(question, b, a), swapped_verdict(verdict) if verdict else _SELF_CONTRADICTED)


def unfold(human: Rows, gpt4: Rows, folder: Path) -> None:
    """Write the hub's rows, each of which holds its conversations, as FastChat's files: each text once."""
    questions: dict[int, str] = {}
    answers: dict[str, dict[int, str]] = {}
    for row in gpt4:
        for side in "ab":
            asked, answered = row[f"conversation_{side}"][:2]
            questions[row["question_id"]] = asked["content"]
            answers.setdefault(row[f"model_{side}"], {})[row["question_id"]] = answered["content"]
    _write(
        folder / _QUESTIONS, [{"question_id": n, "turns": [text]} for n, text in sorted(questions.items())]
    )
    (folder / _ANSWERS).mkdir()
    for number, (model, said) in enumerate(sorted(answers.items())):
        lines = [
            {"question_id": n, "model_id": model, "choices": [{"turns": [text]}]} for n, text in said.items()
        ]
        # A model's name is data: it chooses no path.
        _write(folder / _ANSWERS / f"{number}.jsonl", lines)
    for name, rows in ((_HUMAN, human), (_GPT4, gpt4)):
        _write(folder / name, [{key: row[key] for key in _VOTE} for row in rows])


def _write(path: Path, rows: Rows) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def _pair(row: Mapping[str, Any]) -> tuple[int, frozenset[str]]:
    return row["question_id"], frozenset((row["model_a"], row["model_b"]))


def _record(prompt: str, verdict: str) -> dict[str, str]:
    asked = content_hash([Message("user", prompt)])
    text = f"[[{verdict}]]"
    return {"program": "judge_cot", "step": "judge", "input": asked, "text": text, "model": "gpt-4"}


MT_BENCH = DataSet(
    name="mt_bench",
    source="github.com/lm-sys/FastChat and, on the hub, lmsys/mt_bench_human_judgments (Zheng et al., 2023)",
    licence="CC-BY-4.0 (votes and conversations), Apache-2.0 (questions)",
    sizes={TEST: 1_200},
    make=make,
    takes=frozenset({"from"}),
    format="mt_bench",
)
