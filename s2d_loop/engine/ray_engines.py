"""The engines as the loop sees them: serve these weights, give me clients, close."""

import contextlib
from pathlib import Path
from types import TracebackType
from typing import Any

import ray

from s2d_loop.chat.loading import ChatSettings
from s2d_loop.config.generation import EngineConfig
from s2d_loop.engine import placement
from s2d_loop.engine.actor import Engine
from s2d_loop.engine.client import ClientFactory
from s2d_loop.engine.pool import ASK_S, Pool
from s2d_loop.errors import EngineError, S2DError
from s2d_loop.records import Weights

CLOSE_S = 60.0


class RayEngines:
    """A run's engines on the Ray cluster that the driver is connected to.

    Nothing starts before the first `serve`.  Use it as a context manager, or call `close`; a driver
    that dies takes its engines with it in any case.
    """

    def __init__(
        self,
        config: EngineConfig,
        *,
        log_dir: str | Path,
        chat: ChatSettings = ChatSettings(),  # noqa: B008 - frozen
        resources_timeout_s: float = 60.0,
        engine_class: type = Engine,
    ) -> None:
        placement.check_fits(config, placement.cluster_nodes())
        self._config = config
        self._digest: str | None = None
        self._started = False
        self._pool: Any = (
            ray.remote(Pool)
            .options(num_cpus=0, max_concurrency=10_000)
            .remote(
                config,
                chat=chat,
                log_dir=str(Path(log_dir).absolute()),
                resources_timeout_s=resources_timeout_s,
                engine_class=engine_class,
            )
        )

    @property
    def started(self) -> bool:
        """Whether engines run already, so that the next `serve` is a refresh."""
        return self._started

    def serve(self, weights: Weights) -> None:
        """Bring every engine to `weights`, started or refreshed, and proved."""
        self._digest = None
        self._get(
            self._pool.serve.remote(weights), self._serve_limit_s(), f"the engines to serve {weights.path}"
        )
        self._digest, self._started = weights.digest, True

    def client_factory(self, num_clients: int = 1) -> ClientFactory:
        """What runner actors build their clients from, for the weights that are served now."""
        if self._digest is None:
            raise EngineError("no weights are served: call serve first")
        return ClientFactory(self._pool, self._config, self._digest, num_clients)

    def describe(self) -> list[str]:
        """A sentence on every engine that does not generate a token within seconds; for a run that hangs."""
        if self._pool is None:
            return []
        try:
            said: list[str] = ray.get(self._pool.describe.remote(), timeout=2 * ASK_S)
        except (ray.exceptions.RayError, ray.exceptions.GetTimeoutError) as error:
            return [f"the engines' manager does not answer: {type(error).__name__}"]
        return said

    def close(self) -> None:
        """End every engine; safe to call twice, and after Ray itself has ended."""
        pool, self._pool, self._digest = self._pool, None, None
        if pool is None or not ray.is_initialized():
            return
        # Where that fails the kill does it: engines end with the manager that owns them.
        with contextlib.suppress(ray.exceptions.RayError):
            ray.get(pool.close.remote(), timeout=CLOSE_S)
        ray.kill(pool)

    def __enter__(self) -> "RayEngines":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def pool(self) -> Any:
        """The manager's actor handle."""
        return self._pool

    def _serve_limit_s(self) -> float:
        """Above every limit inside, which have better messages."""
        config = self._config
        once = config.start_timeout_s + 2 * config.refresh_timeout_s + CLOSE_S
        return 600.0 + once * (config.max_restarts + 2)

    def _get(self, reply: Any, limit_s: float, what: str) -> Any:
        if self._pool is None:
            raise EngineError("the engines are closed")
        try:
            return ray.get(reply, timeout=limit_s)
        except ray.exceptions.GetTimeoutError:
            raise EngineError(f"waited {limit_s:g} s for {what}") from None
        except ray.exceptions.RayTaskError as error:
            cause = error.cause
            raise (cause if isinstance(cause, S2DError) else EngineError(f"{what}: {cause!r}")) from None
        except ray.exceptions.RayActorError as error:
            raise EngineError(f"the engines' manager died while waiting for {what}: {error}") from None
