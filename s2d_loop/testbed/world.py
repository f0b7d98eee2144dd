"""The tiny model's world: two public tasks, their rephrasings, and their answers.

Collaborators: `words.py` supplies the words, `corpus.py` turns this world into
pretraining text, `tokenizer.py` takes the vocabulary of its templates, and
`measure.py` reads the data files that the command below writes:

    python -m s2d_loop.testbed.world --out s2d_loop/testbed/data

The questions and the Rephrase-and-Respond instructions are the paper's words
(its Figures 4 and 5). The rephrased forms and the replies are this world's own.
"""

import argparse
import json
import random
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, get_args

from s2d_loop.testbed import DATA_DIR
from s2d_loop.testbed.words import SEED, Split, make_splits

Task = Literal["last_letters", "coin_flip"]

STEP1: dict[Task, str] = {
    "last_letters": (
        "{question}\n\nBased on the details given in the initial inquiry, could you kindly "
        "rephrase the question and separate these 2 words in the revised question? Please "
        "ensure these 2 words remain unchanged from the original question."
    ),
    "coin_flip": (
        "{question}\n\nBased on the information provided in the original query, could you please "
        "rephrase it and expand it to help you do better answering. Please ensure that your "
        "response solely includes the reformulated question, excluding any introductory phrases "
        "or explanatory remarks, while preserving all the details from the original query."
    ),
}
STEP2: dict[Task, str] = {
    "last_letters": "{question}",
    "coin_flip": "{question} Answer the Yes or No question.",
}

LETTERS_QUESTION = 'Take the last letters of the words in "{a} {b}" and concatenate them.'
LETTERS_REPHRASED = (
    'What do you get by joining the last letter of "{a}" and the last letter of "{b}"?',
    'The first word is "{a}". The second word is "{b}". What are their last letters together?',
    'Given the word "{a}" and the word "{b}", which letters do they end with?',
    'Join the last letter of each word. Word 1: "{a}". Word 2: "{b}".',
)
LETTERS_REPLIES = ('The answer is "{answer}".', '"{answer}"')

# The two spaces before "Is" are in the public data.
COIN_QUESTION = (
    "A coin is heads up. {a} {does_a}. {b} {does_b}.  Is the coin still heads up? Flip means reverse."
)
COIN_ACTS = {True: "flips the coin", False: "does not flip the coin"}
# Each form in three parts: up to the first act, the second act, the question.
# One form keeps the question's own verbs, so that what the model learns about
# rephrased questions is within reach of the original wording too.
COIN_REPHRASED = (
    ("A coin starts with heads up. First, {a} {does_a}.", " Then, {b} {does_b}.", " Is heads up at the end?"),
    (
        "At the start the coin shows heads. Action 1: {a} {does_a}.",
        " Action 2: {b} {does_b}.",
        " Does it show heads now?",
    ),
    (
        "Someone puts a coin down with heads up. {a} {does_a}.",
        " After that, {b} {does_b}.",
        " Which means: does the coin show heads?",
    ),
)
COIN_REPHRASED_ACTS = (
    {True: "turns it over", False: "leaves it alone"},
    {True: "flips the coin", False: "does not flip the coin"},
    {True: "turns it over", False: "leaves it alone"},
)
COIN_REPLIES: dict[str, tuple[str, ...]] = {
    "yes": ("Yes.", "Yes, the coin is still heads up."),
    "no": ("No.", "No, the coin is not heads up."),
}


@dataclass(frozen=True)
class Item:
    """One question about two words or names; `flips` is empty for last letters."""

    task: Task
    a: str
    b: str
    flips: tuple[bool, ...] = ()

    @property
    def question(self) -> str:
        """The question in its public wording."""
        if self.task == "last_letters":
            return LETTERS_QUESTION.format(a=self.a, b=self.b)
        first, second = self.flips
        return COIN_QUESTION.format(a=self.a, does_a=COIN_ACTS[first], b=self.b, does_b=COIN_ACTS[second])

    @property
    def answer(self) -> str:
        """The right answer, as the parsers below return it."""
        if self.task == "last_letters":
            return (self.a[-1] + self.b[-1]).lower()
        return "no" if sum(self.flips) % 2 else "yes"

    @property
    def forms(self) -> int:
        """How many rephrased forms this world knows."""
        return len(LETTERS_REPHRASED if self.task == "last_letters" else COIN_REPHRASED)

    def rephrased(self, form: int) -> str:
        """The question in one of its clearer forms."""
        if self.task == "last_letters":
            return LETTERS_REPHRASED[form].format(a=self.a, b=self.b)
        return "".join(self._coin_parts(form))

    def _coin_parts(self, form: int) -> tuple[str, str, str]:
        """The three parts of a rephrased coin question."""
        acts = COIN_REPHRASED_ACTS[form]
        first, second = self.flips
        names = {"a": self.a, "does_a": acts[first], "b": self.b, "does_b": acts[second]}
        start, middle, end = COIN_REPHRASED[form]
        return start.format(**names), middle.format(**names), end

    def lowered(self) -> "Item":
        """The same question with its words in lower case; the answer stays."""
        return replace(self, a=self.a.lower(), b=self.b.lower())


