"""Trained weights as committed files: listed with checksums in the ledger, checked before they are used.

`stages.train` publishes an export, `stages.run` asks for it back.  The files lie under the root, in
`weights/<round>-<attempt>/`.  Engines and trainer open them in a local directory, `run.weights_dir`, which
is that same folder or a copy of it that may get lost (docs/decisions/0005-weights.md).
"""

import hashlib
import os
import shutil
import uuid
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from s2d_loop import folders
from s2d_loop.ledger import Attempt, File, Ledger, LedgerError, Record
from s2d_loop.records import Weights, digest
from s2d_loop.store import Store, explained, sync_directories

FOLDER = "weights"
"""Where the root keeps weights, and what their entries in a record's files are called."""

# Written about a model, not part of it: changing them doesn't change what it computes.
_BESIDE_THE_MODEL = {"README.md", "TRAINING.json"}
_THREADS = 8
_CHUNK = 1 << 22

T = TypeVar("T")


def weights_digest(path: str) -> str:
    """The digest of a model directory: weights, configuration, tokenizer and chat template.

    The model card, notes on training and hidden files do not count, so they can be edited later.
    """
    root = Path(path)
    names = _model_files(root)
    return _digest_of(dict(zip(names, _in_parallel(lambda name: sha256_of(root / name), names), strict=True)))


def sha256_of(path: Path) -> str:
    """The hex SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def local_folder(weights_dir: str | None, ledger: Ledger) -> Path:
    """Where a run opens its weights: under its root, or in a folder of its own under `run.weights_dir`.

    Other runs may have the same `weights_dir`, copies of this one included: neither finds the other's files.
    """
    kept = ledger.store.local_path(FOLDER)
    if weights_dir is None:
        assert kept is not None, "the configuration names run.weights_dir where the root is no directory"
        return Path(kept)
    given = Path(weights_dir).expanduser().absolute()
    if kept is not None and os.path.realpath(kept) == os.path.realpath(given):
        return Path(kept)
    root = ledger.store.root
    return given / f"{Path(root).name}-{digest(root, ledger.records[0].nonce)[:12]}"


def folder_of(trained: Record) -> str:
    """Where a `train` record keeps its weights, relative to the root.

    Raises:
        LedgerError: the record says another place than its round and attempt do.
    """
    said, wanted = trained.facts["weights"]["path"], f"{FOLDER}/{trained.iteration:05d}-{trained.attempt}"
    if said != wanted or not folders.is_weights(Path(wanted).name):
        raise LedgerError(
            f"record {trained.seq} keeps its weights in {said!r}, where its round and attempt say {wanted!r}: "
            "the run was altered"
        )
    return wanted


def publish(store: Store, attempt: Attempt, weights: Weights) -> dict[str, str]:
    """Bring an export under the root, durably, and list its files in the attempt; the facts of its record.

    Raises:
        LedgerError: its bytes are not those that the trainer checked.
    """
    folder = f"{FOLDER}/{attempt.iteration:05d}-{attempt.id}"
    source = Path(weights.path)
    names = _model_files(source)

    def take(name: str) -> File:
        path = f"{folder}/{name}"
        if _in_place(store, path, source / name):
            return File(FOLDER, path, 0, (source / name).stat().st_size, _made_durable(source / name))
        return _uploaded(store, source / name, path)

    files = _in_parallel(take, names)
    found = _digest_of({file.path.removeprefix(f"{folder}/"): file.sha256 for file in files})
    if found != weights.digest:
        raise LedgerError(
            f"{source}: its files are not those that the trainer checked (digest {found[:12]}, "
            f"not {weights.digest[:12]}): does this machine see the file system that the train workers "
            "wrote to? Nothing was committed; the same command trains again."
        )
    for name in sorted(_BESIDE_THE_MODEL):
        if (source / name).is_file() and not _in_place(store, f"{folder}/{name}", source / name):
            _uploaded(store, source / name, f"{folder}/{name}")
    attempt.files += files
    return {"path": folder, "digest": weights.digest}


def fetch(
    ledger: Ledger, trained: Record, directory: Path, checked: set[str], note: Callable[[str], None]
) -> Weights:
    """The weights of a `train` record, as files in `directory/<round>-<attempt>`.

    What is missing there, or damaged in a copy, is fetched from the root.  Files are checked once per
    process: `checked` keeps account of the folders that were.

    Raises:
        LedgerError: a file under the root is missing, was swept, or its bytes changed since the commit.
    """
    store = ledger.store
    folder, digest_ = folder_of(trained), trained.facts["weights"]["digest"]
    files = {f.path.removeprefix(f"{folder}/"): f for f in trained.files if f.table == FOLDER}
    if _digest_of({name: file.sha256 for name, file in files.items()}) != digest_:
        raise LedgerError(f"{store.root}: record {trained.seq} doesn't list the files of {folder}")
    if ledger.swept(folder):
        raise LedgerError(f"{store.root}: {folder} is no longer kept: it was swept")
    target = directory / Path(folder).name
    if target.is_symlink():
        raise LedgerError(f"{target}: it is a link, and weights are served from no other place: remove it")
    if folder not in checked or not target.is_dir():
        damage = _damage(target, files)
        if damage and not _in_place(store, folder, target):
            note(f"{target}: {damage}; fetching it from {store.root}.")
            _download(store, files, target)
            damage = _damage(target, files)
        if damage:
            raise LedgerError(
                f"{store.root}: {folder}: {damage} since the commit. "
                "Nothing was served or trained from it; restore it from a copy of the run."
            )
        checked.add(folder)
    return Weights(str(target), digest_)


def _in_place(store: Store, path: str, local: Path) -> bool:
    """Whether a local file or folder is the root's own, by whatever name."""
    kept = store.local_path(path)
    return kept is not None and os.path.realpath(kept) == os.path.realpath(local)


