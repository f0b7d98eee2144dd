"""What each source has delivered over a run's life, and whether its limit is reached."""

from collections import Counter
from typing import Any

from pydantic import ValidationError

from s2d_loop.config import SourceConfig
from s2d_loop.report.view import RunView


def feeds(view: RunView) -> dict[str, dict[str, Any]]:
    """By source: rows in, inputs claimed, rows dropped by reason, and `limit_reached` where it has a limit."""
    totals: dict[str, Counter[str]] = {}
    read: dict[str, int] = {}
    for iteration in view.iterations:
        facts = iteration.facts("intake")
        for name, outcomes in (facts.get("sources") or {}).items():
            totals.setdefault(name, Counter()).update(outcomes)
        # The cursor counts rows, of which one may hold several inputs, or none.
        read |= {name: each.get("rows", 0) for name, each in (facts.get("cursors") or {}).items()}
    limits = _limits(view)
    found: dict[str, dict[str, Any]] = {}
    for name, total in totals.items():
        dropped = {reason: count for reason, count in total.items() if reason not in ("rows", "inputs")}
        found[name] = {"rows": total["rows"], "inputs": total["inputs"], "dropped": dropped}
        if limit := limits.get(name):
            found[name] |= {"limit": limit, "limit_reached": read.get(name, 0) >= limit}
    return found


def sentence(feed: dict[str, Any]) -> str:
    dropped = "".join(f" + {count:,} {reason}" for reason, count in feed["dropped"].items() if count)
    limit = ""
    if "limit" in feed:
        limit = f"; limit of {feed['limit']:,} rows" + (" reached" if feed["limit_reached"] else "")
    return f"{feed['rows']:,} rows = {feed['inputs']:,} inputs{dropped}{limit}"


def _limits(view: RunView) -> dict[str, int]:
    limits: dict[str, int] = {}
    for each in view.config.get("sources") or []:
        try:
            source = SourceConfig.model_validate(each)
        except ValidationError:
            continue  # begun by another version
        if source.limit is not None:
            limits[source.source_name] = source.limit
    return limits
