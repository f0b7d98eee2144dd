"""A client's end of one engine: requests go in batches, and outcomes come back by one long poll."""

import asyncio
from typing import Any

import ray

from s2d_loop.engine.mailbox import POLL_S
from s2d_loop.engine.wire import Outcome, Refusal, Ticket
from s2d_loop.records import Reply, Request

# An engine's poll may be this late before the engine counts as lost.
POLL_GRACE_S = 60.0


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
                self.fail(f"engine {self.name} took no requests: {first_line(error)}")

    async def _collect(self) -> None:
        while self._waiting:
            try:
                outcomes: list[Outcome] = await asyncio.wait_for(
                    self._handle.collect.remote(self._client), POLL_S + POLL_GRACE_S
                )
            except (ray.exceptions.RayError, TimeoutError) as error:
                self.fail(f"engine {self.name} gave no answers: {first_line(error)}")
                return
            for outcome in outcomes:
                future = self._waiting.get(outcome.number)
                if future is not None and not future.done():
                    future.set_result(outcome)
            # Those that were answered go before it is asked whether anybody still waits.
            await asyncio.sleep(0)


def first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
