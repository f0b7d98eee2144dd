"""Sources whose rows no longer train: named by the stage `attribute`, until an operator's `release`."""

from collections.abc import Iterable, Mapping
from typing import Any

from s2d_loop.ledger import Ledger

Event = tuple[Any, Any, Any, Mapping[str, Any]]
"""Kind, stage, iteration and facts of a record."""


def quarantined(ledger: Ledger) -> dict[str, int]:
    """The sources under quarantine, each with the round whose hold was traced to it."""
    return standing((r.kind, r.stage, r.iteration, r.facts) for r in ledger.live)


def standing(events: Iterable[Event]) -> dict[str, int]:
    """The same from what counts of a ledger, in its order."""
    found: dict[str, int] = {}
    for kind, stage, iteration, facts in events:
        if kind == "stage" and stage == "attribute":
            found |= dict.fromkeys(facts["named"], iteration)
        elif kind == "release":
            found.pop(facts["source"], None)
    return found
