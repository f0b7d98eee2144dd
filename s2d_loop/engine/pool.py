"""The manager of a run's engines: an actor that starts, refreshes, proves and replaces them.

The driver talks to it through `ray_engines.RayEngines`; clients (`client.py`) ask it who serves (`roster`)
and tell it who failed (`report`), and send their requests to the engines themselves.  It is not
detached: it ends with the driver, and the engines with it.
"""

import asyncio
import contextlib
import logging
from collections import Counter
from collections.abc import Awaitable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import ray

from s2d_loop import logs
from s2d_loop.chat.loading import ChatSettings
from s2d_loop.config.generation import EngineConfig
from s2d_loop.engine import placement, proof, settings
from s2d_loop.engine.mailbox import POLL_S
from s2d_loop.engine.wire import Proof
from s2d_loop.errors import EngineError
from s2d_loop.records import Weights

T = TypeVar("T")
log = logging.getLogger(__name__)

# A healthy engine generates one token within this, however much work it has.
HEALTH_S = 60.0
CLOSE_S = 20.0
# One that is asked why nothing moves; slower ones are named too.
ASK_S = 5.0
# An engine that fails to start on the same weights twice running will fail again; the very first
# engine of a run gets one try, since then the configuration is the likely cause.
MAX_FAILED_STARTS = 2


@dataclass(frozen=True, slots=True)
class Roster:
    """The engines that may be sent work, for one round's weights."""

    version: int
    digest: str
    engines: tuple[tuple[str, Any], ...]
    failure: str | None


@dataclass
class Slot:
    """One engine's place, which outlives the engines in it."""

    index: int
    place: placement.Place
    generation: int = 0
    failed_starts: int = 0
    name: str = ""
    handle: Any = None
    loaded: str | None = None
    admitted: bool = False
    watch: "asyncio.Task[None] | None" = None
    busy: asyncio.Lock = field(default_factory=asyncio.Lock)


