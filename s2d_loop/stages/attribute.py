"""Finds the sources without whose new rows a held candidate would have been promoted, and quarantines them.

First the round's training is done again from another seed: a hold that goes by that was chance.  Then, for one
source after the other, without its new rows.  What the hold was about is measured each time.  Each of these
trials is committed by itself, as a `trial` record, so a rerun goes on behind those that are done.  Their weights
are no versions: they are removed once they are measured.
"""

from collections import Counter
from collections.abc import Collection, Mapping
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from s2d_loop import folders
from s2d_loop.evaluate.attribution import (
    BY_CHANCE,
    Cause,
    Finding,
    Measured,
    Trial,
    cause,
    find,
    not_tried,
    p_better,
    suspects,
)
from s2d_loop.evaluate.canaries import by_set
from s2d_loop.evaluate.gate import HOLD
from s2d_loop.evaluate.references import Reference
from s2d_loop.evaluate.suite import SYSTEM1
from s2d_loop.ledger import Attempt, Counts, Record
from s2d_loop.plan import system1_plans
from s2d_loop.records import Example, Scored, source_of, table
from s2d_loop.stages.canaries import ask_sets, asked_of
from s2d_loop.stages.decide import verdict
from s2d_loop.stages.engines import generated, say, serve
from s2d_loop.stages.evaluate import answers, references_of, score_batch
from s2d_loop.stages.run import Balance, Run
from s2d_loop.stages.train import fit, scratch_of, training_seed

AGAIN = "~"
"""Stands where a trial names its source: nothing is left out, and only the seed is another."""
_ANOTHER = 1 << 20


def attribute(run: Run, attempt: Attempt, pooled: Record, decided: Record) -> Balance:
    """Try the round again as it was, then without each of its sources, as far as the budget goes."""
    about = cause(decided.facts)
    training = run.ledger.read(pooled, "training", Example)
    new = _new_rows(training, attempt.iteration)
    order = suspects(new, _trained_before(run, attempt.iteration)) if about else []
    chosen = order[: run.config.gate.attribute - 1] if len(order) > 1 else []
    evaluated = run.ledger.stage(attempt.iteration, "evaluate")
    assert evaluated is not None, "the candidate was evaluated"
    known = references_of(run, evaluated)
    if not chosen:
        return _told(run, about, new, not_tried(about, order))
    trial_of = partial(_trial, run, attempt.iteration, training, about, known)
    again = trial_of(AGAIN)
    said = {AGAIN: verdict(run, attempt.iteration, again, known)}
    if said[AGAIN]["decision"] != HOLD:
        return _told(run, about, new, BY_CHANCE, said)
    held = [_measured(run, about, known, each) for each in (evaluated, again)]
    tried = {}
    for source in chosen:
        trial = trial_of(source)
        said[source] = verdict(run, attempt.iteration, trial, known)
        now = _measured(run, about, known, trial)
        tried[source] = Trial(said[source]["decision"], max(p_better(now, each) for each in held))
    return _told(run, about, new, find(tried, new, order[len(chosen) :]), said, tried)


def _told(
    run: Run,
    about: Cause,
    new: Mapping[str, int],
    found: Finding,
    said: Mapping[str, Mapping[str, Any]] = MappingProxyType({}),
    tried: Mapping[str, Trial] = MappingProxyType({}),
) -> Balance:
    """What the stage commits, with the gate's words on each trial."""
    run.progress.note(found.sentence)
    return Counts(0, 0), {
        "tasks": about.tasks,
        "canaries": about.sets,
        "new_rows": new,
        "tried": {
            source: {"decision": facts["decision"], "sentence": facts["sentence"]}
            for source, facts in said.items()
        },
        "p": {source: trial.p for source, trial in tried.items()},
        "named": found.named,
        "sentence": found.sentence,
    }


def _measured(run: Run, about: Cause, known: Mapping[str, Reference], record: Record) -> Measured:
    """What an evaluation or a trial shows of all that the hold was about."""
    scored = answers(run, record, SYSTEM1, known)
    found: dict[tuple[str, str], dict[str, bool]] = {
        ("task", task): {each.input_id: each.correct for each in scored[task] if each.correct is not None}
        for task in about.tasks
    }
    asked = by_set(asked_of(run, record)) if about.sets else {}
    return found | {
        ("canaries", name): {each.id: not each.bad for each in asked[name]} for name in about.sets
    }


def _new_rows(training: pa.Table, iteration: int) -> Counter[str]:
    """Rows to train on that came in this round, by source."""
    new = training.filter(pc.equal(training["iteration"], iteration))
    return Counter(source_of(each) for each in new["input_id"].to_pylist())


def _trained_before(run: Run, iteration: int) -> set[str]:
    earlier = (r for r in run.ledger.stages("pool") if r.iteration < iteration)
    return {source for record in earlier for source in record.facts["training_by_source"]}


def _trial(
    run: Run,
    iteration: int,
    training: pa.Table,
    about: Cause,
    known: Mapping[str, Reference],
    source: str,
) -> Record:
    """The trial without a source: the committed one, or that of doing it now."""
    before = (r for r in run.ledger.live if r.kind == "trial" and r.iteration == iteration)
    done = next((r for r in before if r.facts["without"] == source), None)
    trial = done or _try(run, iteration, training, about, known, source)
    # Its checkpoints and rows; weights that a killed driver left go at the next one's start.
    folders.remove(scratch_of(run, iteration, source))
    return trial


def _try(
    run: Run,
    iteration: int,
    training: pa.Table,
    about: Cause,
    known: Mapping[str, Reference],
    source: str,
) -> Record:
    """Train without a source's new rows, or again on all, and measure what the hold was about."""
    run.safe_point()
    again = source == AGAIN
    what = "again, from another seed" if again else f"without the new rows of {source}"
    run.progress.note(f"Trying the round {what}.")
    attempt = run.ledger.attempt(iteration, "attribute")
    began = run.clock.monotonic()
    scratch = scratch_of(run, iteration, source)
    folders.make(scratch)
    rest = training if again else training.filter(pa.array(_stay(training, iteration, source)))
    pq.write_table(rest, scratch / "training.parquet")
    seed = training_seed(run, iteration) + (_ANOTHER if again else 0)
    result = fit(run, attempt, str(scratch / "training.parquet"), scratch, seed)
    serve(run, result.weights)
    attempt.write("scored", table(_score(run, about.tasks, known), Scored))
    if about.sets:
        ask_sets(run, attempt, about.sets)
    facts = {
        "without": source,
        "left_out": training.num_rows - rest.num_rows,
        "weights": result.weights.digest,
    }
    counts = Counts(result.num_examples, result.trained, result.dropped)
    seconds = run.clock.monotonic() - began
    record = run.ledger.append("trial", attempt=attempt, seconds=seconds, counts=counts, facts=facts)
    folders.remove(Path(result.weights.path))
    return record


def _stay(training: pa.Table, iteration: int, source: str) -> list[bool]:
    columns = (training[name].to_pylist() for name in ("iteration", "input_id"))
    return [made != iteration or source_of(x) != source for made, x in zip(*columns, strict=True)]


def _score(run: Run, tasks: Collection[str], known: Mapping[str, Reference]) -> list[Scored]:
    """System 1 of the weights that are served, on the held-out inputs of some tasks."""
    items = {each.input.id: each for each in run.heldout() if each.input.task in tasks}
    said = say(items, partial(generated, run, plans=system1_plans(run.config))) if items else ()
    return [each for batch in said for each in score_batch(run.config, SYSTEM1, batch, known)]
