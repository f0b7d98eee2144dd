"""What a format is: it turns a row of a public data set into inputs of a task.

Sources call `items` only and held-out sets also `references`, so that no label can reach an input.
Where the order of two answers says which is better (ranked trees), `items` must choose another.
"""

import datetime
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Protocol, runtime_checkable

from s2d_loop.formats.json_text import RepeatedKey, parse_json
from s2d_loop.records import Message, Messages, Part

Row = Mapping[str, Any]


class UnreadableError(ValueError):
    """Why a row can't be taken, and an excerpt that shows it."""

    def __init__(self, reason: str, excerpt: str):
        super().__init__(reason)
        self.excerpt = excerpt


@dataclass(frozen=True, slots=True)
class Item:
    """One input that a row holds.

    `group` names what must not be split between training and evaluation (a question that several
    rows ask in other words); `category` is a heading for evaluation; `task` is given where a
    source feeds several.
    """

    messages: Messages
    parts: tuple[Part, ...] = ()
    group: str = ""
    category: str = ""
    task: str = ""


@runtime_checkable
class Format(Protocol):
    """A public format.  It has no state."""

    @property
    def columns(self) -> Sequence[str]:
        """The columns that `items` reads: a change in them behind a cursor is refused."""

    def items(self, row: Row) -> Sequence[Item]:
        """The inputs that a row holds; UnreadableError if it isn't of this format."""

    def references(self, row: Row) -> Sequence[str | None]:
        """What is right, for each of `items(row)`, as the task's `score` reads it."""


def text(row: Row, column: str, *, empty: bool = False) -> str:
    """A column that must hold text; UnreadableError otherwise.

    Args:
        empty: whether no text is text too (an answer in which a model said nothing).
    """
    value = row.get(column)
    if not isinstance(value, str) or not (value.strip() or empty):
        raise UnreadableError(f"no text in column {column!r}", excerpt(value if column in row else list(row)))
    return whole(value)


def whole(text: str) -> str:
    """The text, if any file can hold it."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise UnreadableError("holds half a character (a lone surrogate)", excerpt(text)) from None
    return text


def same_question(question: str) -> str:
    """A group for every row that asks this, whatever its case and white space."""
    return " ".join(question.casefold().split())


_EXCERPT = 120


def excerpt(value: Any) -> str:
    """The beginning of a value, in characters that any file can hold."""
    try:
        shown = value if isinstance(value, str) else repr(value)
    except RecursionError:
        shown = f"{kind(value)}, nested too deeply to be shown"
    return shown[:_EXCERPT].encode("utf-8", "backslashreplace").decode()


ROLES = ("system", "user", "assistant")
_SPEAKERS = {"human": "user", "gpt": "assistant", "chatgpt": "assistant"}
"""What ShareGPT's files call the roles, in `from`."""
_NO_TEXT = ("tool_calls", "function_call", "images", "image", "audio", "videos", "video")
"""Keys of a message that hold more than its text."""
_LIKE_CHAT = re.compile(r"""\s*\[\s*\{\s*(['"])(role|content|from|value)\1\s*:""")


def messages(turns: list[Any]) -> Messages:
    """The conversation up to its last user turn, from chat messages (`role` and `content`, or ShareGPT's
    `from` and `value`).

    What follows the last user turn is an answer, not part of x: it is cut off unseen.
    """
    users = [n for n, turn in enumerate(turns) if isinstance(turn, Mapping) and _said(turn)[0] == "user"]
    if not users:
        raise UnreadableError("no user turn among the messages", excerpt(turns))
    return tuple(_turn(turn, number) for number, turn in enumerate(turns[: users[-1] + 1]))


def messages_in(text: str) -> list[Any] | None:
    """The chat messages that a text spells out as JSON; None if it is plain text."""
    if not text.lstrip().startswith("["):
        return None
    try:
        turns = parse_json(text)
    except (ValueError, RecursionError):
        if _LIKE_CHAT.match(text):
            raise UnreadableError("begins like chat messages, but is no JSON", excerpt(text)) from None
        return None
    return turns if isinstance(turns, list) and any(map(_is_message, turns)) else None


def _is_message(turn: Any) -> bool:
    if isinstance(turn, RepeatedKey):
        return True
    return isinstance(turn, Mapping) and (
        {"role", "content"} <= turn.keys() or {"from", "value"} <= turn.keys()
    )


def _turn(turn: Any, number: int) -> Message:
    if not isinstance(turn, Mapping):
        raise UnreadableError(f"message {number} is {kind(turn)}, not role and content", excerpt(turn))
    role, content = _said(turn)
    if role not in ROLES:
        raise UnreadableError(f"message {number} has the role {excerpt(role)!r}", excerpt(turn))
    if other := next((key for key in _NO_TEXT if turn.get(key)), None):
        raise UnreadableError(f"message {number} has {other}, which is no text", excerpt(turn))
    if isinstance(content, list) and content:
        # As vLLM puts them together for a template that takes text.
        content = "\n".join(_part(part, f"part {n} of message {number}") for n, part in enumerate(content))
    if not isinstance(content, str):
        raise UnreadableError(f"the content of message {number} is {kind(content)}, not text", excerpt(turn))
    return Message(role, prompt_text(content, f"message {number}") if role == "user" else whole(content))


def _said(turn: Mapping[str, Any]) -> tuple[Any, Any]:
    """Role and content."""
    if turn.get("role") is not None or turn.get("from") is None:
        return turn.get("role"), turn.get("content")
    name = turn["from"]
    return _SPEAKERS.get(name, name) if isinstance(name, str) else name, turn.get("value")


def _part(part: Any, what: str) -> str:
    """The text of `{"type": "text", "text": ...}`."""
    if not isinstance(part, Mapping):
        raise UnreadableError(f"{what} is {kind(part)}, not a text part", excerpt(part))
    if part.get("type") != "text" or not isinstance(part.get("text"), str):
        raise UnreadableError(f"{what} has the type {excerpt(part.get('type'))!r}, not text", excerpt(part))
    text: str = part["text"]
    return text


def prompt_text(text: str, what: str) -> str:
    """A text that must say something."""
    if not text.strip():
        raise UnreadableError(f"{what} is empty", excerpt(text))
    return whole(text)


def kind(value: Any) -> str:
    """What a value is, in words."""
    if value is None:
        return "null"
    if isinstance(value, RepeatedKey):
        return f"an object that has the key {excerpt(value.key)!r} twice"
    if isinstance(value, Mapping):
        return "an object"
    return _KINDS.get(type(value), type(value).__name__)


_KINDS: dict[type, str] = {
    bool: "true or false",
    int: "a number",
    float: "a number",
    Decimal: "a number",
    str: "text",
    list: "a list",
    bytes: "bytes",
    datetime.date: "a date",
    datetime.datetime: "a date",
}
