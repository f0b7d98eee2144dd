"""Claims new inputs: each row of a source is taken once, and every row has an outcome.

The sources' cursors are committed with what they delivered (RELIABILITY: a cursor that runs ahead of
its commit loses inputs, one that lags uses them twice).  What is dropped is committed too: who forgets
a source replays what the others had delivered.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from s2d_loop.config import Config
from s2d_loop.known import Known
from s2d_loop.records import Dropped, Input, Reject, table
from s2d_loop.sources import Cursor, Delivery, Source, fold

DUPLICATE = "duplicate"
HELD_OUT = "matches_heldout"
UNREADABLE = "unreadable"

ROWS_PER_READ = 8192
"""Rows that a source is asked for at once: enough to work on in arrays, few enough to hold."""


@dataclass(frozen=True, slots=True)
class Outcomes:
    """What became of the rows of one read, and what of their source's cursor they moved."""

    source: str
    cursor: Cursor
    inputs: list[Input]
    dropped: list[Dropped]
    rejects: list[Reject]

    @property
    def rows(self) -> int:
        return len(self.inputs) + len(self.dropped) + len(self.rejects)

    @property
    def reasons(self) -> Counter[str]:
        """Rows that were not claimed, by reason."""
        return Counter(each.reason for each in self.dropped) + Counter({UNREADABLE: len(self.rejects)})


class NeverTrain:
    """Held-out inputs: nothing of their content or group is claimed."""

    def __init__(self, heldout: Iterable[Input]) -> None:
        items = list(heldout)
        self._contents = {each.content_hash: each.id for each in items}
        self._groups = {(each.task, each.group): each.id for each in items if each.group}

    def match(self, x: Input) -> str | None:
        """The id of the held-out input that x is, or that x is of one group with."""
        return self._contents.get(x.content_hash) or self._groups.get((x.task, x.group))


def claim(
    config: Config,
    sources: Iterable[Source],
    cursors: Mapping[str, Cursor],
    known: Known,
    never: NeverTrain,
) -> Iterator[Outcomes]:
    """Take up to `run.inputs_per_iteration` new inputs of each task, read by read.

    Args:
        cursors: where each source, by name, stood after the last committed round.
        known: every input claimed before; those of this round are added.
    """
    taken: Counter[str] = Counter()
    place = 0
    for source in sources:
        cursor = cursors.get(source.name, {})
        while (room := config.run.inputs_per_iteration - max(taken[task] for task in source.tasks)) > 0:
            delivery = source.read(cursor, min(room, ROWS_PER_READ))
            found = _sort_out(source.name, delivery, place, known, never)
            yield found
            taken.update(x.task for x in found.inputs)
            place += found.rows
            cursor = fold([cursor, delivery.cursor])
            if delivery.exhausted:
                break


def _sort_out(source: str, delivery: Delivery, place: int, known: Known, never: NeverTrain) -> Outcomes:
    found = Outcomes(source, delivery.cursor, [], [], [])
    before = iter(known.find(table(delivery.inputs, Input)))
    here: dict[tuple[str, str], str] = {}
    for number, row in enumerate(delivery.rows, place):
        if isinstance(row, Reject):
            found.rejects.append(replace(row, place=number))
            continue
        earlier = next(before) or here.get((row.task, row.content_hash))
        if heldout := never.match(row):
            found.dropped.append(Dropped(number, HELD_OUT, heldout, row))
        elif earlier:
            found.dropped.append(Dropped(number, DUPLICATE, earlier, row))
        else:
            here[row.task, row.content_hash] = row.id
            found.inputs.append(row)
    known.add(table(found.inputs, Input))
    return found


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
