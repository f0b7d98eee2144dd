"""Held-out inputs with their references: read whole, or not at all."""

import itertools
from collections.abc import Iterator

from s2d_loop import paths
from s2d_loop.config import HeldOutConfig
from s2d_loop.errors import BadInputError
from s2d_loop.records import HeldOut, Input, content_hash
from s2d_loop.sources import directory, hub
from s2d_loop.sources.api import Row, Shard
from s2d_loop.sources.column import PROMPTS, REFERENCES, UnreadableError, find, reference
from s2d_loop.sources.sharded import find_column, nothing_readable, prompt

_SHOWN = 5


def read_heldout(config: HeldOutConfig, task: str) -> list[HeldOut]:
    """A task's held-out set; BadInputError names the first rows that can't be read.

    Evaluation compares over rounds, so the set must be the same each time: no row is skipped.
    """
    where = f"the held-out set of {task} ({config.path})"
    path = paths.resolve(config.path)
    if config.type == "dataset":
        shards = hub.lister(path, config.subset, config.split, where=where)(())
    else:
        shards = directory.lister(config.type, path, where=where)(())
    column = find_column(shards, config.prompt, PROMPTS, where)
    if column is None:
        raise nothing_readable(shards, where)
    answer = _reference_column(shards, config, where)
    heldout: list[HeldOut] = []
    problems: list[str] = []
    for shard, row in itertools.islice(_rows(shards, [column, *([answer] if answer else [])]), config.limit):
        try:
            heldout.append(_heldout(task, shard, row, column, answer))
        except UnreadableError as err:
            problems.append(f"{shard}#{row.number}: {err} ({err.excerpt})")
    if problems:
        listed = "\n".join(f"  {each}" for each in problems[:_SHOWN])
        raise BadInputError(
            f"{where}: {len(problems)} of its rows can't be read; repair or remove them:\n{listed}"
        )
    if not heldout:
        raise BadInputError(f"{where}: there are no rows in it")
    return heldout


def _rows(shards: list[Shard], columns: list[str]) -> Iterator[tuple[str, Row]]:
    for shard in shards:
        for row in shard.rows(0, 0, columns):
            yield shard.name, row


def _heldout(task: str, shard: str, row: Row, column: str, answer: str | None) -> HeldOut:
    messages = prompt(row, column)
    x = Input(f"heldout/{task}:{shard}#{row.number}", task, messages, content_hash(messages))
    if answer is None or row.value is None:
        return HeldOut(x, None)
    return HeldOut(x, reference(find(row.value, answer)))


def _reference_column(shards: list[Shard], config: HeldOutConfig, where: str) -> str | None:
    if config.reference is not None:
        return find_column(shards, config.reference, REFERENCES, where, "reference")
    try:
        return find_column(shards, None, REFERENCES, where, "reference")
    except BadInputError:
        return None  # the gate then measures against System 2
