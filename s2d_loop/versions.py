"""The versions of the model that a run made: what each came of, and which was in service when.

A version's number is that of the round that trained it; 0 are the weights that the run began with.
All of it is read from the ledger's facts, so it stays known after tables and weights were swept.
"""

import contextlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from s2d_loop.commits import SERVING
from s2d_loop.ledger import Ledger, LedgerError, Record
from s2d_loop.store import inside

Ranges = list[list[int]]
"""Numbers of rounds as `[first, last]` pairs: short, whatever a replay drew from."""

_SHORTEST_DIGEST = 4


@dataclass(frozen=True, slots=True)
class Version:
    """Trained weights.  `sources` counts the rows it trained on, by source and task."""

    number: int
    digest: str
    path: str
    promoted: bool
    start: int
    """The version that its training started from."""
    teachers: frozenset[int]
    """The versions that generated the rows it trained on."""
    sources: Mapping[str, Mapping[str, int]]


def versions(ledger: Ledger) -> list[Version]:
    """The versions that count, oldest first, without the weights that the run began with."""
    promoted = {record.iteration for record in ledger.stages("promote")}
    promoted |= {int(record.facts["version"]) for record in ledger.live if record.kind == "promote"}
    teachers = {r.iteration: int(r.facts["version"]) for r in ledger.stages("generate")}
    pooled = {record.iteration: record for record in ledger.stages("pool")}
    return [
        Version(
            number=record.iteration,
            digest=record.facts["weights"]["digest"],
            path=record.facts["weights"]["path"],
            promoted=record.iteration in promoted,
            start=record.facts["start_version"],
            teachers=frozenset(teachers[i] for i in _rounds(pooled[record.iteration])),
            sources=pooled[record.iteration].facts["training_by_source"],
        )
        for record in ledger.stages("train")
    ]


def in_service(ledger: Ledger, iteration: int | None = None) -> int:
    """The version that a round begins with; without one, the version in service now."""
    for record in reversed(ledger.live):
        if record.kind in SERVING and (iteration is None or record.facts["from"] <= iteration):
            return int(record.facts["version"])
        promotes = record.kind == "stage" and record.stage == "promote"
        if promotes and (iteration is None or record.iteration < iteration):
            return record.iteration
    return 0


def collapsed(ledger: Ledger) -> Record | None:
    """The record of the stop rule that ended a run, unless an operator has decided since."""
    last = next((record for record in reversed(ledger.live) if record.kind in SERVING), None)
    return last if last is not None and last.kind == "collapsed" else None


def standing(ledger: Ledger) -> list[int]:
    """The versions that were put in service one after the other, without those that were come back from."""
    found = [0]
    for record in ledger.live:
        if record.kind in SERVING:
            version = int(record.facts["version"])
            found = found[: found.index(version) + 1] if version in found else [*found, version]
        elif record.kind == "stage" and record.stage == "promote":
            found.append(record.iteration)
    return found


def best_so_far(ledger: Ledger) -> dict[tuple[str, str | None], int]:
    """What a candidate has to be as good as, on each task and class (None: the task as a whole).

    The newest version that still stands and that the gate found better than the best before it; where there is
    none, a task has no entry, and the weights of the start are its best.
    """
    best: dict[tuple[str, str | None], int] = {}
    for version in standing(ledger)[1:]:
        gate = ledger.stage(version, "gate")
        facts = gate.facts if gate else {}
        cells = {(task, None): cell for task, cell in facts.get("by_task", {}).items()}
        for task, classes in facts.get("classes", {}).items():
            cells |= {(task, name): cell for name, cell in classes.items()}
        # Records of before there was a best compare with the version in service alone.
        best |= {at: version for at, cell in cells.items() if cell.get("better", cell["low"] > 0)}
    return best


def named(known: Iterable[Version], name: str) -> Version | None:
    """The version of a number, a folder of weights, or the beginning of a digest (4 characters or more)."""
    for version in known:
        digest = len(name) >= _SHORTEST_DIGEST and version.digest.startswith(name)
        if name in (str(version.number), version.path, Path(version.path).name) or digest:
            return version
    return None


def point_at_promoted(ledger: Ledger) -> None:
    """Let RUN/promoted lead to the version in service, for people; the ledger is what counts."""
    link = ledger.store.local_path("promoted")
    if link is None:
        return
    if Path(link).is_dir() and not Path(link).is_symlink():
        raise LedgerError(
            f"{link}: it is a folder, where a link to the weights in service stands (was the run copied with its links "
            "followed?): remove it"
        )
    trained = ledger.stage(in_service(ledger), "train")
    if trained is None:
        Path(link).unlink(missing_ok=True)
        return
    temporary = Path(f"{link}.new")
    with contextlib.suppress(FileExistsError, FileNotFoundError):  # somebody else is at it too
        temporary.unlink(missing_ok=True)
        temporary.symlink_to(inside(trained.facts["weights"]["path"]))
        temporary.replace(link)


def tainted(known: Iterable[Version], source: str) -> dict[int, str]:
    """The versions that something of a source went into, by number, each with the reason.

    A version is tainted when it trained on a row whose input is of the source, or started from a
    tainted version, or trained on a row that a tainted version generated.
    """
    found: dict[int, str] = {}
    for version in sorted(known, key=lambda each: each.number):
        rows = sum(version.sources.get(source, {}).values())
        by = sorted(version.teachers & found.keys())
        if rows:
            found[version.number] = f"trained on {rows} rows of {source}"
        elif version.start in found:
            found[version.number] = f"started from version {version.start}"
        elif by:
            found[version.number] = f"trained on rows that version {_listed(by)} generated"
    return found


def as_ranges(rounds: Iterable[int]) -> Ranges:
    """Rounds as ranges, in order."""
    ranges: Ranges = []
    for number in sorted(set(rounds)):
        if ranges and ranges[-1][1] == number - 1:
            ranges[-1][1] = number
        else:
            ranges.append([number, number])
    return ranges


def _rounds(pooled: Record) -> list[int]:
    """The rounds whose generations a round trained on."""
    return [n for first, last in pooled.facts["training_rounds"] for n in range(first, last + 1)]


def _listed(numbers: list[int]) -> str:
    return ", ".join(map(str, numbers))
