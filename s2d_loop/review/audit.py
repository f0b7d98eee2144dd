"""The inputs of a round that both systems answered: a random sample to label, and how often each was right."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from heapq import nsmallest
from itertools import zip_longest
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from s2d_loop.evaluate.references import majority, review_says
from s2d_loop.labels import Standing
from s2d_loop.ledger import Ledger, LedgerError, Record
from s2d_loop.records import Generation, Input, Verdict, digest, rows
from s2d_loop.tasks.base import Task
from s2d_loop.triage.routes import AUDIT

SAMPLED = 20
"""Inputs of a task and round that are sampled: an hour's work over three tasks and rounds, some +-20 points."""
ROUNDS = 3
"""The newest rounds that are sampled: what is older says little of the model in service."""


@dataclass(frozen=True, slots=True)
class Audited:
    """One input and what both systems said to it; None is a reply that can't be parsed, or no winner."""

    round: int
    input: Input
    system2: str | None
    system1: tuple[str | None, ...]

    @property
    def answers(self) -> tuple[str, ...]:
        """The different answers, System 2's first."""
        said = dict.fromkeys((self.system2, *self.system1))
        return tuple(answer for answer in said if answer is not None)


def rounds(ledger: Ledger) -> list[int]:
    """The newest rounds whose answers are still kept, newest first."""
    there = [
        record.iteration
        for record in ledger.stages("curate")
        if ledger.holds(record, "verdicts")
        and (made := ledger.stage(record.iteration, "generate"))
        and ledger.holds(made, "generations")
    ]
    return sorted(there, reverse=True)[:ROUNDS]


def sample(ledger: Ledger, iteration: int) -> set[str]:
    """The ids of a random sample of each task, the same for every rater.

    Where a round was triaged it is drawn from the audit share: System 2 answers the others because they are hard.
    """
    found: dict[str, list[str]] = {}
    generated, triaged = ledger.stage(iteration, "generate"), ledger.stage(iteration, "triage")
    assert generated is not None
    audit = None if triaged is None else _audit_share(ledger, triaged)
    for table in ledger.tables(generated, "generations", ["input.id", "input.task", "samples", "direct"]):
        both = pc.and_(_any(table["samples"]), _any(table["direct"]))
        for x in table.filter(both)["input"].to_pylist():
            if audit is not None and x["id"] not in audit:
                continue
            found.setdefault(x["task"], []).append(x["id"])
    return {name for names in found.values() for name in nsmallest(SAMPLED, names, key=shuffled)}


def _audit_share(ledger: Ledger, triaged: Record) -> set[str]:
    tables = ledger.tables(triaged, "routes", ["input_id", "route"])
    return {name for t in tables for name in t.filter(pc.equal(t["route"], AUDIT))["input_id"].to_pylist()}


def shuffled(input_id: str) -> str:
    """Sorts inputs in an order that has nothing to do with them."""
    return digest("review", input_id)


def audited(
    ledger: Ledger, iteration: int, wanted: Collection[str], tasks: Mapping[str, Task]
) -> Iterator[Audited]:
    """What both systems said to some inputs of a round."""
    generated, curated = ledger.stage(iteration, "generate"), ledger.stage(iteration, "curate")
    assert generated is not None
    assert curated is not None
    names = pa.array(wanted, pa.string())

    def chosen(record: Record, table: str) -> Iterator[pa.Table]:
        for each in ledger.tables(record, table):
            yield each.filter(pc.is_in(pc.struct_field(each["input"], "id"), value_set=names))

    # Both are in the inputs' order.
    pairs = zip_longest(
        rows(chosen(generated, "generations"), Generation), rows(chosen(curated, "verdicts"), Verdict)
    )
    for generation, verdict in pairs:
        if generation is None or verdict is None or generation.input.id != verdict.input.id:
            raise LedgerError(
                f"{ledger.store.root}: round {iteration} has other verdicts than generations: run `s2d doctor`"
            )
        parse = tasks[generation.input.task].parse
        direct = tuple(parse(s.text) if s.finished else None for s in generation.direct)
        yield Audited(iteration, generation.input, verdict.answer, direct)


def audited_accuracy(
    ledger: Ledger, standing: Standing, tasks: Mapping[str, Task]
) -> dict[str, list[dict[str, Any]]]:
    """By task, a row for each of the newest rounds of which a sample was labelled; newest first."""
    found: dict[str, list[dict[str, Any]]] = {}
    for iteration in rounds(ledger) if standing else []:
        labelled = list(audited(ledger, iteration, standing.keys(), tasks))
        for task in tasks:
            row = accuracy((x for x in labelled if x.input.task == task), standing)
            if row["n"]:
                found.setdefault(task, []).append({"round": iteration, **row})
    return found


def accuracy(inputs: Iterable[Audited], standing: Standing) -> dict[str, Any]:
    """How often each system was right, over the inputs on which raters judged every answer.

    System 1's is the mean over its samples.
    """
    n, right1, right2 = 0, 0.0, 0
    for each in inputs:
        reviewed = majority(standing[each.input.id])
        if reviewed is None:
            continue
        slow, *fast = (review_says(answer, reviewed) for answer in (each.system2, *each.system1))
        if slow is None or None in fast or not fast:
            continue
        n += 1
        right1 += sum(map(bool, fast)) / len(fast)
        right2 += slow
    return {"n": n, "system1": right1 / n if n else None, "system2": right2 / n if n else None}


def _any(lists: pa.ChunkedArray) -> pa.ChunkedArray:
    return pc.greater(pc.list_value_length(lists), 0)
