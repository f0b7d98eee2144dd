"""What a table would cost, before anything starts: calls by count, tokens by the paper's own, hours by a stated rate.

Calls are counted by running every program on a real input with a reply that each can go on with.  It is a plan of five
criteria, as many as BSM may have, and no vote ends early: so they are the most that there can be.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from s2d_loop.config import Config
from s2d_loop.errors import BadInputError
from s2d_loop.evaluate.suite import SYSTEM1, SYSTEM2
from s2d_loop.generate import generate
from s2d_loop.plan import Plan, distillation_plans, system1_plans, system2_plans
from s2d_loop.records import HeldOut, Input, Reply, Request
from s2d_loop.report.text import markdown_table
from s2d_loop.reproduce.checking import Ready, made_up_pairs
from s2d_loop.reproduce.measure import held_out
from s2d_loop.reproduce.metrics import TOKENS
from s2d_loop.reproduce.plan import Setting
from s2d_loop.reproduce.table import START, Row, Table
from s2d_loop.reproduce.tables import TABLES
from s2d_loop.sources import open_source, read_heldout

_ASKS = (SYSTEM1, SYSTEM2)
_DIRECT = "direct"
_READS_FASTER = 10
# Of English text.
_CHARACTERS_A_TOKEN = 4
_ANY = "\n".join(
    f"{n}. {name}: how the answers compare in it."
    for n, name in enumerate(("Helpfulness", "Relevance", "Accuracy", "Depth", "Clarity"), 1)
)


@dataclass(frozen=True, slots=True)
class Rates:
    """Assumed, not measured: tokens a second that an engine writes, and that a train worker trains on.

    The defaults are about what 70 billion parameters give on 80 GB GPUs, eight to an engine.
    """

    write: float = 2000.0
    train: float = 150.0

    def hours(self, config: Config, *, written: float, read: float, trained: float = 0.0) -> float:
        """The time for so many tokens on a configuration's engines and workers."""
        engines = (written + read / _READS_FASTER) / self.write / config.engine.num_engines
        return (engines + trained / self.train / config.train.num_workers) / 3600


@dataclass(frozen=True, slots=True)
class Asked:
    """What one input costs: calls, the most tokens that their replies may hold, and the tokens they are told."""

    calls: int
    limit: int
    prompt: float


@dataclass(frozen=True, slots=True)
class Cost:
    """A line of the estimate.

    `calls` are of one input, `all_calls` of all and of a run's evaluations too.  `tokens` are written ones in all, the
    most there can be where `limits` is true.
    """

    what: str
    of: str
    inputs: int
    calls: int
    all_calls: int
    tokens: float
    limits: bool
    hours: float


def costs(table: Table, ready: Ready, rates: Rates) -> list[Cost]:
    """Of every distillation and every row that asks a model."""
    found = []
    with made_up_pairs() as pairs:
        for task, distillations in ready.distillations.items():
            setting = next(each for each in ready.settings if each.task == task)
            lengths = tokens_a_call(setting, pairs)
            found += [_run(each.name, setting.run(each), task, lengths, rates) for each in distillations]
        for setting in ready.settings:
            lengths = tokens_a_call(setting, pairs)
            rows = [row for row in ready.rows[setting.of.name] if row.system in _ASKS]
            found += [_row(table, row, setting, pairs, lengths, rates) for row in rows]
    return found


def markdown(lines: Sequence[Cost], rates: Rates) -> str:
    """The estimate for a terminal."""
    shown = [["", "on", "inputs", "calls an input", "calls", "tokens", "hours"]]
    for each in lines:
        most = "at most " if each.limits else "about "
        shown.append(
            [
                each.what,
                each.of,
                f"{each.inputs:,}",
                str(each.calls),
                f"{each.all_calls:,}",
                f"{most}{each.tokens:,.0f}",
                f"{each.hours:.2f}",
            ]
        )
    total = sum(each.hours for each in lines)
    return (
        f"{markdown_table(shown)}\n\nAbout {total:,.1f} hours in all, at assumed rates: {rates.write:,.0f} tokens a second "
        f"written by an engine (--tokens-per-second), {_READS_FASTER} times as many read, {rates.train:,.0f} trained on by a "
        "worker (--train-tokens-per-second); without starts, refreshes and exports. Calls are the most there can be. "
        "Tokens are the paper's #Tokens a call, or the limits where it has none."
    )


