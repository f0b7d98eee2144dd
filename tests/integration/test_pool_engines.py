"""The engine pool's logic under Ray, with a scripted engine in vLLM's place.

The scripted engine does what files in its log directory tell it to, so that a test can make it fail.
"""

import asyncio
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import ray

from s2d_loop.config.generation import EngineConfig
from s2d_loop.engine.client import PoolClient
from s2d_loop.engine.mailbox import Mailboxes
from s2d_loop.engine.proof import Reference
from s2d_loop.engine.ray_engines import RayEngines
from s2d_loop.engine.wire import Outcome, Proof, Refusal, Ticket
from s2d_loop.errors import BadInputError, DeadlyRequestError, EngineError, RequestError
from s2d_loop.records import Message, Reply, Request, Sampling, Weights

ROOT = Path(__file__).parents[2]


class ScriptedEngine:
    """An engine whose weights are one number in a file."""

    def __init__(self, _config: EngineConfig, *, name: str, log: str, **_: Any) -> None:
        self.name, self.orders = name, Path(log).parent
        self.mail = Mailboxes(self.answer)
        self.value = 0.0
        self.loaded = self.digest = ""
        self.now = self.most = self.trips = self.calls = 0

    def told(self, order: str) -> bool:
        """Whether an order is open for this engine; `order-0.1` is for one engine only."""
        return any((self.orders / name).exists() for name in (order, f"{order}-{self.name}"))

    async def start(self, weights: Weights) -> None:
        if self.told("fail-start"):
            raise EngineError("the model has no weights")
        if self.told("hang-start"):
            await asyncio.sleep(3600)
        self.load(weights)

    async def refresh(self, weights: Weights) -> None:
        self.digest = ""
        if self.told("forget"):
            self.loaded = weights.digest
            return
        self.load(weights)

    def load(self, weights: Weights) -> None:
        self.value, self.loaded = read(weights.path), weights.digest

    async def reference(self, path: str) -> Reference:
        return Reference(((1, 2, 3),), ((read(path), read(path)),))

    async def prove(self, _tokens: Any) -> Proof:
        return Proof("float32", ((self.value, self.value),), ((7,),), ((-1.0,),), ((-1.0,),))

    async def admit(self, digest: str) -> None:
        self.digest = digest

    async def health(self) -> None:
        if self.told("sick"):
            raise EngineError("no token came")

    async def lifetime(self) -> None:
        await asyncio.Event().wait()

    async def submit(self, client: str, tickets: list[Ticket]) -> None:
        self.trips += 1
        self.mail.of(client).submit(tickets)

    async def collect(self, client: str) -> list[Outcome]:
        return await self.mail.of(client).collect()

    async def drop(self, client: str, numbers: list[int]) -> None:
        self.mail.of(client).drop(numbers)

    async def answer(self, request: Request) -> Reply | Refusal:
        self.now, self.calls = self.now + 1, self.calls + 1
        self.most = max(self.most, self.now)
        try:
            text = request.messages[-1].content
            if text == "too long":
                return Refusal("the prompt has 9 tokens", retry=False)
            if self.told("die") or text == "poison":
                os._exit(1)
            if self.told("hang") or text == "endless":
                await asyncio.sleep(3600)
            await asyncio.sleep(0.05)
            digest = "another" if self.told("stale") else self.digest
            return Reply(f"{self.value:g} {text} by {self.name}", num_tokens=1, weights=digest)
        finally:
            self.now -= 1

    async def counts(self) -> tuple[int, int, int]:
        return self.calls, self.trips, self.most

    async def close(self) -> list[int]:
        return []


def read(path: str) -> float:
    return float((Path(path) / "value").read_text())


@pytest.fixture(scope="module", autouse=True)
def ray_here() -> Iterator[None]:
    os.environ.update(RAY_worker_niceness="0", PYTHONPATH=str(ROOT))
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, float], Weights]:
    def make(digest: str, value: float) -> Weights:
        path = tmp_path_factory.mktemp(digest)
        (path / "value").write_text(str(value))
        return Weights(str(path), digest)

    return make


@pytest.fixture(scope="module")
def orders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("orders")


@pytest.fixture(scope="module")
def engines(orders: Path, weights: Callable[[str, float], Weights]) -> Iterator[RayEngines]:
    config = EngineConfig(num_engines=2, call_timeout_s=2, max_in_flight=40, start_timeout_s=60)
    with RayEngines(config, log_dir=orders, engine_class=ScriptedEngine) as engines:
        engines.serve(weights("first", 0.25))
        yield engines


