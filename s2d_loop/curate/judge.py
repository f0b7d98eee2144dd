"""The verdict on one generation: keep a target y for the input x, or drop it with a reason.

`stages.curate_stage` maps it over rows.  The `Distill System 1` baseline needs nothing of its own: its
samples are System 1's, and the filter is the same (section 4.2).
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

from s2d_loop.config.tasks import CurateConfig
from s2d_loop.curate.language import in_other_language
from s2d_loop.curate.vote import LOW_SHARE, NO_MAJORITY, NO_PARSABLE_ANSWER, TIE, Decision, decide
from s2d_loop.errors import ConversationRefusedError, NotRecordedError, RequestError
from s2d_loop.records import KEPT, Generation, Pair, Sample, Turn, Verdict, digest
from s2d_loop.system2.usc import UNREADABLE
from s2d_loop.tasks.base import Task

GENERATION_FAILED = RequestError.reason
NOT_RECORDED = NotRecordedError.reason
TEMPLATE_REFUSED = ConversationRefusedError.reason
PERTURBATION_MISSING = "perturbation_missing"
PERTURBATION_DISAGREES = "perturbation_disagrees"
EMPTY_REPLY = "empty_reply"
CUT_OFF = "cut_off"
SELECTION_UNREADABLE = "selection_unreadable"
ANSWER_NOT_LEARNED = "answer_not_learned"
TOO_SHORT = "too_short"
TOO_LONG = "too_long"
OTHER_LANGUAGE = "other_language"

REASONS = (
    GENERATION_FAILED,
    NOT_RECORDED,
    TEMPLATE_REFUSED,
    NO_PARSABLE_ANSWER,
    TIE,
    NO_MAJORITY,
    LOW_SHARE,
    PERTURBATION_MISSING,
    PERTURBATION_DISAGREES,
    EMPTY_REPLY,
    CUT_OFF,
    SELECTION_UNREADABLE,
    ANSWER_NOT_LEARNED,
    TOO_SHORT,
    TOO_LONG,
    OTHER_LANGUAGE,
)
"""Every reason for which an input is dropped."""


def curate(generation: Generation, task: Task, config: CurateConfig, run_seed: int) -> Verdict:
    """Judge one input.  The same generation, configuration and seed give the same verdict.

    A vote's target is a sampled reply, verbatim, that holds the winning answer.  Which one is random:
    always the first or the shortest would teach a style that nobody chose.
    """
    answers = _parsed(generation.samples, task)
    vote = decide(answers, config.vote, config.min_share, run_seed, generation.input.id, generation.budget)
    rng = random.Random(digest(str(run_seed), generation.input.id, "target"))
    twins: tuple[Pair, ...] = ()
    if generation.error is not None:
        chosen = Choice(generation.failure or GENERATION_FAILED)
    elif config.filter == "none":
        chosen = _any(generation.samples, answers, rng)
    elif config.filter == "usc":
        chosen = _selected(generation, answers, config, rng)
    else:
        chosen = _winning(vote, generation.samples, answers, rng)
    if chosen.reason == KEPT and chosen.answer in config.drop_answers:
        chosen = replace(chosen, reason=ANSWER_NOT_LEARNED)
    if chosen.reason == KEPT and config.filter != "none":
        reason, twins = _perturbed(generation, task, config, run_seed, chosen.answer, rng)
        chosen = replace(chosen, reason=reason)
    if chosen.reason == KEPT:
        chosen = _target(chosen, task, config)
    return _verdict(generation, task, vote, chosen, twins if chosen.reason == KEPT else ())


@dataclass(frozen=True, slots=True)
class Choice:
    """An answer, the reply that holds it, and whether it is kept or why not."""

    reason: str
    answer: str | None = None
    text: str | None = None
    token_ids: tuple[int, ...] = ()
    sample: int | None = None


def _parsed(samples: Sequence[Sample], task: Task) -> list[str | None]:
    """What each sample says.  One that was cut off may have been about to say something else."""
    return [task.parse(sample.text) if sample.finished else None for sample in samples]


def _winning(
    vote: Decision, samples: Sequence[Sample], answers: Sequence[str | None], rng: random.Random
) -> Choice:
    """Self-consistency of outputs (section 3.2)."""
    if vote.reason != KEPT:
        return Choice(vote.reason, vote.winner)
    number = rng.choice([n for n, answer in enumerate(answers) if answer == vote.winner])
    return Choice(KEPT, vote.winner, samples[number].text, samples[number].token_ids, number)


def _any(samples: Sequence[Sample], answers: Sequence[str | None], rng: random.Random) -> Choice:
    """The paper's ablation: one random sample, whatever it says, if it is text that can be trained on."""
    if not samples:
        return Choice(EMPTY_REPLY)
    return _whole(samples, answers, rng.randrange(len(samples)))


