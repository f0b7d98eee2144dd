"""The committed tables: there, byte for byte, with their rows and their columns."""

import hashlib
from collections.abc import Mapping

import pyarrow as pa
import pyarrow.parquet as pq

from s2d_loop.doctor.chain import Entry, File
from s2d_loop.doctor.findings import ALTERED, RESTORE, Check, Checkup
from s2d_loop.doctor.root import RefusedError, Root, chunks, size_of
from s2d_loop.doctor.story import Story
from s2d_loop.unpacked import UnpackError
from s2d_loop.unpacked import check as unpackable

_MESSAGES = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))
_INPUT = {
    "id": pa.string(),
    "task": pa.string(),
    "messages": _MESSAGES,
    "content_hash": pa.string(),
    "group": pa.string(),
}
_EXAMPLE = {
    "id": pa.string(),
    "input_id": pa.string(),
    "task": pa.string(),
    "prompt": _MESSAGES,
    "completion": _MESSAGES,
    "iteration": pa.int64(),
    "weights": pa.string(),
}
COLUMNS: dict[str, Mapping[str, pa.DataType]] = {
    "heldout": {f"input.{name}": kind for name, kind in _INPUT.items()} | {"reference": pa.string()},
    "inputs": _INPUT,
    "dropped": {"place": pa.int64(), "reason": pa.string(), "same_as": pa.string()}
    | {f"input.{name}": kind for name, kind in _INPUT.items()},
    "rejects": {
        "source": pa.string(),
        "file": pa.string(),
        "row": pa.int64(),
        "reason": pa.string(),
        "place": pa.int64(),
    },
    "routes": {"input_id": pa.string(), "task": pa.string(), "route": pa.string()},
    "generations": {"input.id": pa.string(), "weights": pa.string(), "error": pa.string()},
    "traces": {"input_id": pa.string()},
    "verdicts": {
        "input.id": pa.string(),
        "input.content_hash": pa.string(),
        "input.messages": _MESSAGES,
        "weights": pa.string(),
        "reason": pa.string(),
        "target": pa.string(),
    },
    "examples": _EXAMPLE,
    "training": _EXAMPLE,
    "canaries": {"set": pa.string(), "id": pa.string(), "bad": pa.bool_(), "answer": pa.string()},
    "scored": {"input_id": pa.string(), "task": pa.string(), "system": pa.string(), "correct": pa.bool_()},
}
"""The columns of each table that promises are made about; a table may have more."""


WEIGHTS = "weights"
"""What the files of trained weights are called in a record; they are no tables."""


def check_files(checkup: Checkup, root: Root, story: Story) -> set[str]:
    """Every file that a record names; returns the paths of those that can be read on."""
    named = [(entry, file) for entry in story.entries for file in entry.files]
    intact: set[str] = set()
    with checkup.check("committed files unchanged", "files") as check:
        for entry, file in named:
            check.looked += 1
            if _unchanged(check, root, story, entry, file):
                intact.add(file.path)
    with checkup.check("rows and columns of the tables", "files") as check:
        for entry, file in named:
            if file.path in intact and file.table != WEIGHTS:
                check.looked += 1
                if not _readable(check, root, entry, file):
                    intact.discard(file.path)
    gone = sum(
        (story.swept(file.path) or story.void(entry)) and file.path not in intact for entry, file in named
    )
    if gone:
        checkup.notes.append(f"{gone} committed files are no longer kept: swept, or of void rounds")
    return intact


def folder_of(entry: Entry, table: str) -> str:
    """Where an attempt puts a table."""
    if table == WEIGHTS:
        return f"weights/{entry.iteration:05d}-{entry.attempt}/"
    return f"data/{entry.iteration:05d}/{entry.stage}-{entry.attempt}/"


def _unchanged(check: Check, root: Root, story: Story, entry: Entry, file: File) -> bool:
    if not file.path.startswith(folder_of(entry, file.table)):
        check.found(entry.path, f"names {file.path}, which isn't in its attempt's folder", ALTERED)
    try:
        with root.open(file.path) as opened:
            size = size_of(opened)
            sha256 = hashlib.sha256()
            # One of another size needs no reading, however large it is.
            for piece in chunks(opened) if size == file.size else ():
                sha256.update(piece)
    except FileNotFoundError:
        if not story.swept(file.path) and not story.void(entry):
            check.found(file.path, f"is missing: {entry.where} committed it, and nothing swept it", RESTORE)
        return False
    except RefusedError as error:
        check.found(file.path, str(error), ALTERED)
        return False
    if (size, sha256.hexdigest()) != (file.size, file.sha256):
        sizes = "" if size == file.size else f" ({size} bytes instead of {file.size})"
        check.found(file.path, f"is damaged: its bytes changed since {entry.where}{sizes}", RESTORE)
        return False
    return True


def _readable(check: Check, root: Root, entry: Entry, file: File) -> bool:
    try:
        with root.open(file.path) as opened:
            rows = unpackable(opened)
            schema = pq.ParquetFile(opened).schema_arrow
    except UnpackError as error:
        check.found(file.path, f"{error}, though {entry.where} committed it", ALTERED)
        return False
    except (pa.ArrowException, OSError) as error:
        check.found(file.path, f"isn't a Parquet file, though {entry.where} committed it: {error}", ALTERED)
        return False
    if rows != file.rows:
        check.found(file.path, f"has {rows} rows, {entry.where} says {file.rows}", ALTERED)
    missing = [
        name for name, kind in COLUMNS.get(file.table, {}).items() if not _has(schema, name.split("."), kind)
    ]
    if missing:
        check.found(file.path, f"has no column {', '.join(missing)} of the documented type", ALTERED)
    return not missing


def _has(schema: pa.Schema, path: list[str], kind: pa.DataType) -> bool:
    fields: pa.Schema | pa.StructType = schema
    for name in path[:-1]:
        index = fields.get_field_index(name)
        if index < 0 or not pa.types.is_struct(fields.field(index).type):
            return False
        fields = fields.field(index).type
    index = fields.get_field_index(path[-1])
    return index >= 0 and _plain(fields.field(index).type) == _plain(kind)


def _plain(kind: pa.DataType) -> str:
    """A type without the names that lists give their items, and without nullability."""
    if pa.types.is_list(kind):
        return f"list<{_plain(kind.value_type)}>"
    if pa.types.is_struct(kind):
        return f"struct<{', '.join(f'{f.name}: {_plain(f.type)}' for f in kind)}>"
    return str(kind)
