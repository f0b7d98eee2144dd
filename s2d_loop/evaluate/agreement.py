"""How far two raters agree, beyond what they would by chance."""

from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from itertools import combinations

from s2d_loop.labels import Label, Standing


@dataclass(frozen=True, slots=True)
class Agreement:
    """Of the `n` inputs that both labelled: the share with the same label, and Cohen's kappa.

    `kappa` is null where chance alone would have them agree always, and where they share no input.
    """

    first: str
    second: str
    n: int
    same: float | None
    kappa: float | None


def agreements(standing: Standing) -> list[Agreement]:
    """Every pair of raters.

    Answers differ from input to input, so a label's category is its answer's place among those shown for
    the input, System 2's first; "none of these" and "can't tell" are categories too.
    """
    raters = sorted({rater for labels in standing.values() for rater in labels})
    found = []
    for first, second in combinations(raters, 2):
        both = [_categories(x[first], x[second]) for x in standing.values() if first in x and second in x]
        same, kappa = cohen([a for a, _ in both], [b for _, b in both])
        found.append(Agreement(first, second, len(both), same, kappa))
    return found


def cohen(first: Sequence[Hashable], second: Sequence[Hashable]) -> tuple[float | None, float | None]:
    """Raw agreement and kappa (Cohen, Educational and Psychological Measurement 20, 1960)."""
    n = len(first)
    if n == 0:
        return None, None
    same = sum(a == b for a, b in zip(first, second, strict=True))
    one, two = Counter(first), Counter(second)
    chance = sum(one[category] * two[category] for category in one)  # times n squared
    if chance == n * n:
        return same / n, None
    return same / n, (same * n - chance) / (n * n - chance)


def _categories(first: Label, second: Label) -> tuple[Hashable, Hashable]:
    places = {name: place for place, name in enumerate(dict.fromkeys((*first.shown, *second.shown)))}
    a, b = ((places[x.answer] if x.said == "right" else x.said) for x in (first, second))
    return a, b
