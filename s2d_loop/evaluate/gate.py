"""Promote a trained System 1 only on evidence that it is no worse, on the same held-out inputs.

Every task, and every class of its inputs that is large enough, has to be shown to be within a margin, both
of the System 1 in service and of the best one so far: beside the first alone, a run of months could go down by
a margin a time.  Since all of them have to be shown, each is tested at the full level of a look
(intersection-union); the level is divided evenly among the looks of a run, so whatever happens in them, the
probability that one of them lets something worse pass is at most `gate.level`.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from s2d_loop.config import GateConfig
from s2d_loop.evaluate.noninferiority import (
    Pairs,
    interval,
    p_better,
    p_worse_by,
    pairs_needed,
)

PROMOTE = "promote"
HOLD = "hold"
ASK = "ask"
"""There is evidence, and a person must say so."""

SHOWN = "shown"
WORSE = "worse"
"""It measures worse by more than the margin."""
NOT_SHOWN = "not shown"
"""It measures within the margin; on so few inputs that may be chance."""
REPORTED = "reported"
"""A class of too few inputs to decide anything."""

LOOKS_WITHOUT_AN_END = 730


@dataclass(frozen=True, slots=True)
class Rule:
    """What a look asks for."""

    margin: float
    class_margin: float
    min_class: int
    level: float
    """Of this look alone."""
    better_level: float
    """At which a version counts as better than the best before it."""
    look: int
    looks: int
    ask: bool

    @classmethod
    def of(cls, config: GateConfig, iterations: int | None, look: int) -> "Rule":
        """The rule of a run's decision number `look`, from 1."""
        looks = looks_of(config, iterations)
        return cls(
            margin=config.margin,
            class_margin=config.class_margin if config.margin < 1 else 1.0,
            min_class=config.min_class,
            level=config.level / looks,
            better_level=config.level,
            look=look,
            looks=looks,
            ask=config.promote == "ask" or (look > looks and config.margin < 1),
        )


@dataclass(frozen=True, slots=True)
class Against:
    """The candidate beside another version on the same inputs; the other comes first in the pairs."""

    version: int
    pairs: Pairs


@dataclass(frozen=True, slots=True)
class Cell:
    """What a task, or a class of its inputs, is judged by."""

    current: Against
    best: Against


@dataclass(frozen=True, slots=True)
class CellDecision:
    """The difference in accuracy, candidate minus current, with its 95 % interval, and what follows."""

    decision: str
    reason: str
    difference: float
    low: float
    high: float
    n: int
    p: float
    """The larger of the two tests'; `level` is what it is held against."""
    level: float
    margin: float
    against: int
    """The version that p is about."""
    against_difference: float
    best: int
    """The best version until now."""
    better: bool
    """Whether the candidate is shown to be better than that."""
    needed: int | None = None
    """How many inputs that split like these would show it."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What to do with a candidate, and a sentence that says why."""

    decision: str
    by_task: Mapping[str, CellDecision]
    sentence: str
    look: int
    looks: int
    classes: Mapping[str, Mapping[str, CellDecision]] = field(default_factory=dict)


def looks_of(config: GateConfig, iterations: int | None) -> int:
    """Among how many decisions the level is divided."""
    return config.looks or iterations or LOOKS_WITHOUT_AN_END


def judge(
    tasks: Mapping[str, Cell], rule: Rule, classes: Mapping[str, Mapping[str, Cell]] | None = None
) -> Decision:
    """Decide on a candidate; one task or class that is not shown to be no worse is enough to hold it.

    Args:
        classes: the cells of a task's classes, by task and class.
    """
    by_task = {task: _decide(cell, rule, rule.margin) for task, cell in tasks.items()}
    by_class = {
        task: {
            name: _decide(cell, rule, rule.class_margin, cell.current.pairs.n >= rule.min_class)
            for name, cell in cells.items()
        }
        for task, cells in (classes or {}).items()
    }
    cells = dict(_named(by_task, by_class))
    held = [each for each in cells.values() if each.decision == HOLD]
    decision = HOLD if held else ASK if rule.ask else PROMOTE
    return Decision(
        decision=decision,
        by_task=by_task,
        sentence=_held(cells) if held else _passed(decision, by_task, rule),
        look=rule.look,
        looks=rule.looks,
        classes=by_class,
    )


