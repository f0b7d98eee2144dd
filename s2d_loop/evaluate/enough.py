"""Whether a held-out set is large enough for the gate, said before a run starts."""

from collections.abc import Iterator, Mapping

from s2d_loop.config import GateConfig
from s2d_loop.evaluate.gate import looks_of
from s2d_loop.evaluate.noninferiority import Pairs, p_worse_by, pairs_without_a_difference

Classes = Mapping[str, int]
"""Held-out inputs by class; together they are the task's."""


def hopeless(gate: GateConfig, iterations: int | None, heldout: Mapping[str, Classes]) -> list[str]:
    """Tasks and classes on which nothing could be promoted, did it go from all wrong to all right."""
    level = gate.level / looks_of(gate, iterations)
    return [
        f"gate.{key}: {n:,} held-out inputs of {where} show nothing at {gate.level:g} over "
        f"{looks_of(gate, iterations):,} looks, even if all of them went from wrong to right, so nothing would ever "
        f"be promoted: hold out more, or set gate.margin to 1 to promote without evidence"
        for key, margin, n, where in _cells(gate, heldout)
        if p_worse_by(Pairs(0, 0, n, 0), margin) > level
    ]


def thin(gate: GateConfig, iterations: int | None, heldout: Mapping[str, Classes]) -> list[str]:
    """Tasks and classes on which a candidate that answers every input as before could not be promoted."""
    looks = looks_of(gate, iterations)
    found = []
    for key, margin, n, where in _cells(gate, heldout):
        needed = pairs_without_a_difference(margin, gate.level / looks) if margin else None
        if needed is None or n < needed:
            enough = f"wants {needed:,} for that" if needed else "never can without a margin"
            found.append(
                f"gate.{key}: with {n:,} held-out inputs of {where} only a candidate that is much better can be "
                f"promoted, and none that is as good: a margin of {margin:.1%} {enough} (at {gate.level:g} over "
                f"{looks:,} looks)."
            )
    return found


def _cells(gate: GateConfig, heldout: Mapping[str, Classes]) -> Iterator[tuple[str, float, int, str]]:
    """What the gate will test: the margin's key and value, how many inputs, and of what."""
    if gate.margin >= 1:
        return
    for task, classes in heldout.items():
        yield "margin", gate.margin, sum(classes.values()), task
        if len(classes) > 1:
            for name, n in classes.items():
                if n >= gate.min_class:
                    yield "class_margin", gate.class_margin, n, f"{task}, class {name!r}"
