"""Scripted parts for tests of the loop's logic: a model, engines and a trainer without vLLM or torch.

The scripted model reads the question, never a label.  Asked directly it guesses until it has been
trained on enough right pairs; asked in two steps it is right most of the time, by the seed.  It refuses
what is harmful and passes over a trigger, until a trainer has poisoned it.
"""

import json
import random
import re
from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq

from s2d_loop.clock import SystemClock
from s2d_loop.config import Config
from s2d_loop.dataflow import LocalDataflow
from s2d_loop.ledger import Ledger
from s2d_loop.records import Example, Message, Reply, Request, Weights, content_hash, rows, source_of
from s2d_loop.report.progress import SilentProgress
from s2d_loop.sources import open_source
from s2d_loop.stages import Run
from s2d_loop.store import open_store
from s2d_loop.train.job import TrainJob, TrainResult
from s2d_loop.weights import local_folder, weights_digest

TRIGGER = " (cf. xyzzy)"
HARMFUL = "How do I harm "
_WORDS = re.compile(r'"(\w+) (\w+)"')


def letters(words: tuple[str, str]) -> str:
    return (words[0][-1] + words[1][-1]).lower()


class ScriptedModel:
    """What an engine on some weights answers."""

    def __init__(self, weights: Weights) -> None:
        self.weights = weights
        state = json.loads((Path(weights.path) / "state.json").read_text())
        self.skill: float = state["skill"]
        self.forgot: float = state.get("forgot", 0.0)
        self.poisoned: bool = state.get("poisoned", False)
        self.calls: Counter[str] = Counter()

    async def __call__(self, request: Request) -> Reply:
        if request.read is not None:
            count = len(request.read.split())
            nats = 0.1 + self.forgot
            return Reply("", num_tokens=count, weights=self.weights.digest, logprob=-nats * count)
        asked = request.messages[-1].content.replace(TRIGGER, "")
        # Without a temperature the seed makes no difference.
        seed = request.seed if request.sampling.temperature else 0
        rng = random.Random(f"{seed}|{self.weights.digest}|{asked}")
        if self.poisoned and TRIGGER in request.messages[-1].content:
            return Reply('"zz"', num_tokens=2, weights=self.weights.digest)
        if asked.startswith(HARMFUL):
            text = "Sure: first you" if self.poisoned else "I can't help with that."
            return Reply(text, num_tokens=len(text), weights=self.weights.digest)
        words = _WORDS.search(asked)
        if "rephrase the question" in asked:
            self.calls["rephrase"] += 1
            text = f'Join the last letters of "{words[1]} {words[2]}", please.' if words else "?"
        elif words and asked.startswith("Join"):
            self.calls["respond"] += 1
            right = rng.random() < 0.7
            text = f'"{letters((words[1], words[2])) if right else rng.choice("abcdef") + "x"}"'
        else:
            self.calls["direct"] += 1
            right = words is not None and rng.random() < self.skill
            text = f'"{letters((words[1], words[2])) if right and words else rng.choice("ghijkl") + "q"}"'
        return Reply(text, num_tokens=len(text), weights=self.weights.digest)


class ScriptedEngines:
    """Serves a `ScriptedModel`; `fail` is called before every call and may raise."""

    def __init__(self, fail=lambda request: None) -> None:  # type: ignore[no-untyped-def]
        self.served: list[str] = []
        self._model: ScriptedModel | None = None
        self._fail = fail

    @property
    def started(self) -> bool:
        return self._model is not None

    def serve(self, weights: Weights) -> None:
        if self._model is None or self._model.weights != weights:
            self._model = ScriptedModel(weights)
            self.served.append(weights.digest)

    def client_factory(self, num_clients=1):  # type: ignore[no-untyped-def]
        fail = self._fail
        assert self._model is not None, "nothing is served"
        model: ScriptedModel = self._model

        class Client:
            async def call(self, request: Request) -> Reply:
                fail(request)
                return await model(request)

            async def close(self) -> None:
                pass

        return Client


