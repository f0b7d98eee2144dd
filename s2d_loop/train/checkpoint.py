"""Which checkpoint to resume from: the last complete one of the same job.

Ray Train merges what the ranks upload into one directory, and a rank that dies before its upload
leaves a partial one behind.  So every rank also uploads a manifest that names its files with sizes
and digests, and a checkpoint counts when every rank's manifest is there and every file matches.
That also finds checkpoints of a driver that died, whatever Ray remembers of it.

Manifests lie beside what they vouch for, so whoever can write one can write the other.  A checkpoint is
only read when the ledger knows the digest of its manifests, or when this attempt wrote it, into a
folder whose name nobody could know before.
"""

import hashlib
import json
from collections.abc import Collection, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

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


@dataclass(frozen=True, slots=True)
class Trusted:
    """Which checkpoints may be read: those with a digest that is known, and those of one attempt."""

    digests: Collection[str]
    attempt: str


def write_manifest(
    directory: Path, *, job: str, step: int, rank: int, num_ranks: int, losses: list[float]
) -> bytes:
    """Describe what this rank wrote into `directory`; returns the manifest's bytes."""
    files = {
        file.relative_to(directory).as_posix(): (file.stat().st_size, sha256_of(file))
        for file in sorted(directory.rglob("*"))
        if file.is_file()
    }
    data = _render(asdict(Manifest(job, step, rank, num_ranks, losses, files)))
    (directory / _MANIFEST.format(rank=rank)).write_bytes(data)
    return data


def digest_of(manifests: Iterable[bytes]) -> str:
    """The digest of a checkpoint: of all ranks' manifests, in their order."""
    return hashlib.sha256(b"".join(hashlib.sha256(each).digest() for each in manifests)).hexdigest()


def find_checkpoint(scratch_dir: str, *, job: str, trusted: Trusted) -> Found | None:
    """The complete checkpoint of this job with the highest step among those that may be read."""
    candidates: list[tuple[int, str]] = []
    for path in Path(scratch_dir, STORAGE).glob("*/*/" + _MANIFEST.format(rank=0)):
        manifest = _read(path)
        if manifest is not None and manifest.job == job:
            candidates.append((manifest.step, str(path.parent)))
    for _, directory in sorted(candidates, reverse=True):
        found = _complete(Path(directory), job, trusted)
        if found is not None:
            return found
    return None


def _complete(directory: Path, job: str, trusted: Trusted) -> Found | None:
    first = _read(directory / _MANIFEST.format(rank=0))
    if first is None:
        return None
    paths = [directory / _MANIFEST.format(rank=rank) for rank in range(first.num_ranks)]
    listed = {path.name for path in paths}
    for rank, manifest in enumerate(map(_read, paths)):
        if manifest is None or (manifest.job, manifest.step, manifest.rank) != (job, first.step, rank):
            return None
        for name, (size, digest) in manifest.files.items():
            file = directory / name
            if file.is_symlink() or not file.is_file():
                return None
            if file.stat().st_size != size or sha256_of(file) != digest:
                return None
        listed |= manifest.files.keys()
    # Loaders look for files by their names: one that no manifest knows could be taken for one of theirs.
    if any(
        not each.is_dir() and each.relative_to(directory).as_posix() not in listed
        for each in directory.rglob("*")
    ):
        return None
    written_here = directory.parent.name == trusted.attempt
    if not written_here and digest_of(path.read_bytes() for path in paths) not in trusted.digests:
        return None
    return Found(str(directory), first.step, first.losses)


def _render(manifest: dict[str, Any]) -> bytes:
    """The only bytes that read back as this manifest."""
    checksum = hashlib.sha256(json.dumps(manifest).encode()).hexdigest()
    return json.dumps({"manifest": manifest, "sha256": checksum}).encode()


def _read(path: Path) -> Manifest | None:
    """None for a manifest that isn't there, or not as it was written."""
    try:
        data = path.read_bytes()
        row = json.loads(data)["manifest"]
        return Manifest(**row) if _render(row) == data else None
    except (FileNotFoundError, ValueError, TypeError, KeyError, RecursionError):
        return None
