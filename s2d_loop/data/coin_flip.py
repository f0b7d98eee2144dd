"""Coin flip (the paper's section 4.2.2): two people, each of whom flips the coin or does not.

The wording is that of the public set, two spaces included; the names are this project's own.  Two people are
asked about once, so no question is another one reworded.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations

from s2d_loop.data.base import TEST, TRAIN, VALIDATION, DataSet, Made, Rows, Wanted, shuffled
from s2d_loop.data.words import NAMES
from s2d_loop.errors import BadInputError
from s2d_loop.formats.base import Item

# As the paper has them; the public set has 1,330 to validate and 3,330 to test.
SIZES = {TRAIN: 20_000, VALIDATION: 3_330, TEST: 1_330}
_QUESTION = "A coin is heads up. {a} {does_a} the coin. {b} {does_b} the coin.  Is the coin still heads up?"
_DOES = {True: "flips", False: "does not flip"}
# Answers take turns, so any even number of questions is balanced.
_CASES = ((False, False), (True, False), (True, True), (False, True))
_NAME = re.compile(r"(\S+) (?:flips|does not flip) the coin\.")


def make(wanted: Wanted) -> Made:
    return Made(questions(NAMES, seed=wanted.seed))


def questions(names: Sequence[str], *, seed: int, sizes: Mapping[str, int] = SIZES) -> dict[str, Rows]:
    """Rows by file, no two names in two questions, yes and no equally often in each file.

    Raises:
        BadInputError: there are fewer pairs of names than questions.
    """
    pairs, needed = list(combinations(names, 2)), sum(sizes.values())
    if len(pairs) < needed:
        raise BadInputError(f"coin_flip: {needed:,} pairs of names are needed, there are {len(pairs):,}")
    drawn = iter(shuffled(pairs, seed, "coin_flip"))
    return {
        name: [
            _row(*(pair if number % 8 < 4 else pair[::-1]), _CASES[number % 4])
            for number, pair in zip(shuffled(range(size), seed, f"coin_flip {name}"), drawn, strict=False)
        ]
        for name, size in sizes.items()
    }


def pair_of(item: Item) -> Iterable[str]:
    """The two people that a question is about, in one order."""
    return (" ".join(sorted(_NAME.findall(item.messages[-1].content))),)


def _row(a: str, b: str, flips: tuple[bool, bool]) -> dict[str, str]:
    asked = _QUESTION.format(a=a, does_a=_DOES[flips[0]], b=b, does_b=_DOES[flips[1]])
    return {"prompt": asked, "answer": "no" if flips[0] != flips[1] else "yes"}


COIN_FLIP = DataSet(
    name="coin_flip",
    source="made here: the wording is that of the public set skrishna/coin_flip, the names are this project's own",
    licence="Apache-2.0, this project's",
    sizes=SIZES,
    make=make,
    takes=frozenset({"seed"}),
    keys=pair_of,
    once=True,
)
