"""What a candidate has kept of what earlier weights could do: task by task, and on a fixed general set.

Each task is compared with its best promoted version, input by input.  The best of many versions owes
something to luck, so a loss counts against a candidate only when it is shown: the whole interval lies
below the budget.  The general set is compared with the starting weights, which nobody chose for their
figures, so there what is measured counts.

Two figures tell of the general set.  Agreement is the overlap in words of the greedy answers: F1 over words,
as SQuAD counts it (Rajpurkar et al. 2016), case and order aside; 1 where both are empty.  Perplexity is how
many times as surprising the starting weights' answers have become, a token; it notices what a greedy answer
hides.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from s2d_loop.config import ForgettingConfig
from s2d_loop.evaluate.gate import HOLD
from s2d_loop.evaluate.metrics import Estimate, mean, paired_difference
from s2d_loop.records import General, Scored

KEPT = "kept"
"""Shown to be within the budget."""
UNCLEAR = "unclear"
OVER = "over"
"""Measured over the budget."""
LOST = "lost"
"""Shown to be over it."""


@dataclass(frozen=True, slots=True)
class TaskRetention:
    """A candidate's System 1 beside the best promoted one, on the inputs that both answered."""

    version: int
    best: float
    candidate: float
    difference: Estimate
    n: int
    budget: float
    state: str


@dataclass(frozen=True, slots=True)
class GeneralRetention:
    """A candidate beside the starting weights on the general set; `perplexity` is a ratio."""

    agreement: Estimate
    perplexity: Estimate
    n: int
    least_agreement: float
    most_perplexity: float

    @property
    def failed(self) -> bool:
        return self.agreement.value < self.least_agreement or self.perplexity.value > self.most_perplexity


def task_retention(
    version: int, best: Sequence[Scored], candidate: Sequence[Scored], budget: float
) -> TaskRetention:
    """One task's row of the table."""
    before = {each.input_id: each.correct for each in best if each.correct is not None}
    pairs = [
        (before[each.input_id], each.correct)
        for each in candidate
        if each.correct is not None and each.input_id in before
    ]
    old, new = [a for a, _ in pairs], [b for _, b in pairs]
    difference = Estimate(*paired_difference(old, new))
    n = len(pairs)
    return TaskRetention(
        version=version,
        best=sum(old) / n if n else 0.0,
        candidate=sum(new) / n if n else 0.0,
        difference=difference,
        n=n,
        budget=budget,
        state=_state(difference, budget),
    )


def general_retention(
    start: Sequence[General], candidate: Sequence[General], rules: ForgettingConfig
) -> GeneralRetention:
    """What is left of the starting weights' answers; both hold the same prompts in the same order."""
    assert [each.input_id for each in start] == [each.input_id for each in candidate], "the set is fixed"
    pairs = list(zip(start, candidate, strict=True))
    agreement = mean([token_f1(a.text, b.text) for a, b in pairs])
    lost = [(a.logprob - b.logprob) / a.num_tokens for a, b in pairs if a.num_tokens]
    nats = mean(lost) if len(lost) > 1 else Estimate(0.0, 0.0, 0.0)
    return GeneralRetention(
        agreement=Estimate(agreement.value, max(0.0, agreement.low), min(1.0, agreement.high)),
        perplexity=Estimate(*(math.exp(min(each, _MOST_NATS)) for each in (nats.value, nats.low, nats.high))),
        n=len(pairs),
        least_agreement=rules.agreement,
        most_perplexity=rules.perplexity,
    )


_MOST_NATS = 700.0
"""exp of more is no number."""


def token_f1(first: str, second: str) -> float:
    """Harmonic mean of the shares of words that two texts have in common."""
    a, b = Counter(first.lower().split()), Counter(second.lower().split())
    if not a or not b:
        return float(a == b)
    return 2 * (a & b).total() / (a.total() + b.total())


def with_retention(
    facts: Mapping[str, Any], tasks: Mapping[str, TaskRetention], general: GeneralRetention | None
) -> dict[str, Any]:
    """A gate's facts with the table: what was lost holds the candidate, and the sentence says so."""
    judged = {
        **facts,
        "retention": {
            "tasks": {name: asdict(each) for name, each in tasks.items()},
            "general": None if general is None else asdict(general),
        },
    }
    lost = [_task_lost(name, each) for name, each in tasks.items() if each.state == LOST]
    if general is not None and general.failed:
        lost.append(_general_lost(general))
    if not lost:
        return judged
    said = f"Held: what earlier weights could do is lost: {'; '.join(lost)}."
    if facts["decision"] == HOLD:
        said = f"{said} {facts['sentence']}"
    return {**judged, "decision": HOLD, "sentence": said}


def _state(difference: Estimate, budget: float) -> str:
    if difference.high < -budget:
        return LOST
    if difference.value < -budget:
        return OVER
    return KEPT if difference.low >= -budget else UNCLEAR


def _task_lost(name: str, each: TaskRetention) -> str:
    points = (100 * value for value in (each.difference.value, each.difference.low, each.difference.high))
    said = "{:+.1f} points ({:+.1f} to {:+.1f}".format(*points)
    return f"{name} {said}, n={each.n}) from version {each.version}, with a budget of {100 * each.budget:g}"


def _general_lost(general: GeneralRetention) -> str:
    agreement, perplexity = general.agreement, general.perplexity
    return (
        f"on {general.n} general prompts the answers agree to {agreement.value:.0%} ({agreement.low:.0%} to "
        f"{agreement.high:.0%}; at least {general.least_agreement:.0%}) with the starting weights', which are "
        f"{perplexity.value:.2f} times as perplexing ({perplexity.low:.2f} to {perplexity.high:.2f}; at most "
        f"{general.most_perplexity:g})"
    )
