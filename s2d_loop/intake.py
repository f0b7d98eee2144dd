"""Claims new inputs: each row of a source is taken once, and every row has an outcome.

The sources' cursors are committed with what they delivered (RELIABILITY: a cursor that runs ahead of
its commit loses inputs, one that lags uses them twice).
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from s2d_loop.config import Config
from s2d_loop.records import Input, Reject
from s2d_loop.sources import Source

DUPLICATE = "duplicate"
HELD_OUT = "matches_heldout"
UNREADABLE = "unreadable"


@dataclass(frozen=True, slots=True)
class Claim:
    """What one round takes, what it leaves and why, and where each source stands after it."""

    inputs: list[Input]
    rejects: list[Reject]
    dropped: Mapping[str, int]
    cursors: Mapping[str, Any]
    by_source: Mapping[str, Mapping[str, int]]


def claim(
    config: Config,
    sources: Iterable[tuple[str, Source]],
    cursors: Mapping[str, Any],
    *,
    seen: Iterable[tuple[str, str]],
    heldout: Iterable[Input],
    advance: Callable[[int], None],
) -> Claim:
    """Take up to `run.inputs_per_iteration` new inputs of each task.

    Args:
        sources: pairs of a task and a source that feeds it.
        cursors: where each source, by name, stood after the last committed round.
        seen: (task, content hash) of every input claimed before.
        heldout: inputs that must never train, nor anything of their group.
    """
    known = set(seen)
    kept_out = list(heldout)
    never = {each.content_hash for each in kept_out}
    groups = {(each.task, each.group) for each in kept_out if each.group}
    taken: Counter[str] = Counter()
    dropped: Counter[str] = Counter()
    inputs: list[Input] = []
    rejects: list[Reject] = []
    after = dict(cursors)
    by_source: dict[str, dict[str, int]] = {}
    for task, source in sources:
        tally = by_source[source.name] = {"rows": 0, "inputs": 0, "rejects": 0}
        while (room := config.run.inputs_per_iteration - taken[task]) > 0:
            delivery = source.read(after.get(source.name), room)
            after[source.name] = delivery.cursor
            rejects += delivery.rejects
            dropped[UNREADABLE] += len(delivery.rejects)
            tally["rows"] += len(delivery.inputs) + len(delivery.rejects)
            tally["rejects"] += len(delivery.rejects)
            for x in delivery.inputs:
                if x.content_hash in never or (task, x.group) in groups:
                    dropped[HELD_OUT] += 1
                elif (task, x.content_hash) in known:
                    dropped[DUPLICATE] += 1
                else:
                    known.add((task, x.content_hash))
                    inputs.append(x)
                    taken[task] += 1
                    tally["inputs"] += 1
            advance(len(delivery.inputs) + len(delivery.rejects))
            if delivery.exhausted:
                break
    return Claim(inputs, rejects, dict(+dropped), after, by_source)
