"""Where something in a configuration is wrong, and the one error that names all such places."""

from collections.abc import Iterable
from dataclasses import dataclass

from s2d_loop.errors import BadInputError

Key = tuple[str | int, ...]
"""A place in the tree: names of keys and indexes of lists."""


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """What a person opens or retypes: `file.yaml:12` or `override 'x=y'`; sorted as they come."""

    order: int
    text: str


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """One thing that is wrong, in plain words, with what to write instead."""

    place: Place
    key: str
    text: str

    def __str__(self) -> str:
        return ": ".join(part for part in (self.place.text, self.key, self.text) if part)


def dotted(key: Key) -> str:
    """A key as it is written in an override."""
    return ".".join(str(part) for part in key)


def error(subject: str, problems: Iterable[Problem]) -> BadInputError:
    """Everything that is wrong with `subject`, in the order of its lines."""
    lines = list(dict.fromkeys(str(problem) for problem in sorted(problems)))
    count = "one thing is wrong" if len(lines) == 1 else f"{len(lines)} things are wrong"
    return BadInputError(f"{subject}: {count}\n" + "\n".join(f"  {line}" for line in lines))
