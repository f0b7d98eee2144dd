"""Says how the weights that were just evaluated should be served, task by task."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from s2d_loop.config import Config
from s2d_loop.evaluate.at_k import votes_of
from s2d_loop.evaluate.policy import as_facts, choose
from s2d_loop.evaluate.references import Reference, is_correct, rescored
from s2d_loop.evaluate.suite import SYSTEM1, SYSTEM2, is_right
from s2d_loop.ledger import Attempt, Record
from s2d_loop.plan import Plan, system2_plans
from s2d_loop.records import Generation, Scored, VotedAt, rows, table
from s2d_loop.stages.run import Run
from s2d_loop.tasks.registry import load_task
from s2d_loop.versions import in_service

TABLE = "votes"


def votes(config: Config, batch: Iterable[Generation], plans: Mapping[str, Plan]) -> list[VotedAt]:
    """What fewer runs of the System 2 program than all would have answered, not judged yet."""
    return [
        each
        for row in batch
        for each in votes_of(
            row,
            plans[row.input.task].samples,
            load_task(config.tasks[row.input.task].parser),
            config.run.seed,
        )
    ]


def _judged(config: Config, found: Iterable[VotedAt], known: Mapping[str, Reference]) -> list[VotedAt]:
    """The same with `correct`."""
    tasks = {name: load_task(task.parser) for name, task in config.tasks.items()}
    return [
        replace(each, correct=is_correct(each.answer, known.get(each.input_id), tasks[each.task]))
        for each in found
    ]


def policy(
    run: Run,
    attempt: Attempt,
    scored: Sequence[Scored],
    found: Sequence[VotedAt],
    known: Mapping[str, Reference],
) -> dict[str, Any]:
    """How each task should be served; writes down what fewer votes gave, where there are several.

    Empty where System 2 is never evaluated: there is nothing to choose by.

    Args:
        found: System 2's votes in this evaluation; where it was not asked, those of the version in service
            count, or of the starting weights.
        known: what all answers are held against, those of earlier evaluations too.
    """
    version, found = attempt.iteration, _judged(run.config, found, known)
    if any(each.votes > 1 for each in found):
        attempt.write(TABLE, table(found, VotedAt))
    if not found:
        version, found = _measured(run, attempt.iteration, known)
    if not found:
        return {}
    return as_facts(
        {
            task: choose(
                [s for s in scored if s.task == task and s.system == SYSTEM1],
                [each for each in found if each.task == task],
                run.config.serving,
                samples=run.config.evaluate.system1_samples,
                version=version,
            )
            for task in run.config.tasks
        }
    )


def _measured(run: Run, iteration: int, known: Mapping[str, Reference]) -> tuple[int, list[VotedAt]]:
    """System 2's votes of the version in service, else of the starting weights; none before these are committed."""
    for version in (in_service(run.ledger, iteration), 0):
        record = run.ledger.stage(version, "evaluate")
        if record is not None and (found := _votes_in(run, record, known)):
            return version, found
    return 0, []


def _votes_in(run: Run, record: Record, known: Mapping[str, Reference]) -> list[VotedAt]:
    if run.ledger.holds(record, TABLE):
        return _judged(run.config, rows(run.ledger.tables(record, TABLE), VotedAt), known)
    plans = system2_plans(run.config)
    tasks = {name: load_task(task.parser) for name, task in run.config.tasks.items()}
    scored = rescored(rows(run.ledger.tables(record, "scored"), Scored), known, tasks)
    return [
        VotedAt(s.input_id, s.task, plans[s.task].samples, s.answer, is_right(s), s.num_tokens)
        for s in scored
        if s.system == SYSTEM2
    ]
