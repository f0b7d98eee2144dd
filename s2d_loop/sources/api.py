"""What a source of unlabeled inputs is: rows in order, each taken once, from where a cursor says.

`open_source` makes one from the configuration and `intake` reads it.  Below it, every kind of source
is a list of shards (files, or one data set), and `sharded.py` does what all kinds share.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from s2d_loop.records import Input, Reject

Cursor = dict[str, Any]
"""Where reading goes on, as plain JSON.  Only what a source delivered makes sense in it."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """What was in the rows of one read, in their order, and the cursor after them.

    `exhausted`: nothing more is there now (more may appear later).
    """

    rows: list[Input | Reject]
    cursor: Cursor
    exhausted: bool

    @property
    def inputs(self) -> list[Input]:
        return [row for row in self.rows if isinstance(row, Input)]

    @property
    def rejects(self) -> list[Reject]:
        return [row for row in self.rows if isinstance(row, Reject)]


class Source(Protocol):
    """Unlabeled inputs of one task."""

    @property
    def name(self) -> str:
        """How ids of its inputs start."""

    @property
    def mapping(self) -> str:
        """Which column is read as the prompt, for people."""

    def read(self, cursor: Cursor | None, limit: int) -> Delivery:
        """At most `limit` rows (readable and not) after the cursor; BadInputError if it doesn't fit."""


@dataclass(frozen=True, slots=True)
class Row:
    """A row as it stands in its shard: a value, or a problem and an excerpt.

    `number` counts from 0 and names the row; `end` is where the next one begins, in the shard's own units.
    """

    number: int
    end: int
    value: Mapping[str, Any] | None
    problem: str = ""
    excerpt: str = ""


@dataclass(frozen=True, slots=True)
class Position:
    """How far a shard was read: the next row, where it begins, and the digest of what came before.

    `finished`: no row was left then.  Such a shard may vanish; one that is half read may not.
    """

    shard: str
    row: int
    offset: int
    digest: str
    finished: bool


class Shard(Protocol):
    """A file or a data set: rows in an order that never changes."""

    @property
    def name(self) -> str:
        """How ids name it inside its source."""

    @property
    def grows(self) -> bool:
        """Whether rows may be added at its end after some were read."""

    def columns(self) -> Sequence[str] | None:
        """The names of its columns, where it knows them without reading rows."""

    def rows(self, row: int, offset: int, columns: Sequence[str] | None) -> Iterator[Row]:
        """The rows from a position on.  `columns` are all that is needed of them (None: all)."""

    def digest(self, offset: int, columns: Sequence[str]) -> str:
        """The digest of the content up to `offset`; of less than that if it is shorter now."""


Lister = Callable[[Collection[str]], list[Shard]]
"""Lists a source's shards as they are now; the argument names those already begun."""
