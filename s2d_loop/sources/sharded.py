"""What every kind of source shares: reading on from a cursor, and refusing one that no longer fits."""

import contextlib
import dataclasses
import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from s2d_loop.errors import BadInputError
from s2d_loop.formats.base import Item, UnreadableError, excerpt
from s2d_loop.records import Input, Reject, content_hash, from_dict, to_dict
from s2d_loop.sources.api import Cursor, Delivery, Lister, Position, Row, Shard
from s2d_loop.sources.column import PROMPTS, Items, PromptColumn, guess

_PEEK = 100
"""Readable rows of a file that are looked at to find the column."""
_REASONS = 3


@dataclass(frozen=True, slots=True)
class _State:
    """What a cursor holds.  How rows are read is in it, so that a later file can't change the guess."""

    source: str
    column: str | None
    rows: int
    inputs: int
    shards: tuple[Position, ...]


@dataclass(frozen=True, slots=True)
class RowsAs:
    """How rows become inputs where that isn't one column of prompts, and what a cursor calls it."""

    name: str
    reader: Items


class ShardedSource:
    """Rows of shards, in the order in which they are listed, each taken once."""

    def __init__(
        self,
        name: str,
        task: str,
        list_shards: Lister,
        *,
        where: str,
        column: str | None = None,
        rows_as: RowsAs | None = None,
        limit: int | None = None,
        waits: bool = False,
    ):
        """`waits`: having no rows yet is no mistake (a folder that fills later)."""
        self.name, self._task, self._where = name, task, where
        self._list_shards, self._limit, self._waits = list_shards, limit, waits
        self._given = column
        self._rows_as = rows_as
        with _readable(where):
            shards = list_shards(())
            self._column = self._find_column(shards)
            if self._column is None and not waits:
                raise nothing_readable(shards, where)

    @property
    def mapping(self) -> str:
        if self._rows_as is not None:
            return self._rows_as.name
        if self._column is None:
            return "prompt = the first column found, once there are rows"
        return f"prompt = column {self._column!r} ({'given' if self._given else 'found by its name'})"

    def read(self, cursor: Cursor | None, limit: int) -> Delivery:
        """At most `limit` rows after the cursor."""
        with _readable(self._where):
            return self._read(self._state(cursor), limit)

    def _read(self, state: _State, limit: int) -> Delivery:
        shards = self._list_shards([position.shard for position in state.shards])
        column = state.column or self._find_column(shards)
        if column is None:
            return self._nothing_yet(state, shards)
        self._column = column
        reader = self._rows_as.reader if self._rows_as else PromptColumn(column)
        positions = {position.shard: position for position in state.shards}
        self._check(positions, shards, reader)
        room = limit if self._limit is None else min(limit, self._limit - state.rows)
        rows, exhausted = _advance(shards, positions, reader, room)
        read = list(self._read_rows(rows, reader))
        after = _State(
            self.name,
            column,
            state.rows + len(rows),
            state.inputs + sum(isinstance(row, Input) for row in read),
            tuple(positions.values()),
        )
        exhausted = exhausted or after.rows == self._limit
        if exhausted and not after.inputs and (after.rows or not self._waits):
            raise nothing_readable(shards, self._where, reader)
        return Delivery(read, to_dict(after), exhausted)

    def _state(self, cursor: Cursor | None) -> _State:
        if not cursor:
            return _State(self.name, None, 0, 0, ())
        try:
            state = from_dict(cursor, _State)
        except (KeyError, TypeError, AttributeError):
            raise BadInputError(f"{self._where}: the cursor is damaged: {excerpt(cursor)}") from None
        if state.source != self.name:
            raise BadInputError(
                f"{self._where}: the cursor belongs to the source {state.source!r}, not {self.name!r}: "
                "give the source its old `name` back"
            )
        given = self._rows_as.name if self._rows_as else self._given
        if given and state.column and given != state.column:
            raise BadInputError(
                f"{self._where}: this run read the column {state.column!r} so far, not {given!r}: "
                "put it back, or add a source of another `name`"
            )
        return state

    def _find_column(self, shards: list[Shard]) -> str | None:
        """How rows are read, for the cursor; None where there is no row to see it by."""
        if self._rows_as is None:
            return find_column(shards, self._given, PROMPTS, self._where)
        return self._rows_as.name if next(_everything(shards, None), None) else None

    def _check(self, positions: dict[str, Position], shards: list[Shard], reader: Items) -> None:
        """Refuse content that changed behind the cursor."""
        there = {shard.name: shard for shard in shards}
        for name, position in positions.items():
            shard = there.get(name)
            if shard is None and position.finished:
                continue  # read to its end, then cleared away
            if shard is None:
                raise BadInputError(
                    f"{self._where}: {name} is gone (or just being written), but only {position.row} of its "
                    "rows were read: put it back as it was"
                )
            if shard.digest(position.offset, reader.columns) != position.digest:
                added = "only add rows at its end" if shard.grows else "never change it"
                raise BadInputError(
                    f"{self._where}: {name} changed after its first {position.row} rows were read, so going "
                    f"on could skip or repeat rows: put it back as it was ({added}), and put what is new "
                    "into a new file or a source of another `name`"
                )

    def _read_rows(self, rows: Iterable[tuple[str, Row]], reader: Items) -> Iterator[Input | Reject]:
        for shard, row in rows:
            try:
                items = read_items(row, reader)
            except UnreadableError as err:
                yield Reject(self.name, shard, row.number, str(err), err.excerpt)
            else:
                yield from as_inputs(items, f"{self.name}:{shard}#{row.number}", self._task)

    def _nothing_yet(self, state: _State, shards: list[Shard]) -> Delivery:
        if self._waits and next(_everything(shards, None), None) is None:
            return Delivery([], to_dict(state), exhausted=True)
        raise nothing_readable(shards, self._where)