def asked(x: Input, plan: Plan) -> Asked:
    """What a plan asks about one input."""
    model = _Counting()
    said = asyncio.run(generate(x, replace(plan, stop=None, recorded=None), model))
    if said.error:
        raise BadInputError(f"{x.id}: its calls can't be counted: {said.error}")
    characters = sum(len(turn.content) for each in model.requests for turn in each.messages)
    return Asked(
        len(model.requests),
        sum(each.sampling.max_tokens for each in model.requests),
        characters / _CHARACTERS_A_TOKEN,
    )


class _Counting:
    """A model that says the same to everything, and counts."""

    def __init__(self) -> None:
        self.requests: list[Request] = []

    async def __call__(self, request: Request) -> Reply:
        self.requests.append(request)
        return Reply(_ANY, weights="counted")


def tokens_a_call(setting: Setting, pairs: Path) -> dict[str, float]:
    """What the paper's rows on a set wrote a call, before any training, by program."""
    found: dict[str, float] = {}
    for table in TABLES.values():
        for row in table.rows_on(setting.of.name) if setting.of in table.sets else ():
            paper = _paper_tokens(row, setting.of.name)
            if row.weights == START and row.system in _ASKS and paper is not None:
                plan, items = _planned(table, row, setting, pairs)
                found.setdefault(plan.method, paper / asked(_first(items), plan).calls)
    return found


def _row(
    table: Table, row: Row, setting: Setting, pairs: Path, lengths: Mapping[str, float], rates: Rates
) -> Cost:
    plan, items = _planned(table, row, setting, pairs)
    one = asked(_first(items), plan)
    paper = _paper_tokens(row, setting.of.name)
    # A row that may say more than the configuration's System 1 (a judge's text) surely does.
    alike = row.system != SYSTEM1 or plan.sampling.max_tokens == _own_limit(setting)
    if paper is None and alike and plan.method in lengths:
        paper = one.calls * lengths[plan.method]
    written = len(items) * (one.limit if paper is None else paper)
    hours = rates.hours(setting.start(), written=written, read=len(items) * one.prompt)
    total = len(items) * one.calls
    return Cost(row.key, setting.of.name, len(items), one.calls, total, written, paper is None, hours)


def _own_limit(setting: Setting) -> int:
    return setting.start().tasks[setting.task].system1.max_tokens


def _planned(table: Table, row: Row, setting: Setting, pairs: Path) -> tuple[Plan, dict[str, HeldOut]]:
    config = setting.row(row, examples=pairs if row.shots_of else None)
    plans = system1_plans(config) if row.system == SYSTEM1 else system2_plans(config)
    return plans[setting.task], held_out(table, config, setting.task)


def _run(what: str, config: Config, task: str, lengths: Mapping[str, float], rates: Rates) -> Cost:
    """A distillation: its generation, its evaluations and its training."""
    rounds, plan = config.run.iterations or 1, distillation_plans(config)[task]
    wanted = rounds * config.run.inputs_per_iteration
    inputs = [x for each in config.sources for x in open_source(each).read(None, wanted).inputs][:wanted]
    if not inputs:
        raise BadInputError(f"{task}: its sources hold no inputs")
    answers = (rounds + 1) * len(read_heldout(config.tasks[task].heldout, task))
    made = [replace(plan, direct_samples=0), _beside(plan)]
    parts = [*((len(inputs), each) for each in made), (answers, system1_plans(config)[task])]
    if config.evaluate.system2_every is not None:
        parts.append((answers, system2_plans(config)[task]))
    costs = [(number, each.method, asked(inputs[0], each)) for number, each in parts]
    written = sum(
        number * (one.calls * lengths[method] if method in lengths else one.limit)
        for number, method, one in costs
    )
    hours = rates.hours(
        config,
        written=written,
        read=sum(number * one.prompt for number, _, one in costs),
        trained=rounds * config.train.steps * config.train.tokens_per_step,
    )
    return Cost(
        f"run {what}",
        task,
        len(inputs),
        sum(one.calls for _, _, one in costs[: len(made)]),
        sum(number * one.calls for number, _, one in costs),
        written,
        any(method not in lengths for _, method, _ in costs),
        hours,
    )


def _beside(plan: Plan) -> Plan:
    """System 1's samples beside System 2's, as a plan of their own."""
    return replace(
        plan,
        method=_DIRECT,
        options={},
        steps={},
        samples=plan.direct_samples,
        sampling=plan.direct or plan.sampling,
        perturbations=(),
        usc=None,
        direct_samples=0,
    )


def _paper_tokens(row: Row, name: str) -> float | None:
    """What a row of the paper wrote an input; at the most votes where it has several."""
    figures = row.paper.get(name, {})
    named = [value for metric, value in figures.items() if metric.startswith(TOKENS)]
    return max(named, default=None)


def _first(items: Mapping[str, HeldOut]) -> Input:
    return next(iter(items.values())).input