class Pool:
    """The manager; its methods are called as an actor's."""

    def __init__(
        self,
        config: EngineConfig,
        *,
        chat: ChatSettings,
        log_dir: str,
        resources_timeout_s: float,
        engine_class: type,
    ) -> None:
        self._config = config
        self._chat = chat
        self._log_dir = Path(log_dir)
        logs.open_file(self._log_dir / "manager.jsonl", "")
        self._resources_timeout_s = resources_timeout_s
        self._engine_class = engine_class
        self._plan = placement.plan(config, placement.cluster_nodes())
        self._slots: list[Slot] = []
        self._weights: Weights | None = None
        self._references: dict[str, proof.Reference | None] = {}
        self._reading = asyncio.Lock()
        self._proofs: dict[str, list[Proof]] = {}
        self._started_once = False
        self._restarts = self._bad_inputs = 0
        self._failure: str | None = None
        self._version = 0
        self._changed = asyncio.Event()
        self._healing: set[asyncio.Task[None]] = set()
        self._closed = False

    async def serve(self, weights: Weights) -> None:
        """Bring every engine to these weights, proved; returns when all of them may be sent work."""
        self._weights = weights
        self._restarts, self._bad_inputs, self._failure = 0, 0, None
        for slot in self._slots:
            slot.admitted = False
        self._change()
        if not self._slots:
            self._slots = [
                Slot(index, placement.Place(self._plan)) for index in range(self._config.num_engines)
            ]
            await self._all(slot.place.ready(self._resources_timeout_s) for slot in self._slots)
        await self._all(self._bring(slot, weights) for slot in self._slots)

    async def roster(self, known: int = -1) -> Roster:
        """Who serves; waits for a change, for a while, when the caller knows this version."""
        if known == self._version:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), POLL_S)
        return Roster(
            version=self._version,
            digest=self._weights.digest if self._weights else "",
            engines=tuple((slot.name, slot.handle) for slot in self._slots if slot.admitted),
            failure=self._failure,
        )

    async def report(self, name: str, reason: str, certain: bool) -> bool:
        """A client's complaint about an engine; whether the engine may still be sent work.

        Unless the client is certain, the engine may show that it is healthy by generating.
        """
        slot = next((slot for slot in self._slots if slot.name == name and slot.admitted), None)
        if slot is None:
            return False
        if not certain:
            try:
                await self._within(
                    slot.handle.health.remote(),
                    min(HEALTH_S, self._config.call_timeout_s),
                    f"engine {name} to generate a token",
                )
                return True
            except (EngineError, ray.exceptions.RayError) as error:
                reason = f"{reason}; {_first_line(error)}"
        self._lost(slot, slot.handle, reason)
        return False

    async def excuse(self, deaths: int) -> None:
        """So many engines ended for one bad input, which costs itself: they don't count as outages.

        Bad inputs have a budget of their own, `engine.max_bad_inputs` in a stage.
        """
        self._restarts = max(0, self._restarts - deaths)
        self._bad_inputs += 1
        if self._bad_inputs > self._config.max_bad_inputs:
            self._failure = (
                f"{self._bad_inputs} inputs of this stage ended {deaths} engines each (engine.max_bad_inputs "
                f"{self._config.max_bad_inputs}): see what they have in common, or what is wrong with the engine"
            )
            self._change()

    async def proofs(self, digest: str) -> list[Proof]:
        """The proofs that the engines gave for a version of the weights, in order."""
        return self._proofs.get(digest, [])

    async def engines(self) -> dict[str, Any]:
        """Every engine there is, by name, for people and tests."""
        return {slot.name: slot.handle for slot in self._slots if slot.handle is not None}

    async def describe(self) -> list[str]:
        """A sentence on every engine that is not serving or does not generate a token within seconds."""
        said = await asyncio.gather(*(self._state(slot) for slot in self._slots))
        return [sentence for sentence in (self._failure, *said) if sentence]

    async def _state(self, slot: Slot) -> str | None:
        if slot.handle is None or not slot.admitted:
            return f"engine {slot.name or slot.index} is {'not running' if slot.handle is None else 'not admitted'}"
        try:
            await self._within(slot.handle.health.remote(), ASK_S, "a token")
        except (EngineError, ray.exceptions.RayError) as error:
            return f"engine {slot.name} does not answer: {_first_line(error)}"
        return None

    async def close(self) -> None:
        """End every engine and every process it started, and give the resources back."""
        self._closed = True
        for task in self._healing:
            task.cancel()
        await asyncio.gather(*(self._stop(slot) for slot in self._slots))
        for slot in self._slots:
            slot.place.release()
        self._slots = []
        self._change()

    async def _bring(self, slot: Slot, weights: Weights) -> None:
        """Get the slot's engine to serve `weights`: refreshed if it can prove it, fresh if it can't."""
        async with slot.busy:
            while not (slot.admitted and slot.loaded == weights.digest) and weights is self._weights:
                try:
                    await self._try(slot, weights)
                except (EngineError, ray.exceptions.RayError, OSError) as error:
                    reason = f"engine {slot.name}: {_first_line(error)}"
                    await self._stop(slot)
                    self._count_restart(slot, reason)

    async def _try(self, slot: Slot, weights: Weights) -> None:
        old = slot.loaded
        if slot.handle is not None and old == weights.digest:
            pass  # it has them; it proves it once more, which a sick engine can't
        elif slot.handle is not None and await self._can_refresh(slot, weights):
            await self._within(
                slot.handle.refresh.remote(weights),
                self._config.refresh_timeout_s,
                f"engine {slot.name} to load {weights.path}",
            )
        else:
            old = None
            await self._stop(slot)
            await self._start(slot, weights)
        await self._prove(slot, weights, old)
        await self._within(slot.handle.admit.remote(weights.digest), HEALTH_S, f"engine {slot.name} to open")
        slot.loaded, slot.admitted = weights.digest, True
        self._change()

    async def _start(self, slot: Slot, weights: Weights) -> None:
        slot.generation += 1
        slot.failed_starts += 1
        slot.name = f"{slot.index}.{slot.generation}"
        local = Path(weights.path).is_dir()
        env = settings.environment(self._config, self._plan.gpu, offline=local)
        neighbours = Counter(other.place.node() for other in self._slots[: slot.index])
        slot.handle = (
            ray.remote(self._engine_class)
            .options(max_concurrency=10_000, runtime_env={"env_vars": env}, **slot.place.options())
            .remote(
                self._config,
                chat=self._chat,
                name=slot.name,
                log=str(self._log_dir / f"engine-{slot.name}.log"),
                gpu=self._plan.gpu,
                across_nodes=self._plan.across_nodes,
                slot=neighbours[slot.place.node()],
            )
        )
        slot.watch = asyncio.create_task(self._watch(slot, slot.handle))
        await self._within(
            slot.handle.start.remote(weights),
            self._config.start_timeout_s,
            f"engine {slot.name} to start on {weights.path} (engine.start_timeout_s)",
        )
        self._started_once, slot.failed_starts = True, 0

    async def _can_refresh(self, slot: Slot, weights: Weights) -> bool:
        """In place only where a proof is possible; otherwise a fresh start is."""
        new = await self._reference(slot, weights)
        old = self._references.get(slot.loaded or "")
        if new is None or old is None:
            return False
        given = self._proofs.get(slot.loaded or "", [])
        if not given or proof.tells_apart(old, new, given[0].dtype):
            return True
        log.warning(
            "the canaries can't tell weights %s from %s: engine %s is started anew instead of refreshed",
            weights.digest,
            slot.loaded,
            slot.name,
        )
        return False

    async def _prove(self, slot: Slot, weights: Weights, old: str | None) -> None:
        reference = await self._reference(slot, weights)
        given: Proof = await self._within(
            slot.handle.prove.remote(reference.tokens if reference else None),
            self._config.refresh_timeout_s,
            f"engine {slot.name} to answer the canaries",
        )
        before = self._references.get(old) if old and old != weights.digest else None
        problem = proof.judge(given, reference, before) if reference else None
        problem = problem or proof.agree([*self._proofs.get(weights.digest, [])[:1], given])
        if problem:
            raise EngineError(f"does not serve weights {weights.digest}: {problem}")
        self._proofs.setdefault(weights.digest, []).append(given)

    async def _reference(self, slot: Slot, weights: Weights) -> proof.Reference | None:
        async with self._reading:
            if weights.digest not in self._references:
                made = await self._within(
                    slot.handle.reference.remote(weights.path),
                    self._config.start_timeout_s,
                    f"the reference of {weights.path}",
                )
                # Only the versions that an engine may come from or go to.
                kept = {slot.loaded for slot in self._slots}
                self._references = {k: v for k, v in self._references.items() if k in kept}
                self._proofs = {k: v for k, v in self._proofs.items() if k in kept}
                self._references[weights.digest] = made
            return self._references[weights.digest]

    async def _watch(self, slot: Slot, handle: Any) -> None:
        """Learn of an engine's end at once."""
        try:
            await handle.lifetime.remote()
        except ray.exceptions.RayError as error:
            self._lost(slot, handle, _first_line(error))

    def _lost(self, slot: Slot, handle: Any, reason: str) -> None:
        if slot.handle is not handle or not slot.admitted or self._closed:
            return
        slot.admitted = False
        self._change()
        log.warning("engine %s is replaced: %s", slot.name, reason)
        task = asyncio.create_task(self._heal(slot, reason))
        self._healing.add(task)
        task.add_done_callback(self._healing.discard)

    async def _heal(self, slot: Slot, reason: str) -> None:
        try:
            await self._stop(slot)
            self._count_restart(slot, f"engine {slot.name}: {reason}")
            assert self._weights is not None
            await self._bring(slot, self._weights)
        except Exception as error:
            self._failure = _first_line(error)
            self._change()

    def _count_restart(self, slot: Slot, reason: str) -> None:
        if slot.failed_starts >= (MAX_FAILED_STARTS if self._started_once else 1):
            raise EngineError(reason)
        self._restarts += 1
        if self._restarts > self._config.max_restarts:
            raise EngineError(
                f"gave up after replacing {self._config.max_restarts} engines in one stage "
                f"(engine.max_restarts); the last: {reason}"
            )
        log.warning("%s; a fresh one takes its place", reason)

    async def _stop(self, slot: Slot) -> None:
        handle, slot.handle, slot.loaded, slot.admitted = slot.handle, None, None, False
        if handle is None:
            return
        if slot.watch is not None:
            slot.watch.cancel()
        # Where that fails the kill does it: the actor's watchdog ends what it started.
        with contextlib.suppress(EngineError, ray.exceptions.RayError):
            await self._within(handle.close.remote(), CLOSE_S, f"engine {slot.name} to close")
        ray.kill(handle)

    async def _within(self, reply: Awaitable[T], limit_s: float, what: str) -> T:
        try:
            return await asyncio.wait_for(reply, limit_s)
        except TimeoutError:
            raise EngineError(f"waited {limit_s:g} s for {what}") from None
        except ray.exceptions.RayTaskError as error:
            raise EngineError(_first_line(error.cause)) from None

    async def _all(self, works: Any) -> None:
        """All of them, and the first failure only after every one has ended."""
        for result in await asyncio.gather(*works, return_exceptions=True):
            if isinstance(result, BaseException):
                self._failure = _first_line(result)
                self._change()
                raise result

    def _change(self) -> None:
        self._version += 1
        self._changed.set()
        self._changed = asyncio.Event()


def _first_line(error: BaseException) -> str:
    lines = [line for line in str(error).splitlines() if line.strip()]
    return lines[0].strip() if lines else type(error).__name__
