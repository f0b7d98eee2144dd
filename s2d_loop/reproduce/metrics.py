"""A table's columns, from what a system said to the held-out inputs.

`answers`: accuracy and miss-match rate (Tables 1 and 6).  `biased`: accuracy of inputs with and without
an opinion (Table 2).  `votes`: accuracy at k votes (Table 3).  `judge`: agreement with people and
inconsistency over both orders (the judge table; by category Table 5 and Figure 2).
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, NamedTuple

from s2d_loop.config import Config
from s2d_loop.evaluate.at_k import tokens_at, vote_at
from s2d_loop.evaluate.judges import Judged, ruling
from s2d_loop.evaluate.metrics import wilson
from s2d_loop.evaluate.references import references
from s2d_loop.evaluate.suite import by_category
from s2d_loop.records import Generation, HeldOut, Scored
from s2d_loop.stages.evaluate import score_batch
from s2d_loop.tasks.pairwise import swapped_verdict, votes
from s2d_loop.tasks.registry import load_task

Kind = Literal["answers", "biased", "votes", "judge"]
KS = (1, 5, 10)
OTHER_ORDER = "~swap"
"""Ends the id of a held-out pair in the other order."""
TOKENS = "tokens"
"""What the names of columns of tokens start with."""


class Figure(NamedTuple):
    """A measured column: in percent with its 95 % Wilson interval, or tokens without one.

    `n` is the denominator: inputs, votes or pairs.
    """

    value: float | None
    low: float | None
    high: float | None
    n: int


class Column(NamedTuple):
    """What each input adds to a column: hits among so many trials `of` all inputs, or a number to take the mean of."""

    values: Mapping[str, float]
    of: int | None = None

    @property
    def figure(self) -> Figure:
        if self.of is None:
            n = len(self.values)
            return Figure(sum(self.values.values()) / n if n else None, None, None, n)
        if not self.of:
            return Figure(None, None, None, 0)
        hits = sum(map(int, self.values.values()))
        low, high = wilson(hits, self.of)
        return Figure(100 * hits / self.of, 100 * low, 100 * high, self.of)


Columns = dict[str, Column]
Items = Mapping[str, HeldOut]


@dataclass(frozen=True)
class Measurement:
    """What one system said to held-out inputs, `said` in any order."""

    config: Config
    task: str
    system: Literal["system1", "system2"]
    items: Items
    said: Sequence[Generation]

    @cached_property
    def scored(self) -> list[Scored]:
        return score_batch(self.config, self.system, self.said, references(self.items.values()))

    def columns(self, kind: Kind) -> Columns:
        """Every column of a row, by input or pair."""
        return _KINDS[kind](self)


def hits(each: Iterable[tuple[str, bool]]) -> Column:
    """A share: which inputs hit, by id."""
    values = {number: float(hit) for number, hit in each}
    return Column(values, len(values))


def _answers(m: Measurement) -> Columns:
    return {
        "accuracy": _right(m.scored),
        "miss_match": hits((each.input_id, each.answer is None) for each in m.scored),
        TOKENS: _tokens(m.said),
    }


def _biased(m: Measurement) -> Columns:
    headings = by_category(m.scored, m.items.values())
    return {
        **{f"accuracy, {heading}": _right(group) for heading, group in headings.items()},
        TOKENS: _tokens(m.said),
    }


def _votes(m: Measurement) -> Columns:
    parser = load_task(m.config.tasks[m.task].parser)
    found: Columns = {}
    for k in KS:
        # A row that samples less often (greedy System 1) has no figure at a larger k.
        complete = m.said if all(len(each.samples) >= k for each in m.said) else ()
        found[f"accuracy, k={k}"] = hits(
            (each.input.id, parser.score(vote_at(each, k, parser, m.config.run.seed), reference))
            for each in complete
            if (reference := m.items[each.input.id].reference) is not None
        )
        found[f"{TOKENS}, k={k}"] = Column({each.input.id: tokens_at(each, k) for each in complete})
    return found


def _judge(m: Measurement) -> Columns:
    judged = dict(_judged(m))
    spent = {each.input.id: float(each.num_tokens) for each in m.said}
    voted = {number: each for number, each in judged.items() if each.winners}
    found = {
        "agreement": _agreement(judged),
        "inconsistent": _inconsistent(judged),
        "inconsistent, voted pairs": _inconsistent(voted),
        TOKENS: Column(spent),
        f"{TOKENS}, both orders": Column(
            {number: spent[number] + spent[number + OTHER_ORDER] for number in judged}
        ),
    }
    headings = dict.fromkeys(each.category for each in judged.values())
    if set(headings) != {""}:
        for heading in headings:
            group = {number: each for number, each in judged.items() if each.category == heading}
            found[f"agreement, {heading}"] = _agreement(group)
            found[f"inconsistent, {heading}"] = _inconsistent(group)
    return found


def _judged(m: Measurement) -> Iterator[tuple[str, Judged]]:
    """Each pair, and what the judge's verdicts in both orders come to beside people's votes."""
    verdicts = {each.input_id: each.answer for each in m.scored}
    for number, item in m.items.items():
        if not number.endswith(OTHER_ORDER):
            said = ruling(verdicts[number], _turned_back(verdicts[number + OTHER_ORDER]))
            yield number, Judged(said, votes(item.reference or ""), item.category)


def _agreement(judged: Mapping[str, Judged]) -> Column:
    """Each vote counts by itself, so a pair with three votes counts three times."""
    return Column(
        {number: float(each.agreeing) for number, each in judged.items() if each.winners},
        sum(len(each.winners) for each in judged.values()),
    )


def _inconsistent(judged: Mapping[str, Judged]) -> Column:
    return hits((number, not each.ruling.consistent) for number, each in judged.items())


_KINDS: Mapping[Kind, Callable[[Measurement], Columns]] = {
    "answers": _answers,
    "biased": _biased,
    "votes": _votes,
    "judge": _judge,
}


def _turned_back(verdict: str | None) -> str | None:
    return None if verdict is None else swapped_verdict(verdict)


def _right(scored: Iterable[Scored]) -> Column:
    return hits((each.input_id, each.correct) for each in scored if each.correct is not None)


def _tokens(said: Iterable[Generation]) -> Column:
    return Column({each.input.id: float(each.num_tokens) for each in said})
