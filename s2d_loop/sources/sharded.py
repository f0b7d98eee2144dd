"""What every kind of source shares: reading on from a cursor, and refusing one that no longer fits."""

import itertools
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from s2d_loop.errors import BadInputError
from s2d_loop.formats.base import UnreadableError, excerpt
from s2d_loop.records import Input, Reject
from s2d_loop.sources import cursor as cursors
from s2d_loop.sources.api import START, Cursor, Delivery, Lister, Position, Row, Shard
from s2d_loop.sources.column import ALPACA, Items
from s2d_loop.sources.cursor import State
from s2d_loop.sources.items import (
    as_inputs,
    everything,
    find_prompt,
    nothing_readable,
    prompt_reader,
    read_items,
)
from s2d_loop.sources.patience import Patience, readable

T = TypeVar("T")

_CHECKED_PER_READ = 1 << 30
"""What is digested at most, in a read, of shards that are done (bytes, for files): a read stays short
after a restart with months of files behind it."""


@dataclass(frozen=True, slots=True)
class RowsAs:
    """How rows become inputs where that isn't one column of prompts, and what a cursor calls it."""

    name: str
    reader: Items
    learn: Callable[[Iterable[Row]], str] | None = None
    """What the first rows tell, for the cursor: later rows don't change it."""
    with_learned: Callable[[str], Items] | None = None
    picks: bool = False
    """Whether it is no mistake when none of the rows so far is for this run."""

    def called(self, rows: Iterable[Row]) -> str:
        return self.name + (_LEARNED + self.learn(rows) if self.learn else "")

    def reader_of(self, called: str) -> Items:
        _, _, learned = called.partition(_LEARNED)
        return self.with_learned(learned) if self.with_learned else self.reader


_LEARNED = " with "
_FIRST_ROWS = 100


