"""What a run claimed before, as sorted arrays: about 60 bytes an input, where a set takes hundreds.

`intake` asks it whether a row is new.  Nothing of it is stored: it is rebuilt from the committed
columns, so it can't disagree with them.
"""

import binascii

import numpy as np
import pyarrow as pa

from s2d_loop.records import digest

UNKNOWN = -1


class KeyIndex:
    """Keys of one fixed width, each with a number; of a key given twice, the first number counts."""

    def __init__(self) -> None:
        # Sorted runs, each longer than the next: adding is a merge now and then, finding a few searches.
        self._runs: list[tuple[np.ndarray, np.ndarray]] = []

    def find(self, keys: np.ndarray) -> np.ndarray:
        """The number of each key, or `UNKNOWN`."""
        found = np.full(len(keys), UNKNOWN, np.int64)
        for known, numbers in reversed(self._runs):
            at = np.minimum(np.searchsorted(known, keys), len(known) - 1)
            hit = known[at] == keys
            found[hit] = numbers[at[hit]]
        return found

    def add(self, keys: np.ndarray, numbers: np.ndarray) -> None:
        """Add keys, with numbers higher than any before."""
        if not len(keys):
            return
        while self._runs and len(self._runs[-1][0]) <= 2 * len(keys):
            known, theirs = self._runs.pop()
            keys, numbers = np.concatenate([known, keys]), np.concatenate([theirs, numbers])
        # Stable, so that of equal keys the first stays first; and quick on what is sorted in parts.
        order = np.argsort(keys, kind="stable")
        self._runs.append((keys[order], numbers[order]))


class Known:
    """The inputs that were claimed, by task and content."""

    def __init__(self) -> None:
        self._index = KeyIndex()
        self._ids: list[pa.ChunkedArray] = []
        self._count = 0

    def find(self, inputs: pa.Table) -> list[str | None]:
        """For each input the id of the known one that has its task and content, or None."""
        numbers = self._index.find(content_keys(inputs))
        hits = numbers != UNKNOWN
        found: list[str | None] = [None] * len(numbers)
        if hits.any():
            ids = pa.chunked_array([chunk for each in self._ids for chunk in each.chunks])
            for row, known in zip(
                np.flatnonzero(hits), ids.take(pa.array(numbers[hits])).to_pylist(), strict=True
            ):
                found[row] = known
        return found

    def add(self, inputs: pa.Table) -> None:
        """Add claimed inputs: the columns `id`, `task` and `content_hash` of `Input`."""
        self._index.add(content_keys(inputs), np.arange(self._count, self._count + inputs.num_rows))
        self._ids.append(inputs["id"])
        self._count += inputs.num_rows


def content_keys(inputs: pa.Table) -> np.ndarray:
    """16 bytes for the task and content of each input: its content hash, shifted by the task's name."""
    tasks = inputs["task"].combine_chunks().dictionary_encode()
    salts = digest_keys([digest(task) for task in tasks.dictionary.to_pylist()])
    salt = salts[tasks.indices.to_numpy()].view(np.uint64)
    keys: np.ndarray = digest_keys(inputs["content_hash"].to_pylist()).view(np.uint64) ^ salt
    return keys.view("S16")


def digest_keys(digests: list[str]) -> np.ndarray:
    """Hex digests as keys of 16 bytes."""
    return np.frombuffer(binascii.unhexlify("".join(digests)), "S16")
