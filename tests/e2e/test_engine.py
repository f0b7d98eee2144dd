"""Real vLLM engines in Ray actors.

A start costs 15 to 40 s here, so one pool goes through most tests in the order in which they stand,
and two ranks, the killed driver and what it leaves share another.
"""

import itertools
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest
import ray

from s2d_loop.chat.loading import load_tokenizer
from s2d_loop.chat.tokens import Chat
from s2d_loop.config.generation import EngineConfig
from s2d_loop.engine import proof
from s2d_loop.engine.ray_engines import RayEngines
from s2d_loop.engine.wire import Proof
from s2d_loop.errors import EngineError, RequestError
from s2d_loop.records import Message, Request, Sampling, Weights
from s2d_loop.testbed import world
from tests.e2e.engine_driver import ForgetfulEngine, pids, replies, requests

pytestmark = pytest.mark.timeout(400)
ROOT = Path(__file__).parents[2]
Make = Callable[..., Weights]


@pytest.fixture(scope="module", autouse=True)
def environment() -> Iterator[None]:
    wanted = {"RAY_worker_niceness": "0", "PYTHONPATH": str(ROOT)}
    kept = {name: os.environ.get(name) for name in wanted}
    os.environ.update(wanted)
    yield
    for name, value in kept.items():
        os.environ.pop(name) if value is None else os.environ.update({name: value})


@pytest.fixture(scope="module")
def first(make_weights: Make) -> Weights:
    return make_weights("first")


@pytest.fixture(scope="module")
def second(make_weights: Make) -> Weights:
    return make_weights("second", noise=0.05)


@pytest.fixture(scope="module")
def engines(first: Weights, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RayEngines]:
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    config = EngineConfig(cpus_per_engine=2, kv_cache_gb=0.5, max_model_len=256)
    with RayEngines(config, log_dir=tmp_path_factory.mktemp("logs"), engine_class=ForgetfulEngine) as engines:
        engines.serve(first)
        yield engines
    ray.shutdown()


@pytest.fixture(scope="module")
def said(engines: RayEngines) -> dict[str, list[str]]:
    """What one rank answers greedily, by weights; the tests fill it in as they go."""
    return {"first": [reply.text for reply in replies(engines, requests(0.0))]}


def proofs(engines: RayEngines, weights: Weights) -> list[Proof]:
    return ray.get(engines.pool.proofs.remote(weights.digest))


def gone(wanted: list[int], limit_s: float) -> bool:
    end = time.monotonic() + limit_s
    while any(alive(pid) for pid in wanted):
        if time.monotonic() > end:
            return False
        time.sleep(0.2)
    return True


def alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def core(engines: RayEngines) -> int:
    (pid,) = [pid for pid in pids(engines) if "EngineCore" in psutil.Process(pid).name()]
    return pid


def test_a_request_is_the_same_work_every_time(engines: RayEngines) -> None:
    once, again, other = (replies(engines, requests(1.0, seed)) for seed in (3, 3, 4))
    assert once == again
    assert [reply.text for reply in once] != [reply.text for reply in other]
    assert {reply.weights for reply in once} == {"first"}
    assert all(0 < reply.num_tokens <= 24 and reply.num_prompt_tokens > 0 for reply in once)


def test_a_prompt_that_does_not_fit_fails_alone(engines: RayEngines) -> None:
    long = Request((Message("user", "flip the coin " * 200),), Sampling(max_tokens=4), 0)
    with pytest.raises(RequestError, match=r"the prompt has \d+ tokens, but the engine's context is 256"):
        replies(engines, [long])
    (reply,) = replies(engines, requests(1.0)[:1])
    assert reply.num_tokens


def test_an_answer_is_read_as_likely_as_the_checkpoint_finds_it(engines: RayEngines, first: Weights) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    answer = "Yes, it is."
    asked = [replace(request, read=answer) for request in requests(0.0)]
    tokenizer = AutoTokenizer.from_pretrained(first.path)
    model = AutoModelForCausalLM.from_pretrained(first.path, dtype="float32")
    said = tuple(tokenizer.encode(answer, add_special_tokens=False))
    for request, reply in zip(asked, replies(engines, asked), strict=True):
        turns = [{"role": m.role, "content": m.content} for m in request.messages]
        text = tokenizer.apply_chat_template(turns, add_generation_prompt=True, tokenize=False)
        row = tuple(tokenizer.encode(text, add_special_tokens=False))
        (scores,) = proof.score(model, (row + said,))
        assert (reply.num_tokens, reply.num_prompt_tokens) == (len(said), len(row))
        assert reply.logprob == pytest.approx(sum(scores[len(row) - 1 :]), abs=1e-3 * len(said))


