"""The table of `s2d runs`."""

from collections.abc import Iterable, Mapping
from typing import Any

from rich.table import Table
from rich.text import Text

from s2d_loop.report.text import DASH

_STYLES = {
    "finished": "green",
    "stopped": "yellow",
    "collapsed": "bold red",
    "stalled": "red",
    "damaged": "bold red",
}


def runs_table(rows: Iterable[Mapping[str, Any]]) -> Table:
    """A line a run."""
    table = Table(
        "run", "state", "round", "last commit", "in service", "promoted", "held", "asked", pad_edge=False
    )
    for row in rows:
        state = Text(row["state"], style=_STYLES.get(row["state"], ""))
        if row["state"] == "damaged":
            table.add_row(row["run"], state, row["why"], "", "", "", "", "")
            continue
        rounds = f" of {row['rounds']}" if row["rounds"] else ""
        commit = f"{row['last_stage']}, {row['last_commit']}" if row["last_stage"] else DASH
        table.add_row(
            row["run"],
            state,
            f"{row['round']}{rounds}" if row["round"] is not None else DASH,
            commit,
            str(row["in_service"] or "start"),
            str(row["promoted"]),
            str(row["held"]),
            str(row["asked"]),
        )
    return table
