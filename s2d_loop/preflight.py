"""Everything about a run that can be found wrong before anything is started.

`check` reads configuration, model and data, writes nothing, and raises BadInputError with all that it
found.  `s2d check` prints the result; `s2d run` goes on with it.
"""

import json
import os
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from s2d_loop.commits import path_of
from s2d_loop.config import Config, TaskConfig
from s2d_loop.curate.language import check_languages
from s2d_loop.errors import BadInputError
from s2d_loop.evaluate.enough import hopeless, thin
from s2d_loop.evaluate.gate import looks_of
from s2d_loop.formats.base import excerpt
from s2d_loop.paths import resolve
from s2d_loop.plan import distillation_plans
from s2d_loop.records import Weights
from s2d_loop.room import require_free
from s2d_loop.sources import Source, open_source, read_canaries, read_general, read_heldout
from s2d_loop.store import Store, open_store
from s2d_loop.system2.registry import load_method
from s2d_loop.tasks.data import is_data_task
from s2d_loop.tasks.registry import load_task

_FIRST_ROWS = 64


@dataclass(frozen=True, slots=True)
class Checked:
    """What a run stands on, found in order."""

    store: Store
    start: Weights
    weights_dir: Path
    sources: tuple[Source, ...]
    heldout: dict[str, Counter[str]]
    """How many held-out inputs each task has, by class."""


def check(config: Config) -> Checked:
    """Open all that a run needs.

    Raises:
        BadInputError: with every problem found, a line each.
    """
    problems: list[str] = []
    with _collecting(problems):
        model = model_path(config.model.path)
    with _collecting(problems):
        _check_parallel_sizes(config, resolve(config.model.path))
    if cluster_address(config) is None:
        with _collecting(problems):
            _check_this_machine(config)
    sources: list[Source] = []
    for each in config.sources:
        with _collecting(problems):
            source = open_source(each)
            # Reading from the start, without keeping a cursor: a source that holds nothing readable says so.
            source.read(None, _FIRST_ROWS)
            sources.append(source)
    twice = [name for name, count in Counter(s.name for s in sources).items() if count > 1]
    if twice:
        problems.append(f"sources: two are named {twice[0]!r}; give one of them another `name`")
    heldout: dict[str, Counter[str]] = {}
    for name, task in config.tasks.items():
        with _collecting(problems, f"tasks.{name}."):
            load_method(task.method.name, task.method.options)
        with _collecting(problems, f"tasks.{name}."):
            one = task.system1_method
            load_method(one.name, one.options, key="system1_method")
        with _collecting(problems, f"tasks.{name}."):
            load_task(task.parser, task.curate.perturbations)
        with _collecting(problems, f"tasks.{name}."):
            check_languages(task.curate.languages)
        with _collecting(problems, f"tasks.{name}.heldout: "):
            heldout[name] = _check_heldout(name, task, config.evaluate.system2_every is None)
    for name, canaries in config.canaries.items():
        with _collecting(problems):
            read_canaries(name, canaries)
    if config.evaluate.general is not None:
        with _collecting(problems):
            read_general(config.evaluate.general)
    with _collecting(problems):
        check_recorded(config)
    with _collecting(problems):
        store = open_store(config.run.dir)
        begun = store.read(path_of(1))  # a bucket answers, or its message says why it doesn't
        if begun is None:
            problems += hopeless(config.gate, config.run.iterations, heldout)
        for folder in (store.local_path("data"), config.run.weights_dir):
            if folder is not None:
                require_free(Path(folder).expanduser().absolute(), config.run.min_free_gb)
    if problems:
        raise BadInputError("\n".join(problems))
    # Imported late: digests are taken with the trainer's own function.
    from s2d_loop.weights import FOLDER, weights_digest

    weights_dir = Path(config.run.weights_dir or store.local_path(FOLDER) or "").expanduser().absolute()
    return Checked(store, Weights(model, weights_digest(model)), weights_dir, tuple(sources), heldout)


@contextmanager
def _collecting(problems: list[str], prefix: str = "") -> Iterator[None]:
    try:
        yield
    except BadInputError as error:
        problems.append(f"{prefix}{error}")


