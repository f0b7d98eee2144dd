"""The driver of a case, in a process of its own: `python -m benchmarks.faults.driver SETTINGS.json`.

`real` is `s2d run` itself.  `scripted` runs the same loop, ledger, sources and gate over a scripted model
and trainer in this process; `ray` runs them on Ray's dataflow, the engine pool and scripted engines in
actors.  All of them are attended as a real run is.
"""

import contextlib
import json
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.faults.hold import Hold, HoldingStore
from s2d_loop import driver
from s2d_loop.attend import Attended
from s2d_loop.config import Config, load
from s2d_loop.dataflow import LocalDataflow, RayDataflow
from s2d_loop.errors import ExitCode, S2DError, TrainError
from s2d_loop.preflight import Checked, check
from s2d_loop.ray_session import node_is_drained, ray_session
from s2d_loop.records import Weights
from s2d_loop.report.progress import progress
from s2d_loop.sources import open_source
from s2d_loop.train import weights_digest
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
            raise TrainError(f"the export can't be written: {error}") from error


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
    """The same parts, in a run whose safe points hold first."""

    @contextlib.contextmanager
    def opened(config: Config, watched: Attended) -> Iterator[driver.Parts]:
        safe_point = watched.safe_point

        def both() -> None:
            if hold is not None:
                hold.wait()
            safe_point()

        watched.safe_point = both
        with open_parts(config, watched) as parts:
            yield parts

    return opened


def checked(config: Config, hold: Hold | None) -> Checked:
    """What `preflight.check` would find, for a model that no engine could load."""
    start = Weights(config.model.path, weights_digest(config.model.path))
    sources = tuple(open_source(each) for each in config.sources)
    weights = Path(config.run.dir).absolute() / "weights"
    return Checked(HoldingStore(config.run.dir, hold), start, weights, sources, {})


@contextlib.contextmanager
def in_process(config: Config, _: Attended) -> Iterator[driver.Parts]:
    yield driver.Parts(LocalDataflow(config.generate), ScriptedEngines(), SteppingTrainer())


@contextlib.contextmanager
def on_ray(hold: Hold | None, config: Config, watched: Attended) -> Iterator[driver.Parts]:
    from benchmarks.faults.engine import RankedEngine
    from s2d_loop.engine.ray_engines import RayEngines

    class HoldingEngines(RayEngines):
        def client_factory(self, num_clients: int = 1) -> Any:
            if hold is not None:
                hold.wait()
            return super().client_factory(num_clients)

    orders = hold.orders if hold is not None else watched.folder
    with (
        ray_session(config),
        HoldingEngines(config.engine, log_dir=orders, engine_class=RankedEngine) as engines,
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
