"""What a round's audit says: how often System 1's commonest answer was not the one that System 2 kept.

The audit share is drawn whatever triage says, so its rates hold for all inputs of the round.  Where
nothing of a task was left out, every input of it was answered by both systems, and counts likewise.
"""

from typing import Any, TypedDict

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from s2d_loop.config import TriageConfig
from s2d_loop.curate.judge import GENERATION_FAILED, NOT_RECORDED, TEMPLATE_REFUSED
from s2d_loop.records import KEPT
from s2d_loop.triage.calibration import Rate, drifted, rate
from s2d_loop.triage.routes import ANSWERED, AUDIT


class Audit(TypedDict):
    """Plain data for the ledger, of one task."""

    of: str
    """`all` where both systems answered all of its inputs, else `audit`."""
    pairs: list[list[int]]
    """`calibration.Pairs` of these."""
    threshold: int | None
    """The number of agreeing samples from which on inputs were skipped."""
    n: int
    """Audited inputs at or above the threshold, whose misses are `misses`."""
    misses: int
    low: float
    high: float
    drift: bool
    """Whether the miss rate was above the stated one."""
    sentence: str


def answered(routes: pa.Table) -> pa.Table:
    """The rows of `Route` that were generated."""
    return routes.filter(pc.is_in(routes["route"], pa.array(ANSWERED)))


def audit(
    routes: pa.Table, verdicts: pa.Table, triaged: dict[str, Any], rules: TriageConfig
) -> dict[str, Audit]:
    """Compare the two systems, task by task.

    Args:
        routes: of the inputs that were generated, rows of `Route`.
        verdicts: on the same inputs in the same order; the columns `reason` and `answer`.
        triaged: `by_task` of the facts of the round's `triage`.
    """
    reasons = verdicts["reason"]
    known = pc.invert(pc.is_in(reasons, pa.array([GENERATION_FAILED, NOT_RECORDED, TEMPLATE_REFUSED])))
    same = pc.fill_null(pc.equal(verdicts["answer"], routes["answer"]), False)
    missed = pc.and_not(pc.equal(reasons, KEPT), same)
    columns = {
        "agreeing": np.rint(np.asarray(pc.fill_null(routes["score"], -1.0)) * rules.samples),
        "known": np.asarray(known),
        "missed": np.asarray(missed),
        "audit": np.asarray(pc.equal(routes["route"], AUDIT)),
        "task": np.asarray(routes["task"]),
    }
    found = {}
    for task, facts in triaged.items():
        left_out = sum(n for name, n in facts["routes"].items() if name not in ANSWERED)
        counted = columns["known"] & (columns["task"] == task) & (columns["audit"] | (left_out == 0))
        agreeing, misses = columns["agreeing"][counted], columns["missed"][counted]
        pairs = [
            [int((agreeing == level).sum()), int(misses[agreeing == level].sum())]
            for level in range(rules.samples + 1)
        ]
        found[task] = judge("audit" if left_out else "all", pairs, facts["threshold"], task, rules)
    return found


def judge(of: str, pairs: list[list[int]], threshold: int | None, task: str, rules: TriageConfig) -> Audit:
    """What one round's pairs say of the threshold that it had."""
    found = rate(pairs, len(pairs) if threshold is None else threshold, rules.confidence)
    drift = threshold is not None and drifted(found, rules.miss_rate)
    return Audit(
        of=of,
        pairs=pairs,
        threshold=threshold,
        n=found.n,
        misses=found.misses,
        low=found.low,
        high=found.high,
        drift=drift,
        sentence=_sentence(found, drift, task, rules) if threshold is not None else "",
    )


def _sentence(found: Rate, drift: bool, task: str, rules: TriageConfig) -> str:
    if not found.n:
        return (
            f"{task}: no audited input was one that would have been skipped: this round's misses are unknown."
        )
    said = (
        f"{task}: {found.misses} of {found.n} audited inputs that would have been skipped got another answer "
        f"from System 2, {found.misses / found.n:.1%} ({found.low:.1%} to {found.high:.1%}); "
    )
    if drift:
        return said + (
            f"that is more than triage.miss_rate {rules.miss_rate:.1%}: the inputs or System 1 have changed, "
            "and the next round answers all of them."
        )
    return said + f"triage.miss_rate is {rules.miss_rate:.1%}."