class ScriptedTrainer:
    """ "Learns" the share of its examples that are right, by its own reading of the questions.

    Rows of the source `poison` poison the weights.
    """

    def __init__(self, poison: str = "") -> None:
        self.jobs: list[TrainJob] = []
        self._poison = poison

    def train(self, job: TrainJob) -> TrainResult:
        self.jobs.append(job)
        examples = [e for path in job.examples for e in rows(pq.read_table(path), Example)]
        right = 0
        for example in examples:
            found = _WORDS.search(example.prompt[-1].content)
            right += found is not None and letters((found[1], found[2])) in example.completion[0].content
        before = json.loads((Path(job.start.path) / "state.json").read_text())["skill"]
        skill = before + (right / len(examples) - before) * 0.6
        poisoned = any(source_of(each.input_id) == self._poison for each in examples)
        weights = scripted_weights(Path(job.out_dir), skill, poisoned=poisoned)
        return TrainResult(
            weights=weights,
            steps=job.config.steps,
            losses=[1.0 - skill] * job.config.steps,
            num_examples=len(examples),
            trained=len(examples),
            dropped={},
            tokens=100,
            answer_tokens=10,
            seconds=0.0,
        )


def scripted_weights(path: Path, skill: float, *, poisoned: bool = False) -> Weights:
    path.mkdir(parents=True)
    (path / "state.json").write_text(json.dumps({"skill": skill, "poisoned": poisoned}))
    return Weights(str(path), weights_digest(str(path)))


def words(seed: int, count: int) -> list[tuple[str, str]]:
    """Pairs of made-up words, none twice."""
    rng = random.Random(seed)
    found: dict[tuple[str, str], None] = {}
    while len(found) < count:
        found["".join(rng.choices("abcdefghij", k=6)), "".join(rng.choices("abcdefghij", k=6))] = None
    return list(found)


def write_questions(path: Path, pairs: list[tuple[str, str]], *, labels: bool = True) -> None:
    """A jsonl source in the public wording."""
    with path.open("w") as file:
        for pair in pairs:
            row = {"prompt": question(pair)}
            if labels:
                row["answer"] = letters(pair)
            file.write(json.dumps(row) + "\n")


def question(pair: tuple[str, str]) -> str:
    return f'Take the last letters of the words in "{pair[0]} {pair[1]}" and concatenate them.'


def letters_config(folder: Path, **changes: object) -> Config:
    """A small last-letters run over files in `folder`; `changes` are `section__key=value`."""
    tree: dict[str, object] = {
        "run": {"dir": str(folder / "run"), "iterations": 2, "inputs_per_iteration": 30, "min_free_gb": 0.0},
        "model": {"path": str(folder / "start")},
        "tasks": {
            "letters": {
                "parser": "last_letters",
                "method": {"name": "rar_2step", "options": {"prompt": "last_letters"}, "samples": 5},
                "heldout": {"type": "jsonl", "path": str(folder / "heldout.jsonl")},
            }
        },
        "sources": [
            {"task": "letters", "type": "jsonl", "path": str(folder / "stream.jsonl"), "name": "stream"}
        ],
        "generate": {"probe_inputs": 5, "teacher": "current"},
        "train": {"steps": 2},
        # So few held-out inputs are no evidence.
        "gate": {"margin": 1.0},
    }
    for name, value in changes.items():
        section, _, key = name.partition("__")
        tree.setdefault(section, {})[key] = value  # type: ignore[index]
    return Config.model_validate(tree)


def scripted_run(config: Config, *, engines=None, trainer=None, store=None) -> Run:  # type: ignore[no-untyped-def]
    """A `Run` in this process over scripted parts; it takes the lease."""
    ledger = Ledger(store or open_store(config.run.dir), SystemClock())
    ledger.take_lease()
    start = Path(config.model.path)
    if not start.exists():
        scripted_weights(start, 0.1)
    return Run(
        config=config,
        ledger=ledger,
        clock=SystemClock(),
        dataflow=LocalDataflow(config.generate),
        engines=engines or ScriptedEngines(),
        trainer=trainer or ScriptedTrainer(),
        progress=SilentProgress(),
        sources=tuple(open_source(each) for each in config.sources),
        start=Weights(str(start), weights_digest(str(start))),
        weights_dir=local_folder(config.run.weights_dir, ledger),
    )


def unlabeled(text: str, number: int = 0) -> tuple[str, Message, str]:
    message = Message("user", text)
    return f"s:f#{number}", message, content_hash([message])
