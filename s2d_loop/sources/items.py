"""What every kind of rows shares: finding the column of prompts, and turning rows into inputs."""

import itertools
from collections.abc import Iterable, Iterator, Sequence

from s2d_loop.errors import BadInputError
from s2d_loop.formats.base import Item, UnreadableError, kind
from s2d_loop.records import Input, content_hash
from s2d_loop.sources.api import START, Row, Shard
from s2d_loop.sources.column import PROMPTS, GuessedPrompt, Items, PromptColumn, guess, with_its_pair

_PEEK = 100
"""Readable rows of a file that are looked at to find the column."""
_FILES = 10
"""Files that are looked at for what a guess leaves out; later rows are refused one by one."""
_REASONS = 3


def read_items(row: Row, reader: Items) -> Sequence[Item]:
    """The inputs in a row; UnreadableError says why there is none."""
    if row.value is None:
        raise UnreadableError(row.problem, row.excerpt)
    return reader.items(row.value)


def as_inputs(items: Sequence[Item], row_id: str, task: str) -> list[Input]:
    """A row's items as inputs: the row's id where it holds one, numbered where it holds several."""
    ids = [row_id] if len(items) == 1 else [f"{row_id}.{number}" for number in range(len(items))]
    return [
        Input(input_id, item.task or task, item.messages, content_hash(item.messages), item.parts, item.group)
        for input_id, item in zip(ids, items, strict=True)
    ]


def nothing_readable(shards: Iterable[Shard], where: str, reader: Items | None = None) -> BadInputError:
    """The error for a source without a single prompt, with the reasons of its first rows."""
    reasons = []
    for shard, row in itertools.islice(everything(shards, reader), _REASONS):
        try:
            read_items(row, reader or PromptColumn(""))
        except UnreadableError as err:
            reasons.append(f"\n  {shard}#{row.number}: {err} ({err.excerpt})")
    if not reasons:
        return BadInputError(f"{where}: there are no rows in it")
    return BadInputError(
        f"{where}: none of its rows can be read as a prompt, such as{''.join(reasons)}\n"
        "  check the file and its type, or name the column of prompts with `prompt:`"
    )


def find_column(
    shards: Iterable[Shard], given: str | None, wanted: tuple[str, ...], where: str, key: str = "prompt"
) -> str | None:
    """The column to read: the given one if it is there, else the first wanted one.

    None where there is no readable row; BadInputError, with the columns there are, if none fits.
    """
    seen: dict[str, None] = {}
    for names in _headings(shards):
        found = guess(names, wanted if given is None else (given,))
        if found is not None:
            return found
        seen |= dict.fromkeys(names)
    if not seen:
        return None
    have = ", ".join(repr(name) for name in list(seen)[:12])
    what = f"no column {given!r}" if given else f"no column is named like a {key} ({', '.join(wanted)})"
    raise BadInputError(f"{where}: {what}; there are {have}: name the right one with `{key}:`")


def columns_of(shards: Iterable[Shard]) -> list[str]:
    """The names of the columns there are, as far as shards know them or their first rows show them."""
    return list(dict.fromkeys(name for names in _headings(shards) for name in names))


def guess_column(shards: Iterable[Shard], wanted: tuple[str, ...]) -> str | None:
    """The first of the wanted columns in the first heading that has any."""
    return next((found for names in _headings(shards) if (found := guess(names, wanted))), None)


def find_prompt(shards: Sequence[Shard], given: str | None, where: str) -> str | None:
    """What `prompt_reader` makes a reader of: a column's name, or `ALPACA`.

    None where there is no readable row.

    Raises:
        BadInputError: no column fits, or another one may be a part of the prompt that was found.
    """
    found = find_column(shards, given, PROMPTS, where)
    if found is None or given is not None:
        return found
    name = with_its_pair(found)
    _refuse_left_out(shards, GuessedPrompt(name), where)
    return name


def prompt_reader(name: str, *, given: bool) -> Items:
    """The reader of a table's prompts.

    Args:
        given: whether a person named the column.
    """
    return PromptColumn(name) if given else GuessedPrompt(name)


def _refuse_left_out(shards: Sequence[Shard], reader: GuessedPrompt, where: str) -> None:
    having = (shard for shard in shards[:_FILES] if reader.may_leave_out(shard.columns()))
    for _, row in itertools.islice(everything(having, reader), _PEEK):
        part = reader.left_out(row.value) if row.value is not None else None
        if row.value is None or part is None:
            continue
        both = f'write `template: "{{{part}}}\\n\\n{{{reader.column}}}"`'
        if not all(isinstance(row.value.get(name), str) for name in (part, reader.column)):
            both = f"make a column of text of the two first ({part} is {kind(row.value[part])})"
        raise BadInputError(
            f"{where}: the column {part!r} beside {reader.column!r} may be a part of the prompt: write "
            f"`prompt: {reader.column}` to leave it out, or {both} to have both"
        )


def _headings(shards: Iterable[Shard]) -> Iterator[list[str]]:
    """Names of columns: of whole shards that know them, or of the first rows."""
    for shard in shards:
        names = shard.columns()
        if names is not None:
            yield list(names)
            continue
        readable = (list(row.value) for row in shard.rows(START, None) if row.value is not None)
        yield from itertools.islice(readable, _PEEK)


def everything(shards: Iterable[Shard], reader: Items | None) -> Iterator[tuple[str, Row]]:
    for shard in shards:
        for row in shard.rows(START, None if reader is None else reader.columns):
            yield shard.name, row
