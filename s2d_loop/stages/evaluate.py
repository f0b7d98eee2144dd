"""Lets System 1 and System 2 of some weights answer the held-out inputs."""

from collections.abc import Iterable, Mapping
from functools import partial

from s2d_loop.config import Config
from s2d_loop.evaluate.references import Reference, by_source, foremost, references, rescored
from s2d_loop.evaluate.suite import SYSTEM1, SYSTEM2, by_task, figures, score
from s2d_loop.labels import read_labels
from s2d_loop.ledger import Attempt, Counts, Record
from s2d_loop.plan import system1_plans, system2_plans
from s2d_loop.records import Generation, Scored, VotedAt, rows, table
from s2d_loop.review.audit import audited_accuracy
from s2d_loop.stages import general, serving
from s2d_loop.stages.canaries import ask_sets
from s2d_loop.stages.engines import generated, say, serve
from s2d_loop.stages.run import Balance, Run
from s2d_loop.tasks.registry import load_task
from s2d_loop.versions import in_service


def evaluate(run: Run, attempt: Attempt, trained: Record | None = None) -> Balance:
    """System 1 and System 2 of trained weights, or of those that the run began with, on the held-out inputs."""
    config = run.config
    weights = run.trained(trained) if trained else run.start
    items = {each.input.id: each for each in run.heldout()}
    baseline = run.ledger.stage(0, "evaluate")
    labels = read_labels(run.ledger.store)
    known = references(items.values(), _voted(run, baseline), labels.standing)
    every = config.evaluate.system2_every
    first = attempt.iteration == 0
    with_system2 = every is not None and (first or (every > 0 and attempt.iteration % every == 0))
    serve(run, weights)
    scored: list[Scored] = []
    votes: list[VotedAt] = []
    passes = [(SYSTEM2, system2_plans(config))] if with_system2 else []
    passes.append((SYSTEM1, system1_plans(config)))
    with run.progress.stage(attempt.iteration, "evaluate", len(items) * len(passes)) as progress:
        for system, plans in passes:
            for batch in say(items, partial(generated, run, plans=plans)):
                scored += score_batch(config, system, batch, known)
                votes += serving.votes(config, batch, plans) if system == SYSTEM2 else []
                progress.advance(len(batch))
                run.safe_point()
            if not baseline:
                # On the starting weights System 2 comes first: its answers stand in for references.
                voted = {s.input_id: s.answer for s in scored if s.answer is not None}
                known = references(items.values(), voted, labels.standing)
    assert len(scored) == len(items) * len(passes)
    attempt.write("scored", table(scored, Scored))
    canaries = {"canaries": ask_sets(run, attempt, config.canaries)} if config.canaries else {}
    asked = {"general": general.ask(run, attempt)} if config.evaluate.general else {}
    served = serving.policy(run, attempt, scored, votes, known)
    counts = by_source(items.values(), known)
    current = _current(run, attempt, known)
    systems = {system: by_task(s for s in scored if s.system == system) for system, _ in passes}
    tasks = {name: load_task(task.parser) for name, task in config.tasks.items()}
    return Counts(len(scored), len(scored)), {
        "weights": weights.digest,
        "by_task": {
            task: {
                "reference": foremost(counts[task]),
                "references": counts[task],
                SYSTEM1: figures(systems[SYSTEM1][task]),
                SYSTEM2: figures(systems[SYSTEM2][task]) if with_system2 else None,
                "current": figures(current[task]) if current else None,
            }
            for task in config.tasks
        },
        "policy": served,
        "labels": labels.pins,
        "audited": audited_accuracy(run.ledger, labels.standing, tasks),
        **canaries,
        **asked,
    }


def score_batch(
    config: Config,
    system: str,
    batch: Iterable[Generation],
    known: Mapping[str, Reference],
) -> list[Scored]:
    """What a system said, against the references."""
    return [
        score(
            row,
            system=system,
            task=load_task(config.tasks[row.input.task].parser),
            config=config.tasks[row.input.task],
            seed=config.run.seed,
            reference=known.get(row.input.id),
        )
        for row in batch
    ]


def _voted(run: Run, baseline: Record | None) -> dict[str, str]:
    """System 2's answers on the starting weights."""
    if baseline is None:
        return {}
    scored = rows(run.ledger.tables(baseline, "scored"), Scored)
    return {s.input_id: s.answer for s in scored if s.system == SYSTEM2 and s.answer is not None}


def promoted_evaluation(run: Run, iteration: int) -> Record | None:
    """The evaluation of the weights that a round began with."""
    return run.ledger.stage(in_service(run.ledger, iteration), "evaluate")


def references_of(run: Run, evaluated: Record) -> dict[str, Reference]:
    """The references of an evaluation again, with the labels that it read.

    Raises:
        LabelError: one of them is damaged or missing.
    """
    labels = read_labels(run.ledger.store, evaluated.facts.get("labels") or {})
    return references(run.heldout(), _voted(run, run.ledger.stage(0, "evaluate")), labels.standing)


def answers(
    run: Run, record: Record, system: str, known: Mapping[str, Reference]
) -> Mapping[str, list[Scored]]:
    """A system's committed answers of an evaluation by task, held against these references.

    Labels may have come since, so whoever compares two evaluations gives both the same.
    """
    tasks = {name: load_task(task.parser) for name, task in run.config.tasks.items()}
    scored = rows(run.ledger.tables(record, "scored"), Scored)
    return by_task(rescored((s for s in scored if s.system == system), known, tasks))


def _current(run: Run, attempt: Attempt, known: Mapping[str, Reference]) -> Mapping[str, list[Scored]] | None:
    if attempt.iteration == 0:
        return None
    record = promoted_evaluation(run, attempt.iteration)
    assert record is not None, "the promoted weights were evaluated"
    return answers(run, record, SYSTEM1, known)
