"""Which column of a row is the prompt, and the conversation that it holds.

No column that could be a label is looked at, so that a label that lies beside the prompt can't have an effect.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any, Protocol

from s2d_loop.config.inputs import COLUMN
from s2d_loop.formats.base import Item, UnreadableError, excerpt, kind, messages, messages_in, prompt_text
from s2d_loop.records import Message, Messages

PROMPTS = (
    "prompt",
    "messages",
    "conversations",
    "conversation",
    "question",
    "instruction",
    "input",
    "text",
    "request.messages",
)
"""Names that people give prompts, the first that is there wins; the last is a request log's."""
REFERENCES = ("answer", "reference", "label", "target")
PARTS = (
    *("instruction", "input", "system", "system_prompt", "history"),
    *("context", "passage", "article", "paragraph", "document", "choices", "options"),
    *("image", "images", "tools"),
)
"""Names that people give what a model must see beside the question.  None of them is a label's."""
ALPACA = "instruction + input"
"""How a cursor calls the one pair that has a known form."""


class Items(Protocol):
    """The unlabeled half of a format: all that a source is given."""

    @property
    def columns(self) -> Sequence[str]: ...

    def items(self, row: Mapping[str, Any]) -> Sequence[Item]: ...


class PromptColumn:
    """The format of any table: one column, named by a person, is the prompt."""

    def __init__(self, column: str) -> None:
        self.columns: Sequence[str] = (column,)

    def items(self, row: Mapping[str, Any]) -> Sequence[Item]:
        return (Item(conversation(find(row, self.columns[0]))),)


class GuessedPrompt:
    """A column that was found by its name.  A row with something in a column of `PARTS` is refused: only a
    person can say whether the prompt is whole without it.

    Args:
        name: a column, or `ALPACA`: `instruction`, and as a second paragraph `input` where a row has one.
    """

    def __init__(self, name: str) -> None:
        self.column, _, self._second = name.partition(" + ")
        self._beside = [part for part in PARTS if part not in (self.column, self._second)]
        self.columns: Sequence[str] = (self.column, *([self._second] if self._second else []), *self._beside)

    def items(self, row: Mapping[str, Any]) -> Sequence[Item]:
        if (part := self.left_out(row)) is not None:
            raise UnreadableError(f"column {part!r} isn't empty, and isn't in the prompt", excerpt(row[part]))
        value = find(row, self.column)
        if self._second and not _blank(row.get(self._second)):
            second = plain(row[self._second], f"column {self._second!r}")
            if not (_blank(value) or isinstance(value, str)):
                raise UnreadableError(f"column {self._second!r} stands beside {kind(value)}", excerpt(value))
            value = second if _blank(value) else f"{value}\n\n{second}"
        return (Item(conversation(value)),)

    def may_leave_out(self, columns: Sequence[str] | None) -> bool:
        """Whether there could be such a row in a table of these columns (None: not known)."""
        return columns is None or not set(self._beside).isdisjoint(columns)

    def left_out(self, row: Mapping[str, Any]) -> str | None:
        """The first column that may be a part of the prompt, isn't empty, and isn't read."""
        return next((part for part in self._beside if not _blank(row.get(part))), None)


class PromptTemplate:
    """The format of a table whose prompt is made of several columns."""

    def __init__(self, template: str) -> None:
        self._template = template
        self.columns = tuple(dict.fromkeys(COLUMN.findall(template)))

    def items(self, row: Mapping[str, Any]) -> Sequence[Item]:
        values = {column: plain(find(row, column), f"column {column!r}") for column in self.columns}
        # One pass, so that braces in a value are never looked at.
        made = COLUMN.sub(lambda found: values[found[1]], self._template)
        return (Item((Message("user", prompt_text(made, "the prompt")),)),)


def with_its_pair(column: str) -> str:
    """How a guess is called: `ALPACA` for an instruction, else the column's name."""
    return ALPACA if column == "instruction" else column


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
    """The conversation up to its last user turn, from plain text or from chat messages (as a list, or as the
    JSON text of one).

    What follows the last user turn is an answer, not part of x: it is cut off unseen.
    """
    if isinstance(value, str):
        turns = messages_in(value)
        return messages(turns) if turns else (Message("user", prompt_text(value, "the prompt")),)
    if not isinstance(value, list):
        raise UnreadableError(f"the prompt is {kind(value)}, not text or a list of messages", excerpt(value))
    return messages(value)


def reference(value: Any) -> str:
    """A reference answer as text."""
    return prompt_text(plain(value, "the reference"), "the reference")


_EXACT = 2.0**53
"""From here on a float stands for several integers."""


def plain(value: Any, what: str) -> str:
    """Text as it is, and a number in its shortest decimal form (18 and 18.0 are both `18`).

    Raises:
        UnreadableError: it is anything else, or a number that the text would not be equal to.
    """
    if isinstance(value, str):
        return value
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        raise UnreadableError(f"{what} is {kind(value)}, not text or a number", excerpt(value))
    if not (value.is_finite() if isinstance(value, Decimal) else math.isfinite(value)):
        raise UnreadableError(f"{what} is {value}, which is no number", excerpt(str(value)))
    if isinstance(value, float) and abs(value) >= _EXACT:
        raise UnreadableError(f"{what} is a number too big to be exact: write it as text", excerpt(value))
    digits = f"{Decimal(repr(value)) if isinstance(value, float) else Decimal(value):f}"
    if "." in digits:
        digits = digits.rstrip("0").rstrip(".")
    return "0" if digits == "-0" else digits


def _blank(value: Any) -> bool:
    return value is None or value in ("", [], {}) or (isinstance(value, str) and not value.strip())
