"""Open Assistant's ranked trees (the paper's section 4.4): English, first turn, a row a tree.

Trees come as such or as single messages, which is how the hub has them.  Where the source has no validation split,
trees are held out by the seed.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

from s2d_loop.data.base import TRAIN, VALIDATION, DataSet, Made, Rows, Wanted, shuffled
from s2d_loop.data.public import matching, one_each, place_of, read_lines, read_splits
from s2d_loop.errors import BadInputError
from s2d_loop.formats.base import UnreadableError, same_question
from s2d_loop.formats.oasst import Oasst

SHARE = 0.05
"""Of the trees, the part that is held out where nobody else did; the public set's own is about that."""
_SPLITS = {"train": "*train*.jsonl*", "validation": "*valid*.jsonl*"}
_REPLY = ("message_id", "text", "lang", "rank", "synthetic", "deleted")


def make(wanted: Wanted) -> Made:
    place = place_of(wanted.origin, "OpenAssistant/oasst2")
    whole = matching(place, "*tree*.jsonl*")
    if len(whole) == 1 and one_each(place, _SPLITS) is None:
        return Made(
            held_out(first_turns(read_lines(whole[0])), seed=wanted.seed),
            notes=["the file has no validation split: trees were held out by the seed"],
        )
    read = read_splits(place, _SPLITS)
    train, validation = first_turns(read["train"]), first_turns(read["validation"])
    asked = {_question(tree) for tree in validation}
    kept = [tree for tree in train if _question(tree) not in asked]
    left = len(train) - len(kept)
    return Made(
        {TRAIN: kept, VALIDATION: validation},
        notes=[f"{left:,} trees are left out of train.jsonl: validation.jsonl asks the same"] if left else [],
    )


def held_out(trees: Rows, *, seed: int, share: float = SHARE) -> dict[str, Rows]:
    """Rows by file; the trees of one question are on one side.

    Raises:
        BadInputError: there are fewer than two questions.
    """
    questions = shuffled({_question(tree) for tree in trees}, seed, "oasst")
    if len(questions) < 2:
        raise BadInputError(f"oasst: {len(questions)} English questions with ranked replies can't be split")
    held = set(questions[: max(1, round(share * len(questions)))])
    return {
        TRAIN: [tree for tree in trees if _question(tree) not in held],
        VALIDATION: [tree for tree in trees if _question(tree) in held],
    }


def first_turns(rows: Rows) -> Rows:
    """The trees that hold a pair, cut down to the first turn; rows are trees, or all of their messages.

    Raises:
        BadInputError: a row is neither.
    """
    cut = [_cut(tree, number) for number, tree in enumerate(rows if _are_trees(rows) else grown(rows))]
    return [tree for number, tree in enumerate(cut) if _has_pair(tree, number)]


def grown(messages: Rows) -> Iterator[Mapping[str, Any]]:
    """Each first prompt with its replies, in the order of the file."""
    replies: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for message in messages:
        if message.get("parent_id") is not None:
            replies[message["parent_id"]].append(message)
    for message in messages:
        if message.get("parent_id") is None and "message_id" in message:
            yield {"prompt": {**message, "replies": replies[message["message_id"]]}}


def _are_trees(rows: Rows) -> bool:
    return any("prompt" in row for row in rows)


def _has_pair(tree: Mapping[str, Any], number: int) -> bool:
    try:
        return bool(Oasst().items(tree))
    except UnreadableError as error:
        raise BadInputError(f"oasst: tree {number}: {error} ({error.excerpt})") from None


def _cut(tree: Mapping[str, Any], number: int) -> dict[str, Any]:
    """What the format reads, and the ids.  `datasets` fills in what a row doesn't have: nothing is not kept."""
    prompt = tree.get("prompt")
    if not isinstance(prompt, Mapping):
        raise BadInputError(f"oasst: row {number} is neither a tree nor a message of one")
    replies = [
        {name: reply[name] for name in _REPLY if reply.get(name) is not None}
        for reply in prompt.get("replies") or ()
    ]
    asked = {name: prompt.get(name) for name in ("message_id", "text", "lang")}
    return {"prompt": {**asked, "replies": replies}}


def _question(tree: Mapping[str, Any]) -> str:
    return same_question(tree["prompt"]["text"])


OASST = DataSet(
    name="oasst",
    source="Open Assistant, github.com/LAION-AI/Open-Assistant, on the hub OpenAssistant/oasst2 (Koepf et al., 2023)",
    licence="Apache-2.0",
    sizes={TRAIN: 19_672, VALIDATION: 273},
    make=make,
    takes=frozenset({"seed", "from"}),
    format="oasst",
    fixed=False,
)
