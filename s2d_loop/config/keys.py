"""All keys of the tree, and the nearest right one to a wrong one."""

import difflib
import functools
import types
import typing
from collections.abc import Iterator

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from s2d_loop.config.problems import Key, dotted
from s2d_loop.config.tree import Config

ANY = "*"
"""Stands for a task's or step's name and for a list's index."""
Pattern = tuple[str, ...]


@functools.cache
def all_keys() -> dict[Pattern, FieldInfo]:
    """Every key that the tree knows, with its documentation."""
    return dict(_walk(Config, ()))


def lookup(key: Key) -> FieldInfo | None:
    """The field at a place in a configuration, if there is such a field."""
    return next((info for pattern, info in all_keys().items() if _matches(pattern, key)), None)


def below(key: Key) -> list[str]:
    """The names of the keys that a section may hold."""
    return [p[-1] for p in all_keys() if _matches(p[:-1], key) and p[-1] != ANY]


def nearest(key: Key) -> str | None:
    """The right key that somebody who wrote `key` most likely meant."""
    leaf = str(key[-1])
    if tuple(leaf.split(".")) in all_keys():
        return leaf
    named = {pattern for pattern in all_keys() if pattern[-1] == leaf}
    if named:
        return _filled(_closest(named, key), key)
    here = difflib.get_close_matches(leaf, below(key[:-1]), n=1, cutoff=0.6)
    if here:
        return dotted((*key[:-1], here[0]))
    leaves = sorted({pattern[-1] for pattern in all_keys()} - {ANY})
    close = difflib.get_close_matches(leaf, leaves, n=1, cutoff=0.7)
    found = close[0] if close else _abbreviated(leaf, leaves)
    if found is None:
        return None
    return _filled(_closest({pattern for pattern in all_keys() if pattern[-1] == found}, key), key)


def _abbreviated(leaf: str, leaves: list[str]) -> str | None:
    """`lr` for learning_rate, `tp` for tensor_parallel_size, `batch` for a name with that part."""
    starts = [name for name in leaves if "".join(part[0] for part in name.split("_")).startswith(leaf)]
    if len(leaf) > 1 and starts:
        return min(starts, key=len)
    within = [name for name in leaves if len(leaf) > 3 and (leaf in name.split("_"))]
    return min(within, key=len) if within else None


def _closest(patterns: set[Pattern], key: Key) -> Pattern:
    """The pattern that shares the longest way with `key`, then the shortest, then the first by name."""

    def distance(pattern: Pattern) -> tuple[int, int, Pattern]:
        shared = 0
        while shared < min(len(pattern), len(key)) and pattern[shared] in (ANY, key[shared]):
            shared += 1
        return -shared, len(pattern), pattern

    return min(patterns, key=distance)


def _filled(pattern: Pattern, key: Key) -> str:
    """The pattern with the names of `key` where the two go the same way."""
    same = True
    parts: list[str | int] = []
    for depth, part in enumerate(pattern):
        same = same and depth < len(key) - 1 and part in (ANY, key[depth])
        parts.append(
            key[depth] if same else "0" if parts[-1:] == ["sources"] else "NAME" if part == ANY else part
        )
    return dotted(tuple(parts))


def _matches(pattern: Pattern, key: Key) -> bool:
    return len(pattern) == len(key) and all(p in (ANY, k) for p, k in zip(pattern, key, strict=True))


def _walk(model: type[BaseModel], prefix: Pattern) -> Iterator[tuple[Pattern, FieldInfo]]:
    for name, info in model.model_fields.items():
        at = (*prefix, name)
        yield at, info
        section, many = _section(info.annotation)
        if section is not None:
            yield from _walk(section, (*at, ANY) if many else at)


def _section(hint: object) -> tuple[type[BaseModel] | None, bool]:
    """The section that a hint holds, and whether it holds many of them."""
    if isinstance(hint, type) and issubclass(hint, BaseModel):
        return hint, False
    if typing.get_origin(hint) in (dict, list, types.UnionType):
        for arg in typing.get_args(hint):
            if isinstance(arg, type) and issubclass(arg, BaseModel):
                return arg, typing.get_origin(hint) is not types.UnionType
    return None, False
