"""Columns of mixed types in JSON files that `datasets` reads.

The library settles by a set's first rows whether a column is of mixed types, and stores the values of one that
is as JSON.  Where only later files (or a later part of a large one) mix, it stores that part as JSON too, in a
column of text, and says so nowhere: the text `yes` becomes `"yes"`.
"""

import json
from collections.abc import Callable, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from s2d_loop.formats.base import UnreadableError, excerpt
from s2d_loop.sources.api import Row
from s2d_loop.sources.tables import Values

_NO_TEXT = r"^([\[{].*[\]}]|-?[0-9][0-9.eE+-]*|true|false)$"


def as_row(number: int, value: Values | UnreadableError, mixes: Callable[[str], bool]) -> Row:
    """A row of a set, refused where one of its texts may be another's JSON.

    Args:
        mixes: whether a column of text may have a part that was stored as JSON.
    """
    if isinstance(value, dict):
        written = (name for name, text in value.items() if _is_written(text) and mixes(name))
        if (name := next(written, None)) is not None:
            value = UnreadableError(
                f"column {name!r} is text in quotes, which `datasets` also makes of text without quotes in files that "
                "mix text and other values: read the files with `type: jsonl` or `type: directory`",
                excerpt(value[name]),
            )
    if isinstance(value, UnreadableError):
        return Row(number, number + 1, None, str(value), value.excerpt)
    return Row(number, number + 1, value)


def is_settled(builder: Any, split: str) -> bool:
    """Whether a split has nothing behind the rows by which the types of its columns are settled."""
    if builder.name != "json":
        return True
    files = data_files(builder, split)
    return (
        len(files) == 1 and sum(fs.size(path) for fs, path in map(located, files)) <= builder.config.chunksize
    )


def data_files(builder: Any, split: str) -> Sequence[Any]:
    """The files of a split; none where the library doesn't read it from files."""
    files: Sequence[Any] = (builder.config.data_files or {}).get(split, [])
    return files


def located(file: Any) -> tuple[Any, str]:
    """The file system of one of them, and the path in it."""
    import fsspec

    fs, path = fsspec.core.url_to_fs(str(file))
    return fs, str(path)


def holds_json(data: Any, column: str) -> bool:
    """Whether a column of a downloaded set is text, comes from JSON, and holds what was no text there."""
    stored = data.data.column(column)
    if data.info.builder_name != "json" or not pa.types.is_string(stored.type):
        return False
    return bool(pc.any(pc.match_substring_regex(stored, _NO_TEXT)).as_py())


def _is_written(text: Any) -> bool:
    """Whether this is what the library writes for a text in a column of mixed types."""
    if not isinstance(text, str) or len(text) < 2 or not text[0] == text[-1] == '"':
        return False
    try:
        read = json.loads(text)
    except ValueError:
        return False
    return isinstance(read, str) and json.dumps(read).replace("/", "\\/") == text