def test_what_is_sampled_is_what_trains(engines: RayEngines, first: Weights) -> None:
    chat = Chat(*load_tokenizer(first.path))
    sampling = Sampling(max_tokens=40)
    asked = [
        Request(
            (Message("user", world.make_item("last_letters", a, b, random.Random(0)).question),),
            sampling,
            seed,
        )
        for seed, (a, b) in enumerate(itertools.pairwise(world.splits()["stream"][:201]))
    ]
    whole = [
        (request, reply)
        for request, reply in zip(asked, replies(engines, asked), strict=True)
        if reply.finished
    ]
    same = 0
    for request, reply in whole:
        sampled = chat.row(request.messages, reply.text, sampled_ids=reply.token_ids)
        assert sampled.answer_ids == reply.token_ids
        assert (len(sampled.prompt_ids), len(sampled.answer_ids)) == (
            reply.num_prompt_tokens,
            reply.num_tokens,
        )
        written = chat.row(request.messages, reply.text)
        assert written.prompt_ids == sampled.prompt_ids
        # A model may say a text in other tokens than its tokenizer would, which is why they are kept.
        own = tuple(chat.tokenizer.encode(reply.text, add_special_tokens=False)) == reply.token_ids[:-1]
        assert (written.answer_ids == reply.token_ids) == own
        same += own
    assert len(asked) == 200
    assert len(whole) > 150
    assert same > 0.9 * len(whole)


def test_many_seeded_requests_at_once_read_their_prompts_whole(engines: RayEngines) -> None:
    # In chunks they would kill vLLM's engine core on a CPU.
    sampling = Sampling(max_tokens=2)
    many = [
        Request((Message("user", f"{number} flips the coin. " * 12),), sampling, number)
        for number in range(150)
    ]
    before = core(engines)
    assert len(replies(engines, many)) == 150
    assert core(engines) == before


def test_a_refresh_in_place_is_proved(engines: RayEngines, second: Weights, said: dict[str, Any]) -> None:
    before = core(engines)
    engines.serve(second)
    assert core(engines) == before
    said["second"] = [reply.text for reply in replies(engines, requests(0.0))]


def test_a_dead_core_s_calls_are_answered_by_a_fresh_engine_on_the_same_weights(
    engines: RayEngines, first: Weights, second: Weights
) -> None:
    wanted = requests(1.0, seed=9, max_tokens=100)
    before = replies(engines, wanted)
    os.kill(core(engines), signal.SIGKILL)
    assert replies(engines, wanted) == before

    refreshed, fresh = proofs(engines, second)
    (old,) = proofs(engines, first)
    assert refreshed.samples == fresh.samples != old.samples
    assert proof.distance(refreshed.scores, fresh.scores) < 1e-5
    assert proof.distance(refreshed.sampled, fresh.sampled) < 1e-5
    assert proof.distance(old.scores, fresh.scores) > 1e-2


def test_an_engine_whose_refresh_did_nothing_never_serves(engines: RayEngines, make_weights: Make) -> None:
    third = make_weights("third", noise=0.1, forget=True)
    stale = core(engines)
    engines.serve(third)
    assert core(engines) != stale
    assert gone([stale], 15)
    assert {reply.weights for reply in replies(engines, requests(1.0))} == {"third"}
    (fresh,) = proofs(engines, third)
    reference = proof.load_reference(third.path)
    assert reference is not None
    assert proof.distance(fresh.scores, reference.scores) < 1e-5


def test_nothing_is_left_when_an_actor_is_killed_or_the_pool_is_closed(engines: RayEngines) -> None:
    names = set(ray.get(engines.pool.engines.remote()))
    actor, *others = pids(engines)
    os.kill(actor, signal.SIGKILL)
    assert gone([actor, *others], 15)
    end = time.monotonic() + 30
    while not set(ray.get(engines.pool.engines.remote())) - names:
        assert time.monotonic() < end, "no fresh engine was being started 30 s after its actor's end"
        time.sleep(0.2)
    fresh = pids(engines)
    engines.close()
    assert gone(fresh, 15)
    with pytest.raises(EngineError, match="no weights are served"):
        engines.client_factory()


def test_two_ranks_say_the_same_and_nothing_outlives_a_killed_driver(
    first: Weights, second: Weights, said: dict[str, list[str]], tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "tests.e2e.engine_driver", first.path, second.path, str(tmp_path)]
    driver = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    try:
        assert driver.stdout is not None
        told = json.loads(driver.stdout.readline())
        assert told["said"] == {first.path: said["first"], second.path: said["second"]}
        names = [psutil.Process(pid).name() for pid in told["pids"]]
        assert sum("Worker" in name for name in names) == 2
    finally:
        driver.kill()
        driver.wait()
    assert gone(told["pids"], 15)
