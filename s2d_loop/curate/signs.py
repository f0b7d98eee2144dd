"""The signs of a task's health and of collapse that need no label, over one round's verdicts.

A loop that trains on its own answers can agree with itself more and more while it gets no better, or
end in one answer for everything.  `report` draws these figures by round, so that a person sees it.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TypedDict

from s2d_loop.curate.judge import GENERATION_FAILED
from s2d_loop.records import Verdict


class Signs(TypedDict):
    """Plain data for the ledger.  A mean over nothing is null; `kept_share` of no inputs is 0."""

    inputs: int
    kept: int
    dropped: dict[str, int]
    """Inputs by the reason they were dropped for."""
    kept_share: float
    agreement: float | None
    """Share of System 1's samples that gave the winning answer, over inputs with a winner."""
    already: float | None
    """Share of kept inputs on which every System 1 sample gave the answer: nothing to learn there."""
    self_agreement: float | None
    """Share of an input's samples that gave its commonest answer; a tie has one too."""
    entropy: float | None
    """Entropy of an input's parsed answers, in bits."""
    distinct_answers: int
    """Different winning answers over all inputs."""
    top_answer_share: float | None
    """Share of the inputs with a winner that share the commonest one."""
    unparsable_share: float | None
    """Share of all samples that hold no answer or were cut off."""
    tokens_per_input: float | None
    """System 2's #Tokens, over all samples and calls of an input."""
    direct_tokens_per_answer: float | None
    """System 1's tokens for one answer; null without the number of its samples."""


def signs(verdicts: Sequence[Verdict], direct_samples: int = 0) -> Signs:
    """The signs of one task.

    Args:
        direct_samples: how many System 1 samples each input has (`direct_samples` of the task).
    """
    kept = [v for v in verdicts if v.kept]
    generated = [v for v in verdicts if v.reason != GENERATION_FAILED]
    winners = Counter(v.answer for v in verdicts if v.answer is not None)
    num_samples = sum(v.num_samples for v in verdicts)
    sampled = [v for v in verdicts if v.num_samples]
    direct_tokens = [v.num_direct_tokens / direct_samples for v in generated if direct_samples]
    return Signs(
        inputs=len(verdicts),
        kept=len(kept),
        dropped=dict(sorted(Counter(v.reason for v in verdicts if not v.kept).items())),
        kept_share=len(kept) / len(verdicts) if verdicts else 0.0,
        agreement=_mean(v.direct_agrees for v in verdicts if v.direct_agrees is not None),
        already=_mean(v.direct_agrees == 1 for v in kept if v.direct_agrees is not None),
        self_agreement=_mean(_top_count(v) / v.num_samples for v in sampled),
        entropy=_mean(v.entropy for v in sampled if v.votes),
        distinct_answers=len(winners),
        top_answer_share=max(winners.values()) / winners.total() if winners else None,
        unparsable_share=sum(v.unparsable for v in verdicts) / num_samples if num_samples else None,
        tokens_per_input=_mean(v.num_tokens for v in generated),
        direct_tokens_per_answer=_mean(direct_tokens),
    )


def _top_count(verdict: Verdict) -> int:
    return max((vote.count for vote in verdict.votes), default=0)


def _mean(values: Iterable[float]) -> float | None:
    each = list(values)
    return sum(each) / len(each) if each else None
