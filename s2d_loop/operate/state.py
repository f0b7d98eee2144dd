"""Whether a run is finished, was stopped, or goes on: as far as its root can tell."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from s2d_loop.errors import ExitCode, S2DError
from s2d_loop.ledger import Clock, Ledger
from s2d_loop.store import open_store
from s2d_loop.versions import collapsed, in_service


@dataclass(frozen=True, slots=True)
class State:
    """`name` is `finished`, `collapsed`, `stopped`, `stalled`, or `open`: a driver runs, or was killed without a word.

    `exit_code` is what `s2d run` ended with; None while it is open.
    """

    name: str
    exit_code: ExitCode | None
    why: str = ""


def state(ledger: Ledger) -> State:
    """What the newest record that is about the driver says; what an operator did to a finished run leaves it so."""
    if finished := ledger.last("finished"):
        return State("finished", ExitCode.HELD if finished.facts["held"] else ExitCode.DONE)
    for record in reversed(ledger.live):
        match record.kind:
            case "collapsed" if record is collapsed(ledger):
                return State("collapsed", ExitCode.COLLAPSED, str(record.facts["sentence"]))
            case "stopped":
                return State("stopped", ExitCode.INTERRUPTED, str(record.facts["why"]))
            case "stalled":
                return State("stalled", ExitCode.FAILED, "; ".join(record.facts["found"]))
            case "lease" | "stage" | "checkpoint" | "trial" | "collapsed":
                break
    return State("open", None)


def runs(folder: str, clock: Clock) -> Iterator[dict[str, Any]]:
    """The runs directly under a folder or URI, one dict each; one that can't be read says why."""
    store = open_store(folder)
    # A store follows no link, and lists no `..`.
    root = store.root if "://" in store.root else os.path.realpath(store.root)
    above, _, last = root.rpartition("/")
    # A store lists what is under its root, so the folder's own names are its parent's to list.
    for name in open_store(above or "/").list(last):
        try:
            each = open_store(f"{root}/{name}")
            if "00000001.json" in each.list("ledger"):
                yield {"run": name, **_row(Ledger(each, clock))}
        except S2DError as error:
            yield {"run": name, "state": "damaged", "why": str(error)}


def _row(ledger: Ledger) -> dict[str, Any]:
    found = state(ledger)
    stages = [record for record in ledger.live if record.kind == "stage"]
    begun = ledger.last("run")
    decisions = [record.facts["decision"] for record in ledger.stages("gate")]
    return {
        "state": found.name,
        "why": found.why,
        "round": stages[-1].iteration if stages else None,
        "rounds": begun.facts["config"]["run"]["iterations"] if begun else None,
        "last_stage": stages[-1].stage if stages else None,
        "last_commit": stages[-1].time if stages else None,
        "in_service": in_service(ledger),
        "promoted": decisions.count("promote"),
        "held": decisions.count("hold"),
        "asked": decisions.count("ask"),
    }
