"""Held-out inputs with their references: read whole, or not at all."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from s2d_loop import paths
from s2d_loop.config import GeneralConfig, HeldOutConfig
from s2d_loop.errors import BadInputError
from s2d_loop.formats.base import Item, UnreadableError, excerpt
from s2d_loop.formats.registry import load_format
from s2d_loop.records import HeldOut, Input
from s2d_loop.sources import directory, hub
from s2d_loop.sources.api import START, Row, Shard
from s2d_loop.sources.column import REFERENCES, Items, PromptTemplate, find, guess, reference
from s2d_loop.sources.items import (
    as_inputs,
    columns_of,
    find_column,
    find_prompt,
    guess_column,
    nothing_readable,
    prompt_reader,
)

_SHOWN = 5


def read_heldout(config: HeldOutConfig, task: str) -> list[HeldOut]:
    """A task's held-out set; BadInputError names the first rows that can't be read.

    Evaluation compares over rounds, so the set must be the same each time: no row is skipped.
    """
    where = f"the held-out set of {task} ({config.path})"
    return read_whole(config, task, f"heldout/{task}", where, labelled=True)


def read_general(config: GeneralConfig) -> list[Input]:
    """The general set.

    Raises:
        BadInputError: a row can't be read, or there are too few to tell anything by.
    """
    where = f"evaluate.general ({config.path})"
    items = [each.input for each in read_whole(config.rows, "general", "general", where, labelled=False)]
    if len(items) < _FEWEST:
        raise BadInputError(
            f"evaluate.general.path: {config.path} has {len(items)} prompts: give at least {_FEWEST}, and rather "
            f"{config.limit}"
        )
    return items


_FEWEST = 10
"""Prompts of a general set; the interval of fewer holds everything."""


def read_whole(config: HeldOutConfig, task: str, name: str, where: str, *, labelled: bool) -> list[HeldOut]:
    """A set of inputs whose ids start with `name`, or BadInputError with the first rows that can't be read.

    Args:
        labelled: whether references are looked for.
    """
    shards = _shards(config, where)
    reader = (
        _format_reader(config.format) if config.format else _column_reader(shards, config, where, labelled)
    )
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


def reference_note(config: HeldOutConfig) -> str | None:
    """For people: which column holds the references, where that was guessed, or that none does, and the
    columns there are.  None where the configuration says it.
    """
    if config.format is not None or config.reference is not None:
        return None
    shards = _shards(config, f"the held-out set ({config.path})")
    if (found := guess_column(shards, REFERENCES)) is not None:
        return f"reference = column {found!r} (found by its name)"
    columns = columns_of(shards)
    like = next((name for name in columns if name.lower() in _LIKE_REFERENCES), None)
    looks = f"; {like!r} looks like one: write `reference: {like}`" if like else ""
    listed = ", ".join(map(repr, columns[:_SHOWN_COLUMNS]))
    return f"no references, so System 2's vote counts instead (columns: {listed}){looks}"


_SHOWN_COLUMNS = 20
_LIKE_REFERENCES = frozenset(
    (
        *("answers", "correct_answer", "final_answer", "expected", "expected_answer", "expected_output"),
        *("gold", "gold_answer", "ground_truth", "groundtruth", "labels", "solution", "truth"),
        *("output", "outputs", "response", "completion", "chosen", "targets", "references"),
    )
)
"""Not read unless named: in one file they are what is right, in another what some model said."""


def _shards(config: HeldOutConfig, where: str) -> Sequence[Shard]:
    path = paths.resolve(config.path)
    if config.type == "dataset":
        return hub.lister(path, config.subset, config.split, where=where)({})
    return directory.lister(config.type, path, where=where)({})


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


def _column_reader(
    shards: Sequence[Shard], config: HeldOutConfig, where: str, labelled: bool
) -> _Reader | None:
    asked: Items
    if config.template is not None:
        asked = PromptTemplate(config.template)
    else:
        column = find_prompt(shards, config.prompt, where)
        if column is None:
            return None
        asked = prompt_reader(column, given=config.prompt is not None)
    answer = _reference_column(shards, config, where) if labelled else None
    return (
        lambda row: (asked.items(row), (_reference(row, answer) if labelled else None,)),
        [*asked.columns, *([answer] if answer else [])],
    )


def _reference_column(shards: Sequence[Shard], config: HeldOutConfig, where: str) -> str | None:
    """None: the gate measures against System 2 instead."""
    if config.reference is None:
        return guess_column(shards, REFERENCES)
    return find_column(shards, config.reference, REFERENCES, where, "reference")


def _reference(row: Mapping[str, Any], column: str | None) -> str | None:
    if column is not None:
        return reference(find(row, column))
    if (late := guess(row, REFERENCES)) is not None:
        raise UnreadableError(f"has a column {late!r}, and the first rows have none", excerpt(row))
    return None