def _model_files(root: Path) -> list[str]:
    """The files of a model directory that count, relative to it and sorted."""
    names = [file.relative_to(root) for file in root.rglob("*") if file.is_file()]
    return sorted(
        name.as_posix()
        for name in names
        if name.name not in _BESIDE_THE_MODEL and not any(part.startswith(".") for part in name.parts)
    )


def _digest_of(files: Mapping[str, str]) -> str:
    """One digest for files by name: it says which names with which SHA-256."""
    return digest(*(part for pair in sorted(files.items()) for part in pair))


def _damage(folder: Path, files: Mapping[str, File]) -> str | None:
    """The first file that isn't what was committed, and how; None where all are."""

    def look(name: str) -> str | None:
        path = folder / name
        if not path.is_file():
            return f"{name} went missing"
        if path.stat().st_size != files[name].size or sha256_of(path) != files[name].sha256:
            return f"the bytes of {name} changed"
        return None

    return next((found for found in _in_parallel(look, sorted(files)) if found), None)


def _made_durable(path: Path) -> str:
    """Sync a file that another program wrote, and the folders that lead to it; its SHA-256."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    sync_directories(path.parent, set())
    return sha256


def _uploaded(store: Store, source: Path, path: str) -> File:
    with source.open("rb") as file, store.writing(path) as target:
        while chunk := file.read(_CHUNK):
            target.write(chunk)
    return File(FOLDER, path, 0, target.size, target.sha256())


def _download(store: Store, files: Mapping[str, File], target: Path) -> None:
    """Fetch every file; the folder appears whole, by a rename, in place of what was there."""
    partial = target.with_name(f".{target.name}.{uuid.uuid4().hex[:12]}")

    def get(name: str) -> None:
        path = partial / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with store.reading(files[name].path) as file, path.open("xb") as copy:
            shutil.copyfileobj(file, copy, _CHUNK)

    try:
        _in_parallel(get, sorted(files))
        folders.remove(target)
        partial.rename(target)
    except FileNotFoundError as error:
        raise LedgerError(
            f"{store.root}: a file of {target.name} was committed and is missing: {error}"
        ) from error
    except OSError as error:
        raise explained(error, f"run.weights_dir {target.parent}") from error
    finally:
        folders.remove(partial)


def _in_parallel(work: Callable[[str], T], names: Iterable[str]) -> list[T]:
    with ThreadPoolExecutor(_THREADS) as threads:
        return list(threads.map(work, names))