def model_path(path: str) -> str:
    """The local directory of a model: a directory, the testbed's, or a hub model fetched once.

    Raises:
        BadInputError: it isn't there, or isn't a safetensors model with a tokenizer.
    """
    local = Path(resolve(path)).expanduser().absolute()
    if not local.exists():
        looks_local = path.startswith((".", "/", "~")) or path.count("/") != 1 or "://" in path
        if looks_local:
            raise BadInputError(f"model.path: there is no directory {str(local)!r}")
        local = Path(_fetch(path))
    for name, what in (("config.json", "a configuration"), ("tokenizer_config.json", "a tokenizer")):
        if not (local / name).is_file():
            raise BadInputError(f"model.path: {local} has no {name}: a Hugging Face model needs {what}")
    if not any(local.glob("*.safetensors")):
        raise BadInputError(f"model.path: {local} holds no .safetensors; other weight formats are not loaded")
    return str(local)


def _fetch(name: str) -> str:
    from huggingface_hub import snapshot_download

    try:
        return str(
            snapshot_download(name, ignore_patterns=["*.bin", "*.pt", "*.pth", "*.gguf", "original/*"])
        )
    except Exception as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise BadInputError(
            f"model.path: {name!r} is no directory here and could not be fetched from the hub: {reason}"
        ) from error


def _check_parallel_sizes(config: Config, path: str) -> None:
    """Heads and layers have to divide; vLLM says so too, but a minute later."""
    file = Path(path) / "config.json"
    if not file.is_file():
        return
    model: dict[str, Any] = json.loads(file.read_text())
    model = model.get("text_config", model)
    tensor, pipeline = config.engine.tensor_parallel_size, config.engine.pipeline_parallel_size
    heads = model.get("num_attention_heads")
    if heads and heads % tensor:
        sizes = ", ".join(str(n) for n in range(1, heads + 1) if heads % n == 0)
        raise BadInputError(
            f"engine.tensor_parallel_size: {tensor} doesn't divide the model's {heads} heads (use one of {sizes})"
        )
    layers = model.get("num_hidden_layers")
    if layers and pipeline > layers:
        raise BadInputError(
            f"engine.pipeline_parallel_size: {pipeline} stages, but the model has {layers} layers"
        )


def _check_heldout(name: str, task: TaskConfig, needs_references: bool) -> Counter[str]:
    """A reference that the parser can't read could never be matched, and would look like a wrong answer."""
    items = read_heldout(task.heldout, name)
    if needs_references and (without := [i for i in items if i.reference is None]):
        raise BadInputError(
            f"{task.heldout.path}: {len(without)} inputs have no reference, and with evaluate.system2_every: null "
            f"nothing votes in its place: {without[0].input.id} is the first of them"
        )
    parser = load_task(task.parser)
    bad = [
        i
        for i in items
        if i.reference is not None and not parser.score(parser.parse(i.reference), i.reference)
    ]
    if bad:
        raise BadInputError(
            f"{task.heldout.path}: {len(bad)} references are no answers of the task {task.parser!r}, "
            f"such as {bad[0].reference!r} of {bad[0].input.id}; name another column (`reference:`) or parser"
        )
    return Counter(each.category for each in items)


def check_recorded(config: Config) -> None:
    """A recording that no program asks for, or that lacks a whole step, would drop every input.

    Raises:
        BadInputError: with every problem found, a line each.
    """
    plans = distillation_plans(config)
    problems = [
        f"tasks.{name}.method.recorded_steps: {plan.method!r} has no record of step {step!r} "
        f"(generate.recorded has: {', '.join(plan.recorded.recorded_steps) or 'none'})"
        for name, plan in plans.items()
        if plan.recorded is not None
        for step in sorted(plan.recorded.steps - plan.recorded.recorded_steps)
    ]
    if config.generate.recorded and all(plan.recorded is None for plan in plans.values()):
        run = ", ".join(sorted({repr(plan.method) for plan in plans.values()}))
        problems.append(f"generate.recorded: there are no records of the programs that run ({run})")
    if problems:
        raise BadInputError("\n".join(problems))


def for_workers(config: Config) -> Config:
    """The same configuration for processes that run in another directory: files are named in full."""

    def located(task: TaskConfig) -> TaskConfig:
        if not is_data_task(task.parser):
            return task
        return task.model_copy(update={"parser": str(Path(task.parser).expanduser().absolute())})

    return config.model_copy(update={"tasks": {name: located(task) for name, task in config.tasks.items()}})


def cluster_address(config: Config) -> str | None:
    """The Ray cluster a run goes to; None is a Ray started on this machine."""
    return config.ray.address or os.environ.get("RAY_ADDRESS")


