"""Made-up inputs and recorded generations for `benchmarks.million`, and what must come of them.

Everything follows from a seed.  A share of the inputs are exact copies of earlier ones, near copies (one
word of thirty changed), held-out questions, near copies of those, and rows without a prompt; a share of
the generations tie, can't be parsed or failed.
"""

import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pyarrow as pa

from s2d_loop.curate.judge import GENERATION_FAILED
from s2d_loop.curate.vote import NO_PARSABLE_ANSWER, TIE
from s2d_loop.records import KEPT, Call, Generation, Input, Sample, Trace, table

NEW, COPY, NEAR = "new", "copy", "near copy"
HELD_OUT, NEAR_HELD_OUT, UNREADABLE = "held out", "near held out", "unreadable"
SHARES = {NEW: 0.92, COPY: 0.03, NEAR: 0.03, HELD_OUT: 0.01, NEAR_HELD_OUT: 0.005, UNREADABLE: 0.005}
NUM_HELD_OUT = 1000
WEIGHTS = "made up"
_WORDS = 30
_VOCABULARY = 4096


def write_sources(folder: Path, num_rows: int, num_files: int, seed: int = 5) -> Counter[str]:
    """Writes `heldout.jsonl` and `stream/*.jsonl`; returns how many rows of each kind there are."""
    rng = np.random.default_rng(seed)
    vocabulary = np.array(["".join(word) for word in rng.choice(list("abcdefghijklmnop"), (_VOCABULARY, 6))])
    vocabulary = vocabulary.astype(object)
    heldout = _draw(rng, vocabulary, NUM_HELD_OUT)
    folder.mkdir(parents=True)
    (folder / "stream").mkdir()
    _write(folder / "heldout.jsonl", map(_prompt, heldout))
    counts: Counter[str] = Counter()
    earlier = vocabulary[:0]
    for number, size in enumerate(map(len, np.array_split(np.arange(num_rows), num_files))):
        kinds = rng.choice(list(SHARES), size, p=list(SHARES.values()))
        kinds[0] = NEW
        words = _draw(rng, vocabulary, size)
        new = words[kinds == NEW]
        # Copies follow what they are copies of: new rows of this file so far, or of the one before.
        originals = np.concatenate([earlier.reshape(-1, _WORDS), new])
        before = len(originals) - len(new) + np.cumsum(kinds == NEW)
        copied = originals[(rng.random(size) * before).astype(int)]
        words[kinds == COPY] = copied[kinds == COPY]
        words[kinds == NEAR] = copied[kinds == NEAR]
        from_heldout = np.isin(kinds, [HELD_OUT, NEAR_HELD_OUT])
        words[from_heldout] = heldout[rng.integers(NUM_HELD_OUT, size=from_heldout.sum())]
        for row in np.flatnonzero(np.isin(kinds, [NEAR, NEAR_HELD_OUT])):
            words[row, rng.integers(2, _WORDS)] = f"changed{number}n{row}"
        rows = zip(words, kinds == UNREADABLE, strict=True)
        _write(
            folder / "stream" / f"{number:05d}.jsonl", ("" if lost else _prompt(row) for row, lost in rows)
        )
        counts.update(kinds.tolist())
        earlier = new
    return counts


def _draw(rng: np.random.Generator, vocabulary: np.ndarray, rows: int) -> np.ndarray:
    return np.asarray(vocabulary[rng.integers(_VOCABULARY, size=(rows, _WORDS))])


def _prompt(words: np.ndarray) -> str:
    return f'Take the last letters of the words in "{words[0]} {words[1]}". {" ".join(words[2:])}.'


def _write(path: Path, prompts: Iterable[str]) -> None:
    with path.open("w") as file:
        file.writelines(json.dumps({"prompt": prompt}) + "\n" for prompt in prompts)


class Recorded:
    """Generations of eight samples, a thousand kinds of them, to go with any inputs."""

    def __init__(self) -> None:
        made = [_generation(number) for number in range(1000)]
        self._generations = table((generation for generation, _ in made), Generation)
        calls = (Call("respond", n, 0, "", s.text, 20) for g, _ in made for n, s in enumerate(g.samples))
        traces = [Trace(g.input.id, tuple(next(calls) for _ in g.samples)) for g, _ in made]
        self._traces = table(traces, Trace)
        self._reasons = np.array([reason for _, reason in made])
        self._next = 0

    def of(self, inputs: pa.Table) -> tuple[pa.Table, pa.Table, Counter[str]]:
        """Generations and traces for inputs, and how often what must come of them."""
        numbers = (np.arange(self._next, self._next + inputs.num_rows) * 7919) % len(self._reasons)
        self._next += inputs.num_rows
        generations = self._generations.take(pa.array(numbers))
        place = generations.schema.get_field_index("input")
        column = inputs.to_struct_array().cast(generations.schema.field(place).type)
        traces = self._traces.take(pa.array(numbers))
        return (
            generations.set_column(place, generations.schema.field(place), column),
            traces.set_column(0, traces.schema.field(0), inputs["id"]),
            Counter(self._reasons[numbers].tolist()),
        )


def _generation(number: int) -> tuple[Generation, str]:
    """75 % of them agree, 10 % tie, 10 % can't be parsed, 5 % failed."""
    rng = np.random.default_rng(number)
    right, wrong = ("".join(rng.choice(list("abcdefgh"), 2)) + end for end in "yz")
    reason = [KEPT] * 15 + [TIE] * 2 + [NO_PARSABLE_ANSWER] * 2 + [GENERATION_FAILED]
    expected = reason[number % len(reason)]
    answers = {
        KEPT: [right] * 6 + [wrong] * 2,
        TIE: [right] * 4 + [wrong] * 4,
        NO_PARSABLE_ANSWER: ["?"] * 8,
        GENERATION_FAILED: [],
    }[expected]
    said = "The first word ends in one letter and the second in another, so together they are"
    samples = tuple(Sample("..." if a == "?" else f'{said} "{a}".', finished=True) for a in answers)
    failed = expected == GENERATION_FAILED
    generation = Generation(
        input=Input(f"made:up#{number}", "letters", (), ""),
        weights="" if failed else WEIGHTS,
        program="rar_2step",
        samples=samples,
        direct=() if failed else (Sample(f'"{right}"', True), Sample(f'"{wrong}"', True)),
        twins=(),
        calls=(),
        num_calls=2 * len(samples),
        num_tokens=40 * len(samples),
        num_direct_tokens=0 if failed else 12,
        error="rar_2step: made to fail" if failed else None,
        failure=GENERATION_FAILED if failed else "",
    )
    return generation, expected
