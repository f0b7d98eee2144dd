"""The orders of rows that the paper reports, and what became of each here.

Every two rows that a column of the paper tells apart, and what its text says besides.  One is tested on the inputs that
both rows answered: were they alike, either would be as likely to have the more (an exact sign test; McNemar's where a
column counts right answers).
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Literal, NamedTuple

from s2d_loop.evaluate.metrics import mcnemar
from s2d_loop.reproduce.measure import Result
from s2d_loop.reproduce.metrics import Figure
from s2d_loop.reproduce.table import Order, Spread, Table

_LEVEL = 0.05

Results = Mapping[str, Mapping[str, Result]]
"""By set and by the row's key."""

Verdict = Literal["holds", "reversed", "not resolved", "not measured"]


class Outcome(NamedTuple):
    """What became of an order; `stated` is whether the paper's text states it, and `p` is None without a test."""

    set: str
    metric: str
    above: str
    below: str
    high: float | None
    low: float | None
    p: float | None
    verdict: Verdict
    stated: bool


def compared(table: Table, results: Results) -> list[Outcome]:
    """Every order of a table."""
    tested = [_tested(order, results, order in table.stated) for order in table.orders()]
    return [*tested, *(_spread(each, table, results) for each in table.spreads)]


def counted(outcomes: Iterable[Outcome]) -> str:
    """How many there are of each, in words."""
    each = list(outcomes)
    counts = Counter(outcome.verdict for outcome in each)
    names: tuple[Verdict, ...] = ("holds", "reversed", "not resolved", "not measured")
    verbs = {"holds": "hold"}
    said = ", ".join(f"{counts[name]} {verbs.get(name, name)}" for name in names)
    return f"of {len(each)} orders {said}"


def _tested(order: Order, results: Results, stated: bool) -> Outcome:
    above, below = (results[order.set][key] for key in (order.above, order.below))
    high, low = (_value(each.figures.get(order.metric)) for each in (above, below))
    if high is None or low is None:
        return Outcome(*order, high, low, None, "not measured", stated)
    more, less = (each.values[order.metric] for each in (above, below))
    shared = [number for number in more if number in less]
    found = mcnemar([more[n] > less[n] for n in shared], [less[n] > more[n] for n in shared])
    verdict: Verdict = "not resolved"
    if found.p < _LEVEL:
        up = found.only_first > found.only_second
        # A mean that most inputs contradict (one long reply among short ones) shows nothing.
        if up == (high > low):
            verdict = "holds" if up else "reversed"
    return Outcome(*order, high, low, found.p, verdict, stated)


def _spread(each: Spread, table: Table, results: Results) -> Outcome:
    """By how much the rows of a section differ; of so few rows there is no test."""
    wide, narrow = (
        _range(
            [results[each.set][row.key].figures.get(each.metric) for row in table.rows if row.section == name]
        )
        for name in (each.wider, each.narrower)
    )
    verdict: Verdict = "not measured"
    if wide is not None and narrow is not None:
        verdict = "holds" if wide > narrow else "reversed"
    above, below = (f"the spread of {name}" for name in (each.wider, each.narrower))
    return Outcome(each.set, each.metric, above, below, wide, narrow, None, verdict, True)


def _range(figures: list[Figure | None]) -> float | None:
    values = [value for each in figures if (value := _value(each)) is not None]
    return max(values) - min(values) if len(values) == len(figures) and values else None


def _value(figure: Figure | None) -> float | None:
    return None if figure is None else figure.value