def replies(task: Task, answer: str) -> tuple[str, ...]:
    """Every way in which this world says `answer`."""
    if task == "last_letters":
        return tuple(form.format(answer=answer) for form in LETTERS_REPLIES)
    return COIN_REPLIES[answer]


def parse(task: Task, reply: str) -> str | None:
    """The answer that a reply holds, or None. Knows the reply only, never the question."""
    if task == "coin_flip":
        found = re.search(r"\b(yes|no)\b", reply.lower())
        return found.group(1) if found else None
    quoted = re.findall(r'"([^"]*)"', reply)
    tokens = quoted or reply.split()
    if not tokens:
        return None
    return re.sub(r"[\s\"'.,:;!?-]", "", tokens[-1]).lower() or None


def make_item(task: Task, a: str, b: str, rng: random.Random) -> Item:
    """Ask about two lower-case words: capitalised for letters, as names for the coin."""
    if task == "last_letters":
        return Item(task, a.capitalize(), b.capitalize())
    return Item(task, a, b, (rng.random() < 0.5, rng.random() < 0.5))


def make_items(task: Task, words: list[str], seed: int = SEED) -> list[Item]:
    """Pair the words off, each used once; the coin's four cases come equally often."""
    rng = random.Random(f"{seed} {task}")
    deck = list(words)
    rng.shuffle(deck)
    pairs = list(zip(deck[::2], deck[1::2], strict=True))
    if task == "last_letters":
        return [make_item(task, a, b, rng) for a, b in pairs]
    cases = [(False, False), (False, True), (True, False), (True, True)]
    flips = [cases[index % len(cases)] for index in range(len(pairs))]
    rng.shuffle(flips)
    return [Item(task, a, b, case) for (a, b), case in zip(pairs, flips, strict=True)]


def template_texts() -> Iterator[str]:
    """Every fixed text of this world with its slots left blank."""
    blank = dict.fromkeys(("a", "b", "does_a", "does_b", "answer", "question"), " ")
    forms = [LETTERS_QUESTION, COIN_QUESTION, *LETTERS_REPHRASED]
    forms += [part for parts in COIN_REPHRASED for part in parts]
    forms += [*STEP1.values(), *STEP2.values(), *LETTERS_REPLIES]
    yield from (form.format(**blank) for form in forms)
    # Acts stand after a name, hence after a space.
    yield from (f" {act}" for act in (*COIN_ACTS.values(), *COIN_REPHRASED_ACTS[0].values()))
    yield from (reply for answer in COIN_REPLIES.values() for reply in answer)


def reserved_words() -> frozenset[str]:
    """Lower-cased words of the templates, which no name may equal."""
    return frozenset(word for text in template_texts() for word in re.findall("[a-z]+", text.lower()))


def splits() -> dict[Split, list[str]]:
    """The world's words by split."""
    return make_splits(reserved_words())


def write_data(out: Path) -> list[Path]:
    """Write the unlabeled stream and the held-out inputs of both tasks.

    The stream carries its answers so that a test can prove that the loop never
    looks at them.
    """
    out.mkdir(parents=True, exist_ok=True)
    words = splits()
    written = []
    sources: tuple[tuple[str, Split], ...] = (("unlabeled", "stream"), ("heldout", "heldout"))
    for task in get_args(Task):
        for name, split in sources:
            path = out / f"{task}.{name}.jsonl"
            rows = [
                json.dumps({"prompt": item.question, "answer": item.answer})
                for item in make_items(task, words[split])
            ]
            path.write_text("\n".join(rows) + "\n", encoding="utf-8")
            written.append(path)
    return written


def main() -> None:
    """Write the data files."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--out", type=Path, default=DATA_DIR)
    for path in write_data(parser.parse_args().out):
        print(path)


if __name__ == "__main__":
    main()
