"""Makes a run as if it had never seen one of its sources: rewinds it, and leaves the rest to be replayed.

Every record from the first round on in which the source delivered a row becomes void, and the version in
service is that of before.  What other sources had delivered to those rounds is copied first, so the next
`s2d run` redoes the rounds without them; so are generations that can be used again.  Then the void data
is removed (docs/decisions/0011-forget.md).
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from s2d_loop.commits import SERVING
from s2d_loop.errors import BadInputError
from s2d_loop.intake import in_order
from s2d_loop.ledger import Attempt, Ledger, Record
from s2d_loop.operate.lease import take_over
from s2d_loop.records import Dropped, Generation, Input, Reject, Trace, rows, schema, source_of, table
from s2d_loop.replay import Waiting, cursors, forgotten, table_of, taken, waiting
from s2d_loop.retention import let_go, tidy
from s2d_loop.serving import publish
from s2d_loop.versions import tainted, versions
from s2d_loop.weights import folder_of

_ROWS = 1024
_NUMBERED = re.compile(r"(#\d+)\.\d+$")
"""How the id of one of several inputs of a row ends."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What forgetting a source comes to."""

    source: str
    first: int | None
    """The first round in which it delivered a row; None where no round that counts has one."""
    last: int
    """The last round that is begun."""
    void: tuple[Record, ...]
    versions: tuple[dict[str, Any], ...]
    """The versions that go, with the reason of each that is tainted."""

    def to_json(self) -> dict[str, Any]:
        return {
            "source": self.source,
            "rounds": [self.first or 0, self.last if self.first else 0],
            "void": [record.seq for record in self.void],
            "versions": list(self.versions),
        }

    def text(self) -> str:
        """The plan for people."""
        if self.first is None:
            return f"No round that counts took a row of {self.source}: nothing becomes void."
        lines = [
            f"Rounds {self.first} to {self.last} are void ({len(self.void)} records) and will be redone."
        ]
        for each in self.versions:
            why = f"tainted: {each['reason']}" if each["reason"] else "not tainted, of a round that is redone"
            lines.append(f"  version {each['version']} ({each['digest'][:12]}): {why}")
        return "\n".join(lines)


def plan(ledger: Ledger, source: str) -> Plan:
    """What would become void.

    Raises:
        BadInputError: the run has no such source, has forgotten it, or can't do without it.
    """
    _check(ledger, source)
    took = [r.iteration for r in ledger.stages("intake") if r.facts["sources"].get(source, {}).get("rows")]
    stages = [r for r in ledger.live if r.kind == "stage"]
    last = max((r.iteration for r in stages), default=0)
    if not took:
        return Plan(source, None, last, (), ())
    first = min(took)
    reasons = tainted(versions(ledger), source)
    gone = [v for v in versions(ledger) if v.number >= first]
    return Plan(
        source,
        first,
        last,
        tuple(r for r in ledger.live if _is_void(r, first)),
        tuple({"version": v.number, "digest": v.digest, "reason": reasons.get(v.number, "")} for v in gone),
    )


def forget(ledger: Ledger, source: str) -> Plan:
    """Forget a source.

    A driver that runs loses its lease by this and exits 5; what it was writing is removed at the next
    start.

    Raises:
        BadInputError: as for `plan`.
        LostLeaseError: a driver committed faster, again and again.
    """
    plan(ledger, source)  # before a driver loses its lease over a misspelt name
    take_over(ledger)
    found = plan(ledger, source)
    before = ledger.last("forget")
    attempt = ledger.attempt(found.first or found.last, "forget")
    counts = _write_waiting(ledger, attempt, found, before)
    reusable = _write_reusable(ledger, attempt, found, before)
    facts = found.to_json() | {"waiting": counts, "reusable": reusable}
    if before is not None:  # its rounds may not all have been redone
        facts["rounds"][1] = max(facts["rounds"][1], before.facts["rounds"][1])
    ledger.store.remove("report.html")  # it shows inputs, and the next run writes it again
    ledger.append("forget", attempt=attempt, facts=facts)
    _erase(ledger, found, before)
    publish(ledger)
    return found


def _check(ledger: Ledger, source: str) -> None:
    gone = forgotten(ledger)
    tasks = {name: set(each) for name, each in _begun(ledger).facts["sources"].items() if name not in gone}
    if source in gone:
        raise BadInputError(f"{source} is forgotten already: take it out of the configuration and run again")
    if source not in tasks:
        raise BadInputError(f"this run has no source {source!r} (it has: {', '.join(sorted(tasks))})")
    others = set().union(*(fed for name, fed in tasks.items() if name != source))
    if alone := sorted(tasks[source] - others):
        raise BadInputError(
            f"{source} is all that feeds {', '.join(alone)}: without it this would be another run. "
            "Start one in a new run.dir without it, and remove this one."
        )


def _begun(ledger: Ledger) -> Record:
    begun = ledger.last("run")
    assert begun is not None, "a run begins with its configuration"
    return begun


