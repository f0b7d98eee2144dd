"""One run of a program on one input, with every call (`s2d try`)."""

import asyncio
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Any

from s2d_loop.config import Config, load
from s2d_loop.driver import engines_of
from s2d_loop.errors import BadInputError, NotRecordedError, S2DError
from s2d_loop.generate import CallModel, RecordingLLM
from s2d_loop.plan import Plan, system2_plans
from s2d_loop.preflight import model_path
from s2d_loop.recorded import read_records, recording_of
from s2d_loop.records import Call, Input, Message, Reply, Request, Sample, Weights, content_hash
from s2d_loop.report.console import Terminal
from s2d_loop.report.progress import Progress
from s2d_loop.report.show import print_calls
from s2d_loop.scaffold import TEMPLATES
from s2d_loop.system2.base import as_samples
from s2d_loop.system2.registry import load_method
from s2d_loop.tasks.registry import load_task

Engines = Callable[[Config, Progress], AbstractContextManager[Any]]


@dataclass(frozen=True, slots=True)
class Tried:
    """What a program did: its calls, and what it returned or why it failed."""

    method: str
    calls: tuple[Call, ...]
    samples: tuple[Sample, ...]
    answers: tuple[str | None, ...]
    """What the task reads in each sample."""
    error: str | None


def try_method(
    method: str,
    text: str,
    progress: Progress,
    *,
    config_path: str | None = None,
    overrides: list[str] | None = None,
    task: str | None = None,
    model: str | None = None,
    recorded: str | None = None,
    engines: Engines = engines_of,
) -> Tried:
    """Run a program once.

    Args:
        config_path: the engine, and the task whose options and sampling are used.
        task: which task of it; the first that runs this method unless given.
        model: other weights than the configuration's.
        recorded: a recording that answers every call; no engine is started.

    Raises:
        BadInputError: no such method, task, model or file.
    """
    config = load(config_path or str(TEMPLATES / "try.yaml"), overrides or [])
    if model is not None:
        config = config.model_copy(update={"model": config.model.model_copy(update={"path": model})})
    plan = _plan(config, method, task, recorded)
    messages = (Message("user", text),)
    x = Input("try", plan.task, messages, content_hash(messages))
    if recorded is not None:
        return asyncio.run(_run(x, plan, _no_model))
    # Imported late: digests are taken with the trainer's own function.
    from s2d_loop.weights import weights_digest

    path = model_path(config.model.path)
    with engines(config, progress) as started:
        started.serve(Weights(path, weights_digest(path)))
        return asyncio.run(_with_client(x, plan, started.client_factory()))


def _plan(config: Config, method: str, task: str | None, recorded: str | None) -> Plan:
    plans = system2_plans(config)
    if task is not None and task not in plans:
        raise BadInputError(f"--task: no task {task!r} in the configuration (there are: {', '.join(plans)})")
    running = [name for name, plan in plans.items() if plan.method == method]
    chosen = task or next(iter([*running, *plans]))
    plan = plans[chosen]
    steps = config.tasks[chosen].method.recorded_steps
    if plan.method != method:
        plan, steps = replace(plan, method=method, options={}, steps={}), None
    load_method(method, plan.options)
    load_task(plan.parser)
    wanted = config.generate
    files = wanted.recorded if recorded is None else [recorded]
    records = read_records(files, model=wanted.recorded_model, weights=wanted.recorded_weights)
    recording = recording_of(records, method, steps)
    if recorded is not None and recording is None:
        have = ", ".join(sorted({record.program for record in records})) or "nothing"
        raise BadInputError(f"--recorded: {recorded} has no call of the program {method!r} (it has: {have})")
    return replace(plan, recorded=recording)


async def _run(x: Input, plan: Plan, call_model: CallModel) -> Tried:
    llm = RecordingLLM(x, plan, 0, call_model, {})
    samples: tuple[Sample, ...] = ()
    error = None
    try:
        samples = as_samples(await load_method(plan.method)(x, llm, **plan.options))
    except Exception as raised:
        # Whatever a program may do wrong is what somebody who tries it wants to see, after its calls.
        error = _said(raised)
    parser = load_task(plan.parser)
    answers = tuple(parser.parse(sample.text) if sample.finished else None for sample in samples)
    return Tried(plan.method, tuple(llm.calls), samples, answers, error)


async def _with_client(x: Input, plan: Plan, clients: Callable[[], Any]) -> Tried:
    client = clients()
    try:
        return await _run(x, plan, client.call)
    finally:
        await client.close()


async def _no_model(request: Request) -> Reply:  # noqa: ARG001
    raise NotRecordedError("this step is not in the recording, and with --recorded no engine is started")


def _said(error: Exception) -> str:
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    return str(error) if isinstance(error, S2DError) else f"{type(error).__name__}: {error}"


def show(console: Terminal, tried: Tried) -> None:
    """Every call, and the outcome."""
    print_calls(console, tried.calls)
    tokens = sum(call.num_tokens for call in tried.calls)
    console.print(f"\n{tried.method}: {len(tried.calls)} calls, {tokens:,} tokens", style="bold")
    for number, (sample, answer) in enumerate(zip(tried.samples, tried.answers, strict=True)):
        read = (
            "cut off"
            if not sample.finished
            else "no answer in it"
            if answer is None
            else f"read as {answer!r}"
        )
        console.print(f"answer {number}: {sample.text}  ({read})")
    if tried.error is not None:
        console.print(f"failed: {tried.error}", style="red")
