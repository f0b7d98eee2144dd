"""A few examples of each outcome, picked for people to read.

Rows stream past once and only what is shown is held, so a run of millions of rows costs no memory.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice

from s2d_loop.records import KEPT, Generation, Verdict

MOST_READ = 20_000
"""Reading further for a rare reason would make a page slow and hardly better."""
MOST_REASONS = 8


@dataclass(frozen=True, slots=True)
class Shown:
    """A verdict and, where traces were kept, the calls that led to it."""

    verdict: Verdict
    generation: Generation | None = None


def pick(examples: Iterable[Shown], *, kept: int = 4, dropped: int = 3) -> dict[str, list[Shown]]:
    """The first few examples of each outcome, those kept first; each task gets its share."""
    found: dict[str, dict[str, list[Shown]]] = {}
    for each in islice(examples, MOST_READ):
        tasks = found.setdefault(each.verdict.reason, {})
        rows = tasks.setdefault(each.verdict.input.task, [])
        if len(rows) < max(kept, dropped):
            rows.append(each)
    order = sorted(found, key=lambda reason: (reason != KEPT, reason))[: 1 + MOST_REASONS]
    return {reason: _in_turn(found[reason], kept if reason == KEPT else dropped) for reason in order}


def _in_turn(tasks: dict[str, list[Shown]], count: int) -> list[Shown]:
    """`count` rows, taken from the tasks in turn."""
    deepest = max(len(rows) for rows in tasks.values())
    turns = (rows[n] for n in range(deepest) for rows in tasks.values() if n < len(rows))
    return list(islice(turns, count))
