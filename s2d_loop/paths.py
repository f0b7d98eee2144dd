"""Paths as a configuration gives them, made ready to open."""

from importlib import resources
from pathlib import Path

from s2d_loop.errors import BadInputError

TESTBED = "testbed://"


def resolve(path: str) -> str:
    """`testbed://...` as the file or directory that ships in the package, `~` expanded, others unchanged.

    Relative paths stay relative to the current directory; hub names and URIs pass through.
    """
    if path.startswith(TESTBED):
        return _shipped(path)
    return str(Path(path).expanduser()) if path.startswith("~") else path


def _shipped(path: str) -> str:
    root = Path(str(resources.files("s2d_loop"))) / "testbed"
    inside = path.removeprefix(TESTBED).strip("/")
    found = root / inside
    if inside and ".." not in Path(inside).parts and found.exists():
        return str(found)
    data = sorted(f"{TESTBED}data/{each.name}" for each in (root / "data").glob("*.jsonl"))
    models = sorted(f"{TESTBED}models/{each.name}" for each in (root / "models").glob("*"))
    have = ", ".join([f"{TESTBED}model", *models, *data])
    raise BadInputError(f"{path}: nothing of this name ships with the package; there are: {have}")
