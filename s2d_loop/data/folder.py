"""A set's folder: its files and a manifest, all there or not at all.

A folder is written under another name and renamed, and never over anything.
"""

import hashlib
import json
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

import s2d_loop
from s2d_loop import folders
from s2d_loop.data.base import DataSet, Made
from s2d_loop.data.promises import inputs, num_questions
from s2d_loop.errors import BadInputError

MANIFEST = "MANIFEST.json"


class _Said(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


FileName = Annotated[str, Field(pattern=r"^\w+\.jsonl$")]
"""In the folder itself: a manifest chooses no path."""


class File(_Said):
    """A file of rows: how many there are, how many inputs and different questions they hold, and its SHA-256."""

    rows: int
    inputs: int
    questions: int
    sha256: str


class Manifest(_Said):
    """What a folder holds and what made it."""

    name: str
    seed: int | None
    """None where nothing is drawn."""
    source: str
    licence: str
    files: dict[FileName, File]
    notes: list[str]
    command: str
    version: str


def contents(made: Made) -> dict[str, bytes]:
    """Each file as JSON lines; in ASCII, so that no reader sees other line ends in a text."""
    return {
        name: "".join(json.dumps(row) + "\n" for row in rows).encode()
        for name, rows in (*made.splits.items(), *made.beside.items())
    }


def described(
    data_set: DataSet, made: Made, files: Mapping[str, bytes], *, seed: int | None, command: str
) -> Manifest:
    """The manifest of rows that keep the set's promises, and of the files that hold them."""
    items = {name: inputs(data_set, made.splits.get(name, ())) for name in files}
    return Manifest(
        name=data_set.name,
        seed=seed,
        source=data_set.source,
        licence=data_set.licence,
        files={
            name: File(
                rows=content.count(b"\n"),
                inputs=len(items[name]),
                questions=num_questions(items[name]),
                sha256=sha256(content),
            )
            for name, content in files.items()
        },
        notes=list(made.notes),
        command=command,
        version=s2d_loop.__version__,
    )


def read_manifest(folder: Path) -> Manifest:
    """A folder's manifest.

    Raises:
        BadInputError: there is none, or it is another file of this name.
    """
    path = folder / MANIFEST
    try:
        return Manifest.model_validate_json(path.read_bytes())
    except OSError as error:
        raise BadInputError(f"{path}: can't be read: {error.strerror}") from None
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise BadInputError(
            f"{path}: was not written by `s2d data`: {f'{where}: ' if where else ''}{first['msg']}"
        ) from None


def refuse_occupied(folder: Path) -> None:
    """BadInputError if the folder is something that no set may be written over."""
    if folder.is_dir():
        if (folder / MANIFEST).exists() or not any(folder.iterdir()):
            return
    elif not folder.exists():
        return
    raise BadInputError(f"{folder}: is there already and holds no data set: name another --out")


def write(folder: Path, files: Mapping[str, bytes], manifest: Manifest) -> None:
    """Write a folder that isn't there, or is empty.

    Raises:
        BadInputError: it can't be written, or came to be in the meantime.
    """
    target = folder.resolve()
    partial = target.with_name(f".{target.name}.partial-{secrets.token_hex(4)}")
    try:
        partial.mkdir(parents=True)
        for name, content in files.items():
            (partial / name).write_bytes(content)
        (partial / MANIFEST).write_text(manifest.model_dump_json(indent=2) + "\n", encoding="utf-8")
        partial.rename(target)
    except OSError as error:
        raise BadInputError(f"{folder}: can't be written: {error.strerror or error}") from error
    finally:
        folders.remove(partial)


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
