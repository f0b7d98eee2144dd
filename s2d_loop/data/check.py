"""Is what lies in a folder the set that its manifest says, and does it keep the set's promises?"""

from collections.abc import Iterator
from pathlib import Path

from s2d_loop.data.base import DataSet
from s2d_loop.data.folder import MANIFEST, Manifest, read_manifest, sha256
from s2d_loop.data.promises import broken
from s2d_loop.data.public import read_lines
from s2d_loop.errors import BadInputError


def findings(data_set: DataSet, folder: Path, *, seed: int | None) -> list[str]:
    """Everything that is wrong, in words.

    Args:
        seed: the one that it should be made with; None where nothing is drawn.

    Raises:
        BadInputError: it has no manifest that can be read.
    """
    manifest = read_manifest(folder)
    if manifest.name != data_set.name:
        return [f"is {manifest.name}"]
    return [
        *([f"was made with seed {manifest.seed}, not {seed}"] if manifest.seed != seed else []),
        *_files(data_set, folder, manifest),
    ]


def _files(data_set: DataSet, folder: Path, manifest: Manifest) -> Iterator[str]:
    """What the files are, then what their rows say: a manifest that was changed with them hides nothing."""
    splits = {}
    for name in dict.fromkeys((*data_set.sizes, *manifest.files)):
        path, said = folder / name, manifest.files.get(name)
        if not path.is_file():
            yield f"{name}: is missing"
            continue
        if said is None or sha256(path.read_bytes()) != said.sha256:
            yield f"{name}: is not the file that {MANIFEST} lists"
        try:
            rows = read_lines(path)
        except BadInputError as error:
            yield str(error)
            continue
        if said is not None and len(rows) != said.rows:
            yield f"{name}: has {len(rows):,} rows, and {MANIFEST} says {said.rows:,}"
        if name in data_set.sizes:
            splits[name] = rows
    for path in sorted(folder.glob("*.jsonl")):
        if path.name not in manifest.files and path.name not in data_set.sizes:
            yield f"{path.name}: is no file of the set"
    yield from broken(data_set, splits)
