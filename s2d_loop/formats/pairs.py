"""What the formats of judged pairs share: an item of two answers, and an order that gives nothing away."""

from s2d_loop.formats.base import Item, same_question
from s2d_loop.records import Message, digest
from s2d_loop.tasks.pairwise import judge_prompt, pair_parts


def pair(question: str, answer_a: str, answer_b: str, category: str = "") -> Item:
    """Two answers under the judge prompt; all pairs of one question are a group."""
    return Item(
        (Message("user", judge_prompt(question, answer_a, answer_b)),),
        pair_parts(question, answer_a, answer_b),
        same_question(question),
        category,
    )


def turned(question: str, first: str, second: str) -> bool:
    """Whether the second answer is shown as A: half of the time, whichever of them comes first in a file."""
    one, other = sorted((first, second))
    a = one if int(digest(question, one, other)[:8], 16) % 2 else other
    return a == second
