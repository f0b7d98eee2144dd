"""What is promised of a set's rows, whoever wrote them: sizes, rows that can be read, sides that share nothing."""

from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import combinations

from s2d_loop.data.base import DataSet, Rows, question_of
from s2d_loop.formats.base import Item, UnreadableError

_SHOWN = 60


def inputs(data_set: DataSet, rows: Rows) -> list[Item]:
    """What the rows ask, as a source reads them; UnreadableError names the first row that asks nothing."""
    found: list[Item] = []
    reader = data_set.reader
    for number, row in enumerate(rows):
        try:
            found += reader.items(row)
        except UnreadableError as error:
            raise UnreadableError(f"row {number}: {error} ({error.excerpt})", error.excerpt) from None
    return found


def num_questions(items: list[Item]) -> int:
    """How many different things they ask."""
    return len({question_of(item) for item in items})


def broken(data_set: DataSet, splits: Mapping[str, Rows]) -> list[str]:
    """Which promises the rows break, in words."""
    found: list[str] = []
    read: dict[str, list[Item]] = {}
    for name, rows in splits.items():
        try:
            read[name] = inputs(data_set, rows)
        except UnreadableError as error:
            found.append(f"{name}: {error}")
    return [*found, *_sizes(data_set, read), *_shared(data_set, read)]


def _sizes(data_set: DataSet, read: Mapping[str, list[Item]]) -> Iterator[str]:
    for name, items in read.items():
        wanted = data_set.sizes[name]
        if not items or (data_set.fixed and len(items) != wanted):
            yield f"{name}: holds {len(items):,} inputs, and {data_set.name} has {wanted:,}"


def _shared(data_set: DataSet, read: Mapping[str, list[Item]]) -> Iterator[str]:
    """A line for every two files that share a key, and for every file that repeats one that it must not."""
    keys = {
        name: Counter(key for item in items for key in data_set.keys(item)) for name, items in read.items()
    }
    for first, second in combinations(keys, 2):
        if both := [key for key in keys[second] if key in keys[first]]:
            yield f"{_some(both)}: in {first} and in {second}"
    for name, counted in keys.items() if data_set.once else ():
        if twice := [key for key, times in counted.items() if times > 1]:
            yield f"{_some(twice)}: more than once in {name}"


def _some(keys: list[str]) -> str:
    more = f" and {len(keys) - 1:,} more" if len(keys) > 1 else ""
    return f"{keys[0][:_SHOWN]!r}{more}"