@pytest.fixture
def order(orders: Path) -> Iterator[Callable[[str], Path]]:
    given: list[Path] = []

    def give(name: str) -> Path:
        given.append(orders / name)
        given[-1].touch()
        return given[-1]

    yield give
    for path in given:
        path.unlink(missing_ok=True)


def ask(text: str, seed: int = 0) -> Request:
    return Request((Message("user", text),), Sampling(), seed)


def calls(
    engines: RayEngines, requests: list[Request], during: Callable[[], None] = lambda: None
) -> list[Any]:
    """All replies, or the errors in their places."""

    async def run() -> list[Any]:
        client: PoolClient = engines.client_factory()()
        tasks = [asyncio.create_task(client.call(request)) for request in requests]
        await asyncio.sleep(0.02)
        during()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        await client.close()
        return results

    return asyncio.run(run())


def names(engines: RayEngines) -> list[str]:
    return sorted(name for name, _ in ray.get(engines.pool.roster.remote()).engines)


def wait_for(ready: Callable[[], bool], what: str, limit_s: float = 30) -> None:
    end = time.monotonic() + limit_s
    while not ready():
        assert time.monotonic() < end, f"waited {limit_s} s for {what}"
        time.sleep(0.05)


def test_the_same_prompt_goes_to_the_same_engine_while_it_has_no_more_to_do(engines: RayEngines) -> None:
    alone = calls(engines, [ask("a prompt", seed) for seed in range(6)])
    assert len({reply.text for reply in alone}) == 1
    many = calls(engines, [ask("a prompt", seed) for seed in range(60)])
    assert {reply.text for reply in many} == {f"0.25 a prompt by {name}" for name in names(engines)}
    apart = calls(engines, [ask(f"prompt {number}") for number in range(40)])
    assert len({reply.text.split(" by ")[1] for reply in apart}) == 2


def test_calls_share_trips_and_an_engine_never_has_more_than_its_limit(engines: RayEngines) -> None:
    before = [ray.get(handle.counts.remote()) for handle in ray.get(engines.pool.engines.remote()).values()]
    assert len(calls(engines, [ask(f"prompt {number}") for number in range(300)])) == 300
    after = [ray.get(handle.counts.remote()) for handle in ray.get(engines.pool.engines.remote()).values()]
    assert sum(a[0] - b[0] for a, b in zip(after, before, strict=True)) == 300
    assert sum(a[1] - b[1] for a, b in zip(after, before, strict=True)) < 150
    assert max(most for _, _, most in after) == 40


def test_a_request_that_no_engine_can_serve_fails_alone_and_at_once(engines: RayEngines) -> None:
    good, bad = calls(engines, [ask("fine"), ask("too long")])
    assert isinstance(good, Reply)
    assert isinstance(bad, RequestError)
    assert "9 tokens" in str(bad)


def test_an_engine_that_does_not_answer_is_asked_whether_it_lives_and_kept_if_so(
    engines: RayEngines, order: Callable[[str], Path]
) -> None:
    before = names(engines)
    hang = order("hang")
    (reply,) = calls(engines, [ask("slow")], during=lambda: (time.sleep(0.2), hang.unlink())[0])
    assert reply.text.startswith("0.25 slow")
    assert names(engines) == before


def test_one_that_can_not_show_that_it_lives_is_replaced(
    engines: RayEngines, order: Callable[[str], Path]
) -> None:
    (first,) = calls(engines, [ask("slow")])
    name = first.text.split(" by ")[1]
    order(f"hang-{name}"), order(f"sick-{name}")
    (reply,) = calls(engines, [ask("slow")])
    assert reply.text.split(" by ")[1] != name
    wait_for(lambda: len(names(engines)) == 2, "a fresh engine")
    assert name not in names(engines)


def test_a_dead_engine_s_calls_are_answered_by_others(
    engines: RayEngines, order: Callable[[str], Path]
) -> None:
    name = names(engines)[0]
    order(f"die-{name}")
    replies = calls(engines, [ask(f"prompt {number}") for number in range(60)])
    assert [reply.text.split(" by ")[0] for reply in replies] == [f"0.25 prompt {n}" for n in range(60)]
    wait_for(lambda: len(names(engines)) == 2, "a fresh engine")
    assert name not in names(engines)


def test_an_input_that_ends_engine_after_engine_costs_itself_and_no_other(engines: RayEngines) -> None:
    """Twice over, with other calls in flight: six engines are replaced, more than the five of an outage."""
    for round_ in range(2):
        asked = [ask(f"prompt {number}", round_) for number in range(20)]
        *replies, bad = calls(engines, [*asked, ask("poison", round_)])
        assert [reply.text.split(" by ")[0] for reply in replies] == [f"0.25 prompt {n}" for n in range(20)]
        assert isinstance(bad, DeadlyRequestError)
        assert "3 engines died while they worked on it" in str(bad)
    wait_for(lambda: len(names(engines)) == 2, "fresh engines")


