"""A student whose truth is known, for `benchmarks.gate`: what majority votes teach it, class by class.

An input of a class is answered rightly by a sample of System 2 with a probability of its own, drawn from a Beta
distribution around the class's accuracy.  Wrong samples agree with one another, which is the worst case: the
majority of the samples is right or wrong, and the student learns it.  So what is above a half grows, and what is
below shrinks.  What is learned wrongly also costs every other class a little (`DRAG`), since all share their
weights: that is how a loop that looked well falls all at once.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from s2d_loop.evaluate.noninferiority import Pairs

Floats = NDArray[np.float64]
SAMPLES = 8
INPUTS = 800
CONCENTRATION = 4.0
"""Of the Beta distribution: the lower, the more inputs of a class differ."""
DRAG = 0.35
LEARNS1, LEARNS2 = 0.6, 0.3
"""How far System 1 and System 2 move to what was taught in one round."""
NOISE = 0.005
"""The spread of what one training comes to, per class."""
FRESH = 0.05
"""How much of an answer's luck is new with every version, on the same held-out input."""


@dataclass(frozen=True)
class Version:
    """True accuracies by class, and whether each held-out input is answered rightly."""

    system1: Floats
    system2: Floats
    right: NDArray[np.bool_]

    @property
    def truth(self) -> float:
        return float(self.system1.mean())

    @property
    def agreement(self) -> float:
        """How often a sample of System 2 says what System 1 says."""
        both = self.system1 * self.system2 + (1 - self.system1) * (1 - self.system2)
        return float(both.mean())


class Student:
    """One loop's pool and held-out inputs; classes are equally common."""

    def __init__(
        self, seed: int, priors: Floats, *, heldout: int, accumulate: bool = True, from_base: bool = False
    ) -> None:
        self._rng = np.random.default_rng(seed)
        self._luck = self._rng.standard_normal((len(priors), heldout))
        self._accumulate, self._from_base = accumulate, from_base
        self._right, self._rows = np.zeros(len(priors)), np.zeros(len(priors))
        self.base = self._measured(0.5 * priors, priors)

    def trained(self, teacher: Version) -> Version:
        """The candidate of a round: the teacher's votes on new inputs go into the pool, and all of it is learned."""
        right, rows = self._votes(teacher.system2)
        keep = 1.0 if self._accumulate else 0.0
        self._right, self._rows = keep * self._right + right, keep * self._rows + rows
        wrong = 1 - self._right.sum() / self._rows.sum()
        taught = (self._right / self._rows) * (1 - DRAG * wrong)
        start = self.base if self._from_base else teacher
        one = start.system1 + LEARNS1 * (taught - start.system1)
        two = start.system2 + LEARNS2 * (taught - start.system2)
        noise = self._rng.normal(0, NOISE, (2, len(one)))
        return self._measured(np.clip(one + noise[0], 0, 1), np.clip(two + noise[1], 0, 1))

    def _votes(self, accuracy: Floats) -> tuple[Floats, Floats]:
        """Right and all winners by class; a tie has none."""
        size = (len(accuracy), INPUTS // len(accuracy))
        clipped = np.clip(accuracy, 1e-3, 1 - 1e-3)[:, None] * CONCENTRATION
        chance = self._rng.beta(clipped, CONCENTRATION - clipped, size)
        votes = self._rng.binomial(SAMPLES, chance)
        right, wrong = (votes > SAMPLES / 2).sum(1), (votes < SAMPLES / 2).sum(1)
        return right.astype(float), (right + wrong).astype(float)

    def _measured(self, one: Floats, two: Floats) -> Version:
        luck = np.sqrt(1 - FRESH) * self._luck + np.sqrt(FRESH) * self._rng.standard_normal(self._luck.shape)
        return Version(one, two, luck < ndtri(one)[:, None])


def pairs(first: Version, second: Version, of: int | None = None) -> Pairs:
    """Two versions on the held-out inputs of a class, or of all."""
    one, two = (each.right if of is None else each.right[of] for each in (first, second))
    both, only_first, only_second = (one & two).sum(), (one & ~two).sum(), (~one & two).sum()
    return Pairs(int(both), int(only_first), int(only_second), int((~one & ~two).sum()))
