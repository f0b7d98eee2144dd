"""Which column of a row is the prompt, and the conversation that it holds.

No other column is looked at, so that a label that lies beside the prompt can't have an effect.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

from s2d_loop.config.inputs import COLUMN
from s2d_loop.formats.base import Item, UnreadableError, excerpt, kind, messages, prompt_text
from s2d_loop.records import Message, Messages

PROMPTS = ("prompt", "messages", "question", "instruction", "input", "text", "request.messages")
"""Names that people give prompts, the first that is there wins; the last is a request log's."""
REFERENCES = ("answer", "reference", "label", "target")


class Items(Protocol):
    """The unlabeled half of a format: all that a source is given."""

    @property
    def columns(self) -> Sequence[str]: ...

    def items(self, row: Mapping[str, Any]) -> Sequence[Item]: ...


class PromptColumn:
    """The format of any table: one column is the prompt."""

    def __init__(self, column: str) -> None:
        self.columns = (column,)

    def items(self, row: Mapping[str, Any]) -> Sequence[Item]:
        return (Item(conversation(find(row, self.columns[0]))),)


class PromptTemplate:
    """The format of a table whose prompt is made of several columns."""

    def __init__(self, template: str) -> None:
        self._template = template
        self.columns = tuple(dict.fromkeys(COLUMN.findall(template)))

    def items(self, row: Mapping[str, Any]) -> Sequence[Item]:
        values = {column: _value(find(row, column), column) for column in self.columns}
        # One pass, so that braces in a value are never looked at.
        return (Item(conversation(COLUMN.sub(lambda found: values[found[1]], self._template))),)


def guess(names: Iterable[str], wanted: Iterable[str] = PROMPTS) -> str | None:
    """The first of the wanted columns that is among `names`; a column inside another counts if its
    outer one is there."""
    have = set(names)
    return next((name for name in wanted if name in have or name.split(".")[0] in have - {name}), None)


def find(row: Mapping[str, Any], column: str) -> Any:
    """The column's value; `a.b` is column b inside column a.  UnreadableError if the row lacks it."""
    if column in row:
        return row[column]
    value: Any = row
    for part in column.split("."):
        if not isinstance(value, Mapping) or part not in value:
            raise UnreadableError(f"no column {column!r}", excerpt(f"columns: {', '.join(map(str, row))}"))
        value = value[part]
    return value


def conversation(value: Any) -> Messages:
    """The conversation up to its last user turn, from plain text or from chat messages.

    What follows the last user turn is an answer, not part of x: it is cut off unseen.
    """
    if isinstance(value, str):
        return (Message("user", prompt_text(value, "the prompt")),)
    if not isinstance(value, list):
        raise UnreadableError(f"the prompt is {kind(value)}, not text or a list of messages", excerpt(value))
    return messages(value)


def reference(value: Any) -> str:
    """A reference answer as text."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise UnreadableError(f"the reference is {kind(value)}, not text or a number", excerpt(value))
    return prompt_text(str(value), "the reference")


def _value(value: Any, column: str) -> str:
    """A column as a template takes it."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise UnreadableError(f"column {column!r} is {kind(value)}, not text or a number", excerpt(value))
    return str(value)