def _is_void(record: Record, first: int) -> bool:
    if record.kind in ("stage", "trial"):
        return record.iteration >= first
    if record.kind == "checkpoint":
        return bool(record.facts["iteration"] >= first)
    # A rollback holds from a round on: one that came later chose among versions that are gone.
    return record.kind == "finished" or (record.kind in SERVING and record.facts["from"] > first)


def _write_waiting(ledger: Ledger, attempt: Attempt, found: Plan, before: Record | None) -> dict[str, int]:
    """Copy what other sources delivered to the void rounds, and what still waited; rows by source."""
    gone = {*forgotten(ledger), found.source}
    counts = {}
    for source in sorted(_begun(ledger).facts["sources"].keys() - gone):
        with attempt.writer(table_of(source), schema(Waiting)) as writer:
            row = -1
            for batch in _batches(_numbered(_delivered(ledger, found, before, source))):
                writer.write(table(batch, Waiting))
                row = batch[-1].row
            counts[source] = row + 1
    return counts


def _delivered(
    ledger: Ledger, found: Plan, before: Record | None, source: str
) -> Iterator[tuple[int, Input | Reject]]:
    """The rows of a source, each with the first round in which it is known to have been there."""
    since = 0
    intakes = [r for r in found.void if r.kind == "stage" and r.stage == "intake"]
    for record in sorted(intakes, key=lambda r: r.iteration):
        for each in in_order(
            rows(ledger.tables(record, "inputs"), Input),
            rows(ledger.tables(record, "dropped"), Dropped),
            rows(ledger.tables(record, "rejects"), Reject),
        ):
            if source == (each.source if isinstance(each, Reject) else source_of(each.id)):
                yield since, each
        if source in record.facts["exhausted"]:
            since = record.iteration + 1
    if before is not None and before.facts["waiting"].get(source):
        for left in waiting(ledger, before, source, taken(cursors(ledger).get(source), before)):
            for one in (left.input, left.reject):
                if one is not None:
                    yield max(since, left.since), one


def _numbered(delivered: Iterator[tuple[int, Input | Reject]]) -> Iterator[Waiting]:
    """Rows by number: the inputs of one row come one behind the other, and share it."""
    row, last = -1, ""
    for since, each in delivered:
        name = "" if isinstance(each, Reject) else _NUMBERED.sub(r"\1", each.id)
        if isinstance(each, Reject) or name == each.id or name != last:
            row += 1
        last = name
        if isinstance(each, Reject):
            yield Waiting(row, since, None, each)
        else:
            yield Waiting(row, since, each, None)


def _write_reusable(ledger: Ledger, attempt: Attempt, found: Plan, before: Record | None) -> int:
    """Copy what versions that stay said to inputs of other sources; how many rows."""
    first = found.first or found.last + 1
    stay = {v.digest for v in versions(ledger) if v.number < first} | {_begun(ledger).facts["start"]}
    made = [*([before] if before else []), *(r for r in found.void if r.stage == "generate")]
    count = 0
    with (
        attempt.writer("generations", schema(Generation)) as generations,
        attempt.writer("traces", schema(Trace)) as traces,
    ):
        for record in made:
            if not ledger.holds(record, "generations"):
                continue
            for each in ledger.tables(record, "generations"):
                batch = [g for g in rows(each, Generation) if _can_stay(g, stay, found.source)]
                generations.write(table(batch, Generation))
                count += len(batch)
            for kept in (record, ledger.stage(record.iteration, "curate")):
                if kept is not None and ledger.holds(kept, "traces"):
                    for each in ledger.tables(kept, "traces"):
                        calls = [t for t in rows(each, Trace) if source_of(t.input_id) != found.source]
                        traces.write(table(calls, Trace))
                    break
    return count


def _can_stay(row: Generation, stay: set[str], source: str) -> bool:
    return row.error is None and row.weights in stay and source_of(row.input.id) != source


def _erase(ledger: Ledger, found: Plan, before: Record | None) -> None:
    """Remove the void data, named first; a driver's start does it too, should this be killed."""
    stages = [record for record in found.void if record.kind in ("stage", "trial")]
    paths = [record.folder for record in stages]
    paths += [folder_of(r) for r in stages if r.stage == "train"]
    paths += [before.folder] if before is not None else []
    let_go(ledger, [path for path in paths if not ledger.swept(path)], None, why=f"forget {found.source}")
    tidy(ledger, None)
    scratches = tuple({f".scratch-{record.iteration:05d}" for record in stages})
    for name in ledger.store.list("weights"):
        if name.startswith(scratches):
            ledger.store.remove(f"weights/{name}")


def _batches(waiting_rows: Iterator[Waiting]) -> Iterator[list[Waiting]]:
    batch: list[Waiting] = []
    for each in waiting_rows:
        batch.append(each)
        if len(batch) == _ROWS:
            yield batch
            batch = []
    if batch:
        yield batch
