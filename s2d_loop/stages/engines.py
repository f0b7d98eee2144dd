"""What `generate` and `evaluate` share: engines on some weights, and what they say to tables of inputs."""

from collections.abc import Callable, Iterable, Iterator, Mapping

import pyarrow as pa

from s2d_loop.errors import UnansweredError
from s2d_loop.plan import Plan
from s2d_loop.records import Generation, HeldOut, Input, Weights, rows, table
from s2d_loop.stages.run import Run


def serve(run: Run, weights: Weights) -> None:
    """Returns when every engine has proved that it has these weights."""
    if not run.engines.started:
        run.progress.note("Starting the engines; this takes about a minute, once.")
    run.engines.serve(weights)


def generated(run: Run, tables: Iterable[pa.Table], plans: Mapping[str, Plan]) -> Iterator[pa.Table]:
    """Tables of `Generation`, a row for each input and in their order."""
    clients = run.engines.client_factory(run.config.generate.num_runners)
    return run.dataflow.generate(tables, plans, clients)


def say(
    items: Mapping[str, HeldOut], generate: Callable[[list[pa.Table]], Iterable[pa.Table]]
) -> Iterator[list[Generation]]:
    """What one system says to held-out inputs, batch by batch.

    Raises:
        UnansweredError: an input failed; an evaluation without it would be another evaluation.
    """
    for each in generate([table([item.input for item in items.values()], Input)]):
        batch = list(rows(each, Generation))
        for row in batch:
            if row.error:
                raise UnansweredError(f"evaluate: held-out input {row.input.id} failed: {row.error}")
        yield batch
