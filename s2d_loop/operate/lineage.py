"""From a version of the model back to the inputs it came of."""

from collections.abc import Iterator
from typing import Any

from s2d_loop.errors import BadInputError
from s2d_loop.ledger import Ledger
from s2d_loop.records import Example, rows
from s2d_loop.versions import Version, in_service, named, versions


def lineage(ledger: Ledger, name: str) -> list[dict[str, Any]]:
    """A version, and every one that it came of, the newest first; the last may be the starting weights.

    Raises:
        BadInputError: there is no such version; the message lists those there are.
    """
    known = {version.number: version for version in versions(ledger)}
    number = _number(ledger, known, name)
    found: dict[int, dict[str, Any]] = {}
    left = [number]
    while left:
        version = known.get(left.pop())
        if version is None or version.number in found:
            continue
        found[version.number] = _described(ledger, version)
        left += [version.start, *version.teachers]
    begun = ledger.last("run")
    start = (
        {"version": 0, "digest": begun.facts["start"], "path": begun.facts["model"]}
        if begun
        else {"version": 0}
    )
    return [*(found[n] for n in sorted(found, reverse=True)), start]


def trained_rows(ledger: Ledger, number: int) -> Iterator[dict[str, Any]] | None:
    """The pool rows that a version trained on; None where its table is no longer kept."""
    pooled = ledger.stage(number, "pool")
    if pooled is None or not ledger.holds(pooled, "training"):
        return None
    return (
        {"version": number, "row": e.id, "input": e.input_id, "task": e.task, "round": e.iteration}
        for e in rows(ledger.tables(pooled, "training"), Example)
    )


def _number(ledger: Ledger, known: dict[int, Version], name: str) -> int:
    if name == "promoted":
        return in_service(ledger)
    if name in ("0", "start"):
        return 0
    if version := named(known.values(), name):
        return version.number
    for record in ledger.records:
        digest = record.facts["weights"]["digest"] if record.stage == "train" else ""
        if len(name) >= 4 and digest.startswith(name):
            raise BadInputError(
                f"version {record.iteration} ({digest[:12]}) no longer counts: its round was made void"
            )
    have = ", ".join(f"{v.number} ({v.digest[:12]})" for v in known.values()) or "none yet"
    raise BadInputError(f"{ledger.store.root} has no version {name!r} (it has: {have})")


def _described(ledger: Ledger, version: Version) -> dict[str, Any]:
    return {
        "version": version.number,
        "digest": version.digest,
        "path": version.path,
        "kept": not ledger.swept(version.path),
        "promoted": version.promoted,
        "start": version.start,
        "teachers": sorted(version.teachers),
        "rows": {source: dict(tasks) for source, tasks in sorted(version.sources.items())},
    }


def as_text(found: list[dict[str, Any]]) -> Iterator[str]:
    """A lineage for people, a line each."""
    for each in found:
        if each["version"] == 0:
            yield f"start      {each.get('digest', '')[:12]}  {each.get('path', '')}"
            continue
        outcome = "promoted" if each["promoted"] else "not promoted"
        gone = "" if each["kept"] else ", weights swept"
        yield f"version {each['version']}  {each['digest'][:12]}  {outcome}{gone}"
        yield f"  started from  {each['start'] or 'start'}"
        made = ", ".join(str(n or "start") for n in each["teachers"]) or "a recording"
        yield f"  rows made by  {made}"
        for source, tasks in each["rows"].items():
            yield f"  trained on    {', '.join(f'{n:,} {task}' for task, n in tasks.items())} from {source}"
