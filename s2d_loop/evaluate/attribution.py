"""Which source a hold comes of: the one without whose new rows the candidate would have been promoted.

Nothing but training again can tell.  A training differs from the next by chance, too.  So a source is named only
where the hold stays when the same rows are trained from another seed; where its trial is shown to be better than
both of these, on the same inputs and in something that the hold was about; and where leaving out another source
left the hold.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from s2d_loop.evaluate.gate import HOLD, WORSE
from s2d_loop.evaluate.metrics import mcnemar

Measured = Mapping[tuple[str, str], Mapping[str, bool]]
"""What a hold was about, by (`task` or `canaries`, name): whether the answer to each input is good."""

LEVEL = 0.01
"""How likely it may be, over the trials of a round, that one which is no better is shown to be."""


@dataclass(frozen=True, slots=True)
class Cause:
    """What a hold was about, as far as rows can explain it: tasks that got worse, and sets of canaries.

    A task that was only not shown to be as good is none: too few held-out inputs are no source's doing.
    """

    tasks: tuple[str, ...]
    sets: tuple[str, ...]

    def __bool__(self) -> bool:
        return bool(self.tasks or self.sets)


@dataclass(frozen=True, slots=True)
class Trial:
    """A round's training without the new rows of one source."""

    decision: str
    """What the gate says to it."""
    p: float
    """Of "no better than the held candidate and its twin from another seed", in anything that the hold was about."""


@dataclass(frozen=True, slots=True)
class Finding:
    """The sources that are named, and a sentence that says why, or why none is."""

    named: tuple[str, ...]
    sentence: str


BY_CHANCE = Finding(
    (),
    "The hold goes when the same rows are trained from another seed: it was chance, and no source is named.",
)


def cause(gate: Mapping[str, Any]) -> Cause:
    """From the facts of a gate."""
    tasks = (task for task, each in gate["by_task"].items() if each["reason"] == WORSE)
    sets = (name for name, each in gate.get("canaries", {}).items() if each["decision"] == HOLD)
    return Cause(tuple(tasks), tuple(sets))


def suspects(new: Mapping[str, int], earlier: Collection[str]) -> list[str]:
    """Sources in the order in which to try them: those that never trained before, then those with most new rows.

    Args:
        new: the rows that are new in this round, by source.
        earlier: sources whose rows trained before.
    """
    return sorted((name for name in new if new[name]), key=lambda name: (name in earlier, -new[name], name))


def p_better(now: Measured, before: Measured) -> float:
    """Of "now is no better than before" in any of what was measured: McNemar's exact test, one-sided, Bonferroni's bound."""
    found = []
    for name, right in now.items():
        both = right.keys() & before[name].keys()
        test = mcnemar([right[each] for each in both], [before[name][each] for each in both])
        found.append(test.p_first_better)
    return min(1.0, len(found) * min(found))


def find(tried: Mapping[str, Trial], new: Mapping[str, int], untried: Sequence[str]) -> Finding:
    """What the trials come to.

    Args:
        tried: by the source that was left out.
        new: the rows that are new in this round, by source.
        untried: those that the budget didn't reach.
    """
    lifted = tuple(name for name, trial in tried.items() if trial.decision != HOLD)
    shown = tuple(name for name in lifted if tried[name].p <= LEVEL / len(tried))
    more = f" Not tried: {', '.join(untried)} (gate.attribute)." if untried else ""
    if not lifted:
        return Finding(
            (), f"The hold stays without the new rows of any one source ({', '.join(tried)}).{more}"
        )
    if len(lifted) == len(tried):
        which = ", ".join(tried)
        said = f"The hold goes whichever source is left out ({which}): it may be chance, and none is named."
        return Finding((), said + more)
    if not shown:
        which = " or ".join(f"{name} (p {tried[name].p:.2g})" for name in lifted)
        said = (
            f"The hold goes without {which}, by no more than trainings differ anyway "
            f"(wanted {LEVEL / len(tried):.2g}): none is named."
        )
        return Finding((), said + more)
    rows = " or ".join(f"the {new[name]} new rows of {name}" for name in shown)
    said = f"Without {rows} there is no hold: {', '.join(shown)} quarantined, and trains no more."
    return Finding(shown, said + more)


def not_tried(about: Cause, order: Sequence[str]) -> Finding:
    """Why no trial was made."""
    if not about:
        return Finding((), "No source was looked for: no task got worse and no canaries failed.")
    only = order[0] if order else "earlier rounds"
    return Finding(
        (), f"No source was looked for: all new rows are of {only}, so there is none to compare with."
    )
