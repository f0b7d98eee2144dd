"""The Ray that a command uses: a cluster that is named, or one on this machine that ends with it.

Whoever can talk to a Ray runs code as whoever started it.  So one that is started here is for this user only:
its folder can't be entered by others, its token is its own, and it listens on the loopback interface.
"""

import contextlib
import os
import secrets
import signal
import stat
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from s2d_loop.config import Config
from s2d_loop.dataflow import batches_under_way
from s2d_loop.errors import S2DError
from s2d_loop.preflight import cluster_address

_SOCKET = "/s2d-4294967295/ray/session_2026-01-01_00-00-00_000000_4194304/sockets/plasma_store"
"""The longest way from the temporary folder to a socket of Ray's."""
_LONGEST_SOCKET = 107
"""Bytes of a socket's path that Linux takes."""


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


def private_folder() -> Path:
    """A folder in the system's temporary one that only this user can enter; the same every time, if it can be.

    Ray opens every folder that it makes to everybody, those of its sockets too: what is around them must close
    them off.
    """
    folder = _temporary() / f"s2d-{os.geteuid()}"
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=0o700, parents=True)
    found = folder.lstat()
    if stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid() and not found.st_mode & 0o077:
        return folder
    # Somebody else was there first.
    return Path(tempfile.mkdtemp(prefix="s2d-", dir=_temporary()))


def _temporary() -> Path:
    """Where Ray would put its sessions too, or /tmp where that is too deep for a socket."""
    base = os.environ.get("RAY_TMPDIR") or tempfile.gettempdir()
    return Path(base if len(os.fsencode(base)) + len(_SOCKET) <= _LONGEST_SOCKET else "/tmp")


def _new_token(folder: Path) -> Path:
    """A file with a token that no other Ray has; Ray's own would be readable by everybody who can enter the home."""
    path = folder / f"token-{secrets.token_hex(8)}"
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(secrets.token_hex(32))
    return path


@contextlib.contextmanager
def _for_this_user_only() -> Iterator[dict[str, Any]]:
    """Options of `ray.init` for a Ray on this machine that nobody else can enter, and what they need around them."""
    folder = private_folder()
    token = _new_token(folder)
    # As on Windows and macOS, where a node's address is the loopback interface's.
    variables = {
        "RAY_AUTH_TOKEN": None,
        "RAY_AUTH_TOKEN_PATH": str(token),
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    }
    try:
        with _environment(variables), _read_again():
            # By this name, or a file that anybody can write may lead to another Ray.
            yield {"address": "local", "include_dashboard": False, "_temp_dir": str(folder / "ray")}
    finally:
        token.unlink(missing_ok=True)


@contextlib.contextmanager
def _read_again() -> Iterator[None]:
    """Makes Ray mind these variables, which it may have read: for an earlier Ray, or as a plug-in imported it."""
    from ray._private import ray_constants
    from ray._raylet import AuthenticationTokenLoader  # type: ignore[attr-defined]

    tokens, before = AuthenticationTokenLoader.instance(), ray_constants.ENABLE_RAY_CLUSTER
    tokens.reset_cache()
    ray_constants.ENABLE_RAY_CLUSTER = False
    try:
        yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = before
        tokens.reset_cache()


@contextlib.contextmanager
def _environment(values: Mapping[str, str | None]) -> Iterator[None]:
    """These variables within the context; None is one that isn't set."""
    before = {name: os.environ.get(name) for name in values}
    _set(values)
    try:
        yield
    finally:
        _set(before)


def _set(values: Mapping[str, str | None]) -> None:
    for name, value in values.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


@contextlib.contextmanager
def ray_session(config: Config) -> Iterator[None]:
    """Ray: the cluster that is named, or one on this machine that ends with the run."""
    for name, value in ray_environment(config).items():
        os.environ.setdefault(name, value)
    address = cluster_address(config)
    if address:
        with _connected({"address": address}, f"the Ray cluster at {address}"):
            yield
    else:
        with (
            _for_this_user_only() as options,
            _connected({**options, "num_cpus": local_cpus(config)}, "Ray on this machine"),
        ):
            yield


@contextlib.contextmanager
def _connected(options: Mapping[str, Any], where: str) -> Iterator[None]:
    import logging

    import ray

    on_sigterm = signal.getsignal(signal.SIGTERM)
    try:
        ray.init(**options, logging_level=logging.ERROR, log_to_driver=False)
    except (ConnectionError, TimeoutError, RuntimeError, ValueError) as error:
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
