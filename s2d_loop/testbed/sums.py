"""A world of sums over several steps, for chain of thought (the paper's section 4.5).

Step by step the model adds up well; at once it guesses. A distilled System 1 is meant to stay behind
here, as the paper's did on GSM8K: so many steps at once are more than this model learns from answers.
Questions come in GSM8K's format.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from s2d_loop.system2.prompts import fill, load
from s2d_loop.testbed.pair import DrawPair, Pair, draw_mix, texts_of
from s2d_loop.testbed.words import SEED, make_word

NAMES = 40
THINGS = ("apples", "coins", "stamps", "shells", "books", "pens", "cards", "beads")
GAINS = ("finds {n} more", "buys {n} more", "is given {n} more")
LOSSES = ("loses {n}", "sells {n}", "gives away {n}")
START = "{name} has {n} {things}."
DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday")
STEP = "On {day} {name} {does}."
QUESTION = "How many {things} does {name} have now?"

STEPS = range(4, len(DAYS) + 1)
LARGEST, LARGEST_STEP = 30, 9
STREAM, HELDOUT = 800, 500

# A step is miscalculated by one this often: what a vote repairs.
MISCALCULATED = 0.06
# Answers at once mostly take the last step for all of them.
LAST_STEP_SHARE = 0.5


@dataclass(frozen=True)
class Sum:
    """A start and its changes, and in which words they are told."""

    name: str
    things: str
    start: int
    changes: tuple[int, ...]
    acts: tuple[str, ...]

    @property
    def question(self) -> str:
        """The question as it is asked."""
        told = [START.format(name=self.name, n=self.start, things=self.things)]
        for day, change, act in zip(DAYS, self.changes, self.acts, strict=False):
            told.append(STEP.format(day=day, name=self.name, does=act.format(n=abs(change))))
        return " ".join([*told, QUESTION.format(name=self.name, things=self.things)])

    @property
    def answer(self) -> int:
        """What is left at the end."""
        return self.start + sum(self.changes)

    def worked(self, slips: tuple[int, ...]) -> tuple[str, int]:
        """The steps one by one, each off by its slip, and where they lead."""
        total, steps = self.start, []
        for day, change, slip in zip(DAYS, self.changes, slips, strict=False):
            after = max(0, total + change + slip)
            steps.append(f"{day}: {calculation(total, change)} {after}.")
            total = after
        return " ".join(steps), total


def calculation(total: int, change: int) -> str:
    """One step, up to its result."""
    return f"{total} {'+' if change > 0 else '-'} {abs(change)} ="


def make_sum(rng: random.Random) -> Sum:
    """A sum that never leaves 0 to LARGEST on its way."""
    total = start = rng.randint(1, LARGEST)
    changes, acts = [], []
    for _ in range(rng.choice(STEPS)):
        steps = [n for n in range(-LARGEST_STEP, LARGEST_STEP + 1) if n and 0 <= total + n <= LARGEST]
        change = rng.choice(steps)
        changes.append(change)
        acts.append(rng.choice(GAINS if change > 0 else LOSSES))
        total += change
    return Sum(rng.choice(PEOPLE), rng.choice(THINGS), start, tuple(changes), tuple(acts))


def _people(seed: int = SEED) -> list[str]:
    rng = random.Random(f"{seed} people")
    names: dict[str, None] = {}
    while len(names) < NAMES:
        names[make_word(rng).capitalize()] = None
    return list(names)


PEOPLE = _people()


def draw_worked(rng: random.Random) -> Pair:
    """Figure 10's prompt, and the steps with the answer that they lead to."""
    item = make_sum(rng)
    slips = [rng.choice((-1, 1)) if rng.random() < MISCALCULATED else 0 for _ in item.changes]
    steps, total = item.worked(tuple(slips))
    return Pair(fill(load("cot"), question=item.question), f"{steps} Final answer: {total}")


def draw_guess(rng: random.Random) -> Pair:
    """The question alone, and an answer that hasn't been worked out."""
    item = make_sum(rng)
    if rng.random() < LAST_STEP_SHARE:
        guess = max(0, item.start + item.changes[-1])
    else:
        guess = rng.randint(0, LARGEST)
    return Pair(item.question, f"Final answer: {guess}")


def draw_calculation(rng: random.Random) -> Pair:
    """One step alone: how sums are learned in few words."""
    item = make_sum(rng)
    change = item.changes[0]
    return Pair(calculation(item.start, change), f"{item.start + change}")


MIX: dict[DrawPair, float] = {draw_worked: 0.6, draw_calculation: 0.3, draw_guess: 0.1}


def draw(count: int, rng: random.Random) -> list[Pair]:
    """Draw pretraining pairs."""
    return draw_mix(MIX, count, rng)


def texts() -> Iterator[str]:
    """Texts with every word of this world, its numbers included."""
    yield " ".join(str(n) for n in range(-1, LARGEST + LARGEST_STEP))
    yield from texts_of(draw(2000, random.Random(SEED)))


def files() -> dict[str, list[dict[str, Any]]]:
    """The stream and the held-out inputs, by file name; no question is in both."""
    rng = random.Random(f"{SEED} sums")
    made: dict[str, Sum] = {}
    while len(made) < STREAM + HELDOUT:
        item = make_sum(rng)
        made[item.question] = item
    rows = [_row(item) for item in made.values()]
    return {"gsm8k.unlabeled.jsonl": rows[:STREAM], "gsm8k.heldout.jsonl": rows[STREAM:]}


def _row(item: Sum) -> dict[str, Any]:
    steps, total = item.worked((0,) * len(item.changes))
    assert total == item.answer
    return {"question": item.question, "answer": f"{steps}\n#### {total}"}
