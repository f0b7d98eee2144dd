"""Fixes what is held out, and claims new inputs."""

import re
from collections import Counter
from contextlib import nullcontext

import pyarrow as pa

from s2d_loop.errors import BadInputError
from s2d_loop.intake import CANARY, GENERAL, NeverTrain, Quarantine, Test, claim
from s2d_loop.known import Known
from s2d_loop.ledger import Attempt, Counts, Record
from s2d_loop.near import ALGORITHM, NearDuplicates
from s2d_loop.quarantine import quarantined
from s2d_loop.records import Dropped, HeldOut, Input, Near, Reject, schema, table
from s2d_loop.replay import cursors, with_replay
from s2d_loop.sources import Cursor, fold, read_heldout
from s2d_loop.stages import general
from s2d_loop.stages.canaries import canaries
from s2d_loop.stages.run import Balance, Run


def heldout(run: Run, attempt: Attempt) -> Balance:
    """Fix the inputs that never train, before any input is claimed."""
    items = [each for name, task in run.config.tasks.items() for each in read_heldout(task.heldout, name)]
    attempt.write("heldout", table(items, HeldOut))
    general.fix(run, attempt)
    return Counts(len(items), len(items)), {"by_task": Counter(each.input.task for each in items)}


def intake(run: Run, attempt: Attempt) -> Balance:
    """Claim new inputs; what is not claimed is committed beside them, with its reason."""
    earlier = [r for r in run.ledger.stages("intake") if r.iteration < attempt.iteration]
    moves: dict[str, list[Cursor]] = {}
    exhausted: set[str] = set()
    sources = with_replay(run.ledger, run.sources, run.config.run.iterations and attempt.iteration)
    known, heldout = Known(), [each.input for each in run.heldout()]
    private = [x for each in canaries(run).values() for canary in each for x in canary.inputs]
    tests: list[Test] = [
        Quarantine(quarantined(run.ledger)),
        NeverTrain(heldout),
        NeverTrain(private, CANARY),
        NeverTrain(general.inputs(run), GENERAL),
        known,
    ]
    wanted = run.config.intake.near_duplicates
    near = NearDuplicates(known, [*heldout, *private], wanted.threshold, wanted.keep) if wanted else None
    tests += [near] if near else []
    for record in earlier:
        for each in run.ledger.tables(record, "inputs", ["id", "task", "content_hash"]):
            known.add(each)
        if near:
            _add_near(run, record, near)
    by_task: Counter[str] = Counter()
    by_source: dict[str, Counter[str]] = {}
    spelled: Counter[str] = Counter()
    with (
        run.progress.stage(attempt.iteration, "intake", None) as progress,
        attempt.writer("inputs", schema(Input)) as inputs,
        attempt.writer("dropped", schema(Dropped)) as dropped,
        attempt.writer("rejects", schema(Reject)) as rejects,
        attempt.writer("near", schema(Near)) if near else nullcontext() as bands,
    ):
        for found in claim(run.config, sources, cursors(run.ledger), tests, known.count):
            inputs.write(found.inputs)
            spelled[found.source] += _spelling(found.inputs, run.control)
            if near and bands:
                bands.write(near.committed)
            dropped.write(table(found.dropped, Dropped))
            rejects.write(table(found.rejects, Reject))
            moves.setdefault(found.source, []).append(found.cursor)
            if found.exhausted:
                exhausted.add(found.source)
            by_task.update(found.by_task)
            outcomes = {"rows": found.rows, "inputs": found.inputs.num_rows, **found.reasons}
            by_source.setdefault(found.source, Counter()).update(outcomes)
            progress.advance(found.rows)
            run.safe_point()
    if spelled.total():
        run.progress.note(
            f"{spelled.total()} inputs spell out control tokens of the model: they are read as letters (docs/models.md)."
        )
    total = sum(by_source.values(), Counter())
    claimed, delivered = total.pop("inputs", 0), total.pop("rows", 0)
    return Counts(delivered, claimed, dict(total)), {
        "by_task": by_task,
        "sources": by_source,
        "exhausted": sorted(exhausted),
        "cursors": {name: fold(each) for name, each in moves.items()},
        "near_by": ALGORITHM if near else None,
        "control_tokens": {name: count for name, count in spelled.items() if count},
    }


def _spelling(inputs: pa.Table, control: re.Pattern[str] | None) -> int:
    """How many inputs spell out a control token of the model: it is asked and trained as letters."""
    if control is None:
        return 0
    texts = ([turn["content"] for turn in turns] for turns in inputs["messages"].to_pylist())
    return sum(any(control.search(text) for text in each) for each in texts)


def _add_near(run: Run, record: Record, near: NearDuplicates) -> None:
    """Add the bands of an earlier round.

    Raises:
        BadInputError: they were made by another version of the library.
    """
    if record.facts["near_by"] != ALGORITHM:
        raise BadInputError(
            f"intake.near_duplicates: round {record.iteration} compared inputs by {record.facts['near_by']}, "
            f"and here is {ALGORITHM}: install the version of rensa that the run began with"
        )
    tasks = pa.concat_tables(run.ledger.tables(record, "inputs", ["task"]))
    near.add(tasks["task"], run.ledger.read(record, "near", Near))
