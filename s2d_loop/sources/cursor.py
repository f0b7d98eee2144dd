"""A source's cursor: how far each of its shards was read.

A commit holds only what moved since the one before, so that months of arriving files grow the ledger by
what they bring.  Where a source stands is the fold over all commits.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from s2d_loop.records import from_dict, to_dict
from s2d_loop.sources.api import Cursor, Position

SHARDS = "shards"


def fold(moves: Iterable[Cursor]) -> Cursor:
    """The cursor after all of these moves, oldest first."""
    cursor: Cursor = {}
    shards: dict[str, Any] = {}
    for move in moves:
        shards |= move.get(SHARDS, {})
        cursor |= move
    return {**cursor, SHARDS: shards} if cursor else cursor


@dataclass(frozen=True, slots=True)
class State:
    """A cursor as a source reads it.  How rows are read is in it, so that a later file can't change the
    guess; `shards` are plain until one is looked at."""

    source: str
    column: str | None
    rows: int
    inputs: int
    shards: Mapping[str, Mapping[str, Any]]

    def position(self, shard: str) -> Position | None:
        plain = self.shards.get(shard)
        return None if plain is None else from_dict(plain, Position)

    def half_read(self) -> dict[str, int]:
        """The shards that were left with rows to come, and how many had been read."""
        return {name: each["row"] for name, each in self.shards.items() if not each["finished"]}


def parse(cursor: Cursor | None, source: str) -> State:
    """The state that a cursor holds; KeyError, TypeError or AttributeError if it is none."""
    if not cursor:
        return State(source, None, 0, 0, {})
    state = State(**{name: cursor[name] for name in ("source", "column", "rows", "inputs", SHARDS)})
    state.half_read()
    return state


def plain(state: State, moved: Mapping[str, Position]) -> Cursor:
    """What a read moved, as plain JSON."""
    return {**to_dict(state), SHARDS: {name: to_dict(each) for name, each in moved.items()}}
