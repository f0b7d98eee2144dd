"""Examples in the context (the paper's section 4.5 and Table 3: "8-shot"), with reasoning and without.

The examples are the first rows of a file of JSON lines, which every node must see.  They are shown as
earlier turns of the conversation.  A row is of one of two formats:

- GSM8K's, a `question` and a worked `answer` that ends in `#### 72`.  The reply shown ends in Figure 10's
  "Final answer: 72", the form that answers are read by.
- TRL's, a `prompt` and a `completion` of messages, as in a distillation pool.  It is shown as it stands, and
  has no reasoning to show.
"""

import functools
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, Field

from s2d_loop.errors import BadInputError
from s2d_loop.paths import resolve
from s2d_loop.records import Input, Message, Messages, Reply
from s2d_loop.system2.base import LLM

# GSM8K marks what a calculator worked out: "48/2 = <<48/2=24>>24".
_CALCULATOR = re.compile(r"<<[^<>]*>>")


@dataclass(frozen=True, slots=True)
class Shot:
    """One example."""

    question: str
    reply: str
    reasoned: str | None
    """The same reply behind its reasoning, where there is one."""


def _readable(path: str) -> str:
    """So that a file which can't be read is found before a run starts."""
    try:
        shots(path, 1)
    except BadInputError as error:
        raise ValueError(str(error)) from error
    return path


Examples = Annotated[str, AfterValidator(_readable)]
NumShots = Annotated[int, Field(ge=1)]


async def cot_few_shot(x: Input, llm: LLM, *, examples: Examples, num_shots: NumShots = 8) -> Reply:
    """System 2: the examples show their reasoning."""
    return await llm(_ask(x, examples, num_shots, reasoned=True), step="answer")


async def direct_few_shot(x: Input, llm: LLM, *, examples: Examples, num_shots: NumShots = 8) -> Reply:
    """System 1: the same examples without their reasoning."""
    return await llm(_ask(x, examples, num_shots, reasoned=False), step="answer")


def _ask(x: Input, examples: str, num_shots: int, *, reasoned: bool) -> Messages:
    # One more than is shown: an input that is itself an example must not find its answer there.
    rows = shots(examples, num_shots + 1)
    if len(rows) < num_shots:
        raise BadInputError(f"{examples}: holds {len(rows)} examples, and num_shots is {num_shots}")
    others = [shot for shot in rows if shot.question.strip() != x.question.strip()]
    turns: list[Message] = []
    for shot in others[:num_shots]:
        reply = shot.reasoned if reasoned else shot.reply
        if reply is None:
            raise BadInputError(f"{examples}: its rows have no reasoning to show: use direct_few_shot")
        turns += [Message("user", shot.question), Message("assistant", reply)]
    return (*x.messages[:-1], *turns, x.messages[-1])


@functools.cache
def shots(path: str, number: int) -> tuple[Shot, ...]:
    """The first rows of a file, `number` of them where it has so many.

    Raises:
        BadInputError: the file can't be read, holds none, or one of them is of another format.
    """
    try:
        found = tuple(_shots(Path(resolve(path)), number))
    except OSError as error:
        raise BadInputError(f"{path}: can't be read: {error.strerror or error}") from error
    except (ValueError, TypeError, LookupError, AttributeError) as error:
        raise BadInputError(
            f'{path}: a row is not of the form {{"question": "...", "answer": "... #### 72"}} or '
            f'{{"prompt": [...], "completion": [...]}}: {type(error).__name__}: {error}'
        ) from error
    if not found:
        raise BadInputError(f"{path}: holds no examples")
    return found


def _shots(path: Path, number: int) -> Iterator[Shot]:
    with path.open(encoding="utf-8") as lines:
        rows = (json.loads(line) for line in lines if line.strip())
        for _, row in zip(range(number), rows, strict=False):
            yield _pair(row) if "completion" in row else _worked(row)


def _worked(row: Mapping[str, Any]) -> Shot:
    rationale, _, answer = row["answer"].rpartition("####")
    if not (row["question"].strip() and rationale.strip() and answer.strip()):
        raise ValueError(f"nothing before or after '####' in {row['answer'][-60:]!r}")
    final = f"Final answer: {answer.strip()}"
    return Shot(row["question"], final, f"{_CALCULATOR.sub('', rationale).strip()}\n{final}")


def _pair(row: Mapping[str, Any]) -> Shot:
    question, reply = row["prompt"][-1]["content"], row["completion"][-1]["content"]
    if not (question.strip() and reply.strip()):
        raise ValueError("an empty prompt or completion")
    return Shot(question, reply, None)
