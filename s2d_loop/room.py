"""Whether the disks have room for a stage, known before it writes: `loop` asks.

An estimate where one is cheap (what the same stage wrote in an earlier round, the size of the model), and
always the floor `run.min_free_gb`.  A bucket has no such limit.
"""

import math
import os
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from s2d_loop.engine.weight_files import tensors
from s2d_loop.errors import BadInputError
from s2d_loop.ledger import Record
from s2d_loop.stages import Run
from s2d_loop.weights import FOLDER

MIN_FREE_FILES = 1000
"""A stage makes a few dozen files at most; other programs want some too."""
# A later round's rows can be longer than an earlier one's.
_MARGIN = 1.5
# Float32 weights, their two moments, and the model's own weights.
_CHECKPOINT_BYTES_PER_PARAMETER = 16
# Ray Train keeps two while it writes the next.
_CHECKPOINTS = 3


def require_room(run: Run, stage: str, *inputs: Any) -> None:
    """Find out whether a stage fits on the disks of the root and of `run.weights_dir`.

    Raises:
        BadInputError: it doesn't.
    """
    needs: dict[int, float] = defaultdict(float)
    disks: dict[int, Path] = {}
    for folder, size in _needs(run, stage, inputs):
        existing = nearest(folder)
        disk = existing.stat().st_dev
        disks.setdefault(disk, existing)
        needs[disk] += size
    for disk, folder in disks.items():
        require_free(folder, run.config.run.min_free_gb, needs[disk], stage)


def require_free(folder: Path, min_free_gb: float, needed: float = 0.0, stage: str = "") -> None:
    """Raises BadInputError when a disk has less free than the floor and what is needed beside it."""
    disk = os.statvfs(nearest(folder))
    free, wanted = disk.f_frsize * disk.f_bavail / 2**30, min_free_gb + needed / 2**30
    remedy = (
        "Free some space, or move the run to another disk (it goes on there). What was committed is safe; "
        "the same command goes on from there."
    )
    if free < wanted:
        estimate = f"{stage} needs about {needed / 2**30:.2f} GiB, and " if needed else ""
        raise BadInputError(
            f"{folder}: {free:.2f} GiB free, but {estimate}run.min_free_gb wants {min_free_gb:g} left. {remedy}"
        )
    # Some file systems make them as they go, and have no number.
    if disk.f_files and disk.f_favail < MIN_FREE_FILES:
        raise BadInputError(
            f"{folder}: its file system has only {disk.f_favail} files (inodes) left. {remedy}"
        )


def nearest(folder: Path) -> Path:
    """The folder, or what exists of the path to it."""
    return next(each for each in (folder, *folder.parents) if each.exists())


def _needs(run: Run, stage: str, inputs: tuple[Any, ...]) -> Iterator[tuple[Path, float]]:
    """Folders that a stage writes to, and about how many bytes."""
    root = run.ledger.store.local_path("data")
    if root is not None:
        yield Path(root), _MARGIN * _tables_of(run, stage, inputs)
    if stage not in ("train", "attribute"):
        return
    start = Path(run.start.path)
    export = sum(file.stat().st_size for file in start.rglob("*") if file.is_file())
    yield run.weights_dir, export + _checkpoints(run, start)
    committed = run.ledger.store.local_path(FOLDER)
    if committed is not None and os.path.realpath(committed) != os.path.realpath(run.weights_dir):
        yield Path(committed), export


def _tables_of(run: Run, stage: str, inputs: tuple[Any, ...]) -> float:
    """What the stage wrote last time, for as many rows as it gets now."""
    earlier = run.ledger.stages(stage)
    if not earlier:
        return 0.0
    last = earlier[-1]
    written = sum(file.size for file in last.files if file.table != FOLDER)
    given = [record.counts.out for record in inputs if isinstance(record, Record)]
    return written * (given[0] / last.counts.into if given and last.counts.into else 1.0)


def _checkpoints(run: Run, start: Path) -> float:
    """DeepSpeed's, where training is long enough to have any."""
    if run.config.train.checkpoint_every >= run.config.train.steps or not any(start.glob("*.safetensors")):
        return 0.0
    parameters = sum(math.prod(tensor.shape) for tensor in tensors(str(start)).values())
    return _CHECKPOINTS * _CHECKPOINT_BYTES_PER_PARAMETER * parameters
