"""What `triage` did with a task's inputs, in words."""

from collections import Counter

from s2d_loop.config import TriageConfig
from s2d_loop.triage.routes import AUDIT, BUDGET, RETIRED, SKIPPED, SYSTEM2
from s2d_loop.triage.standing import Standing

_ROUTES = {
    SYSTEM2: "to System 2",
    AUDIT: "audited",
    SKIPPED: "skipped",
    BUDGET: "beyond the budget",
    RETIRED: "of a retired task",
}


def sentence(known: Standing, routes: Counter[str], rules: TriageConfig | None) -> str:
    """Where the inputs of a task went, and why; without rules nothing can be skipped."""
    where = ", ".join(f"{routes[name]} {said}" for name, said in _ROUTES.items() if routes[name]) + "."
    return where if rules is None or routes[RETIRED] else f"{where} {_why(known, rules)}"


def _why(known: Standing, rules: TriageConfig) -> str:
    found, threshold = known.calibration.rate, known.calibration.threshold
    measured = f"{found.misses} of {found.n} audited inputs were misses, at most {found.high:.1%}"
    if threshold is not None:
        return f"Skipped where {threshold} of {rules.samples} answers agree: {measured}."
    if known.drift is not None:
        return f"Nothing is skipped since round {known.drift}'s audit found too many misses ({measured} now)."
    if not found.n:
        return "Nothing is skipped: no audited input tells yet what would be missed."
    return f"Nothing is skipped: where all {rules.samples} answers agree, {measured}; {rules.miss_rate:.1%} may be."
