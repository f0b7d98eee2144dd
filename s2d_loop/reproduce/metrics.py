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
from s2d_loop.evaluate.judges import Agreement, Judged, Ruling, agreement, agreement_by_category, ruling
from s2d_loop.evaluate.metrics import wilson
from s2d_loop.evaluate.references import references
from s2d_loop.evaluate.suite import by_category
from s2d_loop.formats.sycophancy import BIASED
from s2d_loop.records import Generation, HeldOut, Scored
from s2d_loop.stages.evaluate import score_batch
from s2d_loop.tasks.pairwise import swapped_verdict, votes
from s2d_loop.tasks.registry import load_task

Kind = Literal["answers", "biased", "votes", "judge"]
KS = (1, 5, 10)
OTHER_ORDER = "~swap"
"""Ends the id of a held-out pair in the other order."""


class Figure(NamedTuple):
    """A measured column: in percent with its 95 % Wilson interval, or tokens without one."""

    value: float | None
    low: float | None
    high: float | None
    n: int


Items = Mapping[str, HeldOut]


@dataclass(frozen=True)
class Measurement:
    """What one system said to held-out inputs, `said` in any order."""

    config: Config
    task: str
    system: str
    items: Items
    said: Sequence[Generation]

    @cached_property
    def scored(self) -> list[Scored]:
        return score_batch(self.config, self.system, self.said, references(self.items.values()))

    def columns(self, kind: Kind) -> dict[str, Figure]:
        """Every column of a row."""
        return _KINDS[kind](self)

    def right(self, kind: Kind) -> dict[str, bool]:
        """Which held-out inputs count as right in the first column, to compare two rows by.

        A pair counts when the judge's ruling is what most people said.
        """
        if kind == "judge":
            parser = load_task(self.config.tasks[self.task].parser)
            return {
                number: parser.score(ruled.verdict, item.reference)
                for number, item, ruled in _rulings(self)
                if item.reference is not None
            }
        scored = [each for each in self.scored if each.correct is not None]
        if kind == "biased":
            scored = [each for each in scored if self.items[each.input_id].category == BIASED]
        return {each.input_id: bool(each.correct) for each in scored}


def _answers(m: Measurement) -> dict[str, Figure]:
    return {
        "accuracy": _share(each.correct for each in m.scored if each.correct is not None),
        "miss_match": _share(each.answer is None for each in m.scored),
        "tokens": _tokens(each.num_tokens for each in m.said),
    }


def _biased(m: Measurement) -> dict[str, Figure]:
    headings = by_category(m.scored, m.items.values())
    shares = {
        f"accuracy, {heading}": _share(each.correct for each in group if each.correct is not None)
        for heading, group in headings.items()
    }
    return {**shares, "tokens": _tokens(each.num_tokens for each in m.said)}


def _votes(m: Measurement) -> dict[str, Figure]:
    parser = load_task(m.config.tasks[m.task].parser)
    found: dict[str, Figure] = {}
    for k in KS:
        able = [each for each in m.said if len(each.samples) >= k]
        right = [
            parser.score(vote_at(each, k, parser, m.config.run.seed), reference)
            for each in able
            if (reference := m.items[each.input.id].reference) is not None
        ]
        # A row that samples less often (greedy System 1) has no figure at a larger k.
        complete = len(able) == len(m.said)
        found[f"accuracy, k={k}"] = _share(right if complete else [])
        found[f"tokens, k={k}"] = _tokens(tokens_at(each, k) for each in (able if complete else []))
    return found


def _rulings(m: Measurement) -> Iterator[tuple[str, HeldOut, Ruling]]:
    """Each pair, and what the judge's verdicts in both orders come to."""
    verdicts = {each.input_id: each.answer for each in m.scored}
    for number, item in m.items.items():
        if not number.endswith(OTHER_ORDER):
            yield number, item, ruling(verdicts[number], _turned_back(verdicts[number + OTHER_ORDER]))


def _judge(m: Measurement) -> dict[str, Figure]:
    judged = [Judged(ruled, votes(item.reference or ""), item.category) for _, item, ruled in _rulings(m)]
    whole = agreement(judged)
    found = {
        "agreement": _of(whole.agreeing, whole.votes),
        "inconsistent": _of(whole.inconsistent, whole.pairs),
        "inconsistent, voted pairs": _of(whole.voted_inconsistent, whole.voted_pairs),
        "tokens": _tokens(each.num_tokens for each in m.said),
    }
    by_heading: Mapping[str, Agreement] = agreement_by_category(judged)
    if set(by_heading) != {""}:
        found |= {f"agreement, {heading}": _of(a.agreeing, a.votes) for heading, a in by_heading.items()}
    return found


_KINDS: Mapping[Kind, Callable[[Measurement], dict[str, Figure]]] = {
    "answers": _answers,
    "biased": _biased,
    "votes": _votes,
    "judge": _judge,
}


def _turned_back(verdict: str | None) -> str | None:
    return None if verdict is None else swapped_verdict(verdict)


def _share(hits: Iterable[bool]) -> Figure:
    each = list(hits)
    return _of(sum(each), len(each))


def _of(part: int, whole: int) -> Figure:
    if not whole:
        return Figure(None, None, None, 0)
    low, high = wilson(part, whole)
    return Figure(100 * part / whole, 100 * low, 100 * high, whole)


def _tokens(counts: Iterable[float]) -> Figure:
    each = list(counts)
    return Figure(sum(each) / len(each) if each else None, None, None, len(each))
