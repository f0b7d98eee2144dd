"""A scripted engine with a rank: a process of its own that every answer goes through.

So a rank can be killed while its actor lives, or be stopped so that calls hang, as vLLM's can.
"""

import asyncio
import contextlib
import json
import os
from pathlib import Path
from typing import Any

from s2d_loop.config.generation import EngineConfig
from s2d_loop.engine import processes
from s2d_loop.engine.mailbox import Mailboxes
from s2d_loop.engine.proof import Reference
from s2d_loop.engine.wire import Outcome, Proof, Ticket
from s2d_loop.errors import EngineError
from s2d_loop.records import Reply, Request, Weights
from tests.support.scripted import ScriptedModel

RANK_DIED = 70


class RankedEngine:
    """`engine.actor.Engine` as far as the pool knows, around a `ScriptedModel`."""

    def __init__(self, _config: EngineConfig, *, name: str, log: str, **_: Any) -> None:
        self._name = name
        self._orders = Path(log).parent
        self._mail = Mailboxes(self._serve)
        self._group = processes.guard_descendants()
        self._turn = asyncio.Lock()
        self._digest = self._loaded = ""

    async def start(self, weights: Weights) -> None:
        self._rank = await asyncio.create_subprocess_exec(
            "cat", stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
        )
        self._load(weights)
        pids = {"actor": os.getpid(), "rank": self._rank.pid}
        temporary = self._orders / f".{self._name}.pids"
        temporary.write_text(json.dumps(pids))
        temporary.replace(self._orders / f"{self._name}.pids")
        self._pulse = asyncio.create_task(self._watch_rank())

    async def refresh(self, weights: Weights) -> None:
        self._digest = ""
        await self._through_rank()
        self._load(weights)

    def _load(self, weights: Weights) -> None:
        self._model, self._loaded = ScriptedModel(weights), weights.digest

    async def reference(self, path: str) -> Reference:
        skill = json.loads((Path(path) / "state.json").read_text())["skill"]
        return Reference(((1, 2, 3),), ((skill, skill),))

    async def prove(self, _tokens: Any) -> Proof:
        await self._through_rank()
        skill = self._model.skill
        return Proof("float32", ((skill, skill),), ((7,),), ((-1.0,),), ((-1.0,),))

    async def admit(self, digest: str) -> None:
        self._digest = digest

    async def health(self) -> None:
        await self._through_rank()

    async def lifetime(self) -> None:
        await asyncio.Event().wait()

    async def submit(self, client: str, tickets: list[Ticket]) -> None:
        self._mail.of(client).submit(tickets)

    async def collect(self, client: str) -> list[Outcome]:
        return await self._mail.of(client).collect()

    async def drop(self, client: str, numbers: list[int]) -> None:
        self._mail.of(client).drop(numbers)

    async def pids(self) -> list[int]:
        return [os.getpid(), self._rank.pid]

    async def close(self) -> list[int]:
        self._digest = ""
        if hasattr(self, "_pulse"):
            self._pulse.cancel()
        return await asyncio.to_thread(processes.end_members, self._group)

    async def _serve(self, request: Request) -> Reply:
        reached = self._orders / "reached"
        if (self._orders / "freeze").exists():
            reached.touch()
            while not (self._orders / "go").exists():
                await asyncio.sleep(0.02)
        await self._through_rank()
        if not self._digest:
            raise EngineError("no weights are admitted")
        return await self._model(request)

    async def _through_rank(self) -> None:
        async with self._turn:
            assert self._rank.stdin is not None
            assert self._rank.stdout is not None
            with contextlib.suppress(ConnectionError):  # the pulse ends this process
                self._rank.stdin.write(b"token\n")
                await self._rank.stdin.drain()
            if not await self._rank.stdout.readline():
                await asyncio.Event().wait()

    async def _watch_rank(self) -> None:
        await self._rank.wait()
        os._exit(RANK_DIED)
