"""The loop: source -> intake -> (triage) -> generate -> curate -> pool -> train -> evaluate -> gate
-> promote, or attribute where it held.

This is the only place that knows the order.  `commit` makes a stage happen once: a rerun of the same
command finds its record in the ledger and goes on behind it.
"""

import itertools
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from s2d_loop import logs, retention, stages
from s2d_loop.errors import ExitCode
from s2d_loop.evaluate.gate import HOLD, PROMOTE
from s2d_loop.ledger import Record
from s2d_loop.retention import tidy
from s2d_loop.room import require_room
from s2d_loop.serving import publish
from s2d_loop.stages import Balance, Run


def run_loop(run: Run) -> ExitCode:
    """Run every round that is not committed yet.  The caller holds the lease."""
    config = run.config.run
    tidy(run.ledger, run.weights_dir)
    commit(run, 0, "heldout", stages.heldout)
    commit(run, 0, "evaluate", stages.evaluate)
    publish(run.ledger)
    rounds = itertools.count(1) if config.iterations is None else range(1, config.iterations + 1)
    for iteration in rounds:
        if config.iterations is None:
            stages.wait_for_inputs(run, iteration)
        claimed = commit(run, iteration, "intake", stages.intake)
        if claimed.counts.out == 0 and claimed.counts.into and config.iterations is None:
            run.progress.note("All that came was known or unreadable: waiting goes on.")
            continue
        if claimed.counts.out == 0:
            run.progress.note("The sources have no new inputs: the run ends here.")
            break
        if iteration == 1 and run.config.generate.probe_inputs:
            commit(run, iteration, "probe", stages.probe, claimed)
        routed = claimed
        if stages.triages(run, iteration):
            routed = commit(run, iteration, "triage", stages.triage, claimed)
        generated = commit(run, iteration, "generate", stages.generate, routed)
        curated = commit(run, iteration, "curate", stages.curate_stage, generated)
        sweep(run, iteration)
        pooled = commit(run, iteration, "pool", stages.pool, curated)
        if not pooled.facts["training"]:
            run.progress.note("Nothing was kept: nothing to train on in this round.")
            continue
        trained = commit(run, iteration, "train", stages.train, pooled)
        stages.sweep_training(run, trained)
        evaluated = commit(run, iteration, "evaluate", stages.evaluate, trained)
        decided = commit(run, iteration, "gate", stages.gate, evaluated)
        if stages.stops(run, decided):
            return ExitCode.COLLAPSED
        if decided.facts["decision"] == PROMOTE:
            commit(run, iteration, "promote", stages.promote, trained)
            publish(run.ledger)
        elif decided.facts["decision"] == HOLD and run.config.gate.attribute:
            commit(run, iteration, "attribute", stages.attribute, pooled, decided)
    last = run.ledger.stages("gate")
    held = bool(last) and last[-1].facts["decision"] != PROMOTE
    if not run.ledger.last("finished"):
        run.ledger.append("finished", facts={"held": held})
    return ExitCode.HELD if held else ExitCode.DONE


def commit(run: Run, iteration: int, name: str, work: Callable[..., Balance], *inputs: Any) -> Record:
    """A stage's record: the committed one, or that of doing it now."""
    if record := run.ledger.stage(iteration, name):
        return record
    run.safe_point()
    require_room(run, name, *inputs)
    attempt = run.ledger.attempt(iteration, name)
    with logs.at(iteration=iteration, stage=name, attempt=attempt.id):
        started = run.clock.monotonic()
        try:
            counts, facts = work(run, attempt, *inputs)
        except Exception:
            # Who took over may have cleared away what was being written: that is what to report then.
            run.ledger.check_lease()
            raise
        seconds = run.clock.monotonic() - started
        record = run.ledger.append("stage", attempt=attempt, seconds=seconds, counts=counts, facts=facts)
        logs.event("committed", seq=record.seq, seconds=record.seconds, counts=asdict(counts))
    return record


def sweep(run: Run, iteration: int) -> None:
    """Let go of what earlier rounds no longer need, once a round."""
    if run.ledger.stage(iteration, "pool") is None:
        config = run.config
        retention.sweep(run.ledger, config.retention, config.traces.keep, run.weights_dir)
