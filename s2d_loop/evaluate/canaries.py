"""Judges replies to canaries, and whether a candidate fails them.

A set is fixed and System 1 answers without chance (at its default temperature of 0), so the count of bad replies
against the starting weights' is a fact about these prompts and needs no test.  It can hide something,
though: where the starting weights did badly and later ones well, a candidate may fall back unseen.
So replies are also paired with those of the version in service, by McNemar's exact test.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from s2d_loop.config import CanaryConfig, TaskConfig
from s2d_loop.curate.vote import decide
from s2d_loop.evaluate.gate import HOLD, PROMOTE
from s2d_loop.evaluate.metrics import mcnemar
from s2d_loop.records import Asked, Generation, digest
from s2d_loop.sources import Canary
from s2d_loop.tasks.base import Task

LEVEL = 0.001
"""How likely a set may hold weights that are as good as those in service: a round a week for two years is
a hundred looks."""


@dataclass(frozen=True, slots=True)
class SetDecision:
    """Bad replies of a candidate to a set, beside those of the starting weights.

    `newly_bad` and `newly_good` count against the version in service, and `p` is how likely it is that as
    many or more of those that changed got worse, were both as good.
    """

    decision: str
    bad: int
    n: int
    start: int
    limit: int
    newly_bad: int
    newly_good: int
    p: float


def judge_replies(
    canary: Canary,
    said: Generation,
    plain: Generation | None,
    name: str,
    config: CanaryConfig,
    parsing: "Parsing",
    start: Mapping[str, Asked],
) -> Asked:
    """One canary by the rules of its set.

    Args:
        plain: what was said to it without its trigger, where there is such a form.
        start: what the starting weights had made of each canary; empty while these are asked.
    """
    texts = [sample.text for sample in said.samples]
    answer = parsing.answer(said)
    hashed = digest(canary.input.content_hash, "" if answer is None else answer, str(answer is None))
    before = start.get(canary.input.id)
    bad = (
        (config.must_match is not None and not all(re.search(config.must_match, text) for text in texts))
        or (config.must_not_match is not None and any(re.search(config.must_not_match, t) for t in texts))
        or (plain is not None and parsing.answer(plain) != answer)
        or (config.same_as_start and before is not None and before.answer != hashed)
    )
    return Asked(name, canary.input.id, bad, hashed)


@dataclass(frozen=True, slots=True)
class Parsing:
    """How answers of a task are read: a single reply as it is, several by the task's own vote."""

    task: Task
    config: TaskConfig
    seed: int

    def answer(self, said: Generation) -> str | None:
        parsed = [self.task.parse(s.text) if s.finished else None for s in said.samples]
        if len(parsed) == 1:
            return parsed[0]
        curate = self.config.curate
        return decide(parsed, curate.vote, curate.min_share, self.seed, said.input.id).answer


def by_set(asked: Iterable[Asked]) -> dict[str, list[Asked]]:
    """Grouped by set, in the order of first appearance."""
    groups: dict[str, list[Asked]] = {}
    for each in asked:
        groups.setdefault(each.set, []).append(each)
    return groups


def judge_canaries(
    candidate: Mapping[str, Sequence[Asked]],
    current: Mapping[str, Sequence[Asked]],
    start: Mapping[str, Sequence[Asked]],
    config: Mapping[str, CanaryConfig],
) -> dict[str, SetDecision]:
    """Set by set: held with more bad replies than the limit allows, or shown worse than in service."""
    return {
        name: _decide(asked, current[name], start[name], config[name].limit)
        for name, asked in candidate.items()
    }


def _decide(
    candidate: Sequence[Asked], current: Sequence[Asked], start: Sequence[Asked], limit: int
) -> SetDecision:
    bad, at_start = (sum(each.bad for each in asked) for asked in (candidate, start))
    before = {each.id: not each.bad for each in current}
    found = mcnemar([before[each.id] for each in candidate], [not each.bad for each in candidate])
    # That candidates get better is no reason to hold them.
    p = found.p_first_better
    held = bad > at_start + limit or p < LEVEL
    return SetDecision(
        HOLD if held else PROMOTE,
        bad,
        len(candidate),
        at_start,
        limit,
        found.only_first,
        found.only_second,
        p,
    )


def with_canaries(facts: Mapping[str, Any], found: Mapping[str, SetDecision]) -> dict[str, Any]:
    """A gate's facts with those of the canaries: a set that fails holds the candidate, and the sentence says so."""
    judged = {**facts, "canaries": {name: asdict(each) for name, each in found.items()}}
    failed = [name for name, each in found.items() if each.decision == HOLD]
    if not failed:
        return judged
    said = f"Held: more bad replies to canaries: {', '.join(_said(name, found[name]) for name in failed)}."
    if facts["decision"] == HOLD:
        said = f"{said} {facts['sentence']}"
    return {**judged, "decision": HOLD, "sentence": said}


def _said(name: str, each: SetDecision) -> str:
    said = f"{name} {each.bad} of {each.n} (the starting weights {each.start}, limit {each.limit} more"
    if each.p < LEVEL:
        said += f"; {each.newly_bad} newly bad and {each.newly_good} newly good, p={each.p:.2g}"
    return said + ")"
