"""Public files as rows: from a file, from a folder, or through the `datasets` library."""

import gzip
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from s2d_loop.errors import BadInputError

_HUB_NAME = re.compile(r"\w[\w.-]*/\w[\w.-]*")

Place = Path | str
"""A path that is there, or a name on the hub."""


def place_of(origin: str | None, hub: str) -> Place:
    """Where to read from; `hub` is the set's own place there."""
    if origin is None:
        return hub
    path = Path(origin).expanduser()
    if path.exists():
        return path
    if _HUB_NAME.fullmatch(origin):
        return origin
    raise BadInputError(
        f"--from {origin}: there is no such file or folder, and hub names look like OWNER/NAME"
    )


def read_splits(
    place: Place, files: Mapping[str, str], subset: str | None = None
) -> dict[str, list[dict[str, Any]]]:
    """Rows by split: of the folder's own files if it has one for each split, else through `datasets`.

    Args:
        files: for each split, the pattern of its file.
    """
    if (own := one_each(place, files)) is not None:
        return {split: read_lines(path) for split, path in own.items()}
    return {split: load(place, split=split, subset=subset) for split in files}


def one_each(place: Place, files: Mapping[str, str]) -> dict[str, Path] | None:
    """The folder's files by split; None unless exactly one fits each pattern."""
    found = {split: matching(place, pattern) for split, pattern in files.items()}
    one = {split: paths[0] for split, paths in found.items() if len(paths) == 1}
    return one if len(one) == len(files) == len({*one.values()}) else None


def matching(place: Place, pattern: str) -> list[Path]:
    """A folder's files of this pattern, by name; a file is itself."""
    if isinstance(place, str):
        return []
    return sorted(place.glob(pattern)) if place.is_dir() else [place]


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The objects of a file of JSON lines, which may be packed by gzip.

    Raises:
        BadInputError: it can't be read, or a line is something else.
    """
    try:
        with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as file:
            text = file.read().decode("utf-8-sig")
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise BadInputError(f"{path}: can't be read: {getattr(error, 'strerror', None) or error}") from None
    rows = []
    # Not splitlines: model text in JSON may hold other line separators.
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise BadInputError(f"{path}:{number}: is no JSON ({error})") from None
        if not isinstance(row, dict):
            raise BadInputError(f"{path}:{number}: is no JSON object")
        rows.append(row)
    return rows


def load(
    place: Place, *, split: str, subset: str | None = None, data_files: str | None = None
) -> list[dict[str, Any]]:
    """A split's rows, from the hub or from a folder that `datasets` knows how to read."""
    try:
        import datasets  # takes seconds, and local files don't need it

        return [
            dict(row) for row in datasets.load_dataset(str(place), subset, split=split, data_files=data_files)
        ]
    # Whatever goes wrong in there (network, cache, files), only the person can do something.
    except Exception as error:
        said = " ".join(str(error).split())[:300] or type(error).__name__
        raise BadInputError(
            f"{place}, split {split!r}: `datasets` can't load it ({said}): without a network, download it elsewhere "
            "and give its folder with --from"
        ) from error
