"""Puts a real run together: store, ledger, Ray, engines and trainer; and takes it apart again."""

import contextlib
import json
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from s2d_loop.attend import Attended, attended
from s2d_loop.chat.loading import chat_settings
from s2d_loop.clock import SystemClock
from s2d_loop.config import Config, SourceConfig, difference, resolved_yaml
from s2d_loop.dataflow import Dataflow, RayDataflow
from s2d_loop.errors import BadInputError, ExitCode
from s2d_loop.evaluate.enough import Classes, thin
from s2d_loop.evaluate.references import references
from s2d_loop.evaluate.suite import SYSTEM1, figures
from s2d_loop.ledger import Ledger
from s2d_loop.loop import run_loop
from s2d_loop.plan import system1_plans, system2_plans
from s2d_loop.preflight import Checked, check, for_workers, model_path
from s2d_loop.ray_session import node_is_drained, ray_session
from s2d_loop.records import Generation, HeldOut
from s2d_loop.replay import forgotten
from s2d_loop.report.progress import Progress
from s2d_loop.retention import keep_newest
from s2d_loop.sources import read_heldout
from s2d_loop.stages import Run
from s2d_loop.stages.engines import say
from s2d_loop.stages.evaluate import score_batch
from s2d_loop.stages.run import Engines, Trainer
from s2d_loop.stop import terminating
from s2d_loop.versions import collapsed
from s2d_loop.weights import local_folder

if TYPE_CHECKING:
    from s2d_loop.engine.ray_engines import RayEngines

_OPERATION = {
    "run": {"dir", "weights_dir", "min_free_gb", "stop_within_s", "no_progress_s"},
    "engine": {
        "start_timeout_s",
        "call_timeout_s",
        "refresh_timeout_s",
        "max_retries",
        "max_restarts",
        "max_bad_inputs",
    },
    "train": {"start_timeout_s", "timeout_s", "max_failures", "checkpoint_every"},
    # Which model it is, the digest says, wherever it lies.
    "model": {"path"},
}
"""Settings that may change from one start of a run to the next: limits, and where things lie."""

GO_ON = "To go on all the same, say from which version: `s2d rollback RUN VERSION`, then run again."
OpenEngines = Callable[[Config, Path], contextlib.AbstractContextManager["RayEngines"]]
"""From a configuration and a folder for logs to engines, on a Ray that this process is connected to."""


@dataclass(frozen=True, slots=True)
class Parts:
    """What does a run's work."""

    dataflow: Dataflow
    engines: Engines
    trainer: Trainer


OpenParts = Callable[[Config, Attended], contextlib.AbstractContextManager[Parts]]


@contextlib.contextmanager
def engines_in(config: Config, logs: Path) -> Iterator["RayEngines"]:
    """Engines whose logs go to `logs`; they and a Ray started here end with the context."""
    with ray_session(config):
        # Imported late: these take seconds, and a bad configuration should not cost them.
        from s2d_loop.engine.ray_engines import RayEngines

        with RayEngines(
            config.engine, log_dir=str(logs), chat=chat_settings(config.model, model_path(config.model.path))
        ) as engines:
            yield engines


def run(config: Config, progress: Progress, open_engines: OpenEngines = engines_in) -> ExitCode:
    """Run the loop to its end, or from where an earlier driver left it.

    Args:
        open_engines: where its engines come from; some outlive a run.

    Raises:
        BadInputError: nothing was started; the message says what to change.
        S2DError: the run failed; what was committed is kept.
        StoppedError: it was asked to stop.
        StalledError: it made no progress for `run.no_progress_s`.
    """
    return drive(config, check(config), progress, partial(on_ray, open_engines), node_is_drained)


