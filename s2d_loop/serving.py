"""RUN/serving: how each task should be served, published together with the weights that it is about.

A file is named after the weights (`RUN/serving/<name of the folder that RUN/promoted leads to>.json`, or
`start.json`) and never changes.  It is written before `promoted` moves, in one step, so whoever resolves
`promoted` once has the weights and the policy of one version, whatever a driver does meanwhile.
"""

import json
from pathlib import Path
from typing import Any

from s2d_loop.ledger import Ledger
from s2d_loop.store import ExistsError
from s2d_loop.versions import in_service, point_at_promoted, versions

FOLDER = "serving"
START = "start"
"""Stands for a folder of weights: those that the run began with, which are not its own."""


def publish(ledger: Ledger) -> None:
    """Let RUN/promoted and RUN/serving say what is in service; the ledger is what counts."""
    version = in_service(ledger)
    served = serving(ledger, version)
    if served is not None:
        try:
            text = json.dumps(served, indent=2) + "\n"
            ledger.store.create(f"{FOLDER}/{_name(served)}.json", text.encode())
        except ExistsError:
            pass  # published before: a version's policy doesn't change
    point_at_promoted(ledger)
    kept = {START, *(Path(v.path).name for v in versions(ledger) if v.promoted and not ledger.swept(v.path))}
    for name in ledger.store.list(FOLDER):
        if name.endswith(".json") and name.removesuffix(".json") not in kept:
            ledger.store.remove(f"{FOLDER}/{name}")


def serving(ledger: Ledger, version: int) -> dict[str, Any] | None:
    """What RUN/serving says of a version; None where its evaluation said nothing of it yet."""
    evaluated, trained = ledger.stage(version, "evaluate"), ledger.stage(version, "train")
    if evaluated is None or not evaluated.facts.get("policy"):
        return None
    return {
        "version": version,
        "digest": evaluated.facts["weights"],
        "weights": trained.facts["weights"]["path"] if trained else None,
        "tasks": evaluated.facts["policy"],
    }


def _name(served: dict[str, Any]) -> str:
    return START if served["weights"] is None else Path(served["weights"]).name
