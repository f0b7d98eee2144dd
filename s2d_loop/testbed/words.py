"""Made-up words for the tiny model's world, in three splits that share none.

`world.py` builds questions from the stream and held-out words, `corpus.py`
builds pretraining text from the rest. Every word comes from the syllables
below and a seed; no outside list is used.
"""

import random
from typing import Literal, get_args

Split = Literal["pretrain", "stream", "heldout"]

ONSETS = [*"bcdfghjklmnprstvwz", "br", "cl", "dr", "fl", "gr", "pl", "st", "tr"]
VOWELS = [*"aeiou"]
CODAS = [*"bcdfgklmnprstvxyz"]

SEED = 20240708
SPLIT_SIZES: dict[Split, int] = {"stream": 2400, "heldout": 1000, "pretrain": 9000}
# One, two or three syllables. Short words are common enough that a habit
# which holds for them only (see corpus.py) is seen often.
SYLLABLE_WEIGHTS = (0.35, 0.40, 0.25)
# A name must stay a row of single-letter tokens, so it may not be one of the
# words that the tokenizer knows whole; two-letter words are too short to ask about.
MIN_LETTERS = 3


def make_word(rng: random.Random) -> str:
    """One lower-case word of one to three syllables."""
    syllables = rng.choices((1, 2, 3), SYLLABLE_WEIGHTS)[0]
    word = "".join(rng.choice(ONSETS) + rng.choice(VOWELS) for _ in range(syllables))
    # A lone syllable needs its coda to be a word; elsewhere it is optional.
    if syllables == 1 or rng.random() < 0.7:
        word += rng.choice(CODAS)
    return word


def make_splits(reserved: frozenset[str], seed: int = SEED) -> dict[Split, list[str]]:
    """Draw all words once and deal them out, so that no two splits share a word.

    `reserved` holds the lower-cased words of the question templates.
    """
    rng = random.Random(seed)
    total = sum(SPLIT_SIZES.values())
    words: dict[str, None] = {}
    while len(words) < total:
        word = make_word(rng)
        if len(word) >= MIN_LETTERS and word not in reserved:
            words[word] = None
    deck = list(words)
    # Short words repeat sooner, so later draws are longer: shuffle before dealing.
    rng.shuffle(deck)
    splits: dict[Split, list[str]] = {}
    for split in get_args(Split):
        splits[split], deck = deck[: SPLIT_SIZES[split]], deck[SPLIT_SIZES[split] :]
    return splits
