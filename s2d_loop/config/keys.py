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
_ELSEWHERE = {
    "tp": "tensor_parallel_size",
    "pp": "pipeline_parallel_size",
    "lr": "learning_rate",
    "n": "samples",
    "num_samples": "samples",
    "batch_size": "tokens_per_step",
    "max_new_tokens": "max_tokens",
    "model_name_or_path": "path",
    "output_dir": "dir",
    "gradient_clipping": "max_grad_norm",
}
"""What other tools call some of the keys."""


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
    leaf = _ELSEWHERE.get(str(key[-1]), str(key[-1]))
    if tuple(leaf.split(".")) in all_keys():
        return leaf
    named = {pattern for pattern in all_keys() if pattern[-1] == leaf}
    if named:
        return _filled(_closest(named, key), key)
    here, leaves = below(key[:-1]), sorted({pattern[-1] for pattern in all_keys()} - {ANY})
    beside = _abbreviated(leaf, here) or _close(leaf, here, cutoff=0.6)
    if beside is not None:
        return dotted((*key[:-1], beside))
    found = _abbreviated(leaf, leaves) or _close(leaf, leaves, cutoff=0.7)
    if found is None:
        return None
    return _filled(_closest({pattern for pattern in all_keys() if pattern[-1] == found}, key), key)


def _close(leaf: str, names: list[str], cutoff: float) -> str | None:
    return next(iter(difflib.get_close_matches(leaf, names, n=1, cutoff=cutoff)), None)


def _abbreviated(leaf: str, names: list[str]) -> str | None:
    """`ref` or `refs` for reference, `mml` for max_model_len."""
    stem = leaf.removesuffix("s")
    starts = [name for name in names if len(stem) > 2 and name.startswith(stem)]
    initials = [name for name in names if len(leaf) > 1 and _initials(name).startswith(leaf)]
    return min(starts or initials, key=len, default=None)


def _initials(name: str) -> str:
    return "".join(part[:1] for part in name.split("_"))


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
