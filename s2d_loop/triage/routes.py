"""Where each claimed input goes: to System 2, or past it for a reason."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from s2d_loop.ledger import Ledger
from s2d_loop.records import digest
from s2d_loop.triage.spend import Demand, allot

SYSTEM2 = "system2"
AUDIT = "audit"
SKIPPED = "skipped"
RETIRED = "retired"
BUDGET = "budget"
ANSWERED = (SYSTEM2, AUDIT)
"""The routes on which System 2 answers."""
LEFT_OUT = (SKIPPED, RETIRED, BUDGET)
"""System 1 answers as System 2 would; the task doesn't distil; the tokens of the round are spent."""

NOT_ASKED = -1


@dataclass(frozen=True, slots=True)
class Rule:
    """How the inputs of one task are routed; `tokens` and `gain` as in `spend.Demand`."""

    threshold: int | None
    retired: bool
    tokens: float
    gain: float | None


def draws(ids: Iterable[str], seed: int) -> np.ndarray:
    """A number from 0 to 1 for each input, by a hash of its id.  Those below the audit share are audited."""
    # 52 bits: a float holds each of them.
    return np.fromiter((int(digest(str(seed), name, AUDIT)[:13], 16) / 16**13 for name in ids), float)


def commonest(answers: Sequence[str | None]) -> tuple[int, str | None]:
    """How many samples gave the commonest answer, and that answer; of a tie the first by its text."""
    counts = Counter(answer for answer in answers if answer is not None)
    if not counts:
        return 0, None
    answer, count = min(counts.items(), key=lambda each: (-each[1], each[0]))
    return count, answer


def route(
    tasks: np.ndarray,
    agreeing: np.ndarray,
    audit: np.ndarray,
    order: np.ndarray,
    rules: Mapping[str, Rule],
    budget: float | None,
) -> np.ndarray:
    """The route of each input.

    Args:
        tasks: of each input.
        agreeing: how many samples gave its commonest answer, or `NOT_ASKED`.
        audit: whether it is audited; such an input is answered whatever else holds.
        order: breaks ties between inputs of a task that agree as little, when the budget ends among them.
        budget: System 2 tokens for all of them; None is without an end.
    """
    routes = np.full(len(tasks), SYSTEM2, dtype=object)
    for task, rule in rules.items():
        mine = tasks == task
        if rule.retired:
            routes[mine] = RETIRED
        elif rule.threshold is not None:
            routes[mine & (agreeing >= rule.threshold)] = SKIPPED
    routes[audit] = AUDIT
    candidates = {task: np.flatnonzero((tasks == task) & (routes == SYSTEM2)) for task in rules}
    demands = {
        task: Demand(len(candidates[task]), int((audit & (tasks == task)).sum()), rule.tokens, rule.gain)
        for task, rule in rules.items()
    }
    for task, number in allot(demands, budget).items():
        if number < len(candidates[task]):
            ranked = sorted(candidates[task], key=lambda i: (agreeing[i], order[i]))
            routes[ranked[number:]] = BUDGET
    return routes


def routed_inputs(ledger: Ledger, iteration: int, columns: Sequence[str] | None = None) -> Iterator[pa.Table]:
    """The claimed inputs of a round that System 2 answers, in their order: all, where none was triaged."""
    claimed, triaged = (ledger.stage(iteration, stage) for stage in ("intake", "triage"))
    assert claimed is not None, "a round begins with its claims"
    tables = ledger.tables(claimed, "inputs", columns)
    if triaged is None:
        yield from tables
        return
    routes = pa.concat_tables(ledger.tables(triaged, "routes", ["route"]))["route"]
    answered = pc.is_in(routes, pa.array(ANSWERED))
    start = 0
    for each in tables:
        yield each.filter(answered.slice(start, each.num_rows))
        start += each.num_rows
