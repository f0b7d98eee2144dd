"""Everything about a run that can be found wrong before anything is started.

`check` reads configuration, model and data, writes nothing, and raises BadInputError with all that it
found.  `s2d check` prints the result; `s2d run` goes on with it.
"""

import json
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from s2d_loop.commits import path_of
from s2d_loop.config import Config, TaskConfig
from s2d_loop.curate.language import check_languages
from s2d_loop.engine.pretrained import read_config
from s2d_loop.engine.settings import context_of
from s2d_loop.errors import BadInputError
from s2d_loop.evaluate.enough import hopeless, thin
from s2d_loop.evaluate.gate import looks_of
from s2d_loop.formats.base import excerpt
from s2d_loop.paths import resolve
from s2d_loop.plan import distillation_plans
from s2d_loop.records import HeldOut, Weights
from s2d_loop.rehearse import Rehearsal, Rows, rehearse
from s2d_loop.room import require_free
from s2d_loop.sources import Source, open_source, read_canaries, read_general, read_heldout
from s2d_loop.sources.heldout import reference_note
from s2d_loop.store import Store, open_store
from s2d_loop.system2.registry import load_method
from s2d_loop.tasks.base import Task
from s2d_loop.tasks.data import is_data_task
from s2d_loop.tasks.pairwise import votes
from s2d_loop.tasks.registry import load_task
from s2d_loop.terminal import visible

if TYPE_CHECKING:
    from s2d_loop.train.start import StartReport

_FIRST_ROWS = 64
# Characters of a prompt that are shown from its beginning, and as many to its end.
_SHOWN = 800


@dataclass(frozen=True, slots=True)
class Checked:
    """What a run stands on, found in order."""

    store: Store
    start: Weights
    sources: tuple[Source, ...]
    heldout: dict[str, Counter[str]]
    """How many held-out inputs each task has, by class."""
    rehearsal: Rehearsal | None = None
    """What the model would be asked and trained on."""
    report: "StartReport | None" = None
    """What of the model would be trained."""


def check(config: Config, *, hash_weights: bool = True) -> Checked:
    """Open all that a run needs.

    Args:
        hash_weights: whether to take the digest of the weights, which reads them all.

    Raises:
        BadInputError: with every problem found, a line each.
    """
    problems: list[str] = []
    model = ""
    with _collecting(problems):
        model = model_path(config.model.path)
    with _collecting(problems):
        _check_parallel_sizes(config, resolve(config.model.path))
    if cluster_address(config) is None:
        with _collecting(problems):
            _check_this_machine(config)
    sources: list[Source] = []
    asked: list[Rows] = []
    for each in config.sources:
        with _collecting(problems):
            source = open_source(each)
            # Reading from the start, without keeping a cursor: a source that holds nothing readable says so.
            first = source.read(None, _FIRST_ROWS)
            sources.append(source)
            asked.append(Rows(f"sources.{source.name}", first.inputs, all_needed=False))
    twice = [name for name, count in Counter(s.name for s in sources).items() if count > 1]
    if twice:
        problems.append(f"sources: two are named {twice[0]!r}; give one of them another `name`")
    heldout: dict[str, list[HeldOut]] = {}
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
            asked.append(
                Rows(f"tasks.{name}.heldout", [item.input for item in heldout[name]], all_needed=True)
            )
    for name, canaries in config.canaries.items():
        with _collecting(problems):
            private = [x for canary in read_canaries(name, canaries) for x in canary.inputs]
            asked.append(Rows(f"canaries.{name}", private, all_needed=True))
    if config.evaluate.general is not None:
        with _collecting(problems):
            read_general(config.evaluate.general)
    with _collecting(problems):
        check_recorded(config)
    rehearsal = report = None
    if model:
        # Imported late: it takes seconds, which what is wrong above should not cost.
        from s2d_loop.train.start import check_start

        with _collecting(problems, "model.path: "):
            report = check_start(model, bf16=config.train.bf16, dropout_is_set=_asks_for_dropout(config))
        with _collecting(problems):
            rehearsal = _rehearse(config, model, asked, heldout)
            problems += rehearsal.problems
    classes = {name: Counter(item.category for item in items) for name, items in heldout.items()}
    with _collecting(problems):
        store = open_store(config.run.dir)
        begun = store.read(path_of(1))  # a bucket answers, or its message says why it doesn't
        if begun is None:
            problems += hopeless(config.gate, config.run.iterations, classes)
        for folder in (store.local_path("data"), config.run.weights_dir):
            if folder is not None:
                require_free(Path(folder).expanduser().absolute(), config.run.min_free_gb)
    if problems:
        raise BadInputError("\n".join(problems))
    # Imported late: digests are taken with the trainer's own function.
    from s2d_loop.weights import weights_digest

    digest = weights_digest(model) if hash_weights else ""
    return Checked(store, Weights(model, digest), tuple(sources), classes, rehearsal, report)


