"""What the validator found, in words for the person who wrote the file."""

import difflib
import typing
from typing import Any

from pydantic_core import ErrorDetails

from s2d_loop.config.keys import below, lookup, nearest
from s2d_loop.config.problems import Key, dotted
from s2d_loop.config.secrets import masked

_WANTED = {
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "string_type": "text",
    "list_type": "a list (lines that start with `- `)",
    "dict_type": "a section (indented `key: value` lines)",
    "model_type": "a section (indented `key: value` lines)",
    "model_attributes_type": "a section (indented `key: value` lines)",
}
_BOUNDS = {
    "greater_than": ("gt", "above"),
    "greater_than_equal": ("ge", "at least"),
    "less_than": ("lt", "below"),
    "less_than_equal": ("le", "at most"),
}


def plain(detail: ErrorDetails) -> list[tuple[Key, str]]:
    """The keys that one validation error is about, each with a sentence."""
    kind, key = detail["type"], tuple(detail["loc"])
    given = masked(detail["input"], key)
    context: dict[str, Any] = detail.get("ctx", {})
    if kind == "value_error":
        return [_rule(key, line) for line in str(context["error"]).splitlines()]
    if key[-1:] == ("[key]",):
        return [(key[:-1], "a task's name may hold letters, digits, `_` and `-` only")]
    if kind == "extra_forbidden":
        return [(key, unknown(key))]
    if kind == "missing":
        return [(key, _missing(key))]
    if kind == "literal_error":
        return [(key, _choice(key, given))]
    if kind == "too_short":
        return [(key, "is empty: wanted at least one entry")]
    if kind == "string_pattern_mismatch":
        return [(key, f"wanted letters, digits, `_`, `-` and `.` only, got {shown(given)}")]
    if kind in _BOUNDS:
        name, words = _BOUNDS[kind]
        return [(key, f"must be {words} {context[name]:g}, got {shown(given)}")]
    if kind in _WANTED:
        return [(key, f"wanted {_WANTED[kind]}, got {shown(given)}{_hint(kind, given)}")]
    return [(key, f"{detail['msg']} (got {shown(given)})")]


def unknown(key: Key) -> str:
    """What to say of a key that the tree doesn't have."""
    meant = nearest(key)
    if meant == key[-1] and "." in meant:
        section, _, leaf = meant.rpartition(".")
        return f"keys nest in the file: write `{leaf}:` under `{section}:`"
    if meant is not None:
        return f"no such key; did you mean {meant}?"
    where = f"{dotted(key[:-1])} has" if key[:-1] else "there are"
    return f"no such key; {where}: {', '.join(below(key[:-1])) or 'no keys'}"


def shown(given: object) -> str:
    """A value as YAML would write it, short."""
    if given is None:
        return "nothing"
    if isinstance(given, bool):
        return str(given).lower()
    if isinstance(given, dict):
        return "a section"
    if isinstance(given, list):
        return "a list"
    text = repr(given)
    return text if len(text) <= 60 else text[:57] + "..."


def _rule(key: Key, line: str) -> tuple[Key, str]:
    """A line of a rule; it may start with the key that it is about, from its section or in full."""
    name, colon, rest = line.partition(": ")
    about = tuple(int(part) if part.isdigit() else part for part in name.split("."))
    for start in (key, ()):
        if colon and lookup((*start, about[0])) is not None:
            return (*start, *about), rest
    return key, line


def _missing(key: Key) -> str:
    info = lookup(key)
    doc = info.description if info is not None else None
    hint = f" ({' '.join(doc.split())})" if doc else ""
    return f"missing: write `{key[-1]}:` here{hint}"


def _choice(key: Key, given: object) -> str:
    info = lookup(key)
    choices = [shown(each) for each in typing.get_args(info.annotation)] if info is not None else []
    close = difflib.get_close_matches(shown(given), choices, n=1)
    meant = f"; did you mean {close[0]}?" if close else ""
    return f"wanted one of {', '.join(choices)}, got {shown(given)}{meant}"


def _hint(kind: str, given: object) -> str:
    if isinstance(given, str) and kind in ("int_type", "float_type"):
        bare = given.replace("_", "").lstrip("+-")
        return ": remove the quotes" if bare.isascii() and bare.isdigit() else ""
    if isinstance(given, float) and kind.startswith("int") and given.is_integer():
        return f": write {int(given)}"
    if kind == "string_type" and isinstance(given, bool | int | float):
        return ": put it in quotes"
    if given is None and "section" in _WANTED[kind]:
        return ": indent its keys under it, or remove the line"
    return ""
