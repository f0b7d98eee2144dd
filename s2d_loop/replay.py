"""What is left to do again after an operator's `forget`, and where sources stand across it.

`operate.forget` writes what other sources had delivered to the void rounds, in order, and the generations
that can be used again.  `intake` takes those rows before it asks the live sources (which may no longer
have them), and `generate` takes those generations before it asks an engine.
"""

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

import pyarrow as pa

from s2d_loop.ledger import Ledger, Record
from s2d_loop.records import Generation, Input, Reject, Trace, rows
from s2d_loop.sources.api import Cursor, Delivery, Source
from s2d_loop.sources.cursor import SHARDS, fold

REPLAYED = "replayed"
"""What a cursor calls the part that is about rows delivered before a `forget`."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """An input or a reject that a void round had been delivered.

    `row` counts the rows of its source from 0; the inputs of one row share it.  `since` is the first round
    in which the source is known to have had it.
    """

    row: int
    since: int
    input: Input | None
    reject: Reject | None


def table_of(source: str) -> str:
    """The table of a `forget` record in which the rows of a source wait."""
    return f"waiting-{source}"


def forgotten(ledger: Ledger) -> list[str]:
    """The sources that this run forgot."""
    return [record.facts["source"] for record in ledger.live if record.kind == "forget"]


def cursors(ledger: Ledger) -> dict[str, Cursor]:
    """Where each source, by name, stands: each intake holds what moved in it.

    Void rounds count too: what a source delivered once it is never asked for again.
    """
    moves: dict[str, list[Cursor]] = {}
    for record in ledger.records:
        if record.kind == "stage" and record.stage == "intake":
            for name, move in record.facts["cursors"].items():
                moves.setdefault(name, []).append(move)
    return {name: fold(each) for name, each in moves.items()}


def taken(cursor: Cursor | None, forget: Record) -> int:
    """How many of a source's waiting rows were delivered again."""
    place = (cursor or {}).get(REPLAYED)
    return int(place["row"]) if place and place["forget"] == forget.seq else 0


def waiting(ledger: Ledger, forget: Record, source: str, after: int) -> Iterator[Waiting]:
    """The rows of a source that wait, behind the first `after`."""
    for each in rows(ledger.tables(forget, table_of(source)), Waiting):
        if each.row >= after:
            yield each


def done(ledger: Ledger, forget: Record) -> bool:
    """Whether nothing of a `forget` is needed any more: every row was delivered, every round redone."""
    stand = cursors(ledger)
    delivered = all(
        taken(stand.get(name), forget) == count for name, count in forget.facts["waiting"].items()
    )
    redone = [r.iteration for r in ledger.stages("generate")]
    return delivered and max(redone, default=0) >= forget.facts["rounds"][1]


def with_replay(ledger: Ledger, sources: Iterable[Source], round_: int | None) -> tuple[Source, ...]:
    """The sources as a round reads them: what waits first, then the live ones.

    A row is delivered in the first round in which its source is known to have had it, or later; a run
    without an end, whose rounds begin when inputs come, takes it as soon as it can (`round_` is None).
    """
    forget = ledger.last("forget")
    if forget is None:
        return tuple(sources)
    limit = math.inf if round_ is None else round_
    return tuple(
        Replay(ledger, forget, source, limit) if forget.facts["waiting"].get(source.name) else source
        for source in sources
    )


class Replay:
    """A source whose rows of void rounds come again before new ones."""

    def __init__(self, ledger: Ledger, forget: Record, live: Source, round_: float) -> None:
        self._ledger, self._forget, self._live, self._round = ledger, forget, live, round_
        self.name, self.tasks, self.mapping = live.name, live.tasks, live.mapping
        self._count = int(forget.facts["waiting"][live.name])
        self._place = -1
        self._rows: Iterator[Waiting] = iter(())
        self._next: Waiting | None = None

    def read(self, cursor: Cursor | None, limit: int) -> Delivery:
        """At most `limit` rows: those that wait, and only then the live source's."""
        start = taken(cursor, self._forget)
        if start >= self._count:
            return self._live.read(_live_part(cursor), limit)
        if start != self._place:
            self._rows = waiting(self._ledger, self._forget, self.name, start)
            self._next = next(self._rows, None)
        found: list[Input | Reject] = []
        end = start
        while self._next and self._next.since <= self._round and self._next.row < start + limit:
            found += [each for each in (self._next.input, self._next.reject) if each is not None]
            end = self._next.row + 1
            self._next = next(self._rows, None)
        self._place = end
        moved = {REPLAYED: {"forget": self._forget.seq, "row": end}} if end > start else {}
        return Delivery(found, moved, exhausted=self._next is not None and self._next.since > self._round)


def _live_part(cursor: Cursor | None) -> Cursor | None:
    """A cursor as the live source wrote it."""
    live = {key: value for key, value in (cursor or {}).items() if key != REPLAYED}
    return live if live.keys() - {SHARDS} or live.get(SHARDS) else None


def made_before(ledger: Ledger, inputs: Iterable[pa.Table], weights: str) -> Mapping[str, Generation]:
    """What the same weights said in a void round to these inputs of another, by the input's id."""
    forget = ledger.last("forget")
    if forget is None or not ledger.holds(forget, "generations"):
        return {}
    wanted = {x.id: x for x in rows(inputs, Input)}
    found = {
        row.input.id: row
        for row in rows(ledger.tables(forget, "generations"), Generation)
        if row.weights == weights and wanted.get(row.input.id) == row.input
    }
    calls = {
        trace.input_id: trace.calls
        for trace in rows(ledger.tables(forget, "traces"), Trace)
        if trace.input_id in found
    }
    return {name: replace(row, calls=calls.get(name, ())) for name, row in found.items()}
