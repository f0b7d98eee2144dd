"""Inputs that end engines, or that no engine answers, cost themselves: the client's rule, without Ray.

Engines and their manager are objects in this process that are called as Ray's handles are.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import ray
from hypothesis import given, settings
from hypothesis import strategies as st

from s2d_loop.config.generation import EngineConfig
from s2d_loop.engine.client import PoolClient
from s2d_loop.engine.mailbox import Mailboxes
from s2d_loop.engine.pool import Roster
from s2d_loop.engine.wire import Refusal
from s2d_loop.errors import DeadlyRequestError, EngineError, RequestError
from s2d_loop.records import Message, Reply, Request, Sampling

POISON, ENDLESS, ODD = "poison", "endless", "odd"


class Remote:
    """A method as an actor's handle has it."""

    def __init__(self, method: Callable[..., Awaitable[Any]]) -> None:
        self._method = method

    def remote(self, *args: Any) -> "asyncio.Task[Any]":
        async def call() -> Any:
            return await self._method(*args)

        return asyncio.create_task(call())


class FakeEngine:
    """Ends when it is asked for poison, with all that is in flight."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.dead = asyncio.Event()
        self._mail = Mailboxes(self._serve)
        self.submit, self.collect, self.drop = Remote(self._submit), Remote(self._collect), Remote(self._drop)

    async def _submit(self, client: str, tickets: list[Any]) -> None:
        self._check()
        self._mail.of(client).submit(tickets)

    async def _collect(self, client: str) -> Any:
        work = asyncio.create_task(self._mail.of(client).collect())
        death = asyncio.create_task(self.dead.wait())
        await asyncio.wait({work, death}, return_when=asyncio.FIRST_COMPLETED)
        work.cancel(), death.cancel()
        self._check()
        return await work

    async def _drop(self, client: str, numbers: list[int]) -> None:
        self._mail.of(client).drop(numbers)

    def _check(self) -> None:
        if self.dead.is_set():
            raise ray.exceptions.RayActorError

    async def _serve(self, request: Request) -> Reply | Refusal:
        text = request.messages[-1].content
        await asyncio.sleep(0.001)
        if text.startswith(POISON):
            self.dead.set()
        if text == ODD:
            raise ValueError("no such token")
        if text == ENDLESS or self.dead.is_set():
            await asyncio.Event().wait()
        return Reply(text, num_tokens=1, weights="w")


class FakePool:
    """Replaces the dead; an engine that isn't dead is well."""

    def __init__(self, size: int) -> None:
        self.engines = {f"{slot}.1": FakeEngine(f"{slot}.1") for slot in range(size)}
        self.replaced = self.excused = 0
        self._version = 0
        self._changed = asyncio.Event()
        self.roster, self.report, self.excuse = (
            Remote(self._roster),
            Remote(self._report),
            Remote(self._excuse),
        )

    async def _roster(self, known: int) -> Roster:
        if known == self._version:
            await self._changed.wait()
        self._changed.clear()
        return Roster(self._version, "w", tuple(self.engines.items()), None)

    async def _report(self, name: str, _reason: str, certain: bool) -> bool:
        if name in self.engines and not certain and not self.engines[name].dead.is_set():
            return True
        if name in self.engines:
            del self.engines[name]
            self.replaced += 1
            slot, generation = name.split(".")
            fresh = f"{slot}.{int(generation) + 1}"
            self.engines[fresh] = FakeEngine(fresh)
            self._version += 1
            self._changed.set()
        return False

    async def _excuse(self, deaths: int) -> None:
        self.excused += deaths


def outcomes(texts: list[str], engines: int, **config: Any) -> tuple[list[Any], FakePool]:
    async def run() -> tuple[list[Any], FakePool]:
        pool = FakePool(engines)
        client = PoolClient(pool, EngineConfig(**{"call_timeout_s": 10.0, **config}), "w")
        asked = [Request((Message("user", text),), Sampling(), 0) for text in texts]
        async with asyncio.timeout(20):
            found = await asyncio.gather(*map(client.call, asked), return_exceptions=True)
        await client.close()
        return found, pool

    return asyncio.run(run())


@settings(max_examples=25)
@given(
    calls=st.lists(st.sampled_from(["a", "b", "c", POISON]), min_size=1, max_size=12),
    engines=st.integers(1, 3),
)
def test_only_what_ends_engines_is_dropped_whatever_was_in_flight_beside_it(
    calls: list[str], engines: int
) -> None:
    found, pool = outcomes(calls, engines)
    for text, outcome in zip(calls, found, strict=True):
        if text == POISON:
            assert isinstance(outcome, DeadlyRequestError), outcome
            assert "3 engines died while they worked on it" in str(outcome)
        else:
            assert isinstance(outcome, Reply), outcome
    assert pool.replaced <= pool.excused == 3 * calls.count(POISON)


@pytest.mark.parametrize("text", [ENDLESS, ODD])
def test_what_well_engines_fail_is_the_request_s_fault(text: str) -> None:
    (good, bad), pool = outcomes(["a", text], 2, max_retries=1, call_timeout_s=0.5)
    assert isinstance(good, Reply)
    assert isinstance(bad, RequestError)
    assert "a call failed 2 times" in str(bad)
    assert pool.replaced == 0


def test_engines_that_end_before_a_call_is_known_for_it_are_an_outage() -> None:
    (error,), _ = outcomes([POISON], 2, max_retries=1)
    assert isinstance(error, EngineError)
    assert "a call failed 2 times" in str(error)
