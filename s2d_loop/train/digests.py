"""Digests of files and of model directories."""

import hashlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from s2d_loop.records import digest

# Written about a model, not part of it: changing them doesn't change what it computes.
_BESIDE_THE_MODEL = {"README.md", "TRAINING.json"}


def file_digest(path: Path) -> str:
    """The 128-bit hex digest of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()  # type: ignore[arg-type]


def weights_digest(path: str) -> str:
    """The digest of a model directory: weights, configuration, tokenizer and chat template.

    The model card, notes on training and hidden files do not count, so they can be edited later.
    """
    root = Path(path)
    files = sorted(
        file
        for file in root.rglob("*")
        if file.is_file()
        and file.name not in _BESIDE_THE_MODEL
        and not any(part.startswith(".") for part in file.relative_to(root).parts)
    )
    with ThreadPoolExecutor(8) as threads:
        digests = list(threads.map(file_digest, files))
    names = [file.relative_to(root).as_posix() for file in files]
    return digest(*(part for pair in zip(names, digests, strict=True) for part in pair))
