"""A world of judged pairs, for Branch-Solve-Merge (the paper's section 4.4).

A question names what its guest cares about; two answers say how good that and other things are. One
criterion at a time the model reads off scores (Figures 7 and 8). Asked for a verdict at once (Figure
13) it mostly prefers the first answer: a wrong habit. It reads middling words too kindly in the first
answer as well, so its scores lean too, and both orders of a close pair disagree now and then.

Pairs come as OASST's ranked trees.
"""

import random
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

from s2d_loop.system2.prompts import fill, load
from s2d_loop.tasks.pairwise import judge_prompt
from s2d_loop.testbed.pair import DrawPair, Pair, draw_mix, repeated, texts_of
from s2d_loop.testbed.words import SEED

PLACES = ("an inn", "a cabin", "a boat", "a camp", "a tower", "a villa", "a farm", "a castle")
GUESTS = ("a painter", "a sailor", "a writer", "a doctor", "a farmer", "a singer", "a judge", "a baker")
ASPECTS = ("food", "light", "quiet", "price", "garden", "staff", "view", "bath", "bread", "music")
WORDS = {"awful": 1, "poor": 2, "decent": 3, "good": 4, "superb": 5}
MIDDLING = "decent"
NUM_ASKED = 3

QUESTION = "Describe {place} for {guest} who cares about {asked}."
SENTENCE = "The {aspect} is {word}."
CRITERION = "{number}. {name}: how good the {aspect} is for this guest."
STREAM, HELDOUT, BENCH = 800, 500, 240

# A middling word of the first answer gets a point too many this often.
KIND_READING = 0.8
# The first answer is preferred this often; elsewhere the better one is named.
FIRST_PREFERRED = 0.75
# Unless one answer is better by this much: then it is seen more often than not.
PLAIN_MARGIN = 4
PLAIN_SEEN = 0.8


@dataclass(frozen=True)
class Contest:
    """A question and two answers to it; an answer is what it says of each aspect, in its order."""

    place: str
    guest: str
    asked: tuple[str, ...]
    answers: tuple[dict[str, str], dict[str, str]]

    @property
    def question(self) -> str:
        """What the answers are answers to."""
        *most, last = self.asked
        return QUESTION.format(place=self.place, guest=self.guest, asked=f"{', '.join(most)} and {last}")

    @property
    def texts(self) -> tuple[str, str]:
        """Both answers."""
        first, second = (
            " ".join(SENTENCE.format(aspect=aspect, word=word) for aspect, word in answer.items())
            for answer in self.answers
        )
        return first, second

    @property
    def margin(self) -> int:
        """By how much the first answer is better in what the guest cares about."""
        first, second = (sum(WORDS[answer[each]] for each in self.asked) for answer in self.answers)
        return first - second


def make_contest(rng: random.Random) -> Contest:
    """Two answers on all that is asked and one thing more; neither is as good as the other."""
    while True:
        asked = rng.sample(ASPECTS, NUM_ASKED)
        rest = [aspect for aspect in ASPECTS if aspect not in asked]
        answers = []
        for _ in range(2):
            told = [*asked, rng.choice(rest)]
            rng.shuffle(told)
            answers.append({aspect: rng.choice(list(WORDS)) for aspect in told})
        found = Contest(rng.choice(PLACES), rng.choice(GUESTS), tuple(asked), (answers[0], answers[1]))
        if found.margin:
            return found


def plan(contest: Contest) -> str:
    """What to compare: all that the guest cares about."""
    return "\n".join(
        CRITERION.format(number=number, name=aspect.capitalize(), aspect=aspect)
        for number, aspect in enumerate(contest.asked, 1)
    )


def draw_plan(rng: random.Random) -> Pair:
    """Branch: the criteria for a question."""
    contest = make_contest(rng)
    return Pair(fill(load("bsm.branch"), question=contest.question), plan(contest))


def scores_prompt(contest: Contest, number: int) -> str:
    """Figure 8's prompt for one criterion, as `bsm` reads it out of the plan."""
    aspect = contest.asked[number - 1]
    name = aspect.capitalize()
    criterion = CRITERION.format(number=number, name=name, aspect=aspect)
    return fill(
        load("bsm.solve"),
        question=contest.question,
        answer_a=contest.texts[0],
        answer_b=contest.texts[1],
        criterion=criterion.removeprefix(f"{number}. "),
        name=name,
    )