def _selected(
    generation: Generation, answers: Sequence[str | None], config: CurateConfig, rng: random.Random
) -> Choice:
    """What the model itself selected; a random one where even few samples were too long (A.2)."""
    selection = generation.selection
    assert selection is not None, f"{generation.input.id}: nothing was selected for curate.filter: usc"
    if not generation.samples:
        return Choice(EMPTY_REPLY)
    number = selection.chosen
    if selection.reason == UNREADABLE and config.usc.unreadable == "drop":
        return Choice(SELECTION_UNREADABLE)
    if number is None:
        number = rng.randrange(len(generation.samples))
    return _whole(generation.samples, answers, number)


def _whole(samples: Sequence[Sample], answers: Sequence[str | None], number: int) -> Choice:
    sample = samples[number]
    if not sample.finished:
        return Choice(CUT_OFF)
    if not sample.text.strip():
        return Choice(EMPTY_REPLY)
    return Choice(KEPT, answers[number], sample.text, sample.token_ids, number)


def _target(chosen: Choice, task: Task, config: CurateConfig) -> Choice:
    """What is learned, if its length and its language are within bounds."""
    text, token_ids = chosen.text, chosen.token_ids
    if config.target == "answer":
        if chosen.answer is None:
            return Choice(NO_PARSABLE_ANSWER)
        text, token_ids = task.format(chosen.answer), ()
    assert text is not None
    if len(text) < config.min_characters:
        return replace(chosen, reason=TOO_SHORT)
    if config.max_characters is not None and len(text) > config.max_characters:
        return replace(chosen, reason=TOO_LONG)
    if config.languages and in_other_language(text, config.languages):
        return replace(chosen, reason=OTHER_LANGUAGE)
    return replace(chosen, text=text, token_ids=token_ids)


def _perturbed(
    generation: Generation,
    task: Task,
    config: CurateConfig,
    run_seed: int,
    answer: str | None,
    rng: random.Random,
) -> tuple[str, tuple[Pair, ...]]:
    """Self-consistency under input perturbation: every twin's own vote must have the same winner.

    `min_share` doesn't apply to twins: they are asked whether they agree, not how firmly.  Returns the
    pairs of the twins that train too.
    """
    twins = {twin.name: twin for twin in generation.twins}
    if any(name not in twins for name in config.perturbations):
        return PERTURBATION_MISSING, ()
    pairs = []
    for name in config.perturbations:
        said = _parsed(twins[name].samples, task)
        own = decide(said, config.vote, 0.0, run_seed, f"{generation.input.id}~{name}", generation.budget)
        meant = None if own.answer is None else task.perturbations[name].answer(own.answer)
        if meant != answer:
            return PERTURBATION_DISAGREES, ()
        if name in config.train_twins:
            text = _target(_winning(own, twins[name].samples, said, rng), task, config)
            if text.reason != KEPT or text.text is None:
                return text.reason, ()
            pairs.append(Pair(name, twins[name].messages, text.text, own.answer, text.token_ids))
    return KEPT, tuple(pairs)


def _came_of(turns: Sequence[Turn], sample: int | None) -> tuple[Turn, ...]:
    """The calls that the target's sample came of."""
    return tuple(each for each in turns if sample in each.samples)


def _verdict(
    generation: Generation, task: Task, vote: Decision, chosen: Choice, twins: tuple[Pair, ...]
) -> Verdict:
    answer = chosen.answer
    direct = _parsed(generation.direct, task)
    return Verdict(
        input=generation.input,
        weights=generation.weights,
        reason=chosen.reason,
        answer=answer,
        target=chosen.text if chosen.reason == KEPT else None,
        target_ids=chosen.token_ids if chosen.reason == KEPT else (),
        turns=_came_of(generation.turns, chosen.sample) if chosen.reason == KEPT else (),
        twins=twins,
        share=vote.share_of(answer),
        votes=vote.votes,
        num_samples=vote.num_samples,
        unparsable=vote.unparsable,
        entropy=vote.entropy,
        direct_agrees=direct.count(answer) / len(direct) if direct and answer is not None else None,
        num_tokens=generation.num_tokens,
        num_direct_tokens=generation.num_direct_tokens,
    )
