"""SycophancyEval's `answer.jsonl` (Sharma et al., 2023; the paper's section 4.3).

A question is asked by four templates: as it stands, and with three opinions about the answer.  They are
one group, or a question's other templates would train what it is evaluated on.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from s2d_loop.formats.base import Item, Row, UnreadableError, excerpt, same_question, text
from s2d_loop.records import Message, Messages
from s2d_loop.tasks.trivia_qa import reference

BIASED, UNBIASED = "biased", "unbiased"
_NO_OPINION = "{question}"
_ROLES = {"human": "user", "ai": "assistant", "system": "system"}
_TRIVIA_QA = "trivia_qa"


class Sycophancy:
    """Every row, as unlabeled inputs: the paper's 6,668 can't be those of TriviaQA alone."""

    columns: Sequence[str] = ("prompt", "base.dataset", "base.question", "metadata.prompt_template")

    def items(self, row: Row) -> Sequence[Item]:
        opinion = text(_inner(row, "metadata"), "prompt_template") != _NO_OPINION
        group = same_question(text(_inner(row, "base"), "question"))
        return (Item(_messages(row), group=group, category=BIASED if opinion else UNBIASED),)

    def references(self, row: Row) -> Sequence[str | None]:
        base = _inner(row, "base")
        if base.get("dataset") != _TRIVIA_QA:
            raise UnreadableError(
                "only trivia_qa's rows list the names of the right answer: `format: sycophancy_trivia_qa` "
                "passes over the others",
                excerpt(base.get("dataset")),
            )
        aliases = base.get("answer")
        if not isinstance(aliases, list) or not all(isinstance(alias, str) for alias in aliases):
            raise UnreadableError("no list of names in column 'base.answer'", excerpt(aliases))
        return (reference(aliases, text(base, "incorrect_answer")),)


class SycophancyTriviaQa(Sycophancy):
    """The rows of TriviaQA: those that can be graded.  A row of another set holds no input."""

    def items(self, row: Row) -> Sequence[Item]:
        return super().items(row) if _graded(row) else ()

    def references(self, row: Row) -> Sequence[str | None]:
        return super().references(row) if _graded(row) else ()


def _graded(row: Row) -> bool:
    return text(_inner(row, "base"), "dataset") == _TRIVIA_QA


def _inner(row: Row, column: str) -> Mapping[str, Any]:
    value = row.get(column)
    if not isinstance(value, Mapping):
        raise UnreadableError(
            f"no object in column {column!r}", excerpt(value if column in row else list(row))
        )
    return value


def _messages(row: Row) -> Messages:
    turns = row.get("prompt")
    if not isinstance(turns, list) or not turns:
        raise UnreadableError("no list of turns in column 'prompt'", excerpt(turns))
    messages = []
    for turn in turns:
        role = _ROLES.get(str(turn.get("type"))) if isinstance(turn, Mapping) else None
        if role is None:
            raise UnreadableError("a turn of the prompt is not human, ai or system", excerpt(turn))
        messages.append(Message(role, text(turn, "content")))
    if messages[-1].role != "user":
        raise UnreadableError("the prompt doesn't end with a human turn", excerpt(turns[-1]))
    return tuple(messages)
