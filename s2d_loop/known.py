"""What a run claimed before, as sorted arrays: about 60 bytes an input, where a set takes hundreds.

`intake` asks it whether a row is new.  Nothing of it is stored: it is rebuilt from the committed
columns, so it can't disagree with them.
"""

import binascii
from bisect import bisect_right

import numpy as np
import pyarrow as pa

from s2d_loop.records import digest

UNKNOWN = -1
DUPLICATE = "duplicate"


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
        # Stable, so that of equal keys the first stays first.
        order = np.argsort(keys, kind="stable")
        run = keys[order], numbers[order].astype(np.int32)
        while self._runs and len(self._runs[-1][0]) <= 2 * len(run[0]):
            run = _merged(*self._runs.pop(), *run)
        self._runs.append(run)


def _merged(
    keys: np.ndarray, numbers: np.ndarray, new_keys: np.ndarray, new_numbers: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Two sorted runs as one, the first before the second where keys are equal; no copy but the result."""
    places = np.searchsorted(keys, new_keys, side="right") + np.arange(len(new_keys))
    old = np.ones(len(keys) + len(new_keys), bool)
    old[places] = False
    merged = np.empty(len(old), keys.dtype), np.empty(len(old), numbers.dtype)
    for whole, before, new in zip(merged, (keys, numbers), (new_keys, new_numbers), strict=True):
        whole[old], whole[places] = before, new
    return merged


class Known:
    """The inputs that were claimed, numbered in that order: finds those of the same task and content."""

    def __init__(self) -> None:
        self.count = 0
        self._index = KeyIndex()
        self._ids: list[pa.Array] = []
        self._starts: list[int] = []

    def add(self, inputs: pa.Table) -> None:
        """Add claimed inputs: the columns `id`, `task` and `content_hash` of `Input`."""
        self._index.add(content_keys(inputs), np.arange(self.count, self.count + inputs.num_rows))
        for chunk in inputs["id"].chunks:
            self._starts.append(self.count)
            self._ids.append(chunk)
            self.count += len(chunk)

    def id_of(self, number: int) -> str:
        """The id of the input that was claimed as that number."""
        chunk = bisect_right(self._starts, number) - 1
        found: str = self._ids[chunk][number - self._starts[chunk]].as_py()
        return found

    def begin(self, inputs: pa.Table) -> None:
        """Look up a batch of `Input`, of which rows are then matched or claimed in order."""
        keys = content_keys(inputs)
        self._batch, self._keys = inputs, keys.tolist()
        self._found = self._index.find(keys).tolist()
        self._here: dict[bytes, int] = {}

    def match(self, row: int) -> tuple[str, str] | None:
        """Why a row can't be claimed, and the id of the input that it repeats."""
        if self._found[row] != UNKNOWN:
            return DUPLICATE, self.id_of(self._found[row])
        earlier = self._here.get(self._keys[row])
        return None if earlier is None else (DUPLICATE, self._batch["id"][earlier].as_py())

    def claim(self, row: int, number: int) -> None:  # noqa: ARG002
        self._here[self._keys[row]] = row

    def end(self, claimed: pa.Table) -> None:
        self.add(claimed)


def content_keys(inputs: pa.Table) -> np.ndarray:
    """16 bytes for the task and content of each input: its content hash, shifted by the task's name."""
    keys: np.ndarray = digest_keys(inputs["content_hash"].to_pylist()).view(np.uint64).reshape(-1, 2)
    keys = keys ^ task_salts(inputs["task"])
    return keys.view("S16").ravel()


def task_salts(tasks: pa.ChunkedArray) -> np.ndarray:
    """16 bytes for the task of each row, as two numbers: what is of another task has other keys."""
    names = tasks.combine_chunks().dictionary_encode()
    salts = digest_keys([digest(name) for name in names.dictionary.to_pylist()])
    found: np.ndarray = salts.view(np.uint64).reshape(-1, 2)[names.indices.to_numpy()]
    return found


def digest_keys(digests: list[str]) -> np.ndarray:
    """Hex digests as keys of 16 bytes."""
    return np.frombuffer(binascii.unhexlify("".join(digests)), "S16")
