"""Asks some weights the general set: what they answer, and what they think of the starting weights' answers."""

import asyncio
import math
from collections.abc import Sequence
from typing import Any

from s2d_loop.errors import RequestError, UnansweredError
from s2d_loop.ledger import Attempt, Record
from s2d_loop.records import General, Input, Reply, Request, Sampling, rows, table
from s2d_loop.sources import read_general
from s2d_loop.stages.run import Run

TABLE = "general"
_AT_ONCE = 64
"""Prompts between two safe points."""


def fix(run: Run, attempt: Attempt) -> None:
    """Write down the set, beside what is held out."""
    if run.config.evaluate.general is not None:
        attempt.write(TABLE, table(read_general(run.config.evaluate.general), Input))


def inputs(run: Run) -> list[Input]:
    """The set as it was fixed; empty without one."""
    record = run.ledger.stage(0, "heldout")
    return list(rows(run.ledger.tables(record, TABLE), Input)) if record else []


def ask(run: Run, attempt: Attempt) -> dict[str, Any]:
    """Let the weights that are served answer the set and read the starting weights' answers; their figures.

    Raises:
        UnansweredError: a prompt failed; a set without it would be another set.
    """
    config, items, first = run.config.evaluate.general, inputs(run), run.ledger.stage(0, "evaluate")
    assert config is not None, "there is a general set"
    greedy = Sampling(temperature=0.0, max_tokens=config.max_tokens)
    start = {each.input_id: each.text for each in answers(run, first)} if first else {}
    found: list[General] = []
    with run.progress.stage(attempt.iteration, "evaluate", len(items)) as progress:
        for place in range(0, len(items), _AT_ONCE):
            batch = items[place : place + _AT_ONCE]
            said = _replies(run, batch, [Request(x.messages, greedy, run.config.run.seed) for x in batch])
            wanted = [start.get(x.id, reply.text) for x, reply in zip(batch, said, strict=True)]
            asked = [
                Request(x.messages, greedy, run.config.run.seed, read=text)
                for x, text in zip(batch, wanted, strict=True)
            ]
            read = _replies(run, batch, asked)
            found += [
                General(x.id, reply.text, likely.logprob, likely.num_tokens)
                for x, reply, likely in zip(batch, said, read, strict=True)
            ]
            progress.advance(len(batch))
            run.safe_point()
    attempt.write(TABLE, table(found, General))
    tokens = sum(each.num_tokens for each in found)
    return {
        "n": len(found),
        "perplexity": math.exp(-sum(each.logprob for each in found) / tokens) if tokens else None,
    }


def answers(run: Run, evaluated: Record) -> list[General]:
    """What an evaluation has written down."""
    return list(rows(run.ledger.tables(evaluated, TABLE), General))


def _replies(run: Run, batch: Sequence[Input], requests: Sequence[Request]) -> list[Reply]:
    """From here, not from the runners: a program's rows have no place for how likely a text is."""

    async def one(client: Any, x: Input, request: Request) -> Reply:
        try:
            reply: Reply = await client.call(request)
        except RequestError as error:
            raise UnansweredError(f"evaluate: general prompt {x.id} failed: {error}") from error
        return reply

    async def every() -> list[Reply]:
        client = run.engines.client_factory()()
        try:
            async with asyncio.TaskGroup() as group:
                asked = [
                    group.create_task(one(client, x, request))
                    for x, request in zip(batch, requests, strict=True)
                ]
        except ExceptionGroup as failed:
            raise failed.exceptions[0] from failed
        finally:
            await client.close()
        return [each.result() for each in asked]

    return asyncio.run(every())
