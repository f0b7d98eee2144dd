"""A task that is only data: a YAML file says how to read an answer, write it, and perturb a question.

`parser: path/to/task.yaml` names one.  Where its rows are, and a prompt made of their columns, belong to
the configuration (`sources`, `heldout`, `template`).
"""

import functools
import itertools
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import regex
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from s2d_loop.config.document import read
from s2d_loop.config.problems import Key, error
from s2d_loop.config.words import shown
from s2d_loop.plugins import did_you_mean
from s2d_loop.records import Messages
from s2d_loop.tasks.base import Perturbation, reworded, with_last_turn
from s2d_loop.tasks.numbers import number
from s2d_loop.tasks.text import LONGEST
from s2d_loop.thoughts import spoken

_SLOT = "{answer}"

_PATIENCE = 0.4
"""Seconds of processor time for one search: a sane pattern takes a thousandth on any reply.

The pattern is the operator's, but the text is a stranger's, and a pattern that is quick on every reply seen
so far can take for ever on one made for it.  So `regex` runs it, which knows Python's syntax and can be told
to give up; such a reply holds no answer.
"""
_MOST_MATCHES = 10_000


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class AnswerFile(_Section):
    """How a reply is read."""

    pattern: str
    """A regular expression; its group is the answer (of several, the one that matched last), else the match."""
    take: Literal["first", "last"] = "last"
    """Which match counts."""
    normalize: list[Literal["case", "punctuation", "number"]] = []
    """What makes no difference: capitals; anything but letters, digits and spaces; how a number is written."""

    @field_validator("pattern")
    @classmethod
    def _compiles(cls, pattern: str) -> str:
        return _compiled(pattern)

    @model_validator(mode="after")
    def _a_number_needs_its_point(self) -> "AnswerFile":
        if {"number", "punctuation"} <= set(self.normalize):
            raise ValueError(
                "normalize: `punctuation` would take a number's sign and point: keep `number` only"
            )
        return self


class PerturbationFile(_Section):
    """A substitution in the question that leaves the answer as it is."""

    find: str
    """A regular expression; a question in which it isn't found has no such twin."""
    replace: str
    r"""What to put in its place; `\1` is the first group."""

    @field_validator("find")
    @classmethod
    def _compiles(cls, pattern: str) -> str:
        return _compiled(pattern)

    @model_validator(mode="after")
    def _groups_are_there(self) -> "PerturbationFile":
        try:
            re.compile(self.find).sub(self.replace, "")
        except (re.error, IndexError) as err:
            raise ValueError(f"replace: {err}") from None
        return self


class TaskFile(_Section):
    """The whole file."""

    name: str
    answer: AnswerFile
    format: str = _SLOT
    """A short reply that holds an answer, with `{answer}` in its place."""
    examples: Annotated[dict[str, str | None], Field(min_length=1)]
    """Replies and the answer that each holds (null: none): the file's own test."""
    perturbations: dict[str, PerturbationFile] = {}

    @field_validator("format")
    @classmethod
    def _holds_an_answer(cls, text: str) -> str:
        if text.count(_SLOT) != 1:
            raise ValueError(f"wanted `{_SLOT}` once")
        return text


