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

from s2d_loop.config import PoolConfig
from s2d_loop.evaluate.noninferiority import Pairs
from s2d_loop.pool import training_rows

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
    """One loop's pool and held-out inputs; classes are equally common.

    The pool keeps the rows of every round.  Which of them a round trains on is the product's own choice
    (`s2d_loop.pool.training_rows`): new rows, and so many old ones that they are `replay_share` of them all.
    """

    def __init__(
        self, seed: int, priors: Floats, *, heldout: int, replay_share: float, from_base: bool = False
    ) -> None:
        self._seed, self._round = seed, 0
        self._rng = np.random.default_rng(seed)
        self._luck = self._rng.standard_normal((len(priors), heldout))
        self._config, self._from_base = PoolConfig(replay_share=replay_share), from_base
        self._class, self._right = np.zeros(0, int), np.zeros(0, bool)
        self.base = self.version(0.5 * priors, priors)

    def trained(self, teacher: Version) -> Version:
        """The candidate of a round: the teacher's votes on new inputs go into the pool, and its rows are learned."""
        self._round += 1
        places = self._pooled(*self._votes(teacher.system2))
        of, right = self._class[places], self._right[places]
        rows = np.bincount(of, minlength=len(teacher.system1))
        wrong = 1 - right.mean()
        taught = np.bincount(of, right, len(rows)) / rows * (1 - DRAG * wrong)
        start = self.base if self._from_base else teacher
        one = start.system1 + LEARNS1 * (taught - start.system1)
        two = start.system2 + LEARNS2 * (taught - start.system2)
        noise = self._rng.normal(0, NOISE, (2, len(one)))
        return self.version(np.clip(one + noise[0], 0, 1), np.clip(two + noise[1], 0, 1))

    def _pooled(self, right: NDArray[np.int_], wrong: NDArray[np.int_]) -> NDArray[np.int_]:
        """Adds a round's rows, and gives the places in the pool of those that train."""
        num_old, classes = len(self._class), np.arange(len(right))
        new = np.concatenate([np.repeat(classes, right), np.repeat(classes, wrong)])
        self._class = np.concatenate([self._class, new])
        self._right = np.concatenate([self._right, np.arange(len(new)) < right.sum()])
        if self._config.replay_share == 1:  # all of them, in whatever order: nothing to choose
            return np.arange(len(self._class))
        one_task = np.zeros(len(self._class), int)
        return training_rows(one_task, num_old, self._config, self._seed + self._round)

    def _votes(self, accuracy: Floats) -> tuple[NDArray[np.int_], NDArray[np.int_]]:
        """Rows by class whose winner is right, and wrong; a tie has none."""
        size = (len(accuracy), INPUTS // len(accuracy))
        clipped = np.clip(accuracy, 1e-3, 1 - 1e-3)[:, None] * CONCENTRATION
        chance = self._rng.beta(clipped, CONCENTRATION - clipped, size)
        votes = self._rng.binomial(SAMPLES, chance)
        return (votes > SAMPLES / 2).sum(1), (votes < SAMPLES / 2).sum(1)

    def version(self, one: Floats, two: Floats) -> Version:
        luck = np.sqrt(1 - FRESH) * self._luck + np.sqrt(FRESH) * self._rng.standard_normal(self._luck.shape)
        return Version(one, two, luck < ndtri(one)[:, None])


def pairs(first: Version, second: Version, of: int | None = None) -> Pairs:
    """Two versions on the held-out inputs of a class, or of all."""
    one, two = (each.right if of is None else each.right[of] for each in (first, second))
    both, only_first, only_second = (one & two).sum(), (one & ~two).sum(), (~one & two).sum()
    return Pairs(int(both), int(only_first), int(only_second), int((~one & ~two).sum()))
