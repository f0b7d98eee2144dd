"""Decides whether the trained weights are promoted, and promotes them."""

from collections.abc import Mapping
from dataclasses import asdict

from s2d_loop.evaluate.canaries import SetDecision, by_set, judge_canaries, with_canaries
from s2d_loop.evaluate.gate import judge
from s2d_loop.evaluate.suite import SYSTEM1, by_task
from s2d_loop.ledger import Attempt, Counts, Record
from s2d_loop.records import Scored, rows
from s2d_loop.stages.canaries import asked_of
from s2d_loop.stages.evaluate import promoted_evaluation
from s2d_loop.stages.run import Balance, Run


def gate(run: Run, attempt: Attempt, evaluated: Record) -> Balance:
    """Compare the candidate's System 1 with the promoted one, on the same inputs."""
    current = promoted_evaluation(run, attempt.iteration)
    assert current is not None, "the promoted weights were evaluated"
    facts = asdict(judge(_system1(run, evaluated), _system1(run, current), run.config.gate.margin))
    if run.config.canaries:
        facts = with_canaries(facts, _canaries(run, evaluated, current))
    run.progress.note(facts["sentence"])
    return Counts(0, 0), facts


def _canaries(run: Run, evaluated: Record, current: Record) -> dict[str, SetDecision]:
    start = run.ledger.stage(0, "evaluate")
    assert start is not None, "the starting weights were asked the canaries"
    candidate, served, first = (by_set(asked_of(run, each)) for each in (evaluated, current, start))
    return judge_canaries(candidate, served, first, run.config.canaries)


def _system1(run: Run, record: Record) -> Mapping[str, list[Scored]]:
    return by_task(s for s in rows(run.ledger.tables(record, "scored"), Scored) if s.system == SYSTEM1)


def promote(run: Run, attempt: Attempt, trained: Record) -> Balance:  # noqa: ARG001
    """Name the weights that the next round starts from and that people should serve."""
    return Counts(0, 0), {"weights": trained.facts["weights"]}
