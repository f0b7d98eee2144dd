"""How rows are spread over processes: Ray Data on a cluster, or this process.

`RayDataflow` keeps many inputs in flight in runner actors and gives rows back in the order they went
in.  `LocalDataflow` does the same work in one process; with scripted engines it carries the fault
tests and the simulation.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Protocol

import pyarrow as pa

from s2d_loop.config import GenerateConfig
from s2d_loop.errors import S2DError
from s2d_loop.generate import CallModel, generate
from s2d_loop.plan import Plan
from s2d_loop.records import Generation, Input, Reply, Request, rows, schema, table


class Client(Protocol):
    """What a runner's calls go through; it belongs to the event loop that it is used from."""

    async def call(self, request: Request) -> Reply: ...

    async def close(self) -> None: ...


ClientFactory = Callable[[], Client]
"""Builds a client inside a runner.  Has to be picklable."""

TableMap = Callable[[pa.Table], pa.Table]

_ROWS_PER_BATCH = 8
"""Inputs a runner receives together: small, since a batch goes back when its slowest row is done."""


def batches_under_way(config: GenerateConfig) -> int:
    """Batches that a runner is given at once: twice what is worked on, so that slow rows leave no gap."""
    return 2 * -(-config.rows_in_flight // _ROWS_PER_BATCH)


class Dataflow(Protocol):
    """Applies work to tables of rows; output order is input order."""

    def generate(
        self, inputs: Iterable[pa.Table], plans: Mapping[str, Plan], clients: ClientFactory
    ) -> Iterator[pa.Table]:
        """Tables of `Input` to tables of `Generation`, a row for a row."""

    def map(self, tables: Iterable[pa.Table], fn: TableMap) -> Iterator[pa.Table]:
        """`fn` over batches of rows."""


class LocalDataflow:
    """Everything in this process."""

    def __init__(self, config: GenerateConfig) -> None:
        self._config = config

    def generate(
        self, inputs: Iterable[pa.Table], plans: Mapping[str, Plan], clients: ClientFactory
    ) -> Iterator[pa.Table]:
        for each in inputs:
            yield asyncio.run(self._with_client(each, plans, clients))

    def map(self, tables: Iterable[pa.Table], fn: TableMap) -> Iterator[pa.Table]:
        return map(fn, tables)

    async def _with_client(
        self, inputs: pa.Table, plans: Mapping[str, Plan], clients: ClientFactory
    ) -> pa.Table:
        client = clients()
        try:
            room = asyncio.Semaphore(self._config.rows_in_flight)
            return await _generate_table(inputs, plans, client.call, room)
        finally:
            await client.close()


async def _generate_table(
    inputs: pa.Table, plans: Mapping[str, Plan], call_model: CallModel, room: asyncio.Semaphore
) -> pa.Table:
    async def one(x: Input) -> Generation:
        async with room:
            return await generate(x, plans[x.task], call_model)

    return table(await asyncio.gather(*(one(x) for x in rows(inputs, Input))), Generation)


class Runner:
    """A Ray Data actor that runs the programs of many inputs at once.

    Ray Data calls it with small batches and lets several be under way; a call of one row is in flight
    beside those of all others, so the engine's batch stays full.
    """

    def __init__(self, plans: Mapping[str, Plan], clients: ClientFactory, rows_in_flight: int) -> None:
        self._plans = plans
        self._clients = clients
        self._client: Client | None = None
        self._room = asyncio.Semaphore(rows_in_flight)

    async def __call__(self, batch: pa.Table) -> pa.Table:
        if self._client is None:
            # Built here, not in __init__: a client belongs to the event loop that it is used from.
            self._client = self._clients()
        try:
            return await _generate_table(batch, self._plans, self._client.call, self._room)
        except S2DError as error:
            # Ray wraps exceptions; the message must come through to the driver as it is.
            raise RuntimeError(f"{_MARK}{error}{_MARK}") from error


_MARK = "\x1e"


class RayDataflow:
    """Ray Data over a running Ray."""

    def __init__(self, config: GenerateConfig) -> None:
        self._config = config

    def generate(
        self, inputs: Iterable[pa.Table], plans: Mapping[str, Plan], clients: ClientFactory
    ) -> Iterator[pa.Table]:
        import ray

        config = self._config
        dataset = _dataset(inputs, config.num_runners).map_batches(
            Runner,
            fn_constructor_kwargs={
                "plans": dict(plans),
                "clients": clients,
                "rows_in_flight": config.rows_in_flight,
            },
            batch_size=_ROWS_PER_BATCH,
            batch_format="pyarrow",
            compute=ray.data.ActorPoolStrategy(size=config.num_runners),
            # Runners only wait for engines: they must not take CPUs that engines are placed on.
            num_cpus=0,
        )
        yield from _batches(dataset)

    def map(self, tables: Iterable[pa.Table], fn: TableMap) -> Iterator[pa.Table]:
        """A task a table, as many at once as there are CPUs: neither side is ever held whole.

        Raises:
            S2DError: a table took too long; or what `fn` raised.
        """
        import ray

        # Engines may hold every CPU while they idle: these tasks must not wait for one.
        apply = ray.remote(num_cpus=0)(_apply)
        shared = ray.put(fn)
        at_once = min(int(ray.cluster_resources().get("CPU", 1)), _MAX_TASKS)
        under_way: deque[Any] = deque()
        for each in tables:
            under_way.append(apply.remote(shared, each))
            if len(under_way) > at_once:
                yield _result(under_way.popleft())
        while under_way:
            yield _result(under_way.popleft())


_MAX_TASKS = 16
"""Tables worked on at once: the driver, which writes the results, keeps no more busy."""
_TASK_TIMEOUT_S = 600.0
"""For one table of some thousand rows, which takes seconds."""


def _apply(fn: TableMap, table: pa.Table) -> pa.Table:
    return fn(table)


def _result(task: Any) -> pa.Table:
    import ray

    try:
        table: pa.Table = ray.get(task, timeout=_TASK_TIMEOUT_S)
    except ray.exceptions.GetTimeoutError as error:
        raise S2DError(
            f"a table of rows was not done within {_TASK_TIMEOUT_S:.0f} s: see whether Ray can start "
            "workers (`ray status`). What was committed is safe; the same command goes on from there."
        ) from error
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, S2DError):
            # Ray wraps exceptions; the message must come through to the driver as it is.
            raise error.cause from error
        raise
    return table


def _dataset(tables: Iterable[pa.Table], at_least: int) -> Any:
    import ray

    blocks = [each for each in tables if each.num_rows]
    if len(blocks) < at_least:
        whole = pa.concat_tables(blocks)
        step = -(-whole.num_rows // at_least)
        blocks = [whole.slice(start, step) for start in range(0, whole.num_rows, step)]
    # Not from_arrow, which asks a task for what is known here: engines may hold every CPU.
    return ray.data.from_blocks(blocks)


def _batches(dataset: Any) -> Iterator[pa.Table]:
    try:
        for batch in dataset.iter_batches(batch_size=64, batch_format="pyarrow", prefetch_batches=0):
            # Ray widens types of empty columns; the derived schema is what stages promise.
            yield batch.cast(schema(Generation))
    except Exception as error:
        said = str(error)
        if said.count(_MARK) >= 2:
            raise S2DError(said.split(_MARK)[1]) from error
        raise
