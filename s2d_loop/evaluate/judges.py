"""How well a judge of two answers agrees with people, and with itself (the paper's section 4.4).

Each pair is judged in both orders.  `Judged` holds what came of it beside the people's votes.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from s2d_loop.tasks.pairwise import TIE


@dataclass(frozen=True, slots=True)
class Ruling:
    """A judge's verdict on a pair, and whether both orders gave it."""

    verdict: str
    consistent: bool


@dataclass(frozen=True, slots=True)
class Judged:
    """One pair: the judge's ruling, each person's verdict, and the heading it is reported under."""

    ruling: Ruling
    votes: tuple[str, ...]
    category: str = ""

    @property
    def winners(self) -> tuple[str, ...]:
        """The votes that count: those that name a winner."""
        return tuple(vote for vote in self.votes if vote != TIE)

    @property
    def agreeing(self) -> int:
        """How many of them say what the judge says."""
        return self.winners.count(self.ruling.verdict)


@dataclass(frozen=True, slots=True)
class Agreement:
    """Counts over pairs; shares of nothing are null.

    A vote counts if it names a winner.  A pair counts as voted if such a vote is cast on it.
    """

    votes: int
    agreeing: int
    votes_decided: int
    """Votes on pairs for which the judge named a winner."""
    pairs: int
    inconsistent: int
    voted_pairs: int
    voted_inconsistent: int

    @property
    def agreement(self) -> float | None:
        """Over all votes: a judge that calls a tie, or contradicts itself, agrees with none."""
        return _share(self.agreeing, self.votes)

    @property
    def agreement_decided(self) -> float | None:
        """Over the votes on pairs for which the judge named a winner."""
        return _share(self.agreeing, self.votes_decided)

    @property
    def inconsistency(self) -> float | None:
        """Over all pairs that were judged."""
        return _share(self.inconsistent, self.pairs)

    @property
    def voted_inconsistency(self) -> float | None:
        """Over the voted pairs."""
        return _share(self.voted_inconsistent, self.voted_pairs)


def ruling(first: str | None, swapped: str | None) -> Ruling:
    """What two orders come to: where they don't agree, or one can't be read, a tie.

    Args:
        swapped: the verdict on the swapped pair, as it reads for the pair itself
            (`tasks.pairwise.swapped_verdict`).
    """
    if first is None or first != swapped:
        return Ruling(TIE, consistent=False)
    return Ruling(first, consistent=True)


def agreement(judged: Iterable[Judged]) -> Agreement:
    """Each vote counts by itself, so a pair with three votes counts three times."""
    votes = agreeing = votes_decided = pairs = inconsistent = voted_pairs = voted_inconsistent = 0
    for each in judged:
        votes += len(each.winners)
        agreeing += each.agreeing
        votes_decided += len(each.winners) if each.ruling.verdict != TIE else 0
        pairs += 1
        inconsistent += not each.ruling.consistent
        voted_pairs += bool(each.winners)
        voted_inconsistent += bool(each.winners) and not each.ruling.consistent
    return Agreement(votes, agreeing, votes_decided, pairs, inconsistent, voted_pairs, voted_inconsistent)


def agreement_by_category(judged: Iterable[Judged]) -> Mapping[str, Agreement]:
    """In the order of first appearance (Table 5, Figure 2)."""
    groups: dict[str, list[Judged]] = {}
    for each in judged:
        groups.setdefault(each.category, []).append(each)
    return {category: agreement(group) for category, group in groups.items()}


def _share(part: int, of: int) -> float | None:
    return part / of if of else None
