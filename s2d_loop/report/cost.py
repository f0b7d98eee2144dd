"""What System 2 cost a run, and what was saved, from the facts of `generate` and `triage`."""

from dataclasses import dataclass

from s2d_loop.report.view import Iteration, RunView


@dataclass(frozen=True, slots=True)
class Spending:
    """System 2's calls and tokens for each input that a round claimed, those it never answered included."""

    calls: float
    tokens: float


@dataclass(frozen=True, slots=True)
class Saved:
    """Over a whole run.  Of votes: the samples that were drawn, of those that were planned."""

    triage_calls: int
    triage_tokens: int
    samples: int
    planned: int


def spending(iteration: Iteration, task: str) -> Spending | None:
    """One task's in one round; None where nothing is known of it."""
    tally = (iteration.facts("generate").get("by_task") or {}).get(task) or {}
    claimed = (iteration.facts("intake").get("by_task") or {}).get(task) or tally.get("inputs")
    if not claimed or "calls" not in tally:
        return None
    return Spending(tally["calls"] / claimed, (tally.get("tokens") or 0) / claimed)


def saved(view: RunView) -> Saved:
    """What triage and votes that end early spared."""
    calls = tokens = samples = planned = 0
    for iteration in view.rounds:
        for row in (iteration.facts("triage").get("by_task") or {}).values():
            spared = row.get("saved") or {}
            calls += spared.get("calls") or 0
            tokens += spared.get("tokens") or 0
        for tally in (iteration.facts("generate").get("by_task") or {}).values():
            if tally.get("planned"):
                samples += tally.get("samples") or 0
                planned += tally["planned"]
    return Saved(calls, tokens, samples, planned)
