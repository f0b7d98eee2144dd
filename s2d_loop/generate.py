"""One input's way through the model: the System 2 program's samples, its twins', and System 1's.

Called by `dataflow`, which runs many inputs at once in runner actors, and by tests in one process.
A program sees the model only through `RecordingLLM`, so every call has its own seed and is counted.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, replace

from s2d_loop import thoughts
from s2d_loop.errors import RequestError, S2DError
from s2d_loop.plan import Plan
from s2d_loop.records import (
    RECORDED,
    Call,
    Generation,
    Input,
    Message,
    Messages,
    Reply,
    Request,
    Sample,
    Turn,
    Twin,
    call_seed,
    digest,
)
from s2d_loop.system2 import usc
from s2d_loop.system2.base import Output, as_samples
from s2d_loop.system2.registry import load_method
from s2d_loop.tasks.registry import load_task

CallModel = Callable[[Request], Awaitable[Reply]]
"""How a call reaches an engine: the pool's client, or a script in tests."""


Shared = dict[tuple[int, str, int], tuple[Messages, "asyncio.Future[Reply]"]]
"""Replies that an input and its twins have in common, by sample, step and index."""


async def generate(x: Input, plan: Plan, call_model: CallModel) -> Generation:
    """Run a plan on one input.

    An input that can't be served, or whose program fails on it, costs itself: the row carries the
    error.  Whatever else goes wrong (no engine left, a wait that ran out) is raised: it isn't the
    input's fault.
    """
    try:
        return await _generate(x, plan, call_model)
    except Exception as error:
        causes = _leaves(error)
        for cause in causes:
            if isinstance(cause, S2DError) and not isinstance(cause, RequestError):
                raise cause from error
        cause = causes[0]
        if isinstance(cause, RequestError):
            return _failed(x, plan, str(cause), cause.reason)
        return _failed(x, plan, f"{type(cause).__name__}: {cause}", RequestError.reason)


def _leaves(error: Exception) -> list[Exception]:
    """What really went wrong inside task groups."""
    if isinstance(error, ExceptionGroup):
        return [leaf for each in error.exceptions for leaf in _leaves(each)]
    return [error]


async def _generate(x: Input, plan: Plan, call_model: CallModel) -> Generation:
    x_asked = replace(x, messages=x.ask(f"{x.question} {plan.suffix}")) if plan.suffix else x
    task = load_task(plan.parser)
    made = {name: task.perturbations[name].twin(x) for name in plan.perturbations}
    twins = {name: _named(twin, x, name) for name, twin in made.items() if twin is not None}
    shared: Shared = {}
    async with asyncio.TaskGroup() as group:
        main = group.create_task(_sample(x_asked, plan, call_model, shared))
        direct = group.create_task(_sample(x_asked, _direct(plan), call_model, {}))
        twin_runs = {
            name: group.create_task(_sample(twin, plan, call_model, shared)) for name, twin in twins.items()
        }
    run, direct_run = main.result(), direct.result()
    selection = None
    if plan.usc is not None:
        judge = RecordingLLM(x, replace(plan, sampling=plan.usc.sampling), 0, call_model, {})
        selection = await usc.select(x, [sample.text for sample in run.samples], judge, plan.usc.fewer)
        run.add(judge)
    calls = list(run.calls)
    for name, twin_run in twin_runs.items():
        calls += [replace(call, step=f"{name}/{call.step}") for call in twin_run.result().calls]
    weights = (run.weights | direct_run.weights) - {RECORDED}
    assert len(weights) <= 1, f"{x.id}: one input was answered by several weights: {sorted(weights)}"
    if run.weights == {RECORDED}:
        weights = {RECORDED}
    return Generation(
        input=x,
        weights=weights.pop() if weights else "",
        program=plan.method,
        samples=run.samples,
        direct=direct_run.samples,
        twins=tuple(
            Twin(name, each.result().samples, twins[name].messages) for name, each in twin_runs.items()
        ),
        selection=selection,
        calls=tuple(calls),
        num_calls=len(run.calls),
        num_tokens=run.num_tokens,
        num_direct_tokens=direct_run.num_tokens,
        error=None,
        planned=run.planned,
        budget=0 if plan.stop is not None and plan.stop.risk is not None else run.planned,
        turns=run.turns,
    )


@dataclass(slots=True)
class _Run:
    """All samples of one program on one input."""

    samples: tuple[Sample, ...]
    calls: list[Call]
    replies: list[Reply]
    planned: int
    turns: tuple[Turn, ...]

    @property
    def num_tokens(self) -> int:
        return sum(reply.num_tokens for reply in self.replies)

    @property
    def weights(self) -> set[str]:
        return {reply.weights for reply in self.replies}

    def add(self, llm: "RecordingLLM") -> None:
        """Calls beyond the program's own; their tokens count as its."""
        self.calls += llm.calls
        self.replies += llm.replies


