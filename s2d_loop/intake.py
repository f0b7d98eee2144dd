"""Claims new inputs: each row of a source is taken once, and every row has an outcome.

The sources' cursors are committed with what they delivered (RELIABILITY: a cursor that runs ahead of
its commit loses inputs, one that lags uses them twice).  What is dropped is committed too: who forgets
a source replays what the others had delivered.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import pyarrow as pa

from s2d_loop.config import Config
from s2d_loop.records import Dropped, Input, Reject, source_of, table
from s2d_loop.sources import Cursor, Delivery, Source, fold

HELD_OUT = "matches_heldout"
CANARY = "matches_canary"
GENERAL = "matches_general"
QUARANTINED = "quarantined"
UNREADABLE = "unreadable"

ROWS_PER_READ = 8192
"""Rows that a source is asked for at once: enough to work on in arrays, few enough to hold."""


class Test(Protocol):
    """Something that stands against claiming an input.  It sees a batch first, then its rows in order."""

    def begin(self, inputs: pa.Table) -> None: ...

    def match(self, row: int) -> tuple[str, str] | None:
        """The reason why a row can't be claimed, and the id of the input that it is too like."""

    def claim(self, row: int, number: int) -> None:
        """A row is claimed, as this number of the run's inputs."""

    def end(self, claimed: pa.Table) -> None: ...


@dataclass(frozen=True, slots=True)
class Outcomes:
    """What became of the rows of one read, and what of their source's cursor they moved."""

    source: str
    cursor: Cursor
    exhausted: bool
    """Whether the source had no more rows then."""
    inputs: pa.Table
    dropped: list[Dropped]
    rejects: list[Reject]

    @property
    def rows(self) -> int:
        return len(self.inputs) + len(self.dropped) + len(self.rejects)

    @property
    def reasons(self) -> Counter[str]:
        """Rows that were not claimed, by reason."""
        return Counter(each.reason for each in self.dropped) + Counter({UNREADABLE: len(self.rejects)})

    @property
    def by_task(self) -> Counter[str]:
        """Claimed inputs."""
        return Counter(self.inputs["task"].to_pylist())


class NeverTrain:
    """Held-out inputs, or canaries: nothing of their content or group is claimed."""

    def __init__(self, inputs: Iterable[Input], reason: str = HELD_OUT) -> None:
        items = list(inputs)
        self._reason = reason
        self._contents = {each.content_hash: each.id for each in items}
        self._groups = {(each.task, each.group): each.id for each in items if each.group}

    def begin(self, inputs: pa.Table) -> None:
        columns = (inputs[name].to_pylist() for name in ("content_hash", "task", "group"))
        self._batch = list(zip(*columns, strict=True))

    def match(self, row: int) -> tuple[str, str] | None:
        content, *group = self._batch[row]
        found = self._contents.get(content) or self._groups.get((group[0], group[1]))
        return (self._reason, found) if found else None

    def claim(self, row: int, number: int) -> None: ...

    def end(self, claimed: pa.Table) -> None: ...


class Quarantine:
    """Sources that a hold was traced to: none of their inputs is claimed."""

    def __init__(self, sources: Collection[str]) -> None:
        self._sources = sources

    def begin(self, inputs: pa.Table) -> None:
        self._barred = [source_of(each) in self._sources for each in inputs["id"].to_pylist()]

    def match(self, row: int) -> tuple[str, str] | None:
        return (QUARANTINED, "") if self._barred[row] else None

    def claim(self, row: int, number: int) -> None: ...

    def end(self, claimed: pa.Table) -> None: ...


def claim(
    config: Config,
    sources: Iterable[Source],
    cursors: Mapping[str, Cursor],
    tests: Sequence[Test],
    claimed: int,
) -> Iterator[Outcomes]:
    """Take up to `run.inputs_per_iteration` new inputs of each task, read by read.

    Of a source under quarantine as many are read, and dropped, as it could have given.

    Args:
        cursors: where each source, by name, stood after the last committed round.
        tests: what may stand against an input; the first that does gives the reason.
        claimed: how many inputs the run has claimed before.
    """
    taken: Counter[str] = Counter()
    place = 0
    for source in sources:
        cursor = cursors.get(source.name, {})
        room = config.run.inputs_per_iteration
        while (left := room - max(taken[task] for task in source.tasks)) > 0:
            delivery = source.read(cursor, min(left, ROWS_PER_READ))
            found = _sort_out(source.name, delivery, place, tests, claimed)
            yield found
            taken += found.by_task
            claimed += found.inputs.num_rows
            place += found.rows
            cursor = fold([cursor, delivery.cursor])
            room -= found.reasons[QUARANTINED]
            if delivery.exhausted:
                break


def _sort_out(
    source: str, delivery: Delivery, place: int, tests: Sequence[Test], claimed_before: int
) -> Outcomes:
    inputs = table(delivery.inputs, Input)
    for test in tests:
        test.begin(inputs)
    dropped: list[Dropped] = []
    rejects: list[Reject] = []
    claimed: list[int] = []
    row = -1
    for number, x in enumerate(delivery.rows, place):
        if isinstance(x, Reject):
            rejects.append(replace(x, place=number))
            continue
        row += 1
        against = next(filter(None, (test.match(row) for test in tests)), None)
        if against:
            dropped.append(Dropped(number, *against, x))
            continue
        for test in tests:
            test.claim(row, claimed_before + len(claimed))
        claimed.append(row)
    taken = inputs.take(pa.array(claimed, pa.int64()))
    for test in tests:
        test.end(taken)
    return Outcomes(source, delivery.cursor, delivery.exhausted, taken, dropped, rejects)


def in_order(
    inputs: Iterable[Input], dropped: Iterable[Dropped], rejects: Iterable[Reject]
) -> Iterator[Input | Reject]:
    """What a round was delivered, as it came: the inverse of sorting it out."""
    others: dict[int, Input | Reject] = {each.place: each.input for each in dropped}
    others |= {each.place: replace(each, place=0) for each in rejects}
    claimed = iter(inputs)
    place = 0
    while (row := others.pop(place, None) or next(claimed, None)) is not None:
        yield row
        place += 1
