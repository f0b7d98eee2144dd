"""Accuracy and #Tokens at k votes (Table 3), from one generation of at least k samples."""

from collections.abc import Iterator

from s2d_loop.curate.vote import decide
from s2d_loop.records import Generation, VotedAt
from s2d_loop.tasks.base import Task


def vote_at(generation: Generation, k: int, task: Task, seed: int) -> str | None:
    """What the first k samples vote for: ties are broken at random, and only unparsable ones are lost.

    A program may give several samples a call (`Generation.samples` is flat); k counts these.
    """
    if k > len(generation.samples):
        raise ValueError(f"{generation.input.id}: {k} votes of {len(generation.samples)} samples")
    said = [task.parse(sample.text) if sample.finished else None for sample in generation.samples[:k]]
    return decide(said, "plurality_tiebreak", 0.0, seed, generation.input.id).answer


def votes_of(generation: Generation, runs: int, task: Task, seed: int) -> Iterator[VotedAt]:
    """What 1, 2, 4, ... and all runs of the program vote for; `correct` is for others to say."""
    per_run = len(generation.samples) // runs
    for votes in sorted({*(2**i for i in range(runs.bit_length()) if 2**i < runs), runs}):
        k = len(generation.samples) if votes == runs else votes * per_run
        yield VotedAt(
            input_id=generation.input.id,
            task=generation.input.task,
            votes=votes,
            answer=vote_at(generation, k, task, seed),
            correct=None,
            num_tokens=tokens_at(generation, k),
        )


def tokens_at(generation: Generation, k: int) -> float:
    """#Tokens of k of its samples, in the mean over which k: samples are drawn alike, so it is a share."""
    return generation.num_tokens * k / len(generation.samples) if generation.samples else 0.0