async def _sample(x: Input, plan: Plan, call_model: CallModel, shared: Shared) -> _Run:
    program = load_method(plan.method)
    parse = load_task(plan.parser).parse
    llms: list[RecordingLLM] = []
    samples: list[Sample] = []
    turns: list[Turn] = []
    per_run, more = 1, plan.samples
    if plan.stop is not None:
        more = plan.stop.more([], plan.samples)
    while more:
        wave = [RecordingLLM(x, plan, len(llms) + n, call_model, shared) for n in range(more)]
        # A task group, not gather: when one call fails, the others of a lost row must not go on costing.
        async with asyncio.TaskGroup() as group:
            runs = [group.create_task(program(x, llm, **plan.options)) for llm in wave]
        outputs = [as_samples(run.result()) for run in runs]
        llms += wave
        for llm, run, output in zip(wave, runs, outputs, strict=True):
            if plan.keep_turns:
                turns += _turns(llm, run.result(), range(len(samples), len(samples) + len(output)))
            samples += output
        per_run, left, more = max(1, len(outputs[0])), plan.samples - len(llms), 0
        if left and plan.stop is not None:
            answers = [parse(sample.text) if sample.finished else None for sample in samples]
            more = min(left, -(-plan.stop.more(answers, len(samples) + left * per_run) // per_run))
    return _Run(
        samples=tuple(samples),
        calls=[call for llm in llms for call in llm.calls],
        replies=[reply for llm in llms for reply in llm.replies],
        planned=len(samples) + (plan.samples - len(llms)) * per_run,
        turns=tuple(turns),
    )


def _turns(llm: "RecordingLLM", output: Output, samples: range) -> Iterator[Turn]:
    """The whole calls of a run that the model answered: a final answer is its own sample's, all others every one's."""
    final = [output] if isinstance(output, Reply | str) else list(output)
    for call, messages, reply in zip(llm.calls, llm.asked, llm.replies, strict=True):
        if reply.finished and not call.recorded:
            own = tuple(n for n, said in zip(samples, final, strict=True) if said is reply)
            text = thoughts.joined(reply.reasoning, reply.text)
            yield Turn(call.step, own or tuple(samples), messages, text, reply.sampled_ids)


class RecordingLLM:
    """The model as one run of a program sees it: `system2.base.LLM`."""

    def __init__(self, x: Input, plan: Plan, sample: int, call_model: CallModel, shared: Shared) -> None:
        self.calls: list[Call] = []
        self.asked: list[Messages] = []
        self.replies: list[Reply] = []
        self._shared = shared
        self._x = x
        self._plan = plan
        self._sample = sample
        self._call_model = call_model
        self._seen: set[tuple[str, int]] = set()

    async def __call__(
        self, prompt: str | Messages, *, step: str, index: int = 0, shared: bool = False
    ) -> Reply:
        if (step, index) in self._seen:
            # The same seed twice would be the same sample twice: a fake agreement.
            raise ValueError(f"two calls of one run are both step {step!r}, index {index}: number them")
        self._seen.add((step, index))
        plan = self._plan
        messages = (Message("user", prompt),) if isinstance(prompt, str) else tuple(prompt)
        seed = call_seed(plan.seed, self._x.id, plan.stream + plan.method, self._sample, step, index)
        request = Request(messages, plan.steps.get(step, plan.sampling), seed)
        answer = self._once if shared else self._answer
        reply = await answer(request, step, index)
        recorded = reply.weights == RECORDED
        self.calls.append(
            Call(
                step,
                self._sample,
                index,
                messages[-1].content,
                reply.text,
                reply.num_tokens,
                recorded,
                reply.reasoning,
            )
        )
        self.asked.append(messages)
        self.replies.append(reply)
        return reply

    async def _answer(self, request: Request, step: str, index: int) -> Reply:
        """From the recording, where it is to answer this step; else from the model."""
        recorded = self._plan.recorded
        if recorded is not None and step in recorded.steps:
            return recorded.reply(self._x, request, step, self._sample, index)
        return await self._call_model(request)

    async def _once(self, request: Request, step: str, index: int) -> Reply:
        """The reply to whichever of an input and its twins asked first."""
        key = (self._sample, step, index)
        if key not in self._shared:
            self._shared[key] = request.messages, asyncio.ensure_future(self._answer(request, step, index))
        messages, reply = self._shared[key]
        if messages != request.messages:
            raise ValueError(f"step {step!r} is not shared: an input and its twin ask it differently")
        # Shielded: when one of those that wait is cancelled, the others still want it.
        return await asyncio.shield(reply)


def _direct(plan: Plan) -> Plan:
    return replace(
        plan,
        method="direct",
        options={},
        steps={},
        samples=plan.direct_samples,
        sampling=plan.direct or plan.sampling,
        recorded=None,
        stream="beside/",
    )


def _named(twin: Input, x: Input, name: str) -> Input:
    return replace(twin, id=f"{x.id}~{name}", content_hash=digest(x.content_hash, name))


def _failed(x: Input, plan: Plan, error: str, reason: str) -> Generation:
    return Generation(
        input=x,
        weights="",
        program=plan.method,
        samples=(),
        direct=(),
        twins=(),
        calls=(),
        num_calls=0,
        num_tokens=0,
        num_direct_tokens=0,
        error=f"{plan.method}: {error}"[:500],
        failure=reason,
    )
