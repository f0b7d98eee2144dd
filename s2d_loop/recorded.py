"""Recorded teachers: calls of a program that a file answers, and no model.

A record answers one call only: of this program, step and input, this sample and index, and whatever
else it says of how it was made.  The same text for two samples would be an agreement that nobody voted
for, so records that don't number their samples are numbered as they come.
"""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from s2d_loop import thoughts
from s2d_loop.errors import BadInputError, NotRecordedError
from s2d_loop.records import RECORDED, Input, Message, Reply, Request, content_hash

_HASH = re.compile(r"[0-9a-f]{32}")


class _Line(BaseModel):
    # Unknown fields are refused: one could say that the record is of something else.
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class RecordedSampling(_Line):
    """How the recorded call was sampled, as far as that is known."""

    temperature: float | None = None
    top_p: float | None = None
    max_tokens: int | None = None


class Record(_Line):
    """A line of a recording.  What it doesn't say fits any call."""

    program: str
    step: str
    input: str
    """The text of the question that the program ran on, or the content hash of a longer conversation."""
    text: str
    """The reply."""
    sample: Annotated[int, Field(ge=0)] | None = None
    index: Annotated[int, Field(ge=0)] = 0
    prompt: str | None = None
    """The last turn of what was asked."""
    sampling: RecordedSampling = RecordedSampling()
    model: str | None = None
    weights: str | None = None
    num_tokens: Annotated[int, Field(ge=0)] = 0
    finished: bool = True

    @property
    def content_hash(self) -> str:
        """The content hash of the input that it is about."""
        if _HASH.fullmatch(self.input):
            return self.input
        return content_hash([Message("user", self.input)])

    def conditions(self) -> tuple[tuple[str, object], ...]:
        """What it says of the call beyond its place in the program."""
        said = {"prompt": self.prompt, **self.sampling.model_dump()}
        return tuple((name, value) for name, value in said.items() if value is not None)

    def fits(self, request: Request) -> bool:
        sampling = request.sampling
        asked = {
            "prompt": request.messages[-1].content,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "max_tokens": sampling.max_tokens,
        }
        return all(asked[name] == value for name, value in self.conditions())


_Place = tuple[str, str, int, int]
"""Step, content hash of the input, sample and index."""


@dataclass(frozen=True, slots=True)
class Recording:
    """The calls of one program that were recorded, and the steps that nothing else may answer."""

    steps: frozenset[str]
    records: Mapping[_Place, tuple[Record, ...]]

    @property
    def recorded_steps(self) -> frozenset[str]:
        """Steps of which there is a record."""
        return frozenset(step for step, *_ in self.records)

    def reply(self, x: Input, request: Request, step: str, sample: int, index: int) -> Reply:
        """The recorded reply; NotRecordedError if there is none of exactly this call."""
        # Not x.content_hash: a twin's says whose twin it is, and not what it holds.
        asked = content_hash(x.messages)
        here = self.records.get((step, asked, sample, index), ())
        fitting = [record for record in here if record.fits(request)]
        if not fitting:
            others = (step, asked, 0, 0) in self.records
            what = f"step {step!r}, sample {sample}, index {index}"
            if here:
                raise NotRecordedError(f"{what} was recorded with another prompt or sampling")
            raise NotRecordedError(
                f"{what} was not recorded{', others of this input were' if others else ''}"
            )
        best = max(fitting, key=lambda record: len(record.conditions()))
        said = thoughts.split(best.text)
        return Reply(
            said.text,
            num_tokens=best.num_tokens,
            finished=best.finished and said.closed,
            weights=RECORDED,
            reasoning=said.reasoning,
        )


def read_records(
    paths: Sequence[str], *, model: str | None = None, weights: str | None = None
) -> list[Record]:
    """The records of one teacher, in order.

    Raises:
        BadInputError: a file can't be read, or it isn't clear whose replies to take.
    """
    records = [record for path in paths for record in _lines(path)]
    for name, wanted in (("model", model), ("weights", weights)):
        named = dict.fromkeys(said for record in records if (said := getattr(record, name)) is not None)
        if wanted is None and len(named) > 1:
            raise BadInputError(
                f"generate.recorded: the records name several {name}: {', '.join(map(repr, named))}; "
                f"say whose replies to take with generate.recorded_{name}"
            )
        if wanted is not None and named and wanted not in named:
            raise BadInputError(
                f"generate.recorded_{name}: no record is of {wanted!r} (there are: {', '.join(map(repr, named))})"
            )
        if wanted is not None:
            records = [record for record in records if getattr(record, name) in (None, wanted)]
    return records


def recording_of(
    records: Sequence[Record], program: str, steps: Sequence[str] | None = None
) -> Recording | None:
    """A program's part of the records; None where nothing of it is answered from them."""
    own = [record for record in records if record.program == program]
    answered = frozenset(record.step for record in own) if steps is None else frozenset(steps)
    if not answered:
        return None
    placed: dict[_Place, dict[tuple[tuple[str, object], ...], Record]] = {}
    seen: Counter[tuple[object, ...]] = Counter()
    for record in own:
        said, asked = record.conditions(), record.content_hash
        number = record.sample
        if number is None:
            kind = (record.step, asked, record.index, said)
            number = seen[kind]
            seen[kind] += 1
        here = placed.setdefault((record.step, asked, number, record.index), {})
        if said in here and here[said].text != record.text:
            raise BadInputError(
                f"generate.recorded: two records are of one call (program {program!r}, step {record.step!r}, "
                f"sample {number}, index {record.index}, input {record.input[:60]!r}) and differ: "
                "number their samples"
            )
        here[said] = record
    return Recording(answered, {place: tuple(here.values()) for place, here in placed.items()})


def _lines(path: str) -> Iterator[Record]:
    try:
        text = Path(path).expanduser().read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        said = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise BadInputError(f"generate.recorded: {path} can't be read: {said}") from None
    # Not splitlines: model text in JSON may hold other line separators.
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            yield Record.model_validate_json(line)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            field = ".".join(map(str, first["loc"]))
            raise BadInputError(
                f"{path}:{number}: {f'{field}: ' if field else ''}{_words(first['type'], first['msg'])}"
            ) from None


def _words(kind: str, said: str) -> str:
    if kind == "extra_forbidden":
        return f"no such field (a record has: {', '.join(Record.model_fields)})"
    return "is missing" if kind == "missing" else said
