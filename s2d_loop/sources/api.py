"""What a source of unlabeled inputs is: rows in order, each taken once, from where a cursor says.

`open_source` makes one from the configuration and `intake` reads it.  Below it, every kind of source
is a list of shards (files, or one data set), and `sharded.py` does what all kinds share.
"""

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from s2d_loop.records import Input, Reject

Cursor = dict[str, Any]
"""Where reading goes on, as plain JSON.  Only what a source delivered makes sense in it; `cursor.fold`
puts deliveries' parts together."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """What was in the rows of one read, in their order, and what of the cursor they moved.

    `exhausted`: nothing more is there now (more may appear later); `capped`: nothing more is ever taken,
    since the source's limit is reached.
    """

    rows: list[Input | Reject]
    cursor: Cursor
    exhausted: bool
    capped: bool = False

    @property
    def inputs(self) -> list[Input]:
        return [row for row in self.rows if isinstance(row, Input)]

    @property
    def rejects(self) -> list[Reject]:
        return [row for row in self.rows if isinstance(row, Reject)]


class Source(Protocol):
    """Unlabeled inputs of one task, or of several."""

    @property
    def name(self) -> str:
        """How ids of its inputs start."""

    @property
    def tasks(self) -> Sequence[str]:
        """The tasks that its inputs are of."""

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

    `state` is whatever else the shard needs to go on.  `finished`: no row was left then.  Such a shard
    may vanish; one that is half read may not.
    """

    row: int = 0
    offset: int = 0
    digest: str = ""
    state: str = ""
    finished: bool = False


START = Position()


class Shard(Protocol):
    """A file, a data set or a partition: rows in an order that never changes."""

    @property
    def name(self) -> str:
        """How ids name it inside its source."""

    @property
    def grows(self) -> bool:
        """Whether rows may be added at its end after some were read."""

    @property
    def stamp(self) -> Hashable | None:
        """Costs nothing, and differs once the content does (None: can't be told, so look)."""

    def columns(self) -> Sequence[str] | None:
        """The names of its columns, where it knows them without reading rows."""

    def rows(self, start: Position, columns: Sequence[str] | None) -> Iterator[Row]:
        """The rows from a position on.  `columns` are all that is needed of them (None: all)."""

    def mark(self, row: Row, columns: Sequence[str]) -> tuple[str, str]:
        """Digest and state of the position behind a row that `rows` just gave."""

    def changed(self, position: Position, columns: Sequence[str]) -> str:
        """What happened to the rows before a position, in words; empty if they are as they were."""


Lister = Callable[[Mapping[str, Mapping[str, Any]]], Sequence[Shard]]
"""Lists a source's shards as they are now; the argument holds the positions (plain) of those begun."""
