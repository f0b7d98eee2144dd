"""Decides whether the trained weights are promoted, and promotes them."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from s2d_loop.evaluate import distil
from s2d_loop.evaluate.canaries import SetDecision, by_set, judge_canaries, with_canaries
from s2d_loop.evaluate.gate import judge
from s2d_loop.evaluate.references import Reference
from s2d_loop.evaluate.suite import SYSTEM1, SYSTEM2
from s2d_loop.ledger import Attempt, Counts, Record
from s2d_loop.records import Scored
from s2d_loop.stages.canaries import asked_of
from s2d_loop.stages.evaluate import answers, promoted_evaluation, references_of
from s2d_loop.stages.run import Balance, Run


def gate(run: Run, attempt: Attempt, evaluated: Record) -> Balance:
    """Compare the candidate's System 1 with the promoted one, on the same inputs."""
    known = references_of(run, evaluated)
    facts = verdict(run, attempt.iteration, evaluated, known)
    candidate = answers(run, evaluated, SYSTEM1, known)
    facts = distil.with_retired(facts, *_retired(run, attempt, candidate, known))
    run.progress.note(facts["sentence"])
    return Counts(0, 0), facts


def verdict(run: Run, iteration: int, measured: Record, known: Mapping[str, Reference]) -> dict[str, Any]:
    """What the gate says to all that was measured of some weights: the tasks and canaries of a record."""
    current = promoted_evaluation(run, iteration)
    assert current is not None, "the promoted weights were evaluated"
    candidate, served = (answers(run, record, SYSTEM1, known) for record in (measured, current))
    facts = asdict(judge(candidate, {task: served[task] for task in candidate}, run.config.gate.margin))
    if run.config.canaries:
        facts = with_canaries(facts, _canaries(run, measured, current))
    return facts


def _canaries(run: Run, evaluated: Record, current: Record) -> dict[str, SetDecision]:
    start = run.ledger.stage(0, "evaluate")
    assert start is not None, "the starting weights were asked the canaries"
    candidate, served, first = (by_set(asked_of(run, each)) for each in (evaluated, current, start))
    return judge_canaries(candidate, served, first, run.config.canaries)


def _retired(
    run: Run,
    attempt: Attempt,
    candidate: Mapping[str, list[Scored]],
    known: Mapping[str, Reference],
) -> tuple[dict[str, distil.Evidence], list[distil.Retired], list[str]]:
    """What this round shows of each task, those that rest from now on, and the news of it."""
    start, pooled = run.ledger.stage(0, "evaluate"), run.ledger.stage(attempt.iteration, "pool")
    assert start is not None, "the starting weights were evaluated"
    assert pooled is not None, "the candidate was trained"
    first, second = (answers(run, start, system, known) for system in (SYSTEM1, SYSTEM2))
    new = pooled.facts["by_task"]
    now = {
        task: distil.evidence(first[task], second[task], candidate[task], new.get(task, 0))
        for task in second  # empty where System 2 is never evaluated: nothing is known of a gap then
    }
    gates = [(r.iteration, r.facts) for r in run.ledger.stages("gate") if r.iteration < attempt.iteration]
    return now, *distil.retire(gates, now, attempt.iteration, run.config.gate.retire)


def promote(run: Run, attempt: Attempt, trained: Record) -> Balance:
    """Name the weights that the next round starts from and that people should serve, and how to serve them."""
    evaluated = run.ledger.stage(attempt.iteration, "evaluate")
    assert evaluated is not None, "what is promoted was evaluated"
    return Counts(0, 0), {"weights": trained.facts["weights"], "policy": evaluated.facts.get("policy")}
