"""Scripted parts: a model, engines and a trainer without vLLM or torch, each a pure function of the seed.

The model reads the question, never a label.  Asked directly it is right as often as its weights' skill
says; asked to think it is right most of the time.  Training moves the skill towards the share of right
examples.  `train.trainer` publishes an export by a rename and syncs nothing, and so does this one.
"""

import json
import random
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.simulation.tables import ParquetFile
from s2d_loop.dataflow import ClientFactory
from s2d_loop.errors import EngineError, RequestError
from s2d_loop.records import Example, Reply, Request, Weights, rows
from s2d_loop.train.job import TrainJob, TrainResult
from s2d_loop.weights import weights_digest

_WORDS = re.compile(r'"(\w+) (\w+)"')
POISON = "poison"
"""A question with this word breaks whatever engine it goes to."""


def letters(words: tuple[str, str]) -> str:
    return (words[0][-1] + words[1][-1]).lower()


def question(words: tuple[str, str]) -> str:
    return f'Take the last letters of the words in "{words[0]} {words[1]}" and concatenate them.'


def reply(request: Request, skill: float, digest: str) -> Reply:
    """What weights of a skill answer to a request."""
    asked = request.messages[-1].content
    if POISON in asked:
        raise RequestError("the engine died on it")
    found = _WORDS.search(asked)
    chance = 0.8 if "xpand" in asked else skill
    rng = random.Random(f"{request.seed}|{digest}|{asked}")
    right = found is not None and rng.random() < chance
    text = letters((found[1], found[2])) if right and found else rng.choice("ghijkl") + "q"
    # What it says names the weights that really said it, whatever the engine claims.
    return Reply(f'"{text}" {by(digest)}', num_tokens=4, weights=digest)


def by(digest: str) -> str:
    """How weights sign what they say."""
    return f"by {digest[:12]}"


class Engines:
    """Serves the scripted model; `step` is called before every call, and may raise."""

    def __init__(self, step: Callable[[], None] = lambda: None) -> None:
        self._served: Weights | None = None
        self.claimed = ""
        """The digest that its replies carry."""
        self._skill = 0.0
        self._step = step

    @property
    def started(self) -> bool:
        return self._served is not None

    def serve(self, weights: Weights) -> None:
        if self._served is None or self._served.digest != weights.digest:
            self._skill = json.loads((Path(weights.path) / "state.json").read_text())["skill"]
            self._served = weights
            self.claimed = weights.digest

    def client_factory(self, num_clients: int = 1) -> ClientFactory:
        if self._served is None:
            raise EngineError("nothing is served")
        digest, claimed, skill, step = self._served.digest, self.claimed, self._skill, self._step

        class Client:
            async def call(self, request: Request) -> Reply:
                step()
                return replace(reply(request, skill, digest), weights=claimed)

            async def close(self) -> None:
                pass

        return Client


class Trainer:
    """ "Learns" the share of its examples that are right, by its own reading of the questions."""

    def train(self, job: TrainJob) -> TrainResult:
        examples = [example for path in job.examples for example in _examples(path)]
        right = 0
        for example in examples:
            found = _WORDS.search(example.prompt[-1].content)
            right += found is not None and letters((found[1], found[2])) in example.completion[0].content
        before = json.loads((Path(job.start.path) / "state.json").read_text())["skill"]
        skill = before + (right / len(examples) - before) * 0.6
        for step in range(job.config.steps):
            if job.on_progress is not None:
                job.on_progress(step + 1, job.config.steps, 1.0 - skill, 10)
        out = Path(job.out_dir)
        partial = out.with_name(f"{out.name}.partial")
        write_weights(partial, skill)
        partial.rename(out)
        return TrainResult(
            weights=Weights(job.out_dir, weights_digest(job.out_dir)),
            steps=job.config.steps,
            losses=[1.0 - skill] * job.config.steps,
            num_examples=len(examples),
            trained=len(examples),
            dropped={},
            tokens=100,
            answer_tokens=10,
            seconds=0.0,
        )


def write_weights(path: Path, skill: float) -> None:
    path.mkdir(parents=True, exist_ok=True)
    (path / "state.json").write_text(json.dumps({"skill": skill}))


def _examples(path: str) -> list[Example]:
    with Path(path).open("rb") as file:
        table: Any = ParquetFile(file).read()
    return list(rows(table, Example))
