"""The driver of a case, in a process of its own: `python -m benchmarks.faults.driver SETTINGS.json`.

`real` is `s2d run` itself.  `scripted` runs the same loop, ledger, sources and gate over a scripted model
and trainer in this process; `ray` runs them on Ray's dataflow, the engine pool and scripted engines in
actors.  All of them are attended as a real run is.
"""

import contextlib
import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

from benchmarks.faults.hold import Hold, HoldingStore
from s2d_loop import driver
from s2d_loop.attend import Attended
from s2d_loop.config import Config, load
from s2d_loop.dataflow import ClientFactory, LocalDataflow, RayDataflow
from s2d_loop.errors import ExitCode, S2DError, TrainError
from s2d_loop.preflight import Checked, check
from s2d_loop.ray_session import node_is_drained, ray_session
from s2d_loop.records import Weights
from s2d_loop.report.progress import progress
from s2d_loop.sources import open_source
from s2d_loop.stages.run import Engines
from s2d_loop.train import weights_digest
from s2d_loop.train.fit import explain
from s2d_loop.train.job import TrainJob, TrainResult
from tests.support.scripted import ScriptedEngines, ScriptedTrainer, letters_config


class SteppingTrainer(ScriptedTrainer):
    """Goes step by step, and fails as the real one does when it can't write."""

    def train(self, job: TrainJob) -> TrainResult:
        for step in range(1, job.config.steps + 1):
            if job.on_progress is not None:
                job.on_progress(step, job.config.steps, 1.0, 0)
        try:
            return super().train(job)
        except OSError as error:
            raise TrainError(explain(str(error), job.scratch_dir)) from error


def main() -> ExitCode:
    settings = json.loads(Path(sys.argv[1]).read_text())
    hold = Hold.read(settings["hold"])
    if settings["kind"] == "real":
        config = load(settings["config"], settings["overrides"])
        parts: driver.OpenParts = partial(driver.on_ray, driver.engines_in)
        return driver.drive(config, check(config), progress(), held(parts, hold), node_is_drained)
    config = letters_config(Path(settings["inputs"]), **settings["changes"])
    if "sources" in settings:
        config = Config.model_validate({**config.model_dump(), "sources": settings["sources"]})
    parts = partial(on_ray, hold) if settings["kind"] == "ray" else in_process
    return driver.drive(config, checked(config, hold), progress(), held(parts, hold))


def held(open_parts: driver.OpenParts, hold: Hold | None) -> driver.OpenParts:
    """The same parts, in a run that holds."""
    if hold is None:
        return open_parts

    @contextlib.contextmanager
    def opened(config: Config, watched: Attended) -> Iterator[driver.Parts]:
        safe_point, left = watched.safe_point, hold.skip

        def both() -> None:
            nonlocal left
            if hold.here() and left > 0:
                left -= 1
            elif hold.at == "safe point":
                hold.wait()
            safe_point()

        watched.safe_point = both
        with open_parts(config, watched) as parts:
            engines = parts.engines if hold.at == "safe point" else HoldingEngines(parts.engines, hold)
            yield replace(parts, engines=engines)

    return opened


class HoldingEngines:
    """Engines that hold before they are given a stage's calls."""

    def __init__(self, engines: Engines, hold: Hold) -> None:
        self._engines = engines
        self._hold = hold

    @property
    def started(self) -> bool:
        return self._engines.started

    def serve(self, weights: Weights) -> None:
        self._engines.serve(weights)

    def client_factory(self, num_clients: int = 1) -> ClientFactory:
        self._hold.wait()
        return self._engines.client_factory(num_clients)


def checked(config: Config, hold: Hold | None) -> Checked:
    """What `preflight.check` would find, for a model that no engine could load."""
    start = Weights(config.model.path, weights_digest(config.model.path))
    sources = tuple(open_source(each) for each in config.sources)
    return Checked(HoldingStore(config.run.dir, hold), start, sources, {})


@contextlib.contextmanager
def in_process(config: Config, _: Attended) -> Iterator[driver.Parts]:
    yield driver.Parts(LocalDataflow(config.generate), ScriptedEngines(), SteppingTrainer())


@contextlib.contextmanager
def on_ray(hold: Hold | None, config: Config, watched: Attended) -> Iterator[driver.Parts]:
    from benchmarks.faults.engine import RankedEngine
    from s2d_loop.engine.ray_engines import RayEngines

    orders = hold.orders if hold is not None else watched.folder
    with (
        ray_session(config),
        RayEngines(config.engine, log_dir=orders, engine_class=RankedEngine) as engines,
    ):
        watched.describe.append(engines.describe)
        yield driver.Parts(RayDataflow(config.generate), engines, SteppingTrainer())


if __name__ == "__main__":
    try:
        code = main()
    except S2DError as error:
        print(f"s2d: {error}", file=sys.stderr)
        code = error.exit_code
    except KeyboardInterrupt:
        code = ExitCode.INTERRUPTED
    sys.exit(code)
