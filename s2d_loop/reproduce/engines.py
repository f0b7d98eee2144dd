"""One Ray and one set of engines for all of a table's runs and measurements."""

from contextlib import AbstractContextManager, ExitStack, nullcontext
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from s2d_loop.config import Config
from s2d_loop.driver import OpenEngines, engines_in

if TYPE_CHECKING:
    from s2d_loop.engine.ray_engines import RayEngines


class SharedEngines(AbstractContextManager["SharedEngines"]):
    """Starting engines takes about a minute, refreshing them about a second.  So they start when something
    first opens them, stay, and start again only for a configuration that they don't suit.
    """

    def __init__(self, logs: Path, open_engines: OpenEngines = engines_in) -> None:
        self._logs, self._open_engines = logs, open_engines
        self._suit: Any = None
        self._engines: RayEngines
        self._held = ExitStack()

    def open(self, config: Config, _: Path | None = None) -> AbstractContextManager["RayEngines"]:
        """Engines as this configuration wants them, which outlive the context."""
        wanted = _started_with(config)
        if self._suit != wanted:
            self._held.close()
            self._suit = None
            self._logs.mkdir(parents=True, exist_ok=True)
            self._engines = self._held.enter_context(self._open_engines(config, self._logs))
            self._suit = wanted
        return nullcontext(self._engines)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._held.close()


def _started_with(config: Config) -> Any:
    """What of a configuration a Ray and its engines are started with."""
    train = config.train
    return config.engine, config.ray, config.generate, train.num_workers, train.cpus_per_worker