class DataTask:
    """The task that a file describes."""

    def __init__(self, file: TaskFile) -> None:
        self.name = file.name
        self.perturbations: Mapping[str, Perturbation] = {
            name: reworded(functools.partial(_substitute, regex.compile(each.find), each.replace))
            for name, each in file.perturbations.items()
        }
        self._pattern = regex.compile(file.answer.pattern)
        self._take, self._normalize = file.answer.take, frozenset(file.answer.normalize)
        self._format = file.format

    def parse(self, reply: str) -> str | None:
        text = spoken(reply)
        try:
            if self._take == "first":
                return next(self._answers(self._pattern.finditer(text, timeout=_PATIENCE)), None)
            # With a place to begin at, `^` and what looks behind still see the text before it.
            found = list(self._pattern.finditer(text, pos=max(0, len(text) - LONGEST), timeout=_PATIENCE))
        except TimeoutError:
            return None
        return next(self._answers(reversed(found)), None)

    def format(self, answer: str) -> str:
        return self._format.replace(_SLOT, answer)

    def score(self, answer: str | None, reference: str) -> bool:
        """A reference may be a bare answer, or a text that holds one as replies do."""
        return answer is not None and answer in (self._normal(reference), self.parse(reference))

    def _answers(self, found: Iterable[regex.Match[str]]) -> Iterator[str]:
        """The matches in which an answer is; of all matches of nothing, only so many are looked at."""
        for match in itertools.islice(found, _MOST_MATCHES):
            if (answer := self._normal(match[match.lastindex or 0])) is not None:
                yield answer

    def _normal(self, text: str) -> str | None:
        """The one form of an answer; None where nothing is left of it."""
        if "number" in self._normalize:
            return number(text)
        if "case" in self._normalize:
            text = text.lower()
        if "punctuation" in self._normalize:
            text = "".join(c for c in text if c.isalnum() or c.isspace())
        return " ".join(text.split()) or None


def is_data_task(name: str) -> bool:
    """Whether `parser` names a file."""
    return name.endswith((".yaml", ".yml"))


def load_data_task(path: str) -> DataTask:
    """The task in a file; BadInputError names the lines and keys that are wrong."""
    file = Path(path).expanduser()
    # Every row asks for its task: the file is read once, and again when it has changed.
    return _load(path, file.stat().st_mtime_ns if file.is_file() else 0)


@functools.lru_cache(maxsize=64)
def _load(path: str, _changed: int) -> DataTask:
    document = read(path)
    try:
        file = TaskFile.model_validate(document.data)
    except ValidationError as err:
        for key, text in _problems(err):
            document.report(key, text)
        raise error(path, document.problems) from None
    task = DataTask(file)
    for reply, answer in file.examples.items():
        for text in _misread(task, reply, answer):
            document.report(("examples", reply), text)
    if document.problems:
        raise error(path, document.problems)
    return task


def _misread(task: DataTask, reply: str, answer: str | None) -> Iterator[str]:
    read = task.parse(reply)
    if read != answer:
        yield f"the pattern reads {read!r} in it, not {answer!r}"
    elif answer is not None and task.parse(task.format(answer)) != answer:
        yield f"`format` writes it as {task.format(answer)!r}, which the pattern doesn't read back"


def _problems(err: ValidationError) -> Iterator[tuple[Key, str]]:
    for detail in err.errors(include_url=False):
        key: Key = tuple(detail["loc"])
        if detail["type"] == "extra_forbidden":
            known = _keys(key[:-1])
            yield key, f"no such key{did_you_mean(str(key[-1]), known)} (there are: {', '.join(known)})"
        elif detail["type"] == "value_error":
            said = str(detail["ctx"]["error"])
            name, colon, rest = said.partition(": ")
            yield ((*key, name), rest) if colon and name in _keys(key) else (key, said)
        elif detail["type"] == "missing":
            yield key, f"missing: write `{key[-1]}:` here"
        else:
            yield key, f"{detail['msg']} (got {shown(detail['input'])})"


def _keys(section: Key) -> list[str]:
    models: dict[Any, type[_Section]] = {
        (): TaskFile,
        ("answer",): AnswerFile,
        ("perturbations",): PerturbationFile,
    }
    return list(models.get(section[:1], TaskFile).model_fields)


def _compiled(pattern: str) -> str:
    try:
        re.compile(pattern)
        regex.compile(pattern)
    except (re.error, regex.error, OverflowError) as err:
        raise ValueError(f"not a regular expression: {err}") from None
    return pattern


def _substitute(find: regex.Pattern[str], replace: str, messages: Messages) -> Messages | None:
    try:
        text, count = find.subn(replace, messages[-1].content, timeout=_PATIENCE)
    except TimeoutError:
        return None
    return with_last_turn(messages, text) if count else None