def drive(
    config: Config,
    checked: Checked,
    progress: Progress,
    open_parts: OpenParts,
    drained: Callable[[], bool] = lambda: False,
) -> ExitCode:
    """`run` over whatever parts; they are opened once the run holds its lease and is attended."""
    ledger = begin(config, checked)
    if finished := ledger.last("finished"):
        progress.note(f"{checked.store.root} is finished: nothing to do.")
        return ExitCode.HELD if finished.facts["held"] else ExitCode.DONE
    if stopped := collapsed(ledger):
        progress.note(f"{stopped.facts['sentence']} {GO_ON}")
        return ExitCode.COLLAPSED
    say_where_it_stands(ledger, config, progress, checked.heldout)
    ledger.take_lease()
    weights_dir = local_folder(config.run.weights_dir, ledger)
    logs = Path(ledger.store.local_path("logs") or weights_dir / "logs")
    keep_newest(logs, config.retention.logs - 1)
    clock = SystemClock()
    with (
        attended(config.run, ledger, clock, progress, logs, drained) as watched,
        open_parts(config, watched) as parts,
    ):
        watched.progress.run_started(Path(checked.store.root).name, config.run.iterations)
        return run_loop(
            Run(
                config=for_workers(config),
                ledger=ledger,
                clock=clock,
                dataflow=parts.dataflow,
                engines=parts.engines,
                trainer=parts.trainer,
                progress=watched.progress,
                sources=checked.sources,
                start=checked.start,
                weights_dir=weights_dir,
                control=checked.rehearsal.control if checked.rehearsal else None,
                safe_point=watched.safe_point,
            )
        )


@contextlib.contextmanager
def on_ray(open_engines: OpenEngines, config: Config, watched: Attended) -> Iterator[Parts]:
    """The parts of a real run."""
    with open_engines(config, watched.folder) as engines:
        from s2d_loop.engine import placement
        from s2d_loop.train.trainer import RayTrainer

        placement.check_fits(config.engine, placement.cluster_nodes(), config.train)
        watched.describe.append(engines.describe)
        yield Parts(RayDataflow(config.generate), engines, RayTrainer(watched.folder))


def evaluate_model(
    config: Config, model: str, task: str, system: str, samples: int, progress: Progress
) -> dict[str, Any]:
    """Let one system of a model answer a task's held-out inputs; returns accuracy and #Tokens.

    Raises:
        BadInputError: no such task or model.
    """
    if task not in config.tasks:
        raise BadInputError(
            f"--task: no task {task!r} in the configuration (there are: {', '.join(config.tasks)})"
        )
    wanted = {
        "model": config.model.model_copy(update={"path": model}),
        "tasks": {task: config.tasks[task]},
        "sources": [each for each in config.sources if task in each.tasks],
        "canaries": {},
        "evaluate": config.evaluate.model_copy(update={"system2_samples": samples, "general": None}),
    }
    config = config.model_copy(update=wanted)
    checked = check(config)
    with engines_of(config, progress) as engines:
        engines.serve(checked.start)
        progress.run_started(model, 0)
        items = {each.input.id: each for each in read_heldout(config.tasks[task].heldout, task)}
        said = measure(engines, config, items, system, progress)
        return figures(score_batch(config, system, said, references(items.values())))


@contextlib.contextmanager
def engines_of(config: Config, progress: Progress) -> Iterator["RayEngines"]:
    """Engines outside of a run, for measuring; they and a Ray started here end with the context."""
    with (
        tempfile.TemporaryDirectory() as logs,
        terminating(),
        engines_in(config, Path(logs)) as engines,
    ):
        progress.note("Starting the engine; this takes about a minute.")
        yield engines


def measure(
    engines: "RayEngines", config: Config, items: Mapping[str, HeldOut], system: str, progress: Progress
) -> list[Generation]:
    """What one system of the served weights says to held-out inputs.

    Raises:
        S2DError: an input failed.
    """
    config = for_workers(config)
    plans = system1_plans(config) if system == SYSTEM1 else system2_plans(config)
    clients = engines.client_factory(config.generate.num_runners)
    said: list[Generation] = []
    with progress.stage(0, "evaluate", len(items)) as stage:
        for batch in say(items, partial(RayDataflow(config.generate).generate, plans=plans, clients=clients)):
            said += batch
            stage.advance(len(batch))
    return said


