"""Finished work on its way back to the clients of one engine.

A call costs a Ray actor call each way, which is more than a short answer takes to generate.  So
clients hand in requests in batches as they come, and keep one long poll open that takes back all
that has finished since: under load many replies share one trip, and an idle engine answers at once.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence

from s2d_loop.engine.wire import Outcome, Refusal, Ticket
from s2d_loop.records import Reply, Request

# A poll that found nothing returns after this long, so that a dead client isn't waited for.
POLL_S = 20.0
# The work of a client that has not polled for this long is dropped.
ABANDONED_S = 120.0

Serve = Callable[[Request], Awaitable[Reply | Refusal]]


class Mailbox:
    """One client's requests under way and its finished ones."""

    def __init__(self, serve: Serve) -> None:
        self._serve = serve
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._done: list[Outcome] = []
        self._news = asyncio.Event()
        self.last_seen = time.monotonic()

    @property
    def in_flight(self) -> int:
        return len(self._tasks)

    def submit(self, tickets: Sequence[Ticket]) -> None:
        """Start the requests; each ends as exactly one outcome unless it is dropped."""
        self.last_seen = time.monotonic()
        for ticket in tickets:
            self._tasks[ticket.number] = asyncio.create_task(self._run(ticket))

    async def collect(self) -> list[Outcome]:
        """All that has finished, waiting for the first; empty when nothing does for a while."""
        self.last_seen = time.monotonic()
        if not self._done:
            self._news.clear()
            try:
                await asyncio.wait_for(self._news.wait(), POLL_S)
            except TimeoutError:
                return []
            # Requests that end in the same engine step wake one after another: take them together.
            await asyncio.sleep(0)
        self.last_seen = time.monotonic()
        done, self._done = self._done, []
        return done

    def drop(self, numbers: Sequence[int]) -> None:
        """Stop requests that nobody waits for any more."""
        for number in numbers:
            task = self._tasks.pop(number, None)
            if task is not None:
                task.cancel()

    def refuse(self, reason: str) -> None:
        """Stop all requests under way and tell the client why."""
        for number in list(self._tasks):
            self.drop([number])
            self._finish(number, Refusal(reason, retry=True))

    async def _run(self, ticket: Ticket) -> None:
        try:
            result = await self._serve(ticket.request)
        except Exception as error:
            result = Refusal(f"{type(error).__name__}: {error}", retry=True)
        self._tasks.pop(ticket.number, None)
        self._finish(ticket.number, result)

    def _finish(self, number: int, result: Reply | Refusal) -> None:
        self._done.append(Outcome(number, result))
        self._news.set()


class Mailboxes:
    """The mailboxes of all clients."""

    def __init__(self, serve: Serve) -> None:
        self._serve = serve
        self._boxes: dict[str, Mailbox] = {}

    @property
    def in_flight(self) -> int:
        return sum(box.in_flight for box in self._boxes.values())

    def of(self, client: str) -> Mailbox:
        """A client's mailbox; forgets those of clients that went away."""
        box = self._boxes.get(client)
        if box is None:
            self._forget_abandoned()
            box = self._boxes[client] = Mailbox(self._serve)
        return box

    def refuse(self, reason: str) -> None:
        """Stop everything under way."""
        for box in self._boxes.values():
            box.refuse(reason)

    def _forget_abandoned(self) -> None:
        for name, box in list(self._boxes.items()):
            if time.monotonic() - box.last_seen > ABANDONED_S:
                box.refuse("its client went away")
                del self._boxes[name]