def draw_scores(rng: random.Random) -> Pair:
    """Solve: both answers' scores on one criterion, the first one's read kindly."""
    contest = make_contest(rng)
    number = rng.randint(1, NUM_ASKED)
    first, second = (answer[contest.asked[number - 1]] for answer in contest.answers)
    kind = first == MIDDLING and rng.random() < KIND_READING
    return Pair(scores_prompt(contest, number), f"{WORDS[first] + kind}\n{WORDS[second]}")


def draw_reading(rng: random.Random) -> Pair:
    """One answer alone and one criterion: how scores are learned in few words."""
    contest = make_contest(rng)
    aspect = rng.choice(contest.asked)
    score = WORDS[contest.answers[0][aspect]]
    return Pair(f"{contest.texts[0]}\nEvaluation of {aspect.capitalize()}:", f"{score}")


def draw_words(rng: random.Random) -> Pair:
    """Words to repeat: how copying is learned, which all else needs."""
    return repeated([*ASPECTS, *rng.choices(list(WORDS), k=2)], rng)


def draw_verdict(rng: random.Random) -> Pair:
    """A verdict at once, by habit."""
    contest = make_contest(rng)
    better = "A" if contest.margin > 0 else "B"
    if abs(contest.margin) >= PLAIN_MARGIN:
        verdict = better if rng.random() < PLAIN_SEEN else "A"
    else:
        verdict = "A" if rng.random() < FIRST_PREFERRED else better
    return Pair(judge_prompt(contest.question, *contest.texts), f"[[{verdict}]]")


MIX: dict[DrawPair, float] = {
    draw_words: 0.08,
    draw_reading: 0.26,
    draw_plan: 0.08,
    draw_scores: 0.4,
    draw_verdict: 0.18,
}


def draw(count: int, rng: random.Random) -> list[Pair]:
    """Draw pretraining pairs."""
    return draw_mix(MIX, count, rng)


def texts() -> Iterator[str]:
    """Texts with every word of this world."""
    return texts_of(draw(2000, random.Random(SEED)))


def files() -> dict[str, list[dict[str, Any]]]:
    """The stream and the held-out inputs, by file name; no question and no pair is in both."""
    rng = random.Random(f"{SEED} verdicts")
    trees: dict[str, dict[str, Any]] = {}
    while len(trees) < STREAM + HELDOUT:
        contest = make_contest(rng)
        # One pair a question, so that no question is in both files.
        trees.setdefault(contest.question, _tree(contest, rng))
    rows = list(trees.values())
    return {
        "pairwise.unlabeled.jsonl": rows[:STREAM],
        "pairwise.heldout.jsonl": rows[STREAM:],
        "mt_bench/test.jsonl": _votes(trees.keys()),
    }


def _votes(taken: Collection[str]) -> list[dict[str, Any]]:
    """Pairs in MT-bench's form, one vote each; its categories are names only, since all of them ask alike here."""
    rng = random.Random(f"{SEED} votes")
    contests: dict[str, Contest] = {}
    while len(contests) < BENCH:
        contest = make_contest(rng)
        if contest.question not in taken:
            contests.setdefault(contest.question, contest)
    rows = []
    for number, contest in enumerate(contests.values()):
        one, other = (
            [{"role": "user", "content": contest.question}, {"role": "assistant", "content": text}]
            for text in contest.texts
        )
        winner = "model_a" if contest.margin > 0 else "model_b"
        rows.append(
            {
                "question_id": 81 + number % 80,
                "turn": 1,
                "judge": "experts",
                "model_a": "first",
                "model_b": "second",
                "conversation_a": one,
                "conversation_b": other,
                "votes": [{"judge": "expert_0", "winner": winner}],
            }
        )
    return rows


def _tree(contest: Contest, rng: random.Random) -> dict[str, Any]:
    ranks = (0, 1) if contest.margin > 0 else (1, 0)
    replies = [
        {"text": text, "role": "assistant", "lang": "en", "rank": rank}
        for text, rank in zip(contest.texts, ranks, strict=True)
    ]
    rng.shuffle(replies)
    return {"prompt": {"text": contest.question, "role": "prompter", "lang": "en", "replies": replies}}