def _rehearse(
    config: Config, model: str, asked: list[Rows], heldout: Mapping[str, list[HeldOut]]
) -> Rehearsal:
    found = read_config(model)
    text = found.get("text_config", found)
    context = config.engine.max_model_len or context_of(model)
    return rehearse(config, model, context, asked, heldout, text.get("vocab_size"))


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
            snapshot_download(
                name, ignore_patterns=["*.bin", "*.pt", "*.pth", "*.gguf", "*.py", "original/*"]
            )
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


def _check_heldout(name: str, task: TaskConfig, needs_references: bool) -> list[HeldOut]:
    """A reference that the parser can't read could never be matched, and would look like a wrong answer."""
    items = read_heldout(task.heldout, name)
    if needs_references and (without := [i for i in items if i.reference is None]):
        raise BadInputError(
            f"{task.heldout.path}: {len(without)} inputs have no reference, and with evaluate.system2_every: null "
            f"nothing votes in its place: {without[0].input.id} is the first of them"
        )
    parser = load_task(task.parser)
    bad = [i for i in items if i.reference is not None and not _is_readable(task.parser, parser, i.reference)]
    if bad:
        raise BadInputError(
            f"{task.heldout.path}: {len(bad)} references are no answers of the task {task.parser!r}, "
            f"such as {bad[0].reference!r} of {bad[0].input.id}; name another column (`reference:`) or parser"
        )
    return items


def _is_readable(name: str, parser: Task, reference: str) -> bool:
    """Whether an answer could be right by it; a judge's may be several people's verdicts."""
    return bool(votes(reference)) if name == "pairwise" else parser.score(parser.parse(reference), reference)


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
    digest = f" (digest {checked.start.digest[:12]})" if checked.start.digest else ""
    echo(f"model     {checked.start.path}{digest}")
    for line in _started(checked.report):
        echo(line)
    for line in _rehearsed(checked.rehearsal):
        echo(line)
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
        if said := reference_note(task.heldout):
            echo(f"          {said}")
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


def _asks_for_dropout(config: Config) -> bool:
    """Whether a user set it: the default gives way where an architecture has none."""
    return "dropout" in config.train.model_fields_set and config.train.dropout > 0


def _started(report: "StartReport | None") -> Iterator[str]:
    if report is None:
        return
    yield (
        f"          {report.architecture}, {report.parameters:,} parameters of which {report.trained_parameters:,} "
        f"train, {report.weight_bytes / 2**30:,.3g} GiB; its context is {report.context_tokens:,} tokens"
    )
    for each in report.carried_over:
        yield f"          carried over as it is: {each}"
    for each in report.notes:
        yield f"          {each}"


def _rehearsed(rehearsal: Rehearsal | None) -> Iterator[str]:
    """System 1's prompts with a plausible answer, as the model reads them, and what else came of trying."""
    if rehearsal is None:
        return
    yield f"          stops at {', '.join(rehearsal.ends)}; thoughts: {rehearsal.parser}"
    for each in rehearsal.rows:
        yield f"prompt    {each.task}: {each.num_prompt_tokens} tokens, an answer of {each.num_answer_tokens}; what is trained:"
        yield from _framed(f"{each.prompt}\u25b6{each.answer}\u25c0{each.end}")
    for note in rehearsal.notes:
        yield f"note      {note}"


def _framed(text: str) -> Iterator[str]:
    """A text's lines behind a bar, the middle of a long one left out; the answer stands between \u25b6 and \u25c0."""
    if len(text) > 2 * _SHOWN:
        text = f"{text[:_SHOWN]} ...\n... {text[-_SHOWN:]}"
    return (f"          | {visible(line)}" for line in text.split("\n"))


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
