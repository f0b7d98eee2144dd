"""Finding what a configuration names: a registered name, an installed package's, or `package.module:attribute`.

The registries of `system2`, `tasks` and `formats` use it.  An installed package registers names by
entry points of the groups `s2d_loop.methods`, `s2d_loop.tasks` and `s2d_loop.formats`.  Only
configuration reaches it, never model text.
"""

import difflib
import functools
import importlib
from collections.abc import Iterable, Mapping
from importlib.metadata import entry_points
from typing import Any

from s2d_loop.errors import BadInputError


def resolve(kind: str, name: str, registered: Mapping[str, str]) -> Any:
    """The object behind a name; `kind` is what messages call it.

    The project's own names come first, so that installing a package can't change what they mean.
    """
    path = registered.get(name, name)
    if ":" not in path:
        path = _installed_path(kind, name, registered)
    module_name, _, attribute = path.partition(":")
    if not (module_name and attribute):
        raise _unknown(kind, name, registered)
    found = f"{kind} {name!r}" if path == name else f"{kind} {name!r} ({path})"
    try:
        module = importlib.import_module(module_name)
    except Exception as error:
        raise BadInputError(
            f"{found}: importing {module_name} failed with {type(error).__name__}: {error}. "
            "It must be importable on every node: install it, or put it on PYTHONPATH"
        ) from error
    if not hasattr(module, attribute):
        raise BadInputError(
            f"{found}: {module_name} has no {attribute!r}{did_you_mean(attribute, vars(module))}"
        )
    return getattr(module, attribute)


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """`, did you mean 'x'?` or nothing."""
    nearest = difflib.get_close_matches(name, list(known), n=1)
    return f", did you mean {nearest[0]!r}?" if nearest else ""


@functools.cache
def installed(kind: str) -> Mapping[str, frozenset[str]]:
    """Names that installed packages register, each with the paths that it stands for."""
    found: dict[str, frozenset[str]] = {}
    for each in entry_points(group=f"s2d_loop.{kind}s"):
        # An entry point may carry extras: `module:name [extra]`.
        path = each.value.partition("[")[0].strip()
        found[each.name] = found.get(each.name, frozenset()) | {path}
    return found


def _installed_path(kind: str, name: str, registered: Mapping[str, str]) -> str:
    paths = installed(kind).get(name)
    if paths is None:
        raise _unknown(kind, name, registered)
    if len(paths) > 1:
        raise BadInputError(
            f"{kind} {name!r}: installed packages register it for {' and for '.join(sorted(paths))}: "
            "write the one that you mean instead of the name"
        )
    (path,) = paths
    if ":" not in path:
        raise BadInputError(
            f"{kind} {name!r}: the package that registers it gives {path!r}, which is no package.module:name"
        )
    return path


def _unknown(kind: str, name: str, registered: Mapping[str, str]) -> BadInputError:
    known = [*registered, *(each for each in installed(kind) if each not in registered)]
    return BadInputError(
        f"no {kind} {name!r}{did_you_mean(name, known)} "
        f"(there are: {', '.join(known)}; your own is package.module:name)"
    )
