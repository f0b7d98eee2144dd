"""The worlds by name, one tiny model each, and the command that writes the data files of all but the first.

    python -m s2d_loop.testbed.worlds --out s2d_loop/testbed/data

`pretrain.py` trains on them. The first one's files are `world.py`'s.
"""

import argparse
import itertools
import json
import random
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from s2d_loop.testbed import DATA_DIR, HERE, MODEL_DIR, corpus, facts, sums, thinking, verdicts, world
from s2d_loop.testbed.pair import Pair
from s2d_loop.testbed.tokenizer import PLAIN, ChatFormat

Files = Mapping[str, list[dict[str, Any]]]

_WORDS_SHARE = 2 / 3
"""Of what the model of words and sums reads, the part of words."""


@dataclass(frozen=True)
class Recipe:
    """Everything that decides how the model comes out."""

    seed: int = 7
    steps: int = 700
    pairs_per_step: int = 64
    # At most so many pairs of like length go through the model together: less padding.
    batch: int = 8
    learning_rate: float = 2e-3
    warmup_steps: int = 100
    # The rate falls to zero over the last part of the run.
    decay_share: float = 0.25
    weight_decay: float = 0.1
    adam_beta2: float = 0.98
    clip_norm: float = 1.0


@dataclass(frozen=True)
class World:
    """What one tiny model is made of."""

    folder: Path
    recipe: Recipe
    mix: Mapping[str, float]
    """The shares of what it reads, for the record."""
    texts: Callable[[], Iterable[str]]
    """Their words are whole tokens."""
    draw: Callable[[int, random.Random], list[Pair]]
    chat: ChatFormat = PLAIN
    dtype: Literal["float16", "float32"] = "float16"
    """How the weights are kept; they are trained in float32."""
    files: Callable[[], Files] = dict


def _first() -> World:
    words = world.splits()["pretrain"]
    return World(
        folder=MODEL_DIR,
        recipe=Recipe(),
        mix={f"{task}.{kind}": share for (task, kind), share in corpus.MIX.items()},
        texts=world.template_texts,
        draw=lambda count, rng: corpus.draw_mix(count, words, rng),
        dtype="float32",
    )


def _facts() -> World:
    return World(
        folder=HERE / "models" / "trivia_qa",
        recipe=Recipe(steps=1200, pairs_per_step=32, batch=16),
        mix=_shares(facts.MIX),
        texts=facts.texts,
        draw=facts.draw,
        files=facts.files,
    )


def _sums() -> World:
    return World(
        folder=HERE / "models" / "gsm8k",
        recipe=Recipe(steps=700, pairs_per_step=32, batch=16),
        mix=_shares(sums.MIX),
        texts=sums.texts,
        draw=sums.draw,
        files=sums.files,
    )


def _stream() -> World:
    """Words and sums in one model, for a stream whose tasks change (`benchmarks/long_run.py`)."""
    words = world.splits()["pretrain"]
    shares = {f"{task}.{kind}": share for (task, kind), share in corpus.MIX.items()} | _shares(sums.MIX)

    def draw(count: int, rng: random.Random) -> list[Pair]:
        of_words = round(count * _WORDS_SHARE)
        return corpus.draw_mix(of_words, words, rng) + sums.draw(count - of_words, rng)

    return World(
        folder=HERE / "models" / "stream",
        recipe=Recipe(steps=1000, pairs_per_step=90, batch=16),
        mix={
            kind: share * (_WORDS_SHARE if "." in kind else 1 - _WORDS_SHARE)
            for kind, share in shares.items()
        },
        texts=lambda: itertools.chain(world.template_texts(), sums.texts()),
        draw=draw,
    )


def _thinking() -> World:
    return World(
        folder=HERE / "models" / "think",
        recipe=Recipe(),
        mix=_shares(thinking.MIX),
        texts=thinking.texts,
        draw=thinking.draw,
        chat=thinking.CHAT,
    )


def _verdicts() -> World:
    return World(
        folder=HERE / "models" / "pairwise",
        recipe=Recipe(steps=1400, pairs_per_step=24, batch=16),
        mix=_shares(verdicts.MIX),
        texts=verdicts.texts,
        draw=verdicts.draw,
        files=verdicts.files,
    )


def _shares(mix: Mapping[Callable[..., Any], float]) -> dict[str, float]:
    return {draw.__name__.removeprefix("draw_"): share for draw, share in mix.items()}


WORLDS: dict[str, Callable[[], World]] = {
    "words": _first,
    "trivia_qa": _facts,
    "gsm8k": _sums,
    "pairwise": _verdicts,
    "stream": _stream,
    "think": _thinking,
}


def write_data(out: Path, names: Iterable[str] = tuple(WORLDS)) -> list[Path]:
    """Write the data files of the worlds that have some."""
    out.mkdir(parents=True, exist_ok=True)
    written = []
    for name in names:
        for file, rows in WORLDS[name]().files().items():
            path = out / file
            path.parent.mkdir(exist_ok=True)
            path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
            written.append(path)
    return written


def main() -> None:
    """Write the data files."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--out", type=Path, default=DATA_DIR)
    for path in write_data(parser.parse_args().out):
        print(path)


if __name__ == "__main__":
    main()
