"""The verdict on one generation: keep a target y for the input x, or drop it with a reason.

`stages.curate_stage` maps it over rows.  The `Distill System 1` baseline needs nothing of its own: its
samples are System 1's, and the filter is the same (section 4.2).
"""

import random
from collections.abc import Sequence

from s2d_loop.config.tree import CurateConfig
from s2d_loop.curate.vote import LOW_SHARE, NO_MAJORITY, NO_PARSABLE_ANSWER, TIE, Decision, decide
from s2d_loop.records import KEPT, Generation, Sample, Verdict, digest
from s2d_loop.tasks.base import Task

GENERATION_FAILED = "generation_failed"
PERTURBATION_MISSING = "perturbation_missing"
PERTURBATION_DISAGREES = "perturbation_disagrees"
EMPTY_REPLY = "empty_reply"
CUT_OFF = "cut_off"

REASONS = (
    GENERATION_FAILED,
    NO_PARSABLE_ANSWER,
    TIE,
    NO_MAJORITY,
    LOW_SHARE,
    PERTURBATION_MISSING,
    PERTURBATION_DISAGREES,
    EMPTY_REPLY,
    CUT_OFF,
)
"""Every reason for which an input is dropped."""


def curate(generation: Generation, task: Task, config: CurateConfig, run_seed: int) -> Verdict:
    """Judge one input.  The same generation, configuration and seed give the same verdict.

    A vote's target is a sampled reply, verbatim, that holds the winning answer.  Which one is random:
    always the first or the shortest would teach a style that nobody chose.
    """
    answers = _parsed(generation.samples, task)
    vote = decide(answers, config.vote, config.min_share, run_seed, generation.input.id)
    rng = random.Random(digest(str(run_seed), generation.input.id, "target"))
    if generation.error is not None:
        return _verdict(generation, task, vote, GENERATION_FAILED, None, None)
    if config.filter == "none":
        return _unfiltered(generation, task, vote, answers, rng)
    reason = vote.reason
    if reason == KEPT:
        reason = _perturbed(generation, task, config, run_seed, vote.winner)
    target = None
    if reason == KEPT:
        holders = zip(generation.samples, answers, strict=True)
        target = rng.choice([sample.text for sample, answer in holders if answer == vote.winner])
    return _verdict(generation, task, vote, reason, vote.winner, target)


def _parsed(samples: Sequence[Sample], task: Task) -> list[str | None]:
    """What each sample says.  One that was cut off may have been about to say something else."""
    return [task.parse(sample.text) if sample.finished else None for sample in samples]


def _unfiltered(
    generation: Generation, task: Task, vote: Decision, answers: Sequence[str | None], rng: random.Random
) -> Verdict:
    """The paper's ablation: one random sample, whatever it says, if it is text that can be trained on."""
    if not generation.samples:
        return _verdict(generation, task, vote, EMPTY_REPLY, None, None)
    number = rng.randrange(len(answers))
    sample, answer = generation.samples[number], answers[number]
    if not sample.finished:
        return _verdict(generation, task, vote, CUT_OFF, None, None)
    if not sample.text.strip():
        return _verdict(generation, task, vote, EMPTY_REPLY, None, None)
    return _verdict(generation, task, vote, KEPT, answer, sample.text)


def _perturbed(
    generation: Generation, task: Task, config: CurateConfig, run_seed: int, winner: str | None
) -> str:
    """Self-consistency under input perturbation: every twin's own vote must have the same winner.

    `min_share` doesn't apply to twins: they are asked whether they agree, not how firmly.
    """
    twins = {twin.name: twin for twin in generation.twins}
    if any(name not in twins for name in config.perturbations):
        return PERTURBATION_MISSING
    for name in config.perturbations:
        answers = _parsed(twins[name].samples, task)
        if decide(answers, config.vote, 0.0, run_seed, f"{generation.input.id}~{name}").answer != winner:
            return PERTURBATION_DISAGREES
    return KEPT


def _verdict(
    generation: Generation, task: Task, vote: Decision, reason: str, answer: str | None, target: str | None
) -> Verdict:
    direct = _parsed(generation.direct, task)
    return Verdict(
        input=generation.input,
        weights=generation.weights,
        reason=reason,
        answer=answer,
        target=target,
        share=vote.share_of(answer),
        votes=vote.votes,
        num_samples=vote.num_samples,
        unparsable=vote.unparsable,
        entropy=vote.entropy,
        direct_agrees=direct.count(answer) / len(direct) if direct and answer is not None else None,
        num_tokens=generation.num_tokens,
        num_direct_tokens=generation.num_direct_tokens,
    )
