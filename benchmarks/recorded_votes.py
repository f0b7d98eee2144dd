"""Votes that a model really cast: the generations of a run, or one table of them.

Every sample must be there, so the run was made with `tasks.NAME.method.stop: never`.  With
`traces.keep: all` each sample's own tokens are known; else each counts as the mean of its input's.
"""

import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq

from s2d_loop.clock import SystemClock
from s2d_loop.ledger import Ledger
from s2d_loop.records import Call, Generation, Trace, rows
from s2d_loop.store import open_store
from s2d_loop.tasks.base import Task
from s2d_loop.tasks.registry import load_task

Answers = Sequence[str | None]


@dataclass(frozen=True, slots=True)
class Vote:
    """All samples of one input: what each says (None: nothing that can be read), and its tokens."""

    task: str
    answers: Answers
    tokens: Sequence[float]


def recorded(place: str) -> Iterator[Vote]:
    """The votes of a run, or of a `generations.parquet` (whose tasks are named as their parsers).

    Raises:
        SystemExit: no input there has all of its samples.
    """
    found = skipped = exact = 0
    for row, calls, task in _table(place) if place.endswith(".parquet") else _run(place):
        if not row.samples or len(row.samples) != row.planned:
            skipped += 1
            continue
        found += 1
        exact += bool(calls)
        answers = [task.parse(s.text) if s.finished else None for s in row.samples]
        yield Vote(row.input.task, answers, _tokens(row, calls))
    print(
        f"{place}: {found} inputs with all of their samples, {skipped} without; tokens by sample of {exact}, "
        f"their mean of the others",
        file=sys.stderr,
    )
    if not found:
        raise SystemExit(f"{place}: no input has all of its samples: make it with method.stop: never")


def subsets(vote: Vote, budgets: Iterable[int]) -> Iterator[Vote]:
    """As many disjoint votes of each budget as there are samples for; the whole where it is below them all."""
    n = len(vote.answers)
    for budget in [each for each in budgets if each <= n] or [n]:
        for start in range(0, n - budget + 1, budget):
            part = slice(start, start + budget)
            yield Vote(vote.task, vote.answers[part], vote.tokens[part])


def _run(run: str) -> Iterator[tuple[Generation, Sequence[Call], Task]]:
    ledger = Ledger(open_store(run), SystemClock())
    begun = ledger.last("run")
    if begun is None:
        raise SystemExit(f"{run} is no run")
    tasks = {name: load_task(task["parser"]) for name, task in begun.facts["config"]["tasks"].items()}
    for record in ledger.stages("generate"):
        traces = ledger.tables(record, "traces") if ledger.holds(record, "traces") else ()
        calls = {trace.input_id: trace.calls for trace in rows(traces, Trace)}
        for row in rows(ledger.tables(record, "generations"), Generation):
            yield row, calls.get(row.input.id, ()), tasks[row.input.task]


def _table(path: str) -> Iterator[tuple[Generation, Sequence[Call], Task]]:
    beside = Path(path).with_name("traces.parquet")
    traces = rows(pq.read_table(beside), Trace) if beside.exists() else ()
    calls = {trace.input_id: trace.calls for trace in traces}
    for row in rows(pq.read_table(path), Generation):
        yield row, calls.get(row.input.id, ()), load_task(row.input.task)


def _tokens(row: Generation, calls: Sequence[Call]) -> list[float]:
    """The tokens of each sample; the samples that one run of the program gave share its tokens."""
    twins = {twin.name for twin in row.twins}
    of_run: Counter[int] = Counter()
    for call in calls:
        if call.step.partition("/")[0] not in twins:
            of_run[call.sample] += call.num_tokens
    if not of_run:
        return [row.num_tokens / len(row.samples)] * len(row.samples)
    per_run = len(row.samples) // len(of_run)
    return [of_run[number // per_run] / per_run for number in range(len(row.samples))]
