"""A task that is only data: a YAML file says how to read an answer, write it, and perturb a question.

`parser: path/to/task.yaml` names one.  Where its rows are, and a prompt made of their columns, belong to
the configuration (`sources`, `heldout`, `template`).
"""

import functools
import re
from collections.abc import Iterator, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from s2d_loop.config.document import read
from s2d_loop.config.problems import Key, error
from s2d_loop.config.words import shown
from s2d_loop.plugins import did_you_mean
from s2d_loop.records import Messages
from s2d_loop.tasks.base import Perturbation, reworded, with_last_turn

_SLOT = "{answer}"
_NUMBER = re.compile(r"[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)")


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
            name: reworded(functools.partial(_substitute, re.compile(each.find), each.replace))
            for name, each in file.perturbations.items()
        }
        self._pattern = re.compile(file.answer.pattern)
        self._take, self._normalize = file.answer.take, frozenset(file.answer.normalize)
        self._format = file.format

    def parse(self, reply: str) -> str | None:
        found = [match[match.lastindex or 0] for match in self._pattern.finditer(reply)]
        read = [answer for text in found if (answer := self._normal(text)) is not None]
        if not read:
            return None
        return read[0] if self._take == "first" else read[-1]

    def format(self, answer: str) -> str:
        return self._format.replace(_SLOT, answer)

    def score(self, answer: str | None, reference: str) -> bool:
        """A reference may be a bare answer, or a text that holds one as replies do."""
        return answer is not None and answer in (self._normal(reference), self.parse(reference))

    def _normal(self, text: str) -> str | None:
        """The one form of an answer; None where nothing is left of it."""
        if "number" in self._normalize:
            return _number(text)
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
    except (re.error, OverflowError) as err:
        raise ValueError(f"not a regular expression: {err}") from None
    return pattern


def _number(text: str) -> str | None:
    """1,200.50 and $1200.5 are both 1200.5; None for what is no number."""
    bare = re.sub(r"[\s,$%]", "", text).rstrip(".")
    if not _NUMBER.fullmatch(bare):
        return None
    value = Decimal(bare)
    # Normalised by hand: Decimal.normalize rounds long numbers and writes 100 as 1E+2.
    written = f"{value:f}"
    written = written.rstrip("0").rstrip(".") if "." in written else written
    return "0" if value == 0 else written


def _substitute(find: re.Pattern[str], replace: str, messages: Messages) -> Messages | None:
    text, count = find.subn(replace, messages[-1].content)
    return with_last_turn(messages, text) if count else None