def test_a_request_that_well_engines_fail_is_the_request_s_fault(
    engines: RayEngines, order: Callable[[str], Path]
) -> None:
    (error,) = calls(engines, [ask("endless")])
    assert isinstance(error, RequestError)
    assert "no answer within 2 s" in str(error)
    assert len(names(engines)) == 2


def test_a_reply_of_other_weights_is_not_taken(engines: RayEngines, order: Callable[[str], Path]) -> None:
    name = names(engines)[0]
    order(f"stale-{name}")
    replies = calls(engines, [ask(f"prompt {number}") for number in range(40)])
    assert {reply.weights for reply in replies} == {"first"}
    wait_for(lambda: len(names(engines)) == 2, "a fresh engine")
    assert name not in names(engines)


def test_an_engine_that_forgets_to_refresh_is_replaced_and_the_others_are_not(
    engines: RayEngines, order: Callable[[str], Path], weights: Callable[[str, float], Weights]
) -> None:
    forgetful, sound = names(engines)
    old = engines.client_factory()
    order(f"forget-{forgetful}")
    engines.serve(weights("second", 0.5))
    assert sound in names(engines)
    assert forgetful not in names(engines)
    replies = calls(engines, [ask(f"prompt {number}") for number in range(40)])
    assert {(reply.text[:3], reply.weights) for reply in replies} == {("0.5", "second")}

    async def with_the_old_client() -> Reply:
        return await old().call(ask("prompt"))

    with pytest.raises(EngineError, match="went on to weights second"):
        asyncio.run(with_the_old_client())


def test_where_the_canaries_can_not_tell_the_weights_apart_engines_start_anew(
    engines: RayEngines, weights: Callable[[str, float], Weights]
) -> None:
    before = names(engines)
    engines.serve(weights("third", 0.5))
    assert not set(before) & set(names(engines))
    engines.serve(weights("fourth", 0.75))
    after = names(engines)
    engines.serve(weights("fifth", 1.0))
    assert names(engines) == after


def test_replacing_has_an_end(
    tmp_path: Path, weights: Callable[[str, float], Weights], engines: RayEngines
) -> None:
    engines.close()
    config = EngineConfig(max_restarts=1, start_timeout_s=30)
    with RayEngines(config, log_dir=tmp_path, engine_class=ScriptedEngine) as fragile:
        fragile.serve(weights("w", 0.5))
        (tmp_path / "die").touch()
        (error,) = calls(fragile, [ask("prompt")])
    assert isinstance(error, EngineError)
    assert "gave up after replacing 1 engines" in str(error)


def test_a_start_has_a_limit_and_a_reason(tmp_path: Path, weights: Callable[[str, float], Weights]) -> None:
    config = EngineConfig(start_timeout_s=3)
    with RayEngines(config, log_dir=tmp_path, engine_class=ScriptedEngine) as engines:
        (tmp_path / "hang-start").touch()
        with pytest.raises(EngineError, match=r"waited 3 s for engine 0\.1 to start on"):
            engines.serve(weights("w", 0.5))
    with RayEngines(EngineConfig(), log_dir=tmp_path, engine_class=ScriptedEngine) as engines:
        (tmp_path / "hang-start").unlink()
        (tmp_path / "fail-start").touch()
        with pytest.raises(EngineError, match="the model has no weights"):
            engines.serve(weights("w", 0.5))


def test_what_can_never_fit_is_refused_before_anything_starts(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match=r"wanted 3 engines, each 1 x \(CPU 1\); available \(CPU 2\)"):
        RayEngines(EngineConfig(num_engines=3), log_dir=tmp_path, engine_class=ScriptedEngine)


def test_what_does_not_fit_now_is_waited_for_with_a_limit(
    tmp_path: Path, weights: Callable[[str, float], Weights]
) -> None:
    class Holder:
        def ready(self) -> None:
            pass

    holder = ray.remote(Holder).options(num_cpus=2).remote()
    ray.get(holder.ready.remote())
    with (
        RayEngines(
            EngineConfig(), log_dir=tmp_path, resources_timeout_s=1, engine_class=ScriptedEngine
        ) as engines,
        pytest.raises(EngineError, match=r"waited 1 s .* wanted 1 x \(CPU 1\), available .* of \(CPU 2\)"),
    ):
        engines.serve(weights("w", 0.5))
    ray.kill(holder)
