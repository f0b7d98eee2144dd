"""Runs the System 2 programs: on a first few inputs, then on all that were claimed."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from functools import partial

import pyarrow as pa

from s2d_loop.curate.signs import sign_columns
from s2d_loop.errors import BadInputError, S2DError
from s2d_loop.ledger import Attempt, Counts, Record
from s2d_loop.plan import distillation_plans
from s2d_loop.records import RECORDED, Generation, Input, Trace, Weights, rows, schema, table
from s2d_loop.replay import made_before
from s2d_loop.stages.curate import curate_table, task_signs
from s2d_loop.stages.engines import generated, serve
from s2d_loop.stages.run import Balance, Run
from s2d_loop.triage.routes import routed_inputs

_BATCH = 64
"""Rows between two safe points where no engine sets the pace."""


def probe(run: Run, attempt: Attempt, claimed: Record) -> Balance:
    """Send the first few inputs of each task through generate and curate before money is spent.

    Raises:
        BadInputError: a task keeps less than `generate.min_kept_share` of them.
    """
    config = run.config
    first: dict[str, list[Input]] = {task: [] for task in config.tasks}
    for x in rows(run.ledger.tables(claimed, "inputs"), Input):
        if len(first[x.task]) < config.generate.probe_inputs:
            first[x.task].append(x)
    chosen = [x for each in first.values() for x in each]
    serve(run, run.teacher(attempt.iteration)[1])
    with run.progress.stage(attempt.iteration, "probe", len(chosen)) as progress:
        verdicts: list[pa.Table] = []
        for each in generated(run, [table(chosen, Input)], distillation_plans(config)):
            verdicts.append(curate_table(each, config))
            progress.advance(each.num_rows)
            run.safe_point()
    found = task_signs(config, map(sign_columns, verdicts))
    floor = config.generate.min_kept_share
    poor = {task: s for task, s in found.items() if s["inputs"] and s["kept_share"] < floor}
    if poor:
        lines = [
            f"  {task}: kept {s['kept']} of {s['inputs']}; dropped: "
            + ", ".join(f"{reason} {count}" for reason, count in sorted(s["dropped"].items()))
            for task, s in poor.items()
        ]
        raise BadInputError(
            f"the first pass kept less than generate.min_kept_share = {floor:.0%} of its inputs:\n"
            + "\n".join(lines)
            + "\nNothing more was spent. Check the task's method and parser, or lower the floor."
        )
    attempt.write("verdicts", pa.concat_tables(verdicts))
    return Counts(len(chosen), len(chosen)), {"by_task": found}


def generate(run: Run, attempt: Attempt, routed: Record) -> Balance:
    """Run the System 2 programs on every claimed input, or on those that `triage` sent here."""
    version, weights = run.teacher(attempt.iteration)
    tallies: dict[str, Counter[str]] = {}
    started = run.clock.monotonic()
    failed = 0
    keep_traces = run.config.traces.keep != "none"
    with (
        run.progress.stage(attempt.iteration, "generate", routed.counts.out) as progress,
        attempt.writer("generations", schema(Generation)) as generations,
        attempt.writer("traces", schema(Trace)) as traces,
    ):
        for batch in _answers(run, routed, weights):
            for row in batch:
                made_by = (weights.digest, RECORDED)
                assert row.error or row.weights in made_by, f"{row.input.id}: made by other weights"
                _tally(tallies.setdefault(row.input.task, Counter()), row)
                failed += row.error is not None
            generations.write(table([replace(row, calls=()) for row in batch], Generation))
            if keep_traces:
                traces.write(table([Trace(row.input.id, row.calls) for row in batch], Trace))
            progress.advance(len(batch), tokens=sum(r.num_tokens + r.num_direct_tokens for r in batch))
            run.safe_point()
    seconds = run.clock.monotonic() - started
    tokens = sum(tally["tokens"] + tally["direct_tokens"] for tally in tallies.values())
    total = generations.rows
    if total and failed == total and not _worked_before(run):
        # Later on they cost themselves: a round of nothing but poison must not be drawn for ever.
        raise S2DError(
            f"every one of the {total} inputs failed to generate; the first: {_first_error(batch)}"
        )
    # A failed input is still a row: `curate` gives it its reason.
    return Counts(routed.counts.out, total), {
        "version": version,
        "weights": weights.digest,
        "by_task": tallies,
        "tokens_per_second": tokens / max(seconds, 1e-9) if total else 0.0,
    }


def _worked_before(run: Run) -> bool:
    tallies = [tally for r in run.ledger.stages("generate") for tally in r.facts["by_task"].values()]
    return any(tally["inputs"] > tally["failed"] for tally in tallies)


def _answers(run: Run, routed: Record, weights: Weights) -> Iterator[list[Generation]]:
    """What the model says to the inputs, in their order.

    What the same weights said to them in a round that became void is not asked again.
    """
    if not routed.counts.out:
        return
    inputs = partial(routed_inputs, run.ledger, routed.iteration)
    before = made_before(run.ledger, inputs(), weights.digest)
    tables = inputs()
    plans = distillation_plans(run.config)
    if not before:
        serve(run, weights)
        yield from (list(rows(each, Generation)) for each in generated(run, tables, plans))
        return
    new: Iterator[Generation] = iter(())
    if len(before) < routed.counts.out:
        serve(run, weights)
        missing = (t.filter([name not in before for name in t["id"].to_pylist()]) for t in tables)
        new = rows(generated(run, missing, plans), Generation)
    for each in inputs(["id"]):
        for start in range(0, each.num_rows, _BATCH):
            names = each["id"].slice(start, _BATCH).to_pylist()
            yield [before.get(name) or next(new) for name in names]


def _tally(tally: Counter[str], row: Generation) -> None:
    tally["inputs"] += 1
    tally["failed"] += row.error is not None
    tally["samples"] += len(row.samples)
    tally["planned"] += row.planned
    tally["calls"] += row.num_calls
    tally["tokens"] += row.num_tokens
    tally["direct_tokens"] += row.num_direct_tokens


def _first_error(batch: list[Generation]) -> str:
    return next(row.error for row in batch if row.error)
