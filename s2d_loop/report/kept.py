"""What a candidate kept of what earlier weights could do, as a table."""

from collections.abc import Mapping
from typing import Any

from s2d_loop.report.facts import State, fact, latest, points, table, tables
from s2d_loop.report.text import percent, times
from s2d_loop.report.view import RunView

_KEPT: Mapping[str, State] = {"kept": "good", "unclear": "unknown", "over": "watch", "lost": "bad"}


def retention_table(view: RunView) -> list[Mapping[str, Any]]:
    """What the newest candidate that was compared has kept: a row a task, and one of the general set."""
    gate = latest(view, "gate", "retention")
    found = table(gate.facts("gate"), "retention") if gate else {}
    rows: list[Mapping[str, Any]] = [
        {
            "what": task,
            "before": percent(fact(row, "best")),
            "now": percent(fact(row, "candidate")),
            "change": points(row.get("difference")),
            "limit": f"{100 * (fact(row, 'budget') or 0):g} points",
            "state": _KEPT.get(str(row.get("state")), "unknown"),
            "said": str(row.get("state") or "not measured"),
        }
        for task, row in tables(found, "tasks").items()
    ]
    general = table(found, "general")
    for name, key, least, show in (
        ("general set: agreement", "agreement", "least_agreement", percent),
        ("general set: perplexity", "perplexity", "most_perplexity", times),
    ):
        value, limit = fact(table(general, key), "value"), fact(general, least)
        if value is None:
            continue
        over = limit is not None and (value < limit if key == "agreement" else value > limit)
        rows.append(
            {
                "what": name,
                "before": "",
                "now": show(value),
                "change": "",
                "limit": f"{'at least' if key == 'agreement' else 'at most'} {show(limit)}",
                "state": "bad" if over else "good",
                "said": "lost" if over else "kept",
            }
        )
    return rows
