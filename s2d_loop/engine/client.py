"""The way a program's calls reach the engines: routing, coalescing, time limits, retries.

A runner actor has one `PoolClient`, which it builds from the `ClientFactory` that the driver passed to
it.  It sends requests straight to the engines (`actor.py`); the manager (`pool.py`) only says who
serves, and hears of failures.
"""

import asyncio
import contextlib
import math
import uuid
import zlib
from collections import deque
from dataclasses import dataclass, field
from typing import Any

import ray

from s2d_loop.config.generation import EngineConfig
from s2d_loop.engine.lane import POLL_GRACE_S, Lane, LostError, first_line
from s2d_loop.engine.mailbox import POLL_S
from s2d_loop.engine.pool import HEALTH_S, Roster
from s2d_loop.engine.wire import Refusal
from s2d_loop.errors import (
    ConversationRefusedError,
    DeadlyRequestError,
    EngineError,
    PromptTooLongError,
    RequestError,
)
from s2d_loop.records import Reply, Request

# A prompt's start decides which engine has its prefix cached.
PREFIX_CHARS = 256
# A cached prefix is worth waiting behind this many calls more than elsewhere, plus a share of them.
AFFINITY_CALLS = 8
AFFINITY_SHARE = 0.25
# A call that so many engines died with, the last of them working on no other such call, is their death.
DEADLY = 3


@dataclass(slots=True)
class Tries:
    """What became of one call so far."""

    failures: list[str] = field(default_factory=list)
    died: list[str] = field(default_factory=list)
    """Engines that ended, or had to be ended, with it in flight."""
    engines_well: bool = True
    """Every engine that failed it went on to do other work."""
    avoid: str = ""

    @property
    def suspect(self) -> bool:
        return len(self.died) >= DEADLY - 1

    def failed(self, engine: str, reason: str, *, well: bool, died: bool) -> None:
        self.failures.append(f"engine {engine}: {reason}")
        self.engines_well &= well
        if died:
            self.died.append(engine)


