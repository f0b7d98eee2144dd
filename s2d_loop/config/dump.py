"""A configuration written out in full, and the difference between two."""

import json
from collections.abc import Iterator
from typing import Any

import yaml

from s2d_loop.config.document import NUMBER
from s2d_loop.config.problems import Key, dotted
from s2d_loop.config.secrets import is_secret, masked
from s2d_loop.config.tree import Config


class _Dumper(yaml.SafeDumper):
    """Quotes whatever YAML 1.1 or 1.2 would take for something other than text."""


_Dumper.add_implicit_resolver("tag:yaml.org,2002:float", NUMBER, list("-+.0123456789"))


def resolved_yaml(config: Config) -> str:
    """The whole configuration, defaults included; loads back as the same one."""
    dumped: str = yaml.dump(
        config.model_dump(), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100
    )
    return dumped


def difference(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """What changed between two dumped configurations: `train.steps: 100 -> 200`, a line each.

    A secret that is changed changes nothing of what a run makes, and is never shown.
    """
    return list(_differences((), masked(old), masked(new)))


_ABSENT = object()


def _differences(key: Key, old: Any, new: Any) -> Iterator[str]:
    if key and is_secret(key):
        return
    if isinstance(old, dict) and isinstance(new, dict):
        for name in [*old, *(name for name in new if name not in old)]:
            yield from _differences((*key, name), old.get(name, _ABSENT), new.get(name, _ABSENT))
    elif isinstance(old, list) and isinstance(new, list):
        for number in range(max(len(old), len(new))):
            yield from _differences(
                (*key, number),
                old[number] if number < len(old) else _ABSENT,
                new[number] if number < len(new) else _ABSENT,
            )
    elif type(old) is not type(new) or old != new:
        yield f"{dotted(key)}: {_shown(old)} -> {_shown(new)}"


def _shown(value: Any) -> str:
    return "(not there)" if value is _ABSENT else json.dumps(value, ensure_ascii=False, default=str)
