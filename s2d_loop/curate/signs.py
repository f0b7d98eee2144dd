"""The signs of a task's health and of collapse that need no label, over one round's verdicts.

A loop that trains on its own answers can agree with itself more and more while it gets no better, or
end in one answer for everything.  `report` draws these figures by round, so that a person sees it.
"""

from typing import TypedDict

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from s2d_loop.curate.judge import GENERATION_FAILED
from s2d_loop.records import KEPT


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


def sign_columns(verdicts: pa.Table) -> pa.Table:
    """What the signs need of a table of `Verdict`: some 70 bytes a row, so that a round's fit anywhere."""
    votes = verdicts["votes"].combine_chunks()
    top_votes = np.zeros(len(votes), np.int64)
    counts = pc.struct_field(votes.flatten(), "count").to_numpy()
    np.maximum.at(top_votes, pc.list_parent_indices(votes).to_numpy(), counts)
    return pa.table(
        {
            "task": pc.struct_field(verdicts["input"], "task"),
            "top_votes": top_votes,
            **{name: verdicts[name] for name in _PLAIN},
        }
    )


_PLAIN = (
    "reason",
    "answer",
    "num_samples",
    "unparsable",
    "entropy",
    "direct_agrees",
    "num_tokens",
    "num_direct_tokens",
)


def signs(found: pa.Table, direct_samples: int = 0) -> Signs:
    """The signs of one task, from the `sign_columns` of its verdicts.

    Args:
        direct_samples: how many System 1 samples each input has (`direct_samples` of the task).
    """
    is_kept = pc.equal(found["reason"], KEPT)
    generated = found.filter(pc.not_equal(found["reason"], GENERATION_FAILED))
    kept, lost = found.filter(is_kept), found.filter(pc.invert(is_kept))
    sampled = found.filter(pc.greater(found["num_samples"], 0))
    voted = sampled.filter(pc.greater(sampled["top_votes"], 0))
    winners = _counts(found["answer"].drop_null())
    num_samples = pc.sum(found["num_samples"]).as_py()
    direct_tokens = _mean(generated["num_direct_tokens"]) if direct_samples else None
    return Signs(
        inputs=found.num_rows,
        kept=kept.num_rows,
        dropped=dict(sorted(_counts(lost["reason"]).items())),
        kept_share=kept.num_rows / found.num_rows if found.num_rows else 0.0,
        agreement=_mean(found["direct_agrees"]),
        already=_mean(pc.equal(kept["direct_agrees"], 1.0)),
        self_agreement=_mean(pc.divide(pc.cast(sampled["top_votes"], "double"), sampled["num_samples"])),
        entropy=_mean(voted["entropy"]),
        distinct_answers=len(winners),
        top_answer_share=max(winners.values()) / sum(winners.values()) if winners else None,
        unparsable_share=pc.sum(found["unparsable"]).as_py() / num_samples if num_samples else None,
        tokens_per_input=_mean(generated["num_tokens"]),
        direct_tokens_per_answer=None if direct_tokens is None else direct_tokens / direct_samples,
    )


def _counts(values: pa.ChunkedArray) -> dict[str, int]:
    counted = values.value_counts()
    return dict(zip(counted.field("values").to_pylist(), counted.field("counts").to_pylist(), strict=True))


def _mean(values: pa.ChunkedArray) -> float | None:
    """The mean of what is not null."""
    mean: float | None = pc.mean(values).as_py()
    return mean
