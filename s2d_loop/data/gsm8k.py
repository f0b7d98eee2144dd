"""GSM8K (the paper's section 4.5), whole and in the order of its files."""

from s2d_loop.data.base import TEST, TRAIN, DataSet, Made, Wanted
from s2d_loop.data.public import place_of, read_splits

_COLUMNS = ("question", "answer")


def make(wanted: Wanted) -> Made:
    place = place_of(wanted.origin, "openai/gsm8k")
    read = read_splits(place, {"train": "train.jsonl", "test": "test.jsonl"}, subset="main")
    splits = {
        f"{split}.jsonl": [{name: row[name] for name in _COLUMNS if name in row} for row in rows]
        for split, rows in read.items()
    }
    return Made(
        splits, notes=["the eight examples of few-shot prompts are the first eight rows of train.jsonl"]
    )


GSM8K = DataSet(
    name="gsm8k",
    source="github.com/openai/grade-school-math, on the hub openai/gsm8k (Cobbe et al., 2021)",
    licence="MIT",
    sizes={TRAIN: 7_473, TEST: 1_319},
    make=make,
    takes=frozenset({"from"}),
    format="gsm8k",
)
