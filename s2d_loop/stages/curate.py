"""Keeps what is self-consistent."""

from collections import Counter
from collections.abc import Iterable
from functools import partial
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from s2d_loop.config import Config
from s2d_loop.curate.judge import curate
from s2d_loop.curate.signs import Signs, sign_columns, signs
from s2d_loop.ledger import Attempt, Counts, Record
from s2d_loop.records import KEPT, Generation, Route, Trace, Verdict, rows, schema, table
from s2d_loop.stages.run import Balance, Run
from s2d_loop.tasks.registry import load_task
from s2d_loop.triage.audit import answered, audit
from s2d_loop.triage.routes import AUDIT


def curate_stage(run: Run, attempt: Attempt, generated: Record) -> Balance:
    """Keep what is self-consistent, and drop the rest with a reason each."""
    seen: list[pa.Table] = []
    with (
        run.progress.stage(attempt.iteration, "curate", generated.counts.out) as progress,
        attempt.writer("verdicts", schema(Verdict)) as writer,
    ):
        tables = run.ledger.tables(generated, "generations")
        for verdicts in run.dataflow.map(tables, partial(curate_table, config=run.config)):
            writer.write(verdicts)
            seen.append(sign_columns(verdicts))
            kept = pc.sum(pc.equal(verdicts["reason"], KEPT)).as_py()
            progress.advance(verdicts.num_rows, kept=kept, dropped=verdicts.num_rows - kept)
            run.safe_point()
    if run.config.traces.keep == "rejected":
        _keep_rejected(run, attempt, generated, seen)
    by_task = task_signs(run.config, seen)
    facts = {"by_task": by_task, **_audited(run, attempt, seen)}
    dropped = sum((Counter(each["dropped"]) for each in by_task.values()), Counter[str]())
    kept = sum(each["kept"] for each in by_task.values())
    return Counts(generated.counts.out, kept, dict(dropped)), facts


def _audited(run: Run, attempt: Attempt, seen: list[pa.Table]) -> dict[str, Any]:
    """What the inputs that both systems answered tell of those that were skipped."""
    triaged, rules = run.ledger.stage(attempt.iteration, "triage"), run.config.triage
    if triaged is None or rules is None:
        return {}
    routes = answered(run.ledger.read(triaged, "routes", Route))
    verdicts = _together(seen)
    found = audit(routes, verdicts, triaged.facts["by_task"], rules)
    # What triage sends on is no fair sample of what came: the audit share is.
    signs_of = task_signs(run.config, [verdicts.filter(pc.equal(routes["route"], AUDIT))])
    for each in found.values():
        if each["sentence"]:
            run.progress.note(each["sentence"])
    return {"audit": {task: {**each, "signs": signs_of[task]} for task, each in found.items()}}


def _keep_rejected(run: Run, attempt: Attempt, generated: Record, seen: Iterable[pa.Table]) -> None:
    """Copy the traces of what was dropped; they lie in the order of the generations."""
    lost = pa.chunked_array([pc.not_equal(each["reason"], KEPT).combine_chunks() for each in seen], "bool")
    start = 0
    with attempt.writer("traces", schema(Trace)) as traces:
        for each in run.ledger.tables(generated, "traces"):
            traces.write(each.filter(lost.slice(start, each.num_rows)))
            start += each.num_rows


def _together(seen: Iterable[pa.Table]) -> pa.Table:
    return pa.concat_tables([sign_columns(schema(Verdict).empty_table()), *seen])


def task_signs(config: Config, seen: Iterable[pa.Table]) -> dict[str, Signs]:
    """The signs of each task, from the columns of all verdicts."""
    columns = _together(seen)
    return {
        name: signs(columns.filter(pc.equal(columns["task"], name)), task.direct_samples)
        for name, task in config.tasks.items()
    }


def curate_table(generations: pa.Table, config: Config) -> pa.Table:
    """Tables of `Generation` to tables of `Verdict`, row for row."""
    tasks = {name: (load_task(task.parser), task.curate) for name, task in config.tasks.items()}
    judged = (curate(x, *tasks[x.input.task], config.run.seed) for x in rows(generations, Generation))
    return table(judged, Verdict)