class PoolClient:
    """`call` is the only way a program reaches the model."""

    def __init__(self, pool: Any, config: EngineConfig, digest: str, num_clients: int = 1) -> None:
        self._pool = pool
        self._config = config
        self._digest = digest
        self._room = max(1, math.ceil(config.max_in_flight / num_clients))
        self._id = uuid.uuid4().hex
        self._lanes: dict[str, Lane] = {}
        self._queue: deque[asyncio.Future[None]] = deque()
        self._failure: str | None = None
        self._watcher: asyncio.Task[None] | None = None
        self._alone = asyncio.Lock()

    async def call(self, request: Request) -> Reply:
        """The model's reply on the round's weights.

        `RequestError` when no engine could serve this request, `EngineError` when engines failed.
        """
        if self._watcher is None:
            self._watcher = asyncio.create_task(self._follow())
        tries = Tries()
        for _ in range(self._config.max_retries + 1):
            # One of the calls that an engine died with may have been its death.  Those that saw two die
            # go one at a time, so that the next death names the one.
            async with self._alone if tries.suspect else contextlib.nullcontext():
                reply = await self._try(request, tries)
            if reply is not None:
                return reply
            if len(tries.died) >= DEADLY:
                await self._excuse(len(tries.died))
                raise DeadlyRequestError(
                    f"{len(tries.died)} engines died while they worked on it: {', '.join(tries.died)}"
                )
        said = (
            f"a call failed {len(tries.failures)} times (engine.max_retries {self._config.max_retries}); "
            f"the last: {tries.failures[-1]}"
        )
        # Engines that do other work well don't fail it: the request does.
        raise RequestError(said) if tries.engines_well else EngineError(said)

    async def _try(self, request: Request, tries: "Tries") -> Reply | None:
        lane = await self._lane(request, tries.avoid)
        tries.avoid = lane.name
        try:
            result = await lane.call(request, self._config.call_timeout_s)
        except LostError as lost:
            well = await self._complain(lane, str(lost), lost.certain)
            tries.failed(lane.name, str(lost), well=well, died=not well)
            return None
        finally:
            self._admit_next()
        if isinstance(result, Reply) and result.weights == self._digest:
            return result
        if isinstance(result, Refusal) and not result.retry:
            raise _error_of(result)
        reason = result.message if isinstance(result, Refusal) else f"it serves {result.weights}"
        stale = isinstance(result, Reply)
        well = await self._complain(lane, reason, certain=stale)
        tries.failed(lane.name, reason, well=well, died=not well and not stale)
        return None

    async def close(self) -> None:
        """Stop following the pool; calls under way are lost."""
        if self._watcher is not None:
            self._watcher.cancel()
        for lane in self._lanes.values():
            lane.fail("the client was closed")

    async def _lane(self, request: Request, avoid: str) -> Lane:
        """An engine with room; waits for one, in turn."""
        limit_s = self._config.start_timeout_s + self._config.refresh_timeout_s + self._config.call_timeout_s
        try:
            async with asyncio.timeout(limit_s):
                while (lane := self._pick(request, avoid)) is None:
                    if self._failure is not None:
                        raise EngineError(self._failure)
                    turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
                    self._queue.append(turn)
                    await turn
                return lane
        except TimeoutError:
            full = ", ".join(f"{lane.name} has {lane.load}" for lane in self._lanes.values())
            raise EngineError(
                f"waited {limit_s:g} s for an engine with room for a call "
                f"({full or 'no engine serves'}; {self._room} calls at once each)"
            ) from None

    def _pick(self, request: Request, avoid: str) -> Lane | None:
        open_lanes = [lane for lane in self._lanes.values() if lane.load < self._room]
        lanes = [lane for lane in open_lanes if lane.name != avoid] or open_lanes
        if not lanes:
            return None
        if len(lanes) == 1:
            return lanes[0]
        least = min(lanes, key=lambda lane: lane.load)
        start = "\n".join(message.content for message in request.messages)[:PREFIX_CHARS]
        home = max(lanes, key=lambda lane: zlib.crc32(f"{lane.name}\n{start}".encode()))
        close = home.load <= least.load + AFFINITY_CALLS + AFFINITY_SHARE * least.load
        return home if close else least

    def _admit_next(self) -> None:
        """A place is free: the call that has waited longest looks again."""
        while self._queue:
            turn = self._queue.popleft()
            if not turn.done():
                turn.set_result(None)
                return

    async def _complain(self, lane: Lane, reason: str, certain: bool) -> bool:
        """Tell the manager, once for all calls that failed together; whether the engine is well.

        A condemned engine isn't used any more.
        """
        if lane.name not in self._lanes:
            return False
        if lane.report is None:
            lane.report = asyncio.create_task(self._report(lane, reason, certain))
        healthy = await asyncio.shield(lane.report)
        lane.report = None
        if not healthy:
            self._lanes.pop(lane.name, None)
        return healthy

    async def _report(self, lane: Lane, reason: str, certain: bool) -> bool:
        try:
            report = self._pool.report.remote(lane.name, reason, certain)
            return bool(await asyncio.wait_for(report, HEALTH_S + POLL_GRACE_S))
        except (ray.exceptions.RayError, TimeoutError) as error:
            self._fail(f"the engines' manager is gone: {first_line(error)}")
            return False

    async def _excuse(self, deaths: int) -> None:
        # Should the manager be gone, whatever is called next says so.
        with contextlib.suppress(ray.exceptions.RayError, TimeoutError):
            await asyncio.wait_for(self._pool.excuse.remote(deaths), POLL_GRACE_S)

    async def _follow(self) -> None:
        """Keep the lanes those of the manager's roster."""
        version = -1
        while True:
            try:
                roster: Roster = await asyncio.wait_for(
                    self._pool.roster.remote(version), POLL_S + POLL_GRACE_S
                )
            except (ray.exceptions.RayError, TimeoutError) as error:
                self._fail(f"the engines' manager is gone: {first_line(error)}")
                return
            version = roster.version
            self._apply(roster)

    def _apply(self, roster: Roster) -> None:
        engines = dict(roster.engines) if roster.digest == self._digest else {}
        for name in [name for name in self._lanes if name not in engines]:
            self._lanes.pop(name).fail(f"engine {name} was taken out of service")
        for name, handle in engines.items():
            self._lanes.setdefault(name, Lane(name, handle, self._id))
        if roster.digest != self._digest:
            self._fail(f"the engines went on to weights {roster.digest}; this client is for {self._digest}")
        else:
            self._failure = roster.failure
        self._wake_all()

    def _fail(self, reason: str) -> None:
        self._failure = reason
        for lane in self._lanes.values():
            lane.fail(reason)
        self._lanes.clear()
        self._wake_all()

    def _wake_all(self) -> None:
        queue, self._queue = self._queue, deque()
        for turn in queue:
            if not turn.done():
                turn.set_result(None)


def _error_of(refusal: Refusal) -> RequestError:
    """What a final refusal is to whoever asked."""
    if refusal.too_long:
        return PromptTooLongError(refusal.message)
    return (ConversationRefusedError if refusal.refused else RequestError)(refusal.message)


@dataclass(frozen=True, slots=True)
class ClientFactory:
    """What a runner actor needs to reach the engines; travels by pickle."""

    pool: Any
    config: EngineConfig
    digest: str
    num_clients: int = 1

    def __call__(self) -> PoolClient:
        return PoolClient(self.pool, self.config, self.digest, self.num_clients)
