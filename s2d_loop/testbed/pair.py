"""What the tiny models are pretrained on: pairs of a user message and its reply.

Each world draws them (`corpus.py`, `facts.py`, `sums.py`, `thinking.py`, `verdicts.py`); `pretrain.py`
learns them.
"""

import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Pair:
    """One user message and the assistant's reply to it."""

    prompt: str
    reply: str
    thinking: bool = True
    """What the chat template is told as `enable_thinking`; one without thoughts takes no notice."""


DrawPair = Callable[[random.Random], Pair]


def draw_mix(kinds: Mapping[DrawPair, float], count: int, rng: random.Random) -> list[Pair]:
    """Draw `count` pairs, each kind by its share."""
    return [draw(rng) for draw in rng.choices(list(kinds), list(kinds.values()), k=count)]


def texts_of(pairs: list[Pair]) -> Iterator[str]:
    """Every text, for a tokenizer that knows their words whole."""
    for pair in pairs:
        yield pair.prompt
        yield pair.reply


def repeated(words: list[str], rng: random.Random) -> Pair:
    """Some of the words in any order, and the same again."""
    said = " ".join(rng.sample(words, k=len(words)))
    return Pair(f"Repeat: {said}", f"Repeat: {said}")
