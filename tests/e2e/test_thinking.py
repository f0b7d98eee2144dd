"""A model that thinks, on a real engine: thoughts are told from answers, bounded, and never trained."""

import random
from collections.abc import Iterator
from pathlib import Path

import pytest
import ray

from s2d_loop.chat.loading import load_tokenizer
from s2d_loop.chat.tokens import Chat
from s2d_loop.config.generation import EngineConfig
from s2d_loop.engine.ray_engines import RayEngines
from s2d_loop.paths import resolve
from s2d_loop.records import Message, Reply, Request, Sampling, Weights
from s2d_loop.tasks.last_letters import LastLetters
from s2d_loop.testbed import world
from tests.e2e.engine_driver import replies

pytestmark = pytest.mark.timeout(300)
PATH = resolve("testbed://models/think")
ON, OFF = (("enable_thinking", True),), (("enable_thinking", False),)
WORDS = iter(world.splits()["stream"])
ITEMS = [world.make_item("last_letters", next(WORDS), next(WORDS), random.Random(0)) for _ in range(40)]


@pytest.fixture(scope="module")
def engines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RayEngines]:
    root = str(Path(__file__).parents[2])
    ray.init(
        num_cpus=2,
        include_dashboard=False,
        log_to_driver=False,
        runtime_env={"env_vars": {"PYTHONPATH": root}},
    )
    config = EngineConfig(cpus_per_engine=2, max_model_len=256, kv_cache_gb=0.5)
    with RayEngines(config, log_dir=tmp_path_factory.mktemp("logs")) as engines:
        engines.serve(Weights(PATH, "think"))
        yield engines
    ray.shutdown()


def said(engines: RayEngines, sampling: Sampling) -> list[Reply]:
    asked = [Request((Message("user", item.question),), sampling, n) for n, item in enumerate(ITEMS)]
    return replies(engines, asked)


def right(found: list[Reply]) -> int:
    return sum(
        reply.finished and LastLetters().parse(reply.text) == item.answer
        for reply, item in zip(found, ITEMS, strict=True)
    )


def test_thoughts_are_told_from_answers_and_only_answers_train(engines: RayEngines) -> None:
    chat = Chat(*load_tokenizer(PATH))
    thought = said(engines, Sampling(temperature=0.0, max_tokens=128, chat_template_kwargs=ON))
    direct = said(engines, Sampling(temperature=0.0, max_tokens=16, chat_template_kwargs=OFF))
    assert right(thought) > 2 * right(direct)
    for reply, item in zip(thought, ITEMS, strict=True):
        assert "First word" in reply.reasoning
        assert "think>" not in reply.reasoning + reply.text
        assert reply.num_tokens == reply.num_reasoning_tokens + len(reply.token_ids)
        # What System 1 learns of it: its own prompt, and the answer as it was sampled behind the thoughts.
        asked = (Message("user", item.question),)
        row = chat.row(asked, reply.text, OFF, reply.token_ids)
        assert row.prompt_ids == chat.prompt_ids(asked, OFF)
        assert row.answer_ids == reply.token_ids
    assert all(reply.reasoning == "" and reply.num_reasoning_tokens == 0 for reply in direct)


def test_a_budget_closes_the_thoughts_and_an_answer_follows(engines: RayEngines) -> None:
    budget = 12
    found = said(
        engines,
        Sampling(temperature=0.0, max_tokens=64, chat_template_kwargs=ON, thinking_token_budget=budget),
    )
    tokenizer, _ = load_tokenizer(PATH)
    lengths = [len(tokenizer.encode(reply.reasoning, add_special_tokens=False)) for reply in found]
    assert 0 < max(lengths) <= budget
    assert sum(reply.finished and reply.text != "" for reply in found) > len(found) / 2
    assert all(reply.num_tokens > budget for reply in found)


def test_thoughts_that_are_cut_off_hold_no_answer(engines: RayEngines) -> None:
    for reply in said(engines, Sampling(temperature=0.0, max_tokens=12, chat_template_kwargs=ON)):
        assert (reply.finished, reply.text, reply.token_ids) == (False, "", ())
        assert reply.num_reasoning_tokens == reply.num_tokens == 12
