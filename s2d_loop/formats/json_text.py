"""JSON as rows hold it.  What has two meanings is kept as what it is, so that only its reader refuses it."""

import json
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

_DIGITS = 4000
"""Python turns no more than 4300 of them into an integer."""


@dataclass(frozen=True, slots=True)
class RepeatedKey:
    """Stands for an object that has a key twice: which of the two values counts, nobody can say."""

    key: str


def parse_json(text: str) -> Any:
    """The value; an integer of thousands of digits is a `Decimal`.

    Raises:
        ValueError: it is no JSON.
        RecursionError: it is nested too deeply.
    """
    try:
        return _PLAIN.decode(text)
    except json.JSONDecodeError:
        raise
    except ValueError:  # a number with too many digits
        return _LONG.decode(text)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any] | RepeatedKey:
    found = dict(pairs)
    if len(found) == len(pairs):
        return found
    keys = [key for key, _ in pairs]
    return RepeatedKey(next(key for key in found if keys.count(key) > 1))


def _integer(digits: str) -> int | Decimal:
    return int(digits) if len(digits) < _DIGITS else Decimal(digits)


_PLAIN = json.JSONDecoder(object_pairs_hook=_object)
_LONG = json.JSONDecoder(
    object_pairs_hook=_object, parse_int=_integer
)  # four times slower on lists of numbers
