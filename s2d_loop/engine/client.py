"""The way a program's calls reach the engines: routing, coalescing, time limits, retries.

A runner actor has one `PoolClient`, which it builds from the `ClientFactory` that the driver passed to
it.  It sends requests straight to the engines (`actor.py`); the manager (`pool.py`) only says who
serves, and hears of failures.
"""

import asyncio
import math
import uuid
import zlib
from collections import deque
from dataclasses import dataclass
from typing import Any

import ray

from s2d_loop.config.tree import EngineConfig
from s2d_loop.engine.mailbox import POLL_S
from s2d_loop.engine.pool import Roster
from s2d_loop.engine.wire import Outcome, Refusal, Ticket
from s2d_loop.errors import EngineError, PromptTooLongError, RequestError
from s2d_loop.records import Reply, Request

# An engine's poll may be this late before the engine counts as lost.
POLL_GRACE_S = 60.0
# A prompt's start decides which engine has its prefix cached.
PREFIX_CHARS = 256
# A cached prefix is worth waiting behind this many calls more than elsewhere, plus a share of them.
AFFINITY_CALLS = 8
AFFINITY_SHARE = 0.25


class LostError(Exception):
    """A call got no outcome from its engine.  `certain`: the engine itself is known to be gone."""

    def __init__(self, reason: str, certain: bool) -> None:
        super().__init__(reason)
        self.certain = certain


class Lane:
    """The client's end of one engine.

    At most one submission and one poll are under way; what comes up meanwhile goes with the next.
    So a lone call goes at once, and many share a trip.
    """

    def __init__(self, name: str, handle: Any, client: str) -> None:
        self.name = name
        self.report: asyncio.Task[bool] | None = None
        self._handle = handle
        self._client = client
        self._outbox: list[Ticket] = []
        self._waiting: dict[int, asyncio.Future[Outcome]] = {}
        self._sent = 0
        self._submitter: asyncio.Task[None] | None = None
        self._collector: asyncio.Task[None] | None = None

    @property
    def load(self) -> int:
        return len(self._waiting)

    async def call(self, request: Request, limit_s: float) -> Reply | Refusal:
        """The request's outcome, or `LostError`."""
        self._sent += 1
        number = self._sent
        future: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self._waiting[number] = future
        self._outbox.append(Ticket(number, request))
        if self._submitter is None or self._submitter.done():
            self._submitter = asyncio.create_task(self._submit())
        if self._collector is None or self._collector.done():
            self._collector = asyncio.create_task(self._collect())
        try:
            async with asyncio.timeout(limit_s):
                return (await future).result
        except TimeoutError:
            self._handle.drop.remote(self._client, [number])
            raise LostError(
                f"no answer within {limit_s:g} s (engine.call_timeout_s)", certain=False
            ) from None
        except asyncio.CancelledError:
            self._handle.drop.remote(self._client, [number])
            raise
        finally:
            self._waiting.pop(number, None)

    def fail(self, reason: str) -> None:
        """Give up on the engine: every call waiting for it is lost."""
        for task in (self._submitter, self._collector):
            if task is not None and task is not asyncio.current_task():
                task.cancel()
        self._outbox.clear()
        for future in list(self._waiting.values()):
            if not future.done():
                future.set_exception(LostError(reason, certain=True))

    async def _submit(self) -> None:
        await asyncio.sleep(0)  # calls made in the same turn of the loop go together
        while self._outbox:
            batch, self._outbox = self._outbox, []
            try:
                await asyncio.wait_for(self._handle.submit.remote(self._client, batch), POLL_GRACE_S)
            except (ray.exceptions.RayError, TimeoutError) as error:
                self.fail(f"engine {self.name} took no requests: {_reason(error)}")

    async def _collect(self) -> None:
        while self._waiting:
            try:
                outcomes: list[Outcome] = await asyncio.wait_for(
                    self._handle.collect.remote(self._client), POLL_S + POLL_GRACE_S
                )
            except (ray.exceptions.RayError, TimeoutError) as error:
                self.fail(f"engine {self.name} gave no answers: {_reason(error)}")
                return
            for outcome in outcomes:
                future = self._waiting.get(outcome.number)
                if future is not None and not future.done():
                    future.set_result(outcome)
            # Those that were answered go before it is asked whether anybody still waits.
            await asyncio.sleep(0)


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

    async def call(self, request: Request) -> Reply:
        """The model's reply on the round's weights.

        `RequestError` when no engine could serve this request, `EngineError` when engines failed.
        """
        if self._watcher is None:
            self._watcher = asyncio.create_task(self._follow())
        failures: list[str] = []
        avoid = ""
        for _ in range(self._config.max_retries + 1):
            lane = await self._lane(request, avoid)
            try:
                result = await lane.call(request, self._config.call_timeout_s)
            except LostError as lost:
                failures.append(f"engine {lane.name}: {lost}")
                await self._complain(lane, str(lost), lost.certain)
            else:
                if isinstance(result, Reply) and result.weights == self._digest:
                    return result
                if isinstance(result, Refusal) and not result.retry:
                    raise (PromptTooLongError if result.too_long else RequestError)(result.message)
                reason = result.message if isinstance(result, Refusal) else f"it serves {result.weights}"
                failures.append(f"engine {lane.name}: {reason}")
                await self._complain(lane, reason, certain=isinstance(result, Reply))
            finally:
                self._admit_next()
            avoid = lane.name
        raise EngineError(
            f"a call failed {len(failures)} times (engine.max_retries {self._config.max_retries}); "
            f"the last: {failures[-1]}"
        )

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

    async def _complain(self, lane: Lane, reason: str, certain: bool) -> None:
        """Tell the manager, once for all calls that failed together; stop using a condemned engine."""
        if lane.name not in self._lanes:
            return
        if lane.report is None:
            lane.report = asyncio.create_task(self._report(lane, reason, certain))
        healthy = await asyncio.shield(lane.report)
        lane.report = None
        if not healthy:
            self._lanes.pop(lane.name, None)

    async def _report(self, lane: Lane, reason: str, certain: bool) -> bool:
        try:
            return bool(await self._pool.report.remote(lane.name, reason, certain))
        except ray.exceptions.RayError as error:
            self._fail(f"the engines' manager is gone: {_reason(error)}")
            return False

    async def _follow(self) -> None:
        """Keep the lanes those of the manager's roster."""
        version = -1
        while True:
            try:
                roster: Roster = await asyncio.wait_for(
                    self._pool.roster.remote(version), POLL_S + POLL_GRACE_S
                )
            except (ray.exceptions.RayError, TimeoutError) as error:
                self._fail(f"the engines' manager is gone: {_reason(error)}")
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


@dataclass(frozen=True, slots=True)
class ClientFactory:
    """What a runner actor needs to reach the engines; travels by pickle."""

    pool: Any
    config: EngineConfig
    digest: str
    num_clients: int = 1

    def __call__(self) -> PoolClient:
        return PoolClient(self.pool, self.config, self.digest, self.num_clients)


def _reason(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