def read_items(row: Row, reader: Items) -> Sequence[Item]:
    """The inputs in a row; UnreadableError says why there is none."""
    if row.value is None:
        raise UnreadableError(row.problem, row.excerpt)
    return reader.items(row.value)


def as_inputs(items: Sequence[Item], row_id: str, task: str) -> list[Input]:
    """A row's items as inputs: the row's id where it holds one, numbered where it holds several."""
    ids = [row_id] if len(items) == 1 else [f"{row_id}.{number}" for number in range(len(items))]
    return [
        Input(input_id, task, item.messages, content_hash(item.messages), item.parts, item.group)
        for input_id, item in zip(ids, items, strict=True)
    ]


def nothing_readable(shards: Iterable[Shard], where: str, reader: Items | None = None) -> BadInputError:
    """The error for a source without a single prompt, with the reasons of its first rows."""
    reasons = []
    for shard, row in itertools.islice(_everything(shards, reader), _REASONS):
        try:
            read_items(row, reader or PromptColumn(""))
        except UnreadableError as err:
            reasons.append(f"\n  {shard}#{row.number}: {err} ({err.excerpt})")
    if not reasons:
        return BadInputError(f"{where}: there are no rows in it")
    return BadInputError(
        f"{where}: none of its rows can be read as a prompt, such as{''.join(reasons)}\n"
        "  check the file and its type, or name the column of prompts with `prompt:`"
    )


def find_column(
    shards: Iterable[Shard], given: str | None, wanted: tuple[str, ...], where: str, key: str = "prompt"
) -> str | None:
    """The column to read: the given one if it is there, else the first wanted one.

    None where there is no readable row; BadInputError, with the columns there are, if none fits.
    """
    seen: dict[str, None] = {}
    for names in _headings(shards):
        found = guess(names, wanted if given is None else (given,))
        if found is not None:
            return found
        seen |= dict.fromkeys(names)
    if not seen:
        return None
    have = ", ".join(repr(name) for name in list(seen)[:12])
    what = f"no column {given!r}" if given else f"no column is named like a {key} ({', '.join(wanted)})"
    raise BadInputError(f"{where}: {what}; there are {have}: name the right one with `{key}:`")


def _headings(shards: Iterable[Shard]) -> Iterator[list[str]]:
    """Names of columns: of whole shards that know them, or of the first rows."""
    for shard in shards:
        names = shard.columns()
        if names is not None:
            yield list(names)
            continue
        readable = (list(row.value) for row in shard.rows(0, 0, None) if row.value is not None)
        yield from itertools.islice(readable, _PEEK)


def _advance(
    shards: Iterable[Shard], positions: dict[str, Position], reader: Items, room: int
) -> tuple[list[tuple[str, Row]], bool]:
    """At most `room` rows, and whether they are the last there are now; moves the positions."""
    rows: list[tuple[str, Row]] = []
    for shard in shards:
        start = positions.get(shard.name) or Position(shard.name, 0, 0, "", finished=False)
        if start.finished and not shard.grows:
            continue
        new, ended = _take(shard, start, reader, room - len(rows))
        rows += [(shard.name, row) for row in new]
        if new:
            last = new[-1]
            digest = shard.digest(last.end, reader.columns)
            positions[shard.name] = Position(shard.name, last.number + 1, last.end, digest, ended)
        elif shard.name in positions:
            positions[shard.name] = dataclasses.replace(start, finished=ended)
        if not ended:
            return rows, False
    return rows, True


def _take(shard: Shard, start: Position, reader: Items, room: int) -> tuple[list[Row], bool]:
    """At most `room` rows, and whether they are the last there are."""
    taken: list[Row] = []
    for row in shard.rows(start.row, start.offset, reader.columns):
        if len(taken) >= room:
            return taken, False
        taken.append(row)
    return taken, True


def _everything(shards: Iterable[Shard], reader: Items | None) -> Iterator[tuple[str, Row]]:
    for shard in shards:
        for row in shard.rows(0, 0, None if reader is None else reader.columns):
            yield shard.name, row


@contextlib.contextmanager
def _readable(where: str) -> Iterator[None]:
    try:
        yield
    except OSError as err:
        what = f"{err.filename}: {err.strerror}" if err.filename else str(err)
        raise BadInputError(f"{where}: can't be read ({what}): check the file and its permissions") from err
