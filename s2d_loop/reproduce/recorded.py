"""GPT-4's published verdicts on MT-bench as what a judge said, so that they pass through the table's own metrics."""

import asyncio
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from s2d_loop.config import Config
from s2d_loop.errors import UnansweredError
from s2d_loop.generate import generate
from s2d_loop.plan import system2_plans
from s2d_loop.recorded import read_records, recording_of
from s2d_loop.records import Generation, Input, Reply, Request
from s2d_loop.reproduce.metrics import OTHER_ORDER, TOKENS, Columns, Items, Measurement


def recorded_columns(config: Config, task: str, items: Items, file: Path) -> Columns:
    """A judge's columns from a recording (`recorded.Record`); it holds no tokens.

    Raises:
        BadInputError: the file can't be read.
        UnansweredError: a pair's verdict isn't in it.
    """
    said = asyncio.run(_said(config, task, items, file))
    found = Measurement(config, task, "system2", items, said).columns("judge")
    return {name: column for name, column in found.items() if not name.startswith(TOKENS)}


async def _said(config: Config, task: str, items: Items, file: Path) -> list[Generation]:
    plan = system2_plans(config)[task]
    plan = replace(plan, recorded=recording_of(read_records([str(file)]), plan.method))
    seen: Counter[str] = Counter()
    said = []
    for x in _in_order(items):
        # Two models gave the same answer here and there, so two pairs look alike and have a verdict each: the file has
        # them in its order, which is numbered as samples are.
        number = seen[x.content_hash]
        seen[x.content_hash] += 1
        made = await generate(x, replace(plan, samples=number + 1), _nobody)
        if made.error:
            raise UnansweredError(f"{file}: {x.id}: {made.error}")
        said.append(replace(made, samples=made.samples[number:]))
    return said


def _in_order(items: Items) -> Iterator[Input]:
    """Pair by pair, each with its twin behind it, as the file has them."""
    for number, each in items.items():
        if not number.endswith(OTHER_ORDER):
            yield each.input
            yield items[number + OTHER_ORDER].input


async def _nobody(request: Request) -> Reply:
    raise UnansweredError(f"no model answers for a recording: {request.messages[-1].content[:80]!r}")
