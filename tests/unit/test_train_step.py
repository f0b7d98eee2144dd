"""One optimiser step against a gradient written out by hand: the mean over all of the step's answer tokens."""

import threading
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("torch")

import torch

from s2d_loop.config.training import TrainConfig
from s2d_loop.train import batch, worker
from s2d_loop.train.batch import Encoded, Encoding

VOCABULARY = 11
CAPACITY = 24
# No two share a rank evenly: their answers have 1 to 6 tokens.
DOCUMENTS = (
    Encoded("a", (1, 2), (3,), ""),
    Encoded("b", (4, 5, 6, 7), (8, 9, 10, 1, 2, 0), ""),
    Encoded("c", (2, 2, 3), (5, 0), ""),
    Encoded("d", (9,), (9, 8, 9, 0), ""),
    Encoded("e", (7, 3, 10, 4, 6), (6, 0), ""),
)


class Bigrams(torch.nn.Module):
    """A model whose logits behind a token are a row of its matrix: its gradient can be written down."""

    def __init__(self, *_: Any) -> None:
        super().__init__()
        draw = torch.Generator().manual_seed(3)
        self.matrix = torch.nn.Parameter(torch.randn(VOCABULARY, VOCABULARY, generator=draw))
        self.config = SimpleNamespace(get_text_config=SimpleNamespace)

    def forward(self, input_ids: Any, use_cache: bool) -> Any:
        return SimpleNamespace(logits=self.matrix[input_ids])


class BigramsWhereWanted(Bigrams):
    """The same for an architecture that computes logits at some places only."""

    def forward(self, input_ids: Any, use_cache: bool, logits_to_keep: Any) -> Any:  # type: ignore[override]
        return SimpleNamespace(logits=self.matrix[input_ids[:, logits_to_keep]])


class Ranks:
    """What ranks have in common, each of them a thread: sums over all of them."""

    def __init__(self, world: int) -> None:
        self.world = world
        self._rank = threading.local()
        self._parts: dict[int, Any] = {}
        self._barrier = threading.Barrier(world, timeout=60)

    def run(self, of_rank: Callable[[int], Any]) -> list[Any]:
        def begin(rank: int) -> Any:
            self._rank.number = rank
            return of_rank(rank)

        with ThreadPoolExecutor(self.world) as threads:
            return list(threads.map(begin, range(self.world)))

    def all_reduce(self, tensor: Any) -> None:
        self._parts[self._rank.number] = tensor.clone()
        self._barrier.wait()
        total = sum(self._parts[rank] for rank in range(self.world))
        self._barrier.wait()
        tensor.copy_(total)


class Engine:
    """A DeepSpeed engine at ZeRO stage 0: `backward` divides a loss by the number of micro-batches, and behind a
    step's last one gradients are averaged over ranks."""

    def __init__(self, module: Any, ranks: Ranks, accumulation: int) -> None:
        self.module, self.device = module, torch.device("cpu")
        self.optimizer = SimpleNamespace(param_groups=[{"lr": 0.0}, {"lr": 0.0}])
        self.gradient: Any = None
        self._ranks, self._accumulation, self._micro_batches = ranks, accumulation, 0

    def __call__(self, **given: Any) -> Any:
        return self.module(**given)

    def train(self) -> None:
        self.module.train()

    def backward(self, loss: Any) -> None:
        (loss / self._accumulation).backward()
        self._micro_batches += 1
        if self._micro_batches % self._accumulation == 0:
            gradient = self.module.matrix.grad
            self._ranks.all_reduce(gradient)
            gradient /= self._ranks.world

    def step(self) -> None:
        if self._micro_batches % self._accumulation == 0:
            self.gradient, self.module.matrix.grad = self.module.matrix.grad, None

    def zero_optimization_stage(self) -> int:
        return 0

    def was_step_applied(self) -> bool:
        return True


def by_hand(documents: Sequence[Encoded]) -> tuple[float, Any]:
    """The mean of -log p over all answer tokens of all documents, and its gradient."""
    matrix = Bigrams().matrix.detach().double()
    loss, gradient, count = 0.0, torch.zeros_like(matrix), 0
    for document in documents:
        tokens = (*document.prompt_ids, *document.answer_ids)
        for place in range(len(document.prompt_ids), len(tokens)):
            before, answer = tokens[place - 1], tokens[place]
            shares = matrix[before].softmax(0)
            loss -= float(shares[answer].log())
            gradient[before] += shares
            gradient[before, answer] -= 1
            count += 1
    return loss / count, gradient / count


def a_plan(documents: Sequence[Encoded], accumulation: int) -> worker.Plan:
    encoding = Encoding(tuple(documents), len(documents), Counter(), "")
    return worker.Plan(None, encoding, [list(range(len(documents)))], accumulation)


def a_task(folder: Path, **settings: Any) -> Any:
    config = TrainConfig(steps=9, **settings)
    return SimpleNamespace(config=config, seed=0, stop_file=str(folder / "stop"))


@pytest.mark.parametrize("kind", [Bigrams, BigramsWhereWanted])
@pytest.mark.parametrize(("world", "accumulation"), [(1, 2), (1, 5), (2, 1), (2, 2), (3, 1), (3, 2)])
def test_the_gradient_is_that_of_the_mean_over_all_answer_tokens(
    kind: type[Bigrams], world: int, accumulation: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever rows and ranks the tokens are in, (3, 2) has an empty row; no rank and no row counts alike."""
    ranks = Ranks(world)
    monkeypatch.setattr(torch.distributed, "all_reduce", ranks.all_reduce)
    plan = a_plan(DOCUMENTS, accumulation)
    rows = batch.step_rows(DOCUMENTS, plan.steps[0], capacity=CAPACITY, num_rows=world * accumulation)
    labels = [sum(row.num_labels for row in rows[rank::world]) for rank in range(world)]
    assert world == 1 or len(set(labels)) > 1, "else a mean of the ranks' means would be as good"
    engines = [Engine(kind(), ranks, accumulation) for _ in range(world)]

    def step(rank: int) -> tuple[float, bool]:
        task = a_task(tmp_path)
        return worker._train_step(engines[rank], rows[rank::world], plan, task, 0, rank, world)

    said = ranks.run(step)
    loss, gradient = by_hand(DOCUMENTS)
    assert [each for each, _ in said] == pytest.approx([loss] * world, rel=1e-5)
    for engine in engines:
        torch.testing.assert_close(engine.gradient.double(), gradient, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("warmup", "shares"),
    [(1, [1, 1, 1, 1, 1, 1]), (2, [1 / 2, 1, 1, 1, 1, 1]), (4, [1 / 4, 2 / 4, 3 / 4, 1, 1, 1])],
)
def test_the_first_step_of_a_warmup_is_its_first_part_not_nothing(
    warmup: int, shares: list[float], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ranks = Ranks(1)
    monkeypatch.setattr(torch.distributed, "all_reduce", ranks.all_reduce)
    task = a_task(tmp_path, learning_rate=2e-3, warmup_steps=warmup)
    plan = a_plan(DOCUMENTS[:1], 1)
    engine = Engine(Bigrams(), ranks, 1)
    rates: list[list[float]] = []

    def steps(_: int) -> None:
        for step in range(6):
            alike = worker.Plan(None, plan.encoding, [[0]] * (step + 1), 1)
            worker._train_step(engine, [batch.make_row(DOCUMENTS[:1])], alike, task, step, 0, 1)
            rates.append([group["lr"] for group in engine.optimizer.param_groups])

    ranks.run(steps)
    assert rates == [pytest.approx([2e-3 * share] * 2) for share in shares]
