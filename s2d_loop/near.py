"""Near duplicates, by MinHash: inputs that share most of their runs of three words.

A text's MinHash signature is cut into bands; two texts that agree in a whole band are near.  How many
bands of how many rows follows from the threshold, at which about half of the pairs agree in one.  The
bands' keys are committed beside the inputs, and read back into sorted arrays.
"""

from array import array
from collections.abc import Iterable, Sequence
from functools import cache

import numpy as np
import pyarrow as pa
from rensa import RMinHash

from s2d_loop.known import UNKNOWN, KeyIndex, Known, task_salts
from s2d_loop.records import Input, Near, rows, schema

NEAR_DUPLICATE = "near_duplicate"
NEAR_HELD_OUT = "near_heldout"

ALGORITHM = f"rensa {RMinHash.ALGORITHM_VERSION}"
"""What gives the signatures; keys of another can't be compared with its."""
NUM_HASHES = 128
_SEED = 1
_WORDS = 3


class NearDuplicates:
    """The claimed inputs in clusters of near ones, of which `keep` are claimed, and what is held out."""

    def __init__(self, known: Known, heldout: Sequence[Input], threshold: float, keep: int) -> None:
        self.committed = schema(Near).empty_table()
        """The rows of `Near` for the inputs of the batch that ended last."""
        self._known, self._threshold, self._keep = known, threshold, keep
        self._index, self._heldout = KeyIndex(), KeyIndex()
        self._heldout_ids = [x.id for x in heldout]
        keys = band_keys(heldout, threshold)
        self._heldout.add(keys.ravel(), np.repeat(np.arange(len(keys)), keys.shape[1]))
        # By a claimed input's number: the number of its cluster's first, and if it is that, the cluster's size.
        self._first, self._size = array("q"), array("q")

    def add(self, tasks: pa.ChunkedArray, near: pa.Table) -> None:
        """Add what was committed with claimed inputs of these tasks."""
        keys = near["keys"].combine_chunks().flatten().to_numpy().view(np.uint64)
        for first in near["first"].to_pylist():
            self._join(first)
        self._add(keys.reshape(-1, shape(self._threshold)[0]), tasks)

    def begin(self, inputs: pa.Table) -> None:
        """Look up a batch of `Input`, of which rows are then matched or claimed in order."""
        self._batch = inputs
        self._raw = band_keys(rows(inputs, Input), self._threshold)
        keys = self._raw ^ task_salts(inputs["task"])[:, :1]
        self._keys = keys.tolist()
        self._found = _earliest(self._index.find(keys.ravel()).reshape(keys.shape))
        self._found_heldout = _earliest(self._heldout.find(self._raw.ravel()).reshape(keys.shape))
        self._here: dict[int, int] = {}
        self._claimed: list[int] = []

    def match(self, row: int) -> tuple[str, str] | None:
        """Why a row can't be claimed, and the id of the held-out input, or of its cluster's first."""
        if self._found_heldout[row] != UNKNOWN:
            return NEAR_HELD_OUT, self._heldout_ids[self._found_heldout[row]]
        first = self._cluster(row)
        if first is None or self._size[first] < self._keep:
            return None
        earlier = first - self._known.count
        in_batch = earlier >= 0
        return NEAR_DUPLICATE, (
            self._batch["id"][self._claimed[earlier]].as_py() if in_batch else self._known.id_of(first)
        )

    def claim(self, row: int, number: int) -> None:
        first = self._cluster(row)
        self._join(number if first is None else first)
        self._claimed.append(row)
        for key in self._keys[row]:
            self._here.setdefault(key, number)

    def end(self, claimed: pa.Table) -> None:
        keys = self._raw[self._claimed]
        ends = np.arange(len(keys) + 1, dtype=np.int32) * keys.shape[1]
        bands = pa.ListArray.from_arrays(pa.array(ends), pa.array(keys.ravel().view(np.int64)))
        firsts = pa.array(self._first[len(self._first) - len(keys) :], pa.int64())
        self.committed = pa.Table.from_arrays([firsts, bands], schema=schema(Near))
        self._add(keys, claimed["task"])

    def _cluster(self, row: int) -> int | None:
        """The first of the cluster that a row is near to."""
        near = self._found[row]
        if near == UNKNOWN:
            near = min((self._here[key] for key in self._keys[row] if key in self._here), default=UNKNOWN)
        return None if near == UNKNOWN else self._first[near]

    def _join(self, first: int) -> None:
        """The next input is of this cluster; its own number begins one."""
        self._first.append(first)
        self._size.append(0)
        self._size[first] += 1

    def _add(self, keys: np.ndarray, tasks: pa.ChunkedArray) -> None:
        """Add the bands of the inputs that joined last."""
        numbers = np.arange(len(self._first) - len(keys), len(self._first))
        self._index.add((keys ^ task_salts(tasks)[:, :1]).ravel(), np.repeat(numbers, keys.shape[1]))


def band_keys(inputs: Iterable[Input], threshold: float) -> np.ndarray:
    """A key for each band of each input's text; those of equal bands are equal."""
    bands, height = shape(threshold)
    sets = [_runs(" ".join(message.content for message in x.messages)) for x in inputs]
    rows = RMinHash.digest_matrix_from_token_sets(sets, NUM_HASHES, _SEED).to_rows()
    hashes = np.array(rows, np.uint64).reshape(-1, NUM_HASHES)[:, : bands * height]
    keys = np.broadcast_to(np.arange(1, bands + 1, dtype=np.uint64) << np.uint64(32), (len(hashes), bands))
    for row in range(height):
        # A multiplicative hash of 64 bits, as splitmix64 mixes.
        keys = (keys ^ hashes[:, row::height]) * np.uint64(0xBF58476D1CE4E5B9)
        keys = keys ^ (keys >> np.uint64(31))
    return keys


def _runs(text: str) -> list[str]:
    words = text.casefold().split()
    return [" ".join(words[at : at + _WORDS]) for at in range(max(1, len(words) - _WORDS + 1))]


@cache
def shape(threshold: float) -> tuple[int, int]:
    """How many bands of how many rows err least: near pairs missed, and others taken, weigh the same."""
    share = np.linspace(0, 1, 401)
    wrong = []
    for height in range(1, NUM_HASHES + 1):
        bands = NUM_HASHES // height
        found = 1 - (1 - share**height) ** bands
        wrong.append((float(np.where(share < threshold, found, 1 - found).sum()), bands, height))
    return min(wrong)[1:]


def _earliest(numbers: np.ndarray) -> list[int]:
    """The lowest number of each row that is not `UNKNOWN`, which as an unsigned number is the highest."""
    lowest: list[int] = numbers.view(np.uint64).min(axis=1).view(np.int64).tolist()
    return lowest
