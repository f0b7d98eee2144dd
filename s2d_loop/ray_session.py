"""The Ray that a command uses: a cluster that is named, or one on this machine that ends with it."""

import contextlib
import os
import signal
from collections.abc import Iterator
from typing import Any

from s2d_loop.config import Config
from s2d_loop.dataflow import batches_under_way
from s2d_loop.errors import S2DError
from s2d_loop.preflight import cluster_address


def ray_environment(config: Config) -> dict[str, str]:
    """Variables that Ray reads in the driver and, where it is started here, in its workers."""
    return {
        # Ray starts workers at nice 15; an engine is the work here, not background.
        "RAY_worker_niceness": "0",
        # Read as ray.data is imported, which is why that happens after this.
        "RAY_DATA_DEFAULT_ASYNC_BATCH_UDF_MAX_CONCURRENCY": str(batches_under_way(config.generate)),
        "RAY_DATA_DISABLE_PROGRESS_BARS": "1",
        "RAY_DATA_LOG_LEVEL": "ERROR",
    }


def node_is_drained() -> bool:
    """Whether Ray has begun to take this node away, after a spot machine's notice or to scale down."""
    import ray
    from ray._private.state import state  # there is no public call; Ray Train asks the same

    return ray.get_runtime_context().get_node_id() in state.get_draining_nodes()


def local_cpus(config: Config) -> int:
    """Logical CPUs of a Ray on this machine: enough for engines and trainer at once.

    They take turns at the real cores: engines idle while the trainer works.  `preflight` has checked
    that neither wants more than the machine has.
    """
    engines = config.engine.num_engines * config.engine.cpus_per_engine
    trainer = config.train.num_workers * config.train.cpus_per_worker
    return max(os.cpu_count() or 1, engines + trainer)


@contextlib.contextmanager
def ray_session(config: Config) -> Iterator[None]:
    """Ray: the cluster that is named, or one on this machine that ends with the run."""
    for name, value in ray_environment(config).items():
        os.environ.setdefault(name, value)
    import logging

    import ray

    address = cluster_address(config)
    options: dict[str, Any] = {"logging_level": logging.ERROR, "log_to_driver": False}
    if address:
        options["address"] = address
    else:
        options |= {"num_cpus": local_cpus(config), "include_dashboard": False}
    on_sigterm = signal.getsignal(signal.SIGTERM)
    try:
        ray.init(**options)
    except (ConnectionError, TimeoutError, RuntimeError, ValueError) as error:
        where = f"the Ray cluster at {address}" if address else "Ray on this machine"
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise S2DError(f"could not reach {where}: {first}") from error
    finally:
        # Ray puts a handler of its own in its place, which exits wherever the run is.
        signal.signal(signal.SIGTERM, on_sigterm)
    context = ray.data.DataContext.get_current()
    context.execution_options.preserve_order = True
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    try:
        yield
    finally:
        ray.shutdown()
