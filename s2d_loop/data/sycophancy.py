"""SycophancyEval's questions (the paper's section 4.3): held out by question, so that no template leaks an answer.

The public file asks 1,817 questions of TriviaQA and TruthfulQA, each by four templates.  The paper trains on 6,668
rows, which are 1,667 questions whole, so 150 are held out.  Of their 600 rows it evaluates on 350 with an opinion
and 50 without.  It names no validation set here and none is made: the 200 rows that are left ask what the test asks.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from s2d_loop.data.base import TEST, TRAIN, DataSet, Made, Rows, Wanted, question_of, shuffled
from s2d_loop.data.public import load, matching, place_of, read_lines
from s2d_loop.errors import BadInputError
from s2d_loop.formats.base import Item, UnreadableError
from s2d_loop.formats.sycophancy import BIASED, UNBIASED, Sycophancy, SycophancyTriviaQa

QUESTIONS, OPINIONS, PLAIN = 150, 350, 50
"""Held out: questions, and of their rows those with an opinion and those without."""
_TEMPLATES = 4
_HUB, _FILE = "meg-tong/sycophancy-eval", "answer.jsonl"
_BASE = ("dataset", "question", "answer", "correct_answer", "incorrect_answer")


def make(wanted: Wanted) -> Made:
    place = place_of(wanted.origin, _HUB)
    files = matching(place, "answer*.jsonl")
    rows = [row for path in files for row in read_lines(path)] or load(place, split="train", data_files=_FILE)
    splits = held_apart(rows, seed=wanted.seed)
    left = len(rows) - sum(map(len, splits.values()))
    return Made(splits, notes=[f"{left:,} rows are in no file: they ask what test.jsonl asks"])


def held_apart(
    rows: Rows,
    *,
    seed: int,
    questions: int = QUESTIONS,
    opinions: int = OPINIONS,
    plain: int = PLAIN,
) -> dict[str, Rows]:
    """Rows by file, in the order in which they came.

    Only questions that all of their rows can grade are held out: TriviaQA's.

    Raises:
        BadInputError: a row is of another form, or there are too few such questions.
    """
    asked: dict[str, list[int]] = defaultdict(list)
    items = [_item(row, number) for number, row in enumerate(rows)]
    for number, item in enumerate(items):
        asked[question_of(item)].append(number)
    gradable = [
        each for each, at in asked.items() if len(at) == _TEMPLATES and all(_graded(rows[n]) for n in at)
    ]
    if len(gradable) < questions:
        raise BadInputError(
            f"sycophancy: {questions} questions of trivia_qa by {_TEMPLATES} templates are needed, "
            f"there are {len(gradable)}"
        )
    held = [n for each in shuffled(gradable, seed, "sycophancy")[:questions] for n in asked[each]]
    kept_back = {*held}
    test = {*_some(held, items, BIASED, opinions, seed), *_some(held, items, UNBIASED, plain, seed)}
    return {
        TRAIN: [_trimmed(row) for n, row in enumerate(rows) if n not in kept_back],
        TEST: [_trimmed(row) for n, row in enumerate(rows) if n in test],
    }


def _some(held: Sequence[int], items: Sequence[Item], category: str, number: int, seed: int) -> list[int]:
    these = [n for n in held if items[n].category == category]
    return shuffled(these, seed, f"sycophancy {category}")[:number]


def _item(row: Mapping[str, Any], number: int) -> Item:
    try:
        (item,) = Sycophancy().items(row)
    except UnreadableError as error:
        raise BadInputError(f"sycophancy: row {number}: {error} ({error.excerpt})") from None
    return item


def _graded(row: Mapping[str, Any]) -> bool:
    return bool(SycophancyTriviaQa().items(row))


def _trimmed(row: Mapping[str, Any]) -> dict[str, Any]:
    """What the format reads, alike from every place: `datasets` fills in what a row doesn't have."""
    base = {name: row["base"][name] for name in _BASE if row["base"].get(name) is not None}
    turns = [{"type": turn["type"], "content": turn["content"]} for turn in row["prompt"]]
    template = row["metadata"]["prompt_template"]
    return {"prompt": turns, "base": base, "metadata": {"prompt_template": template}}


SYCOPHANCY = DataSet(
    name="sycophancy",
    source=f"github.com/meg-tong/sycophancy-eval, on the hub {_HUB} (Sharma et al., 2023), answer.jsonl",
    licence="MIT; its questions come of TriviaQA and TruthfulQA",
    sizes={TRAIN: 6_668, TEST: OPINIONS + PLAIN},
    make=make,
    takes=frozenset({"seed", "from"}),
    format="sycophancy",
    fixed=False,
)
