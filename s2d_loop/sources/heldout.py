"""Held-out inputs with their references: read whole, or not at all."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from s2d_loop import paths
from s2d_loop.config import GeneralConfig, HeldOutConfig
from s2d_loop.errors import BadInputError
from s2d_loop.formats.base import Item, UnreadableError
from s2d_loop.formats.registry import load_format
from s2d_loop.records import HeldOut, Input
from s2d_loop.sources import directory, hub
from s2d_loop.sources.api import START, Row, Shard
from s2d_loop.sources.column import (
    PROMPTS,
    REFERENCES,
    Items,
    PromptColumn,
    PromptTemplate,
    find,
    reference,
)
from s2d_loop.sources.items import as_inputs, find_column, nothing_readable

_SHOWN = 5


def read_heldout(config: HeldOutConfig, task: str) -> list[HeldOut]:
    """A task's held-out set; BadInputError names the first rows that can't be read.

    Evaluation compares over rounds, so the set must be the same each time: no row is skipped.
    """
    return read_whole(config, task, f"heldout/{task}", f"the held-out set of {task} ({config.path})")


def read_general(config: GeneralConfig) -> list[Input]:
    """The general set.

    Raises:
        BadInputError: a row can't be read, or there are too few to tell anything by.
    """
    items = [
        each.input
        for each in read_whole(config.rows, "general", "general", f"evaluate.general ({config.path})")
    ]
    if len(items) < _FEWEST:
        raise BadInputError(
            f"evaluate.general.path: {config.path} has {len(items)} prompts: give at least {_FEWEST}, and rather "
            f"{config.limit}"
        )
    return items


_FEWEST = 10
"""Prompts of a general set; the interval of fewer holds everything."""


def read_whole(config: HeldOutConfig, task: str, name: str, where: str) -> list[HeldOut]:
    """A set of inputs whose ids start with `name`, or BadInputError with the first rows that can't be read."""
    path = paths.resolve(config.path)
    if config.type == "dataset":
        shards = hub.lister(path, config.subset, config.split, where=where)({})
    else:
        shards = directory.lister(config.type, path, where=where)({})
    reader = _format_reader(config.format) if config.format else _column_reader(shards, config, where)
    if reader is None:
        raise nothing_readable(shards, where)
    read, columns = reader
    heldout: list[HeldOut] = []
    problems: list[str] = []
    for shard, row in _rows(shards, columns):
        if config.limit is not None and len(heldout) >= config.limit:
            break
        try:
            if row.value is None:
                raise UnreadableError(row.problem, row.excerpt)
            items, references = read(row.value)
        except UnreadableError as err:
            problems.append(f"{shard}#{row.number}: {err} ({err.excerpt})")
            continue
        inputs = as_inputs(items, f"{name}:{shard}#{row.number}", task)
        # A row may hold several inputs, or none that this format takes: the limit counts inputs.
        heldout += map(HeldOut, inputs, references, (item.category for item in items))
    if problems:
        listed = "\n".join(f"  {each}" for each in problems[:_SHOWN])
        raise BadInputError(
            f"{where}: {len(problems)} of its rows can't be read; repair or remove them:\n{listed}"
        )
    if not heldout:
        raise BadInputError(f"{where}: there are no rows in it")
    return heldout[: config.limit]


def _rows(shards: Sequence[Shard], columns: list[str] | None) -> Iterator[tuple[str, Row]]:
    for shard in shards:
        for row in shard.rows(START, columns):
            yield shard.name, row


_Labelled = tuple[Sequence[Item], Sequence[str | None]]
_Reader = tuple[Callable[[Mapping[str, Any]], _Labelled], list[str] | None]
"""Reads a row, and the columns that it needs of it (None: all)."""


def _format_reader(name: str) -> _Reader:
    found = load_format(name)
    return lambda row: (found.items(row), found.references(row)), None


def _column_reader(shards: Sequence[Shard], config: HeldOutConfig, where: str) -> _Reader | None:
    asked: Items
    if config.template is not None:
        asked = PromptTemplate(config.template)
    else:
        column = find_column(shards, config.prompt, PROMPTS, where)
        if column is None:
            return None
        asked = PromptColumn(column)
    answer = _reference_column(shards, config, where)
    return (
        lambda row: (asked.items(row), (reference(find(row, answer)) if answer else None,)),
        [*asked.columns, *([answer] if answer else [])],
    )


def _reference_column(shards: Sequence[Shard], config: HeldOutConfig, where: str) -> str | None:
    if config.reference is not None:
        return find_column(shards, config.reference, REFERENCES, where, "reference")
    try:
        return find_column(shards, None, REFERENCES, where, "reference")
    except BadInputError:
        return None  # the gate then measures against System 2
