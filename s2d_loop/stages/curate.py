"""Keeps what is self-consistent."""

from collections import Counter
from functools import partial
from typing import Any

import pyarrow as pa

from s2d_loop.config import Config
from s2d_loop.curate.judge import curate
from s2d_loop.curate.signs import signs
from s2d_loop.ledger import Attempt, Counts, Record
from s2d_loop.records import Generation, Trace, Verdict, rows, schema, table
from s2d_loop.stages.run import Balance, Run
from s2d_loop.tasks.registry import load_task


def curate_stage(run: Run, attempt: Attempt, generated: Record) -> Balance:
    """Keep what is self-consistent, and drop the rest with a reason each."""
    dropped: Counter[str] = Counter()
    verdicts: list[Verdict] = []
    with (
        run.progress.stage(attempt.iteration, "curate", generated.counts.out) as progress,
        attempt.writer("verdicts", schema(Verdict)) as writer,
    ):
        tables = run.ledger.tables(generated, "generations")
        for each in run.dataflow.map(tables, partial(curate_table, config=run.config)):
            each = each.cast(schema(Verdict))
            batch = list(rows(each, Verdict))
            lost = [v.reason for v in batch if not v.kept]
            dropped.update(lost)
            verdicts += batch
            writer.write(each)
            progress.advance(len(batch), kept=len(batch) - len(lost), dropped=len(lost))
            run.safe_point()
    if run.config.traces.keep == "rejected":
        rejected = {v.input.id for v in verdicts if not v.kept}
        with attempt.writer("traces", schema(Trace)) as traces:
            for each in run.ledger.tables(generated, "traces"):
                traces.write(table([t for t in rows(each, Trace) if t.input_id in rejected], Trace))
    kept = len(verdicts) - dropped.total()
    return Counts(generated.counts.out, kept, dict(dropped)), {"by_task": task_signs(run.config, verdicts)}


def task_signs(config: Config, verdicts: list[Verdict]) -> dict[str, Any]:
    return {
        name: signs([v for v in verdicts if v.input.task == name], task.direct_samples)
        for name, task in config.tasks.items()
    }


def curate_table(generations: pa.Table, config: Config) -> pa.Table:
    verdicts = []
    for row in rows(generations, Generation):
        task = config.tasks[row.input.task]
        verdicts.append(curate(row, load_task(task.parser), task.curate, config.run.seed))
    return table(verdicts, Verdict)
