"""Which checkpoint to resume from: the last complete one of the same job.

Ray Train merges what the ranks upload into one directory, and a rank that dies before its upload
leaves a partial one behind.  So every rank also uploads a manifest that names its files with sizes
and digests, and a checkpoint counts when every rank's manifest is there and every file matches.
That also finds checkpoints of a driver that died, whatever Ray remembers of it.
"""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from s2d_loop.weights import sha256_of

_MANIFEST = "manifest-rank-{rank:05d}.json"
# The subdirectory of `scratch_dir` that Ray Train writes to.
STORAGE = "ray_train"


@dataclass(frozen=True, slots=True)
class Manifest:
    """What one rank put into a checkpoint.  `losses` are those of all steps until then."""

    job: str
    step: int
    rank: int
    num_ranks: int
    losses: list[float]
    files: dict[str, tuple[int, str]]


@dataclass(frozen=True, slots=True)
class Found:
    path: str
    step: int
    losses: list[float]


def write_manifest(
    directory: Path, *, job: str, step: int, rank: int, num_ranks: int, losses: list[float]
) -> None:
    """Describe what this rank wrote into `directory`."""
    files = {
        file.relative_to(directory).as_posix(): (file.stat().st_size, sha256_of(file))
        for file in sorted(directory.rglob("*"))
        if file.is_file()
    }
    manifest = Manifest(job, step, rank, num_ranks, losses, files)
    (directory / _MANIFEST.format(rank=rank)).write_text(json.dumps(asdict(manifest)))


def find_checkpoint(scratch_dir: str, *, job: str) -> Found | None:
    """The complete checkpoint of this job with the highest step."""
    candidates: list[tuple[int, str]] = []
    for path in Path(scratch_dir, STORAGE).glob("*/*/" + _MANIFEST.format(rank=0)):
        manifest = _read(path)
        if manifest is not None and manifest.job == job:
            candidates.append((manifest.step, str(path.parent)))
    for _, directory in sorted(candidates, reverse=True):
        found = _complete(Path(directory), job)
        if found is not None:
            return found
    return None


def _complete(directory: Path, job: str) -> Found | None:
    first = _read(directory / _MANIFEST.format(rank=0))
    if first is None:
        return None
    for manifest in _manifests(directory, first.num_ranks):
        if manifest is None or (manifest.job, manifest.step) != (job, first.step):
            return None
        for name, (size, digest) in manifest.files.items():
            file = directory / name
            if not file.is_file() or file.stat().st_size != size or sha256_of(file) != digest:
                return None
    return Found(str(directory), first.step, first.losses)


def _manifests(directory: Path, num_ranks: int) -> Iterator[Manifest | None]:
    for rank in range(num_ranks):
        yield _read(directory / _MANIFEST.format(rank=rank))


def _read(path: Path) -> Manifest | None:
    """None for a manifest that isn't there, or not wholly."""
    try:
        return Manifest(**json.loads(path.read_text()))
    except (FileNotFoundError, ValueError, TypeError):
        return None
