"""Folders that the project makes and removes, outside of what a store keeps: nothing else removes any.

A name that comes from a record, or from a directory that anybody can write to, removes nothing unless it is one
of the names that are given here, and what lies there is a folder and no link.
"""

import re
import shutil
from pathlib import Path

from s2d_loop.errors import S2DError

ATTEMPT = r"\d{5,}-[0-9a-f]{12}"
"""An attempt's id: the number of the lease it was made under, and its own."""
_WEIGHTS = rf"\d{{5,}}-{ATTEMPT}"
_MADE = re.compile(
    "|".join(
        [
            _WEIGHTS,
            rf"\.{_WEIGHTS}\.[0-9a-f]{{12}}",  # a copy under way
            r"\.scratch-\d{5,}(?:-without-[A-Za-z0-9_.~-]+)?",  # a training's checkpoints
            r"\d{8}-\d{6}(?:-\d{1,3})?",  # logs
            r"[^/]+\.partial-[0-9a-f]{8}",  # an export, a model or a data set that isn't whole yet
            r"[^/]+\.old-[0-9a-f]{8}",  # a model in whose place another one is put
        ]
    )
)
_WEIGHTS_NAME = re.compile(_WEIGHTS)


class NotOursError(S2DError):
    """Something stands where the project keeps a folder of its own."""


def remove(folder: Path) -> None:
    """Remove a folder that the project made, with all that is in it; nothing where nothing is.

    What can't be removed now (a file system that is busy) is left: it is found again at the next start.

    Raises:
        NotOursError: it isn't one of the project's names, or no folder; nothing was touched.
    """
    if not _is_own(folder):
        return
    if not _MADE.fullmatch(folder.name):
        raise NotOursError(f"{folder}: not removed: no folder of this project has such a name")
    shutil.rmtree(folder, ignore_errors=True)


def make(folder: Path) -> None:
    """Make a folder for this user alone, unless it is there already.

    Raises:
        NotOursError: a link or a file stands there, through which something else would be written.
    """
    if not _is_own(folder):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)


def is_weights(name: str) -> bool:
    """Whether a folder's name is that of an attempt's weights: `<round>-<attempt>`."""
    return _WEIGHTS_NAME.fullmatch(name) is not None


def _is_own(folder: Path) -> bool:
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        what = "a link" if folder.is_symlink() else "no folder"
        raise NotOursError(
            f"{folder}: it is {what}, and this project's own folders are none: look who made it, and remove it"
        )
    return folder.exists()
