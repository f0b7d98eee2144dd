"""Reads facts of the ledger that may be missing or of another form than expected."""

from collections.abc import Mapping
from typing import Any, Literal

from s2d_loop.report.text import interval
from s2d_loop.report.view import Iteration, RunView

State = Literal["good", "watch", "bad", "unknown"]
"""How something stands; nothing follows from what is unknown."""


def latest(view: RunView, stage: str, fact: str) -> Iteration | None:
    """The newest round whose stage says something of this."""
    return next((i for i in reversed(view.rounds) if i.facts(stage).get(fact)), None)


def points(row: Any) -> str:
    """A difference in points with its interval, whether the row holds it as `value` or as `difference`."""
    if not isinstance(row, Mapping):
        return ""
    value = fact(row, "value")
    value = fact(row, "difference") if value is None else value
    low, high = fact(row, "low"), fact(row, "high")
    if value is None:
        return ""
    return f"{100 * value:+.1f} points" + (f" ({interval(low, high)})" if low is not None else "")


def fact(row: Mapping[str, Any], name: str) -> float | None:
    """A number; null and NaN are missing."""
    value = row.get(name)
    return value if isinstance(value, int | float) and value == value else None


def table(row: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """A fact that has parts; empty where it is missing."""
    value = row.get(name)
    return value if isinstance(value, Mapping) else {}


def tables(row: Mapping[str, Any], name: str) -> dict[str, Mapping[str, Any]]:
    """Those of its parts that have parts themselves."""
    return {key: value for key, value in table(row, name).items() if isinstance(value, Mapping)}
