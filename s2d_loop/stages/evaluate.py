"""Lets System 1 and System 2 of some weights answer the held-out inputs."""

from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any

from s2d_loop.config import Config
from s2d_loop.evaluate.suite import SYSTEM1, SYSTEM2, by_task, figures, score
from s2d_loop.ledger import Attempt, Counts, Record
from s2d_loop.plan import system1_plans, system2_plans
from s2d_loop.records import Generation, HeldOut, Scored, VotedAt, rows, table
from s2d_loop.stages import serving
from s2d_loop.stages.canaries import ask_all
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
    voted = _voted(run, baseline) if baseline else {}
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
                scored += score_batch(config, system, batch, items, voted)
                votes += serving.votes(config, batch, plans) if system == SYSTEM2 else []
                progress.advance(len(batch))
                run.safe_point()
            if not baseline:
                # On the starting weights System 2 comes first: its answers stand in for references.
                voted = {s.input_id: s.answer for s in scored if s.answer is not None}
    assert len(scored) == len(items) * len(passes)
    attempt.write("scored", table(scored, Scored))
    canaries = {"canaries": ask_all(run, attempt)} if config.canaries else {}
    served = serving.policy(run, attempt, scored, serving.judged(config, votes, items, voted))
    labelled = {each.input.task for each in items.values() if each.reference is not None}
    systems = {system: by_task(s for s in scored if s.system == system) for system, _ in passes}
    return Counts(len(scored), len(scored)), {
        "weights": weights.digest,
        "by_task": {
            task: {
                "reference": "labels" if task in labelled else "vote",
                SYSTEM1: figures(systems[SYSTEM1][task]),
                SYSTEM2: figures(systems[SYSTEM2][task]) if with_system2 else None,
                "current": _current(run, attempt, task),
            }
            for task in config.tasks
        },
        "policy": served,
        **canaries,
    }


def score_batch(
    config: Config,
    system: str,
    batch: Iterable[Generation],
    items: Mapping[str, HeldOut],
    voted: Mapping[str, str],
) -> list[Scored]:
    """What a system said against the references, or against the votes that stand in for them."""
    return [
        score(
            row,
            system=system,
            task=load_task(config.tasks[row.input.task].parser),
            config=config.tasks[row.input.task],
            seed=config.run.seed,
            heldout=items[row.input.id],
            voted=voted.get(row.input.id),
        )
        for row in batch
    ]


def _voted(run: Run, baseline: Record) -> dict[str, str]:
    scored = rows(run.ledger.tables(baseline, "scored"), Scored)
    return {s.input_id: s.answer for s in scored if s.system == SYSTEM2 and s.answer is not None}


def promoted_evaluation(run: Run, iteration: int) -> Record | None:
    """The evaluation of the weights that a round began with."""
    return run.ledger.stage(in_service(run.ledger, iteration), "evaluate")


def _current(run: Run, attempt: Attempt, task: str) -> Any:
    if attempt.iteration == 0:
        return None
    record = promoted_evaluation(run, attempt.iteration)
    assert record is not None, "the promoted weights were evaluated"
    return record.facts["by_task"][task][SYSTEM1]
