"""What a run came to, so that two can be compared: every committed byte, in order; no times, no attempt ids."""

import json
import shutil
from pathlib import Path

from s2d_loop.clock import SystemClock
from s2d_loop.ledger import Ledger, Record
from s2d_loop.store import LocalStore

State = dict[str, str]


def ledger_of(root: Path) -> Ledger:
    return Ledger(LocalStore(str(root)), SystemClock())


def state(root: Path) -> State:
    """By stage: counts, each file's table, rows and checksum, and what was decided or trained."""
    ledger = ledger_of(root)
    for record in ledger.records:
        record.counts.check(record.stage)
    stages = [record for record in ledger.records if record.kind == "stage"]
    found = {f"{record.iteration}-{record.stage}": _came_to(record) for record in stages}
    if len(found) < len(stages):
        found["twice"] = str([f"{record.iteration}-{record.stage}" for record in stages])
    return found


def _came_to(record: Record) -> str:
    files = [(file.table, file.rows, file.sha256) for file in record.files if file.table != "traces"]
    facts = record.facts
    weights = facts["weights"]["digest"] if record.stage in ("train", "promote") else facts.get("weights")
    told = {key: facts[key] for key in ("losses", "sentence", "cursors") if key in facts}
    return json.dumps([str(record.counts), files, weights, told], sort_keys=True, default=str)


def differences(found: State, wanted: State, but: tuple[str, ...] = ()) -> list[str]:
    """Stages that differ, with both sides."""
    keys = dict.fromkeys((*wanted, *found))
    return [
        f"{key}: {found.get(key, 'missing')[:300]} instead of {wanted.get(key, 'nothing')[:300]}"
        for key in keys
        if found.get(key) != wanted.get(key) and key not in but
    ]


def as_it_stood_before(run: Path, copy: Path, iteration: int, stage: str) -> None:
    """A copy of a run as it was when a stage had not been committed."""
    shutil.copytree(run, copy, symlinks=True, ignore=shutil.ignore_patterns("logs"), dirs_exist_ok=True)
    ledger = ledger_of(copy)
    first = next(r.seq for r in ledger.records if (r.iteration, r.stage) == (iteration, stage))
    for record in ledger.records[first - 1 :]:
        (copy / f"ledger/{record.seq:08d}.json").unlink()
        for folder in (*copy.glob(f"data/*/*-{record.attempt}"), *copy.glob(f"weights/*-{record.attempt}")):
            if record.attempt:
                shutil.rmtree(folder)