def begin(config: Config, checked: Checked) -> Ledger:
    """The run's ledger: an existing one if it is of this configuration, else a new one.

    Raises:
        BadInputError: the run in this directory has another configuration.
    """
    ledger = Ledger(checked.store, SystemClock())
    same_config(ledger, config, checked)
    if not ledger.last("run"):
        ledger.append("run", facts=_facts(config, checked))
    return ledger


def same_config(ledger: Ledger, config: Config, checked: Checked) -> None:
    """Raises BadInputError when the run in this directory was begun with another configuration."""
    begun = ledger.last("run")
    if not begun:
        return
    gone = forgotten(ledger)
    if back := [each.source_name for each in config.sources if each.source_name in gone]:
        raise BadInputError(
            f"{checked.store.root} has forgotten {', '.join(back)}: take it out of `sources`; "
            "the rest is redone without it"
        )
    before, now = _without_operation(_completed(begun.facts["config"])), _without_operation(_config(config))
    before["sources"] = [each for each in before["sources"] if _name(each) not in gone]
    changed = difference(before, now)
    if begun.facts["start"] != checked.start.digest:
        changed.append(
            f"model.path: the files in {checked.start.path} changed "
            f"({begun.facts['start'][:12]} -> {checked.start.digest[:12]})"
        )
    if changed:
        raise BadInputError(
            f"{checked.store.root} was begun with another configuration:\n"
            + "\n".join(f"  {line}" for line in changed)
            + "\nGo on with the old one, or set run.dir to a new directory."
        )


def _without_operation(config: Mapping[str, Any]) -> dict[str, Any]:
    """Without what changes nothing of what a run makes: a new cluster and the root are enough to go on."""
    kept = {
        section: {key: value for key, value in config[section].items() if key not in keys}
        for section, keys in _OPERATION.items()
    }
    return {**config, **kept, "ray": None}


def _name(source: Mapping[str, Any]) -> str:
    return SourceConfig.model_validate_json(json.dumps(source)).source_name


def _completed(begun: Mapping[str, Any]) -> dict[str, Any]:
    """A run's configuration with the defaults of settings that did not exist when it was begun."""
    try:
        return _config(Config.model_validate_json(json.dumps(begun)))
    except ValidationError:
        return dict(begun)  # a setting has gone since: the difference names it


def say_where_it_stands(
    ledger: Ledger, config: Config, progress: Progress, heldout: Mapping[str, Classes]
) -> None:
    """One line for a resumed run; for a new one, what its held-out inputs are too few for."""
    stages = [r for r in ledger.live if r.kind == "stage"]
    if not stages:
        for warning in thin(config.gate, config.run.iterations, heldout):
            progress.note(warning)
        return
    last = stages[-1]
    claimed = sum(r.counts.out for r in ledger.stages("intake"))
    progress.note(
        f"Resuming: {len(stages)} stages committed, the last is {last.stage} of round {last.iteration} "
        f"of {config.run.iterations or 'a run without an end'}; {claimed} inputs claimed so far."
    )


def _config(config: Config) -> dict[str, Any]:
    plain: dict[str, Any] = json.loads(config.model_dump_json())
    return plain


def _facts(config: Config, checked: Checked) -> dict[str, Any]:
    checked.store.remove("config.yaml")
    # For people; where two drivers begin at once, one of them has written it.
    with contextlib.suppress(FileExistsError), checked.store.writing("config.yaml") as file:
        file.write(resolved_yaml(config).encode())
    return {
        "config": _config(config),
        "sources": {source.name: list(source.tasks) for source in checked.sources},
        "start": checked.start.digest,
        "model": checked.start.path,
    }
