"""What of a long run stays on disk, so that months of rounds fit.

Committed data goes only after a `swept` record has named it; what no record names (attempts of earlier
drivers, leftovers of a killed sweep) goes at a driver's start.  Pool, claimed inputs, held-out inputs
and the ledger always stay.
"""

import math
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Literal

from s2d_loop import folders
from s2d_loop.commits import LedgerError, Record, path_of
from s2d_loop.config import RetentionConfig
from s2d_loop.ledger import Ledger
from s2d_loop.replay import done
from s2d_loop.store import Store
from s2d_loop.versions import best_so_far, in_service, versions
from s2d_loop.weights import folder_of

KeepTraces = Literal["none", "rejected", "all"]

_ATTEMPT = re.compile(
    rf"(?:data/\d{{5,}}/[a-z]+|weights/\.?\d{{5,}})-(?P<attempt>{folders.ATTEMPT})"
    r"(?:/[A-Za-z0-9_.-]+|\.partial-[0-9a-f]{8}|\.[0-9a-f]{12})?"
)
"""All that is ever removed: an attempt's folder, by the lease that it was made under, and what is in one or beside it."""


def sweep(ledger: Ledger, keep: RetentionConfig, traces: KeepTraces, weights_dir: Path) -> None:
    """Remove what the configuration no longer keeps, after a record that names it."""
    let_go(ledger, list(_Kept(ledger, keep, traces).outdated()), weights_dir, why="retention")


def let_go(ledger: Ledger, paths: list[str], weights_dir: Path | None, *, why: str) -> None:
    """Name committed paths in a `swept` record, then remove them, and local copies of weights among them."""
    if not paths:
        return
    ledger.append("swept", facts={"paths": paths, "why": why})
    _remove(ledger.store, paths, weights_dir)


def kept_versions(ledger: Ledger, keep: RetentionConfig) -> set[int]:
    """The versions whose weights stay; 0 are the weights that the run began with, which are not its own."""
    known = versions(ledger)
    best = best_so_far(ledger).values()
    promoted = [each.number for each in known if each.promoted]
    others = [each.number for each in known if not each.promoted]
    # A candidate that the gate has not seen is the round under way.
    undecided = [number for number in others if ledger.stage(number, "gate") is None]
    gates = {number: ledger.stage(number, "gate") for number in others}
    asked = [number for number, gate in gates.items() if gate and gate.facts["decision"] == "ask"]
    held = [number for number in others if number not in (*undecided, *asked)]
    decided = {*promoted[-keep.promoted :], *asked[-keep.promoted :], *held[-keep.held :]}
    return {0, in_service(ledger), *best, *decided, *undecided}


class _Kept:
    """What stays of the committed data as things stand."""

    def __init__(self, ledger: Ledger, keep: RetentionConfig, traces: KeepTraces) -> None:
        self._ledger, self._keep, self._traces = ledger, keep, traces
        self._stages = [record for record in ledger.live if record.kind in ("stage", "trial")]
        self._current = max((record.iteration for record in self._stages), default=0)
        self._versions = kept_versions(ledger, keep)

    def outdated(self) -> Iterator[str]:
        """Committed paths that are past their time and still there."""
        for record in self._stages:
            paths = [file.path for file in record.files if self._expired(record, file.table)]
            if record.stage == "train" and record.iteration not in self._versions:
                paths.append(folder_of(record))
            yield from (path for path in paths if not self._ledger.swept(path))
        forget = self._ledger.last("forget")
        if forget and not self._ledger.swept(forget.folder) and done(self._ledger, forget):
            yield forget.folder

    def _expired(self, record: Record, table: str) -> bool:
        age, keep = self._current - record.iteration, self._keep
        match record.stage, table:
            case "generate", "traces":
                # `curate` has copied those of the rejected.
                curated = self._ledger.stage(record.iteration, "curate") is not None
                return age >= keep.traces or (curated and self._traces != "all")
            case "curate", "traces":
                return age >= keep.traces
            case (
                ("triage", "routes")
                | ("generate", "generations")
                | ("curate" | "probe", "verdicts")
                | ("attribute", _)
            ):
                return age >= keep.rounds
            case "evaluate", "scored" | "votes" | "canaries" | "general":
                # The gate compares candidates with the version in service, answer by answer.
                return age >= keep.rounds and record.iteration not in self._versions
            case "pool", "training":
                return age >= keep.pool
        return False


def tidy(ledger: Ledger, weights_dir: Path | None) -> None:
    """Remove what no record counts: attempts of earlier drivers, and what a killed sweep had named.

    Only attempts of earlier leases: a driver that took over meanwhile may be writing its own.
    """
    # A later `forget` took over what an earlier one had left to replay, without the rows that are to go.
    forgets = [record for record in ledger.live if record.kind == "forget"]
    counted = {record.folder for record in ledger.live if record.attempt and record not in forgets[:-1]}
    counted |= {folder_of(record) for record in ledger.stages("train")}
    there = [
        f"data/{each}/{name}"
        for each in ledger.store.list("data")
        for name in ledger.store.list(f"data/{each}")
    ]
    copies = [each.name for each in weights_dir.iterdir()] if weights_dir and weights_dir.is_dir() else []
    there += [f"weights/{name}" for name in {*ledger.store.list("weights"), *copies}]
    left = [
        path
        for path in there
        if _lease_of(path) < ledger.lease and (path not in counted or ledger.swept(path))
    ]
    # Half-made records of killed drivers: a number that is taken can't be won any more.
    for name in ledger.store.list("ledger"):
        if name.startswith(".") and f"ledger/{name[1:14]}" <= path_of(len(ledger.records)):
            ledger.store.remove(f"ledger/{name}")
    if last := ledger.last("swept"):
        left += last.facts["paths"]
    _remove(ledger.store, left, weights_dir)


def keep_newest(folder: Path, count: int) -> None:
    """Remove all but the newest folders of logs; their names sort by time."""
    if folder.is_dir():
        logs = sorted(each for each in folder.iterdir() if each.is_dir() and not each.is_symlink())
        for each in logs[: max(0, len(logs) - count)]:
            folders.remove(each)


def _remove(store: Store, paths: Iterable[str], weights_dir: Path | None) -> None:
    paths = list(paths)
    # All first: what a strange path seems to cover must not go either.
    for path in paths:
        if not _ATTEMPT.fullmatch(path):
            raise LedgerError(
                f"{store.root}: a record sweeps {path!r}, which is no data of a round: the run was altered"
            )
    for path in paths:
        store.remove(path)
        if weights_dir is not None and path.startswith("weights/"):
            folders.remove(weights_dir / Path(path).name)


def _lease_of(path: str) -> float:
    """The lease that an attempt was made under; of other names, one that is never over."""
    found = _ATTEMPT.fullmatch(path)
    return int(found["attempt"].partition("-")[0]) if found else math.inf
