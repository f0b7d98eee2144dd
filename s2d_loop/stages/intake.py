"""Fixes what is held out, and claims new inputs."""

from collections import Counter

from s2d_loop import intake as intake_rules
from s2d_loop.ledger import Attempt, Counts
from s2d_loop.records import HeldOut, Input, Reject, rows, table
from s2d_loop.sources import read_heldout
from s2d_loop.stages.run import Balance, Run


def heldout(run: Run, attempt: Attempt) -> Balance:
    """Fix the inputs that never train, before any input is claimed."""
    items = [each for name, task in run.config.tasks.items() for each in read_heldout(task.heldout, name)]
    attempt.write("heldout", table(items, HeldOut))
    return Counts(len(items), len(items)), {"by_task": Counter(each.input.task for each in items)}


def intake(run: Run, attempt: Attempt) -> Balance:
    """Claim new inputs."""
    earlier = [r for r in run.ledger.stages("intake") if r.iteration < attempt.iteration]
    seen = ((x.task, x.content_hash) for r in earlier for x in rows(run.ledger.tables(r, "inputs"), Input))
    with run.progress.stage(attempt.iteration, "intake", None) as progress:

        def advance(rows: int) -> None:
            progress.advance(rows)
            run.safe_point()

        claim = intake_rules.claim(
            run.config,
            run.sources,
            earlier[-1].facts["cursors"] if earlier else {},
            seen=seen,
            heldout=(each.input for each in run.heldout()),
            advance=advance,
        )
    attempt.write("inputs", table(claim.inputs, Input))
    attempt.write("rejects", table(claim.rejects, Reject))
    total = len(claim.inputs) + sum(claim.dropped.values())
    return Counts(total, len(claim.inputs), claim.dropped), {
        "by_task": Counter(x.task for x in claim.inputs),
        "sources": claim.by_source,
        "cursors": claim.cursors,
    }
