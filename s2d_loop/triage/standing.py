"""What past rounds tell of each task: where to skip, what System 2 costs, and what it gains.

All of it is read from facts, so it stays known after tables were swept.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from s2d_loop.config import Config, TriageConfig
from s2d_loop.evaluate.suite import SYSTEM1, SYSTEM2
from s2d_loop.ledger import Ledger, Record
from s2d_loop.triage.audit import Audit
from s2d_loop.triage.calibration import Calibration, added, calibrate
from s2d_loop.versions import in_service


@dataclass(frozen=True, slots=True)
class Standing:
    """One task before a round.

    `drift` is the last round whose audit found more misses than stated, if it still counts; `rounds` are
    those that the calibration rests on.  `tokens` and `calls` are System 2's mean for an input (`calls` is
    None before the first round).  `gain` is what a token of it is expected to gain in accuracy; None where that
    isn't known.
    """

    calibration: Calibration
    rounds: tuple[int, ...]
    drift: int | None
    tokens: float
    calls: float | None
    gain: float | None


def standing(ledger: Ledger, config: Config, rules: TriageConfig, task: str, iteration: int) -> Standing:
    """What the rounds before this one tell of a task."""
    audits, drift = still_counting(dict(_audits(ledger, rules, task, iteration)))
    pairs = added([each["pairs"] for each in audits.values()])
    tokens, calls = _cost(ledger, config, rules, task, iteration)
    return Standing(
        calibration=calibrate(pairs, rules.miss_rate, rules.confidence),
        rounds=tuple(audits),
        drift=drift,
        tokens=tokens,
        calls=calls,
        gain=_gain(ledger, config, task, iteration, pairs, tokens),
    )


def still_counting(audits: Mapping[int, Audit]) -> tuple[dict[int, Audit], int | None]:
    """The audits, by round, since the last that found drift, and its round."""
    drift = max((number for number, each in audits.items() if each["drift"]), default=None)
    # What was learned of other inputs, or of another System 1, says nothing of these.
    return {number: each for number, each in audits.items() if number >= (drift or 0)}, drift


def _audits(ledger: Ledger, rules: TriageConfig, task: str, iteration: int) -> Iterator[tuple[int, Audit]]:
    """The audits of the last rounds that say something of the System 1 in service, by round."""
    version = in_service(ledger, iteration)
    back = (record for record in reversed(ledger.live) if record.kind in ("rollback", "collapsed"))
    rolled_back = next(back, None)
    since = rolled_back.facts["from"] if rolled_back else 0
    before = [
        record
        for record in ledger.stages("curate")
        if record.iteration < iteration
        for audit in [record.facts.get("audit", {}).get(task)]
        if audit and any(n for n, _ in audit["pairs"])
    ]
    for record in before[-rules.window :]:
        triaged = ledger.stage(record.iteration, "triage")
        assert triaged is not None, "an audit is of a round that was triaged"
        # Versions that a rollback took out of service were other models.
        if record.iteration >= since or triaged.facts["version"] == version:
            yield record.iteration, record.facts["audit"][task]


def _cost(
    ledger: Ledger, config: Config, rules: TriageConfig, task: str, iteration: int
) -> tuple[float, float | None]:
    """System 2's tokens and calls for an input: what the last rounds took, or what all samples would take."""
    tallies = [
        r.facts["by_task"][task]
        for r in ledger.stages("generate")
        if r.iteration < iteration and task in r.facts["by_task"]
    ][-rules.window :]
    if inputs := sum(tally["inputs"] for tally in tallies):
        tokens, calls = (sum(tally[name] for tally in tallies) / inputs for name in ("tokens", "calls"))
        return max(1.0, tokens), calls
    method = config.tasks[task].method
    measured = _score(ledger.stage(0, "evaluate"), task, SYSTEM2)
    if not measured or measured["tokens"] is None:
        return float(method.samples * method.sampling.max_tokens), None
    # An answer there was a vote of so many runs.
    runs = min(config.evaluate.system2_samples, method.samples)
    return max(1.0, measured["tokens"] * method.samples / runs), None


def _gain(
    ledger: Ledger, config: Config, task: str, iteration: int, pairs: list[list[int]], tokens: float
) -> float | None:
    """How often the systems differ, times how much more often System 2 is right, for a token."""
    version = in_service(ledger, iteration)
    first = _score(ledger.stage(version, "evaluate"), task, SYSTEM1)
    teacher = 0 if config.generate.teacher == "start" else version
    # Not every evaluation asks System 2: the newest that did, of the teacher or of a version before it.
    asked = [_score(r, task, SYSTEM2) for r in ledger.stages("evaluate") if r.iteration <= teacher]
    second = next((each for each in reversed(asked) if each), None)
    n, differ = (sum(each[i] for each in pairs) for i in (0, 1))
    if not n or not first or not second or None in (first["accuracy"], second["accuracy"]):
        return None
    advantage: float = max(0.0, second["accuracy"] - first["accuracy"])
    return differ / n * advantage / tokens


def _score(record: Record | None, task: str, system: str) -> dict[str, Any] | None:
    found: dict[str, Any] | None = record.facts["by_task"][task][system] if record else None
    return found
