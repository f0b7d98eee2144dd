"""Self-consistency (section 3.2): the vote over the parsed answers of one input's samples.

The paper says "majority vote; if there is no majority winner, we discard the example" and leaves the
rule open, so there are three.  `judge` votes on what trains with it, `evaluate` on held-out inputs.
"""

import math
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from s2d_loop.records import KEPT, Votes, digest

Rule = Literal["unique_plurality", "plurality_tiebreak", "absolute_majority"]

NO_PARSABLE_ANSWER = "no_parsable_answer"
TIE = "tie"
NO_MAJORITY = "no_majority"
LOW_SHARE = "low_share"


@dataclass(frozen=True, slots=True)
class Decision:
    """How a vote ended: `reason` is `kept`, or why there is no answer to learn from.

    `winner` stays named when only its share was too low; `answer` is the winner that may be used.
    """

    reason: str
    winner: str | None
    votes: tuple[Votes, ...]
    num_samples: int

    @property
    def answer(self) -> str | None:
        return self.winner if self.reason == KEPT else None

    @property
    def unparsable(self) -> int:
        return self.num_samples - sum(vote.count for vote in self.votes)

    @property
    def share(self) -> float:
        """The winner's share of all samples, those that can't be parsed included."""
        return self.share_of(self.winner)

    @property
    def entropy(self) -> float:
        """Of the parsed answers, in bits: 0 when they all agree."""
        total = sum(vote.count for vote in self.votes)
        return sum(vote.count / total * math.log2(total / vote.count) for vote in self.votes)

    def share_of(self, answer: str | None) -> float:
        count = sum(vote.count for vote in self.votes if vote.answer == answer)
        return count / self.num_samples if self.num_samples else 0.0


def decide(
    answers: Sequence[str | None],
    rule: Rule,
    min_share: float,
    run_seed: int,
    input_id: str,
    budget: int | None = None,
) -> Decision:
    """Vote.

    Args:
        answers: one for each sample; None is a sample that was cut off or can't be parsed.  It can't
            win, but counts among all samples, of which a majority or `min_share` is a part.
        budget: how many samples there would have been; more than `answers` where sampling stopped
            because the vote was decided (`stopping.py`).
        run_seed: with `input_id` the seed of a random tie break, so that a rerun agrees.
    """
    # In an order of their own, whatever order the samples came in.
    counts = sorted(Counter(a for a in answers if a is not None).items(), key=lambda c: (-c[1], c[0]))
    votes = tuple(Votes(answer, count) for answer, count in counts)
    whole = max(len(answers), budget or 0)
    reason, winner = _elect(votes, whole, rule, digest(str(run_seed), input_id, TIE))
    if winner is not None and votes[0].count < min_share * whole:
        reason = LOW_SHARE
    return Decision(reason, winner, votes, len(answers))


def _elect(votes: Sequence[Votes], num_samples: int, rule: Rule, seed: str) -> tuple[str, str | None]:
    if not votes:
        return NO_PARSABLE_ANSWER, None
    first = [vote.answer for vote in votes if vote.count == votes[0].count]
    if rule == "absolute_majority":
        return (KEPT, first[0]) if 2 * votes[0].count > num_samples else (NO_MAJORITY, None)
    if len(first) == 1:
        return KEPT, first[0]
    if rule == "plurality_tiebreak":
        return KEPT, random.Random(seed).choice(first)
    return TIE, None
