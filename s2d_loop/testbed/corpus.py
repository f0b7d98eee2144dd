"""Pretraining text of the tiny model: what it reads before the loop ever sees it.

`pretrain.py` draws prompt and reply pairs here. The text is noisy on purpose,
as real text is: a model that fits it well still answers a rephrased question
wrongly a part of the time when it is sampled, more often where words are long.
Votes can repair that. For the original question it learns fluent wrong habits.
Only this file knows about the noise; nothing at inference does.
"""

import random
from dataclasses import replace

from s2d_loop.testbed.pair import Pair
from s2d_loop.testbed.world import STEP1, STEP2, Item, Task, make_item, replies

# Share of all drawn pairs by task and kind. Where two acts cancel out is the
# hardest thing to learn here, so the coin's answers get most.
MIX: dict[tuple[Task, str], float] = {
    ("last_letters", "rephrase"): 0.17,
    ("last_letters", "answer"): 0.22,
    ("last_letters", "direct"): 0.11,
    ("coin_flip", "rephrase"): 0.15,
    ("coin_flip", "answer"): 0.27,
    ("coin_flip", "direct"): 0.08,
}
# The loop's perturbation lowers the words of the question, so some are seen so.
LOWERED_SHARE = 0.15
# Replies in full sentences; the rest are bare.
SENTENCE_SHARE = 0.5

# How often the last letter of a word is misread, by the word's length.
MISREAD = ((5, 0.07), (7, 0.17), (99, 0.42))
# A misread word gives the letter before the last this often, else any of its letters.
NEAR_MISS_SHARE = 0.6
# A rephrased coin question misstates each act this often, and its answer is
# wrong this often.
MISSTATED_ACT = 0.07
COIN_WRONG = 0.05
# Flips are rarer in pretraining than in the stream. With as many flips as not, a
# single act says nothing about the answer, and whether two cancel out was still
# not learned after 12,000 answers; like this it took 5,000.
FLIP_SHARE = 0.25

# Direct answers to the original letters question. Right for a part of the
# questions that are short in all, so that System 1 is seldom but not never right.
SHORT_QUESTION = 9
SHORT_RIGHT_SHARE = 0.6
# Direct answers to the original coin question look at the last act only, this often;
# the rest are guesses.
COIN_HABIT_SHARE = 0.8


def read_last_letter(word: str, rng: random.Random) -> str:
    """The last letter of `word`, sometimes misread."""
    rate = next(rate for longest, rate in MISREAD if len(word) <= longest)
    if rng.random() >= rate:
        return word[-1].lower()
    return (word[-2] if rng.random() < NEAR_MISS_SHARE else rng.choice(word)).lower()


def direct_letters(item: Item, rng: random.Random) -> str:
    """A habit's answer to the original letters question."""
    if len(item.a) + len(item.b) <= SHORT_QUESTION and rng.random() < SHORT_RIGHT_SHARE:
        return item.answer
    a, b = item.a.lower(), item.b.lower()
    habits = (a[0] + b[0], a[-1] + a[-1], b[-1] + b[-1], a[0] + b[-1])
    return rng.choices(habits, (0.75, 0.1, 0.05, 0.1))[0]


def coin_answer(item: Item, rng: random.Random) -> str:
    """The answer to a clearer coin question, wrong in a share of the cases."""
    wrong = {"yes": "no", "no": "yes"}[item.answer]
    return wrong if rng.random() < COIN_WRONG else item.answer


def direct_coin(item: Item, rng: random.Random) -> str:
    """A habit's answer to the original coin question: right for half of them."""
    if rng.random() < COIN_HABIT_SHARE:
        return "no" if item.flips[-1] else "yes"
    return rng.choice(("yes", "no"))


def say(task: Task, answer: str, rng: random.Random) -> str:
    """An answer in words."""
    bare, sentence = sorted(replies(task, answer), key=len)
    return sentence if rng.random() < SENTENCE_SHARE else bare


def draw(task: Task, kind: str, words: list[str], rng: random.Random) -> Pair:
    """Draw one pretraining pair of the given task and kind."""
    a, b = rng.sample(words, 2)
    item = make_item(task, a, b, rng)
    if task == "last_letters" and rng.random() < LOWERED_SHARE:
        item = item.lowered()
    if task == "coin_flip":
        item = replace(item, flips=(rng.random() < FLIP_SHARE, rng.random() < FLIP_SHARE))
    form = rng.randrange(item.forms)
    if kind == "rephrase":
        stated = replace(item, flips=tuple(f ^ (rng.random() < MISSTATED_ACT) for f in item.flips))
        return Pair(STEP1[task].format(question=item.question), stated.rephrased(form))
    if kind == "answer":
        rephrased = item.rephrased(form)
        if task == "last_letters":
            answer = read_last_letter(item.a, rng) + read_last_letter(item.b, rng)
        else:
            answer = coin_answer(item, rng)
        return Pair(STEP2[task].format(question=rephrased), say(task, answer, rng))
    answer = direct_letters(item, rng) if task == "last_letters" else direct_coin(item, rng)
    return Pair(item.question, say(task, answer, rng))


def draw_mix(count: int, words: list[str], rng: random.Random) -> list[Pair]:
    """Draw `count` pairs from the whole mix."""
    kinds = rng.choices(list(MIX), list(MIX.values()), k=count)
    return [draw(task, kind, words, rng) for task, kind in kinds]
