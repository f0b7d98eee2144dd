"""How much of what the tiny models read teaches System 1 to answer at once, and wrongly?

    python -m benchmarks.habits

Draws the direct answers of a model's pretraining mix and checks them: a row a task with their share of all
pairs, how many of them are wrong, and the wrong ones' share of all pairs.
"""

import random
import re

from s2d_loop.report.text import markdown_table
from s2d_loop.testbed import corpus, thinking, world
from s2d_loop.testbed.pair import Pair

DRAWN = 20_000
Habits = dict[tuple[str, world.Task], tuple[float, float]]
"""By model and task: the direct answers' share of all pairs, and how many of them are wrong."""
_WORDS = re.compile(r'"(\w+) (\w+)"')


def habits(drawn: int = DRAWN) -> Habits:
    """Draws and checks direct answers, so many of each model and task."""
    rng, words = random.Random(0), world.splits()["pretrain"]
    found: Habits = {}
    for (task, kind), share in corpus.MIX.items():
        if kind == "direct":
            pairs = [corpus.draw(task, kind, words, rng) for _ in range(drawn)]
            found["testbed://model", task] = share, _wrong(task, pairs)
    pairs = [thinking.draw_direct(rng) for _ in range(drawn)]
    share = thinking.MIX[thinking.draw_direct]
    found["testbed://models/think", "last_letters"] = share, _wrong("last_letters", pairs)
    return found


def direct(found: Habits, model: str) -> tuple[float, float]:
    """A model's direct answers and the wrong ones among them, each as a share of all that it reads."""
    figures = [each for (of, _), each in found.items() if of == model]
    return sum(share for share, _ in figures), sum(share * wrong for share, wrong in figures)


def _wrong(task: world.Task, pairs: list[Pair]) -> float:
    wrong = sum(world.parse(task, pair.reply) != answer(task, pair.prompt) for pair in pairs)
    return wrong / len(pairs)


def answer(task: world.Task, question: str) -> str:
    """The right answer to a question in its public wording."""
    if task == "coin_flip":
        return "no" if question.count(" flips the coin") % 2 else "yes"
    found = _WORDS.search(question)
    assert found
    return (found[1][-1] + found[2][-1]).lower()


def main() -> None:
    lines = [["model", "task", "direct answers, of all pairs", "of them wrong", "wrong ones, of all pairs"]]
    found = habits()
    for (model, task), (share, wrong) in found.items():
        lines.append([model, task, f"{share:.0%}", f"{wrong:.0%}", f"{share * wrong:.1%}"])
    share, wrong = direct(found, "testbed://model")
    lines.append(["testbed://model", "both", f"{share:.0%}", f"{wrong / share:.0%}", f"{wrong:.1%}"])
    print(markdown_table(lines))


if __name__ == "__main__":
    main()
