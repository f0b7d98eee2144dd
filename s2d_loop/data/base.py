"""What a data set is here: how its rows come to be, and what must hold of them.

`registry` lists the sets, `folder` writes what `make` returns, `promises` holds rows against the rest.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from s2d_loop.formats.base import Item, same_question
from s2d_loop.formats.registry import load_format
from s2d_loop.records import digest
from s2d_loop.sources.column import Items, PromptColumn

T = TypeVar("T")
Rows = Sequence[Mapping[str, Any]]
TRAIN, VALIDATION, TEST = "train.jsonl", "validation.jsonl", "test.jsonl"


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a person asked for."""

    seed: int = 0
    origin: str | None = None
    """A file, a folder or a hub name; the set's own place on the hub unless given."""
    words: str | None = None
    """A file of words, one a line; the project's own unless given."""


@dataclass(frozen=True, slots=True)
class Made:
    """The rows of each file.  `beside` are files of the set that hold no inputs."""

    splits: Mapping[str, Rows]
    beside: Mapping[str, Rows] = field(default_factory=dict)
    notes: Sequence[str] = ()


def question_of(item: Item) -> str:
    """What all rows that ask the same have in common."""
    return item.group or same_question(item.messages[-1].content)


@dataclass(frozen=True, slots=True)
class DataSet:
    """One of the paper's sets."""

    name: str
    source: str
    licence: str
    sizes: Mapping[str, int]
    """The paper's, in inputs, of every file that has some."""
    make: Callable[[Wanted], Made]
    """Raises BadInputError where the set can't be made."""
    takes: frozenset[str]
    """Which of `seed`, `from` and `words` change it."""
    format: str | None = None
    """How a row is read; without one, as a column `prompt`."""
    fixed: bool = True
    """Whether another size than the paper's is an error."""
    keys: Callable[[Item], Iterable[str]] = lambda item: (question_of(item),)
    """What of an input must not be on two sides."""
    once: bool = False
    """Whether a key may not come again on its own side either."""

    @property
    def reader(self) -> Items:
        """Reads a row as a source does: no label is looked at."""
        return PromptColumn("prompt") if self.format is None else load_format(self.format)


def shuffled(items: Iterable[T], seed: int, purpose: str) -> list[T]:
    """The items in an order that follows from the seed and from how each is written, not from Python's version.

    Args:
        purpose: makes the draws of one seed differ.
    """
    return sorted(items, key=lambda item: digest(str(seed), purpose, str(item)))
