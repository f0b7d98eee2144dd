"""Finding what a configuration names: a registered name, or `package.module:attribute` of the user's.

`system2/registry.py` and `tasks/registry.py` use it.  Only configuration reaches it, never model text.
"""

import difflib
import importlib
from collections.abc import Iterable, Mapping
from typing import Any

from s2d_loop.errors import BadInputError


def resolve(kind: str, name: str, registered: Mapping[str, str]) -> Any:
    """The object behind a name; `kind` is what messages call it."""
    path = registered.get(name, name)
    module_name, colon, attribute = path.partition(":")
    if not (colon and module_name and attribute):
        raise BadInputError(
            f"no {kind} {name!r}{did_you_mean(name, registered)} "
            f"(there are: {', '.join(registered)}; your own is package.module:name)"
        )
    try:
        module = importlib.import_module(module_name)
    except Exception as error:
        raise BadInputError(
            f"{kind} {name!r}: importing {module_name} failed with {type(error).__name__}: {error}. "
            "It must be importable on every node: install it, or put it on PYTHONPATH"
        ) from error
    if not hasattr(module, attribute):
        raise BadInputError(
            f"{kind} {name!r}: {module_name} has no {attribute!r}{did_you_mean(attribute, vars(module))}"
        )
    return getattr(module, attribute)


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """`, did you mean 'x'?` or nothing."""
    nearest = difflib.get_close_matches(name, list(known), n=1)
    return f", did you mean {nearest[0]!r}?" if nearest else ""
