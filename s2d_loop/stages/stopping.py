"""Stops a run whose training eats itself, with the best version in service."""

from typing import Any

from s2d_loop.commits import SERVING
from s2d_loop.evaluate.collapse import judge_collapse, level_of, read
from s2d_loop.evaluate.distil import RETIRED
from s2d_loop.evaluate.gate import HOLD, Rule
from s2d_loop.evaluate.noninferiority import p_not_worse_by
from s2d_loop.ledger import Ledger, Record
from s2d_loop.serving import publish
from s2d_loop.stages.compared import Compared
from s2d_loop.stages.run import Run
from s2d_loop.versions import collapsed

_TOLD = (
    "kept_share",
    "agreement",
    "already",
    "self_agreement",
    "entropy",
    "distinct_answers",
    "top_answer_share",
    "unparsable_share",
)
"""Signs of new inputs that a stop is recorded with; no rule rests on them, for a stream may change."""


def with_collapse(run: Run, facts: dict[str, Any], compared: Compared, rule: Rule) -> dict[str, Any]:
    """A gate's facts with the signs of collapse in the tasks that aren't retired; a run that stops promotes nothing."""
    resting = {each["task"] for each in facts[RETIRED]}
    level = level_of(rule.looks, len(run.config.tasks))
    signs = {task: each for task, each in compared.signs().items() if task not in resting}
    now = {task: read(each, rule.margin, level) for task, each in signs.items()}
    found = judge_collapse(now, _before(run.ledger))
    if not found["stop"]:
        return {**facts, "collapse": found}
    beside = compared.in_service_beside_best().items()
    worse = [each.version for _, each in beside if p_not_worse_by(each.pairs, rule.margin) <= level]
    found["return_to"] = worse[0] if worse else compared.current
    return {
        **facts,
        "decision": HOLD,
        "collapse": found,
        "sentence": f"{found['sentence']} {facts['sentence']}",
    }


def stops(run: Run, decided: Record) -> bool:
    """Whether a decision ends the run; the first time it is recorded, and the best version put in service.

    A run goes on from there once an operator has put a version in service after that record.
    """
    ledger = run.ledger
    found = decided.facts.get("collapse", {})
    if not found.get("stop"):
        return False
    if not any(r.kind == "collapsed" and r.facts["round"] == decided.iteration for r in ledger.live):
        trained = ledger.stage(found["return_to"], "train")
        facts = {
            "version": found["return_to"],
            "digest": trained.facts["weights"]["digest"] if trained else "",
            "round": decided.iteration,
            "from": decided.iteration + 1,
            "void": [],
            "sentence": found["sentence"],
            "evidence": {"gate": found["by_task"], "new_inputs": _signs_of(ledger, decided.iteration)},
        }
        ledger.append("collapsed", facts=facts)
        publish(ledger)
        run.progress.note(found["sentence"])
    stop = collapsed(ledger)
    return stop is not None and stop.facts["round"] == decided.iteration


def _before(ledger: Ledger) -> list[dict[str, Any]]:
    """The signs of the decisions since an operator last decided."""
    since = max((r.facts["from"] for r in ledger.live if r.kind in SERVING), default=0)
    gates = [r.facts.get("collapse") for r in ledger.stages("gate") if r.iteration >= since]
    return [each or {"by_task": {}} for each in gates]


def _signs_of(ledger: Ledger, last: int) -> dict[str, Any]:
    """By task and round, since the last but two."""
    curated = [r for r in ledger.stages("curate") if last - 3 < r.iteration <= last]
    found: dict[str, Any] = {}
    for record in curated:
        for task, row in record.facts.get("by_task", {}).items():
            found.setdefault(task, {})[record.iteration] = {name: row.get(name) for name in _TOLD}
    return found
