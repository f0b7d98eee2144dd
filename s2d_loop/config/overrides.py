"""`key.sub=value` on the command line, written over what the file says."""

from collections.abc import Sequence
from typing import Any

from s2d_loop.config.document import Document, value
from s2d_loop.config.problems import Key, Place, Problem
from s2d_loop.config.secrets import masked

_AFTER_EVERY_LINE = 1_000_000_000


def apply(document: Document, overrides: Sequence[str]) -> None:
    """Write the overrides into the document, in order; what can't be written becomes a problem."""
    for number, override in enumerate(overrides):
        name, equals, text = override.partition("=")
        name = name.strip()
        harmless = masked(text, tuple(name.split(".")))
        said = override if harmless == text else f"{name}={harmless}"
        place = Place(_AFTER_EVERY_LINE + number, f"override {said!r}")
        try:
            if not equals or not name:
                raise ValueError("wanted key.sub=value, such as train.steps=200")
            if name[0] in "+~-":
                raise ValueError(f"write it without {name[0]!r}: {name.lstrip('+~-')}={text}")
            key = _write(document.data, name.split("."), value(text))
        except ValueError as err:
            document.problems.append(Problem(place, "", str(err)))
            continue
        for old in [each for each in document.places if each[: len(key)] == key]:
            del document.places[old]
        document.places[key] = place


def _write(data: dict[str, Any], parts: list[str], new: Any) -> Key:
    """Set one value, making the sections on the way; the key with its indexes as numbers."""
    here: Any = data
    key: list[str | int] = []
    for depth, part in enumerate(parts):
        last = depth == len(parts) - 1
        step: Any = _step(here, part, ".".join(parts[:depth]))
        key.append(step)
        if isinstance(here, list) and step == len(here):
            here.append(None)
        if last:
            here[step] = new
            break
        if (here[step] if isinstance(here, list) else here.get(step)) is None:
            here[step] = {}
        here = here[step]
    return tuple(key)


def _step(here: Any, part: str, so_far: str) -> str | int:
    if not part:
        raise ValueError("a part of the key between dots is empty")
    if isinstance(here, dict):
        return part
    if not isinstance(here, list):
        raise ValueError(f"{so_far} holds a single value, so nothing can be set under it")
    if not part.isascii() or not part.isdigit() or int(part) > len(here):
        have = "is empty: use 0" if not here else f"has the indexes 0 to {len(here) - 1}"
        raise ValueError(f"{so_far} is a list and {have}, not {part!r} (the next index adds an entry)")
    return int(part)