def _check_this_machine(config: Config) -> None:
    """Engines and trainer take turns at this machine's cores, so each must fit alone."""
    if gpus_here():
        return  # placed by Ray, which knows them
    engine, train, cores = config.engine, config.train, len(os.sched_getaffinity(0))
    ranks = engine.tensor_parallel_size * engine.pipeline_parallel_size
    wanted = engine.num_engines * max(engine.cpus_per_engine, ranks)
    if wanted > cores:
        raise BadInputError(
            f"engine: wanted {wanted} CPU cores ({engine.num_engines} engines x tensor_parallel_size "
            f"{engine.tensor_parallel_size} x pipeline_parallel_size {engine.pipeline_parallel_size}, "
            f"cpus_per_engine {engine.cpus_per_engine}), available {cores} and no GPU: "
            "lower these, or name a cluster (ray.address)"
        )
    if train.num_workers * train.cpus_per_worker > cores or train.gpus_per_worker:
        gpus = f" and {train.num_workers * train.gpus_per_worker:g} GPUs" if train.gpus_per_worker else ""
        raise BadInputError(
            f"train: wanted {train.num_workers * train.cpus_per_worker} CPU cores{gpus} ({train.num_workers} "
            f"workers), available {cores} cores and no GPU: lower num_workers, cpus_per_worker or "
            "gpus_per_worker, or name a cluster (ray.address)"
        )


def gpus_here() -> bool:
    """Whether this machine has an NVIDIA GPU, without importing torch."""
    return Path("/proc/driver/nvidia/gpus").is_dir()


def describe(config: Config, checked: Checked, echo: Callable[[str], None]) -> None:
    """What would run and what it needs, for people."""
    engine, train = config.engine, config.train
    ranks = engine.tensor_parallel_size * engine.pipeline_parallel_size
    plans = distillation_plans(config)
    echo(f"model     {checked.start.path} (digest {checked.start.digest[:12]})")
    for given, source in zip(config.sources, checked.sources, strict=True):
        first = source.read(None, _FIRST_ROWS)
        such = f", such as {excerpt(first.inputs[0].question)!r}" if first.inputs else ""
        echo(f"source    {source.name} ({given.type} {given.path}) -> {', '.join(source.tasks)}")
        echo(
            f"          {source.mapping}; {len(first.inputs)} inputs in its first {len(first.rows)} rows{such}"
        )
    for name, canary in config.canaries.items():
        echo(f"canaries  {name}: {len(read_canaries(name, canary))} of {canary.task}, never kept")
    for name, task in config.tasks.items():
        method = task.method
        what = (
            f"{method.name} x {method.samples}" if task.distill == "system2" else f"direct x {method.samples}"
        )
        echo(
            f"task      {name}: {what}, {task.curate.filter} filter, {checked.heldout[name].total()} held-out inputs"
        )
        recorded = plans[name].recorded
        if recorded is not None:
            echo(f"recorded  {name}: {', '.join(sorted(recorded.steps))} ({len(recorded.records)} calls)")
    echo(
        f"engines   {engine.num_engines} x (tensor {engine.tensor_parallel_size} x pipeline "
        f"{engine.pipeline_parallel_size}): {engine.num_engines * ranks} GPUs, or "
        f"{engine.num_engines * engine.cpus_per_engine} CPUs where there is no GPU"
    )
    echo(
        f"training  {train.num_workers} workers, ZeRO {train.zero_stage}, {train.steps} steps of "
        f"{train.tokens_per_step} tokens from the {train.start} weights"
    )
    echo(
        f"rounds    {config.run.iterations or 'without an end'}, each with up to {config.run.inputs_per_iteration} inputs a task"
    )
    echo(f"gate      {_gate(config)}")
    for warning in thin(config.gate, config.run.iterations, checked.heldout):
        echo(f"          {warning}")
    echo(f"run       {checked.store.root}")


def _gate(config: Config) -> str:
    gate = config.gate
    if gate.margin >= 1:
        return "promotes whatever comes (gate.margin 1)"
    looks = looks_of(gate, config.run.iterations)
    done = "promotes" if gate.promote == "auto" else "asks a person to promote"
    return (
        f"{done} what is shown to be no worse than {gate.margin:.1%} on every task ({gate.class_margin:.1%} on "
        f"classes), at {gate.level:g} over {looks:,} decisions"
    )
