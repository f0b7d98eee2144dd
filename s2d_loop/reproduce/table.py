"""What a table of the paper is: the sets it is measured on, its distillations, its rows, and the orders of rows.

Every task of a table has a configuration of its own, because the paper trains each by itself (Table 4);
a set, a distillation or a row changes some of it.  `method.name=...` is `tasks.TASK.method.name=...`; other
sections start with a slash: `/train.steps=3`.  What `plan` puts in place of names such as `$VOTES` stands there.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import combinations
from typing import Literal, NamedTuple

from s2d_loop.reproduce.metrics import Kind

START = "start"
"""The weights that a table starts from."""

System = Literal["system1", "system2", "targets", "recorded", "paper"]
"""Who answers a row: one of the two systems; what a distillation trains on; a recording of another model; or nobody
here, where the row is the paper's alone."""

Figures = Mapping[str, float]
"""By metric: `accuracy`, `miss_match`, ... in percent, `tokens` in tokens."""


@dataclass(frozen=True, slots=True)
class HeldOutSet:
    """What a table's columns are measured on, headed by its name.

    `task` names the configuration, and so whose distillations are measured; `changes` are those of a set that the
    configuration doesn't name itself, and `needs` is its file under the data folder.  `sizes` are the paper's
    held-out inputs by class.
    """

    name: str
    task: str
    sizes: Mapping[str, int]
    changes: tuple[str, ...] = ()
    needs: str = ""

    @property
    def size(self) -> int:
        """Of all classes."""
        return sum(self.sizes.values())


@dataclass(frozen=True, slots=True)
class Distillation:
    """A run whose last trained weights some rows measure."""

    name: str
    overrides: tuple[str, ...] = ()
    thinking: bool = False
    """Whether only a model with a thinking mode can make it."""


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a table.

    `weights` is `start` or a distillation's name; `paper` is what the paper says, by set.  `shots_of` is the
    distillation whose kept pairs are shown as examples.  `sets` are those that it is measured on; all of the table's
    unless given.
    """

    section: str
    name: str
    weights: str
    system: System
    paper: Mapping[str, Figures] = field(default_factory=dict)
    overrides: tuple[str, ...] = ()
    shots_of: str = ""
    sets: tuple[str, ...] | None = None
    thinking: bool = False

    @property
    def key(self) -> str:
        """What names it among its table's rows."""
        return f"{self.section}: {self.name}"

    @property
    def needs_weights(self) -> set[str]:
        """The distillations without which it can't be measured; `start` is always there."""
        return {self.weights, self.shots_of or START}


class Order(NamedTuple):
    """Two rows, of which the paper has the first higher in a column; whether that is better depends on the column."""

    set: str
    metric: str
    above: str
    below: str


class Spread(NamedTuple):
    """Two sections, over whose rows a column differs more in the first (Table 6: less sensitive to the prompt)."""

    set: str
    metric: str
    wider: str
    narrower: str


@dataclass(frozen=True, slots=True)
class Table:
    """`kind` is how rows are measured (`metrics.py`); `metrics` are the columns shown for each set, of which
    `plotted` are plotted, the first unless given; `note` is what a reader should know.

    `stated` are the orders that the paper's text states; `orders` has those of its figures too.
    """

    name: str
    title: str
    sets: tuple[HeldOutSet, ...]
    kind: Kind
    metrics: tuple[str, ...]
    distillations: tuple[Distillation, ...]
    rows: tuple[Row, ...]
    stated: tuple[Order, ...] = ()
    spreads: tuple[Spread, ...] = ()
    plotted: tuple[str, ...] = ()
    note: str = ""

    @property
    def tasks(self) -> tuple[str, ...]:
        """The tasks that it takes configurations of."""
        return tuple(dict.fromkeys(each.task for each in self.sets))

    def rows_on(self, name: str) -> list[Row]:
        """The rows that are measured on a set."""
        return [row for row in self.rows if row.system != "paper" and (row.sets is None or name in row.sets)]

    def orders(self) -> list[Order]:
        """Every two rows that a column of the paper tells apart, and what only its text says of two."""
        told, names = list(_told_apart(self)), {each.name for each in self.sets}
        return [*told, *(each for each in self.stated if each.set in names and each not in told)]


def _told_apart(table: Table) -> Iterator[Order]:
    for each in table.sets:
        for metric in table.metrics:
            for one, other in combinations(table.rows, 2):
                first, second = (row.paper.get(each.name, {}).get(metric) for row in (one, other))
                if first is None or second is None or first == second:
                    continue
                above, below = (one, other) if first > second else (other, one)
                yield Order(each.name, metric, above.key, below.key)
