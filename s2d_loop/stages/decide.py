"""Decides whether the trained weights are promoted, and promotes them."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from s2d_loop.evaluate import distil, retention
from s2d_loop.evaluate.canaries import SetDecision, by_set, judge_canaries, with_canaries
from s2d_loop.evaluate.gate import Rule, judge
from s2d_loop.evaluate.references import Reference
from s2d_loop.evaluate.suite import SYSTEM1, SYSTEM2
from s2d_loop.ledger import Attempt, Counts, Record
from s2d_loop.records import Scored
from s2d_loop.stages import general
from s2d_loop.stages.canaries import asked_of
from s2d_loop.stages.compared import Compared
from s2d_loop.stages.evaluate import answers, promoted_evaluation, references_of
from s2d_loop.stages.run import Balance, Run
from s2d_loop.stages.stopping import with_collapse


def gate(run: Run, attempt: Attempt, evaluated: Record) -> Balance:
    """Compare the candidate's System 1 with the one in service and the best so far, on the same inputs."""
    known = references_of(run, evaluated)
    compared = Compared(run, attempt.iteration, evaluated, known)
    facts = _judged(run, attempt.iteration, evaluated, compared)
    facts = retention.with_retention(facts, _kept(run, compared), _general(run, evaluated))
    facts = distil.with_retired(facts, *_retired(run, attempt, compared.candidate, known))
    if run.config.gate.margin < 1:
        facts = distil.held_without_gain(facts)
    facts = with_collapse(run, facts, compared, _rule(run, attempt.iteration))
    run.progress.note(facts["sentence"])
    return Counts(0, 0), facts


def verdict(run: Run, iteration: int, measured: Record, known: Mapping[str, Reference]) -> dict[str, Any]:
    """What the gate says to all that was measured of some weights: the tasks and canaries of a record."""
    return _judged(run, iteration, measured, Compared(run, iteration, measured, known))


def _judged(run: Run, iteration: int, measured: Record, compared: Compared) -> dict[str, Any]:
    facts = asdict(judge(compared.tasks(), _rule(run, iteration), compared.classes()))
    return with_canaries(facts, _canaries(run, iteration, measured)) if run.config.canaries else facts


def _rule(run: Run, iteration: int) -> Rule:
    looks_before = sum(each.iteration < iteration for each in run.ledger.stages("gate"))
    return Rule.of(run.config.gate, run.config.run.iterations, looks_before + 1)


def _canaries(run: Run, iteration: int, measured: Record) -> dict[str, SetDecision]:
    current, start = promoted_evaluation(run, iteration), run.ledger.stage(0, "evaluate")
    assert current is not None, "the promoted weights were evaluated"
    assert start is not None, "the starting weights were asked the canaries"
    candidate, served, first = (by_set(asked_of(run, each)) for each in (measured, current, start))
    return judge_canaries(candidate, served, first, run.config.canaries)


def _kept(run: Run, compared: Compared) -> dict[str, retention.TaskRetention]:
    """Each task beside its best version."""
    budget = max(run.config.gate.forgetting.budget, run.config.gate.margin)
    return {
        task: retention.task_retention(best, compared.of(best, task), scored, budget)
        for task, scored in compared.candidate.items()
        for best in [compared.best(task)]
    }


def _general(run: Run, evaluated: Record) -> retention.GeneralRetention | None:
    start = run.ledger.stage(0, "evaluate")
    if run.config.evaluate.general is None or start is None:
        return None
    first, now = (general.answers(run, each) for each in (start, evaluated))
    return retention.general_retention(first, now, run.config.gate.forgetting)


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