class ShardedSource:
    """Rows of shards, in the order in which they are listed, each taken once."""

    def __init__(
        self,
        name: str,
        tasks: Sequence[str],
        list_shards: Lister,
        *,
        where: str,
        column: str | None = None,
        rows_as: RowsAs | None = None,
        limit: int | None = None,
        waits: bool = False,
        patience: Patience | None = None,
    ):
        """`waits`: having no rows yet is no mistake (a folder that fills later); `patience`: it is remote."""
        self.name, self.tasks, self._where = name, tuple(tasks), where
        self._list_shards, self._limit, self._waits = list_shards, limit, waits
        self._given = column
        self._rows_as = rows_as
        self._fits: dict[str, tuple[Hashable, Position]] = {}
        self._patience = patience
        self._column = self._patiently(self._first_look)

    @property
    def mapping(self) -> str:
        if self._rows_as is not None:
            return self._rows_as.name
        if self._column is None:
            return "prompt = the first column found, once there are rows"
        if self._given is None and self._column == ALPACA:
            return "prompt = column 'instruction', and 'input' as its second paragraph (found by their names)"
        return f"prompt = column {self._column!r} ({'given' if self._given else 'found by its name'})"

    def read(self, cursor: Cursor | None, limit: int) -> Delivery:
        """At most `limit` rows after the cursor."""
        state = self._state(cursor)
        return self._patiently(lambda: self._read(state, limit))

    def _patiently(self, work: Callable[[], T]) -> T:
        def careful() -> T:
            with readable(self._where, remote=self._patience is not None):
                return work()

        return careful() if self._patience is None else self._patience(careful)

    def _first_look(self) -> str | None:
        shards = self._list_shards({})
        column = self._find_column(shards)
        if column is None and not self._waits:
            raise nothing_readable(shards, self._where)
        return column

    def _read(self, state: State, limit: int) -> Delivery:
        shards = self._list_shards(state.shards)
        column = state.column or self._find_column(shards)
        if column is None:
            return self._nothing_yet(state, shards)
        self._column = column
        reader = self._reader(column)
        self._refuse_gone(state, shards)
        unchecked = self._check(state, shards, reader)
        room = limit if self._limit is None else min(limit, self._limit - state.rows)
        rows, moved, exhausted = self._advance(state, shards, unchecked, reader, room)
        read = list(self._read_rows(rows, reader))
        inputs = sum(isinstance(row, Input) for row in read)
        after = replace(state, column=column, rows=state.rows + len(rows), inputs=state.inputs + inputs)
        capped = after.rows == self._limit
        exhausted = exhausted or capped
        picks = self._rows_as is not None and self._rows_as.picks
        if exhausted and not after.inputs and not picks and (after.rows or not self._waits):
            raise nothing_readable(shards, self._where, reader)
        return Delivery(read, cursors.plain(after, moved), exhausted, capped)

    def _state(self, cursor: Cursor | None) -> State:
        try:
            state = cursors.parse(cursor, self.name)
        except (KeyError, TypeError, AttributeError):
            raise BadInputError(f"{self._where}: the cursor is damaged: {excerpt(cursor)}") from None
        if state.source != self.name:
            raise BadInputError(
                f"{self._where}: the cursor belongs to the source {state.source!r}, not {self.name!r}: "
                "give the source its old `name` back"
            )
        given = self._rows_as.name if self._rows_as else self._given
        if given and state.column and given != state.column.partition(_LEARNED)[0]:
            raise BadInputError(
                f"{self._where}: this run read the column {state.column!r} so far, not {given!r}: "
                "put it back, or add a source of another `name`"
            )
        return state

    def _find_column(self, shards: Sequence[Shard]) -> str | None:
        """How rows are read, for the cursor; None where there is no row to see it by."""
        if self._rows_as is None:
            return find_prompt(shards, self._given, self._where)
        first = [row for _, row in itertools.islice(everything(shards, None), _FIRST_ROWS)]
        return self._rows_as.called(first) if first else None

    def _reader(self, column: str) -> Items:
        if self._rows_as is not None:
            return self._rows_as.reader_of(column)
        return prompt_reader(column, given=self._given is not None)

    def _refuse_gone(self, state: State, shards: Sequence[Shard]) -> None:
        there = {shard.name for shard in shards}
        for name, row in state.half_read().items():
            if name not in there:
                raise BadInputError(
                    f"{self._where}: {name} is gone (or just being written), but only {row} of its "
                    "rows were read: put it back as it was"
                )

    def _check(self, state: State, shards: Sequence[Shard], reader: Items) -> set[str]:
        """Refuse content that changed behind the cursor; returns what it left for the next read.

        In a process a shard is looked into once, and again when its stamp changes.
        """
        left, unchecked = _CHECKED_PER_READ, set()
        for shard in shards:
            position = state.position(shard.name)
            if position is None or self._is_known(shard, position):
                continue
            if position.finished and left < 0:
                unchecked.add(shard.name)
                continue
            left -= position.offset if position.finished else 0
            if change := shard.changed(position, reader.columns):
                added = "only add rows at its end" if shard.grows else "never change it"
                raise BadInputError(
                    f"{self._where}: {shard.name} {change}, so going on could skip or repeat rows: put it "
                    f"back as it was ({added}), and put what is new into a new file or a source of another "
                    "`name`"
                )
            if not shard.grows:
                self._know(shard, position)
        return unchecked

    def _advance(
        self, state: State, shards: Sequence[Shard], unchecked: set[str], reader: Items, room: int
    ) -> tuple[list[tuple[str, Row]], dict[str, Position], bool]:
        """At most `room` rows, the positions that they moved, and whether they are the last there are now."""
        rows: list[tuple[str, Row]] = []
        moved: dict[str, Position] = {}
        for shard in shards:
            start = state.position(shard.name) or START
            if start.finished and (
                not shard.grows or shard.name in unchecked or self._is_known(shard, start)
            ):
                continue
            new, ended = _take(shard, start, reader, room - len(rows))
            rows += [(shard.name, row) for row in new]
            after = replace(start, finished=ended)
            if new:
                last = new[-1]
                after = Position(last.number + 1, last.end, *shard.mark(last, reader.columns), ended)
            if after != start and after.row:  # an empty file holds nothing to go on behind: it may fill yet
                moved[shard.name] = after
            if not ended:
                return rows, moved, False
            self._know(shard, after)
        return rows, moved, not unchecked

    def _is_known(self, shard: Shard, position: Position) -> bool:
        """Whether the shard is as it was when it was found to have just these rows."""
        return position.finished and self._fits.get(shard.name) == (shard.stamp, position)

    def _know(self, shard: Shard, position: Position) -> None:
        if shard.stamp is not None:
            self._fits[shard.name] = (shard.stamp, position)

    def _read_rows(self, rows: Iterable[tuple[str, Row]], reader: Items) -> Iterator[Input | Reject]:
        for shard, row in rows:
            try:
                items = read_items(row, reader)
            except UnreadableError as err:
                yield Reject(self.name, shard, row.number, str(err), err.excerpt)
            else:
                yield from as_inputs(items, f"{self.name}:{shard}#{row.number}", self.tasks[0])

    def _nothing_yet(self, state: State, shards: Sequence[Shard]) -> Delivery:
        if self._waits and next(everything(shards, None), None) is None:
            return Delivery([], cursors.plain(state, {}), exhausted=True)
        raise nothing_readable(shards, self._where)


def _take(shard: Shard, start: Position, reader: Items, room: int) -> tuple[list[Row], bool]:
    """At most `room` rows, and whether they are the last there are."""
    taken: list[Row] = []
    for row in shard.rows(start, reader.columns):
        if len(taken) >= room:
            return taken, False
        taken.append(row)
    return taken, True