def _decide(cell: Cell, rule: Rule, margin: float, tested: bool = True) -> CellDecision:
    pairs = cell.current.pairs
    p, against = max(
        ((p_worse_by(each.pairs, margin), each) for each in (cell.current, cell.best)), key=lambda it: it[0]
    )
    if not tested:
        reason = REPORTED
    elif pairs.n and (margin >= 1 or p <= rule.level):
        reason = SHOWN
    else:
        reason = WORSE if min(pairs.difference, cell.best.pairs.difference) < -margin else NOT_SHOWN
    low, high = interval(pairs)
    return CellDecision(
        decision=HOLD if reason in (WORSE, NOT_SHOWN) else PROMOTE,
        reason=reason,
        difference=pairs.difference,
        low=low,
        high=high,
        n=pairs.n,
        p=p,
        level=rule.level,
        margin=margin,
        against=against.version,
        against_difference=against.pairs.difference,
        best=cell.best.version,
        better=p_better(cell.best.pairs) <= rule.better_level,
        needed=pairs_needed(against.pairs, margin, rule.level) if reason == NOT_SHOWN else None,
    )


def _named(
    by_task: Mapping[str, CellDecision], by_class: Mapping[str, Mapping[str, CellDecision]]
) -> Iterator[tuple[str, CellDecision]]:
    """Every cell under the name that it has in sentences."""
    for task, each in by_task.items():
        yield task, each
        for name, one in by_class.get(task, {}).items():
            yield f"{task}/{name}", one


def _held(cells: Mapping[str, CellDecision]) -> str:
    worse = [_worse(name, each) for name, each in cells.items() if each.reason == WORSE]
    unsure = [_unsure(name, each) for name, each in cells.items() if each.reason == NOT_SHOWN]
    said = []
    if worse:
        said.append(f"Held: worse by more than the margin on {', '.join(worse)}.")
    if unsure:
        start = "Also not" if worse else "Held: not"
        said.append(f"{start} shown to be within the margin on {', '.join(unsure)}.")
    return " ".join(said)


def _worse(name: str, each: CellDecision) -> str:
    beside = "" if each.difference < -each.margin else _beside_best(each)
    return f"{_measured(name, each)}{beside} (margin {each.margin:.1%})"


def _unsure(name: str, each: CellDecision) -> str:
    if each.n == 0:
        return f"{name} (no held-out input has a reference)"
    beside = "" if each.difference == each.against_difference else _beside_best(each)
    enough = (
        f"some {each.needed:,} such inputs would show {each.margin:.1%}"
        if each.needed
        else f"no number of such inputs would show {each.margin:.1%}"
    )
    return f"{_measured(name, each)}{beside} (p {each.p:.2g}, wanted {each.level:.2g}; {enough})"


def _beside_best(each: CellDecision) -> str:
    name = f"version {each.best}" if each.best else "the starting weights"
    return f", and {100 * each.against_difference:+.1f} beside {name}, the best so far"


def _passed(decision: str, by_task: Mapping[str, CellDecision], rule: Rule) -> str:
    measured = ", ".join(_measured(task, each) for task, each in by_task.items())
    if decision == PROMOTE:
        return f"Promoted: {measured}."
    why = "the looks of this run are used up" if rule.look > rule.looks else "gate.promote is ask"
    return f"Good enough, and waits for `s2d promote` ({why}): {measured}."


def _measured(name: str, each: CellDecision) -> str:
    return (
        f"{name} {100 * each.difference:+.1f} points "
        f"({100 * each.low:+.1f} to {100 * each.high:+.1f}, n={each.n})"
    )


def pairs_of(first: Sequence[tuple[str, bool | None]], second: Sequence[tuple[str, bool | None]]) -> Pairs:
    """Two versions' answers as (input's id, whether it is right), over the inputs that both are judged on."""
    before = dict(first)
    return Pairs.of(
        (was, bool(now)) for key, now in second if now is not None and (was := before.get(key)) is not None
    )
