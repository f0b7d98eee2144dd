"""Everything that happened to one input, from the row of its source to the versions trained on it."""

from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from s2d_loop.ledger import Ledger, Record
from s2d_loop.records import (
    Dropped,
    Message,
    Reject,
    Route,
    Verdict,
    content_hash,
    rows,
    source_of,
    to_dict,
)
from s2d_loop.triage.routes import LEFT_OUT
from s2d_loop.versions import versions


def why(ledger: Ledger, wanted: str) -> list[dict[str, Any]]:
    """What became of an input, by its id or by its text; one dict for each row that held it."""
    text = content_hash([Message("user", wanted)])
    return [found for record in ledger.stages("intake") for found in _in_round(ledger, record, wanted, text)]


def _in_round(ledger: Ledger, intake: Record, wanted: str, text: str) -> Iterator[dict[str, Any]]:
    claimed = {
        row["id"]: row["task"]
        for each in ledger.tables(intake, "inputs", ["id", "task", "content_hash"])
        for row in _matching(each, wanted, text).to_pylist()
    }
    for name, task in claimed.items():
        yield _claimed(ledger, intake.iteration, name, task)
    for dropped in rows(ledger.tables(intake, "dropped"), Dropped):
        if dropped.input.id == wanted or dropped.input.content_hash == text:
            yield {
                **_place(intake.iteration, dropped.input.id),
                "task": dropped.input.task,
                "outcome": f"dropped at intake: {dropped.reason}",
                "same_as": dropped.same_as,
            }
    for reject in rows(ledger.tables(intake, "rejects"), Reject):
        name = f"{reject.source}:{reject.file}#{reject.row}"
        if name == wanted:
            outcome = f"unreadable: {reject.reason} ({reject.excerpt})"
            yield {**_place(intake.iteration, name), "outcome": outcome}


def _matching(table: pa.Table, wanted: str, text: str) -> pa.Table:
    return table.filter(pc.or_(pc.equal(table["id"], wanted), pc.equal(table["content_hash"], text)))


def _claimed(ledger: Ledger, iteration: int, name: str, task: str) -> dict[str, Any]:
    route = _route(ledger, iteration, name)
    verdict = _verdict(ledger, iteration, name, route)
    pooled = _pool_rows(ledger, iteration, name)
    return {
        **_place(iteration, name),
        "task": task,
        "outcome": verdict["outcome"],
        "route": to_dict(route) if route else None,
        "votes": verdict["votes"],
        "target": verdict["target"],
        "pool_rows": pooled,
        "versions": _trained_on(ledger, set(pooled), iteration),
    }


def _route(ledger: Ledger, iteration: int, name: str) -> Route | None:
    """Where triage sent an input; None where its round had no triage, or the routes are no longer kept."""
    record = ledger.stage(iteration, "triage")
    if record is None or not ledger.holds(record, "routes"):
        return None
    routes = rows(ledger.tables(record, "routes"), Route)
    return next((each for each in routes if each.input_id == name), None)


_NOTHING: dict[str, Any] = {"votes": [], "target": None}


def _verdict(ledger: Ledger, iteration: int, name: str, route: Route | None) -> dict[str, Any]:
    if route and route.route in LEFT_OUT:
        return {"outcome": f"not sent to System 2 by triage: {route.route}", **_NOTHING}
    record = ledger.stage(iteration, "curate")
    if record is None:
        return {"outcome": "claimed; its round has not been curated", **_NOTHING}
    if not ledger.holds(record, "verdicts"):
        return {"outcome": "claimed; the verdicts of its round are no longer kept", **_NOTHING}
    for each in rows(ledger.tables(record, "verdicts"), Verdict):
        if each.input.id == name:
            outcome = "kept" if each.kept else f"dropped by curate: {each.reason}"
            return {"outcome": outcome, "votes": [to_dict(v) for v in each.votes], "target": each.target}
    return {"outcome": "claimed, and without a verdict: run `s2d doctor`", **_NOTHING}


def _pool_rows(ledger: Ledger, iteration: int, name: str) -> list[str]:
    record = ledger.stage(iteration, "pool")
    tables = ledger.tables(record, "examples", ["id", "input_id"]) if record else ()
    return [row["id"] for each in tables for row in each.to_pylist() if row["input_id"] == name]


def _trained_on(ledger: Ledger, ids: set[str], since: int) -> list[dict[str, Any]]:
    """The versions whose rows include any of these; where the rows are gone, that it isn't known."""
    found = []
    for version in versions(ledger) if ids else ():
        record = ledger.stage(version.number, "pool")
        if record is None or version.number < since:
            continue
        if not ledger.holds(record, "training"):
            found.append({"version": version.number, "times": None})
            continue
        times = sum(
            pc.sum(pc.is_in(each["id"], pa.array(sorted(ids)))).as_py() or 0
            for each in ledger.tables(record, "training", ["id"])
        )
        if times:
            found.append({"version": version.number, "times": times})
    return found


def _place(iteration: int, name: str) -> dict[str, Any]:
    return {"input": name, "source": source_of(name), "round": iteration}


def as_text(found: dict[str, Any]) -> Iterator[str]:
    """What happened to one input, a line each."""
    yield f"{found['input']}  (round {found['round']}, source {found['source']})"
    yield f"  {found['outcome']}" + (f", the same as {found['same_as']}" if "same_as" in found else "")
    if (route := found.get("route")) is not None:
        yield f"  triage: {route['route']}" + (
            ""
            if route["score"] is None
            else f"; {route['score']:.0%} of System 1's answers: {route['answer']!r}"
        )
    for vote in found.get("votes", ()):
        yield f"  {vote['count']} votes for {vote['answer']!r}"
    if found.get("target") is not None:
        yield f"  target: {found['target']!r}"
    for row in found.get("pool_rows", ()):
        yield f"  pool row {row}"
    for each in found.get("versions", ()):
        times = "its training rows are no longer kept" if each["times"] is None else f"{each['times']} times"
        yield f"  version {each['version']}: {times}"
