"""Parsers, scoring and twins of the tasks."""

import random
import re
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from s2d_loop.errors import BadInputError
from s2d_loop.records import Message, Messages
from s2d_loop.tasks.base import Task
from s2d_loop.tasks.coin_flip import CoinFlip, swap_people
from s2d_loop.tasks.last_letters import LastLetters, lower_case
from s2d_loop.tasks.open import Open
from s2d_loop.tasks.registry import TASKS, load_task

ANSWERS = st.from_regex(r"[a-z]{1,6}", fullmatch=True)
MARKUP = st.sampled_from(["{}", "**{}**", "*{}*", "`{}`", "_{}_", "***{}***", "__{}__", "- {}"])
QUOTES = st.sampled_from(['"{}"', "'{}'", "\u201c{}\u201d", "\u2018{}\u2019"])
ENDS = st.sampled_from(["", ".", "!", " ", "\n", ".\n\n"])
YES_NO = st.sampled_from(["yes", "no"])


def user(text: str) -> Messages:
    return (Message("system", 'Be "Brief".'), Message("user", text))


@pytest.mark.parametrize("name", TASKS)
@given(text=st.text())
def test_a_parser_never_raises_and_never_gives_an_empty_answer(name: str, text: str):
    task = load_task(name)
    assert task.parse(text) != ""
    assert task.parse(text) is None or isinstance(task.parse(text), str)
    assert task.score(None, text) is False
    assert isinstance(task.score("yes", text), bool)


# Last letters


@pytest.mark.parametrize(
    ("reply", "answer"),
    [
        ('The answer is "s-o".', "so"),
        ("**so**", "so"),
        ("so", "so"),
        ("The last letters are 'n' and 'u', so the answer is 'nu'.", "nu"),
        ("\u201cMon\u201d ends in \u201cn\u201d. Together: \u201cN U\u201d", "nu"),
        ("It's \"nu\", isn't it?", "nu"),
        ("The dogs' answer, don't ask: `nu`. I hope that helps", "nu"),
        ("**The answer is: NU.**", "nu"),
        ('The answer is "nu', "nu"),
        ('The letters are nu ""', "nu"),
        ("n-u", "nu"),
        ('"\u00c9-u"', "\u00e9u"),
        ("\\boxed{nu}", "nu"),
        ("So it is $\\boxed{\\text{n-u}}$. I hope that helps", "nu"),
        ("<answer>nu</answer>", "nu"),
        ('The answer is "nu". Hope this helps!', "nu"),
        ('The answer is nu. Ask me if you need "more" help.', "nu"),
        ("The answer is:\n\n**nu**", "nu"),
        ("nu\n\nLet me know if you need more", "nu"),
        ("Sure!\nnu", "nu"),
        ("Reworded. nu", "nu"),
        ("n, u", "nu"),
        ("Mon -> n\nPelu -> u\nnu", "nu"),
        ("1. n\n2. u\n\nnu", "nu"),
        ("Mon -> n\nPelu -> u", None),
        ("N + U = NU", "nu"),
        ("n \u2192 u \u2192 nu", "nu"),
        ("The letters are n and u.", "nu"),
        ('The letters are "n" and "u".', "nu"),
        ("They are n and u, giving nu.", "nu"),
        ('The last letter of "Mon" is n, of "Pelu" it is u: nu', "nu"),
        # A part of the answer, or a remark.
        ('The last letter of "Mon" is "n" and of "Pelu" is "u".', None),
        ("Let me know if you need more", None),
        ("I'm sorry, I can't help with that.", None),
        ("", None),
        (' "..." ** - ', None),
    ],
)
def test_letters_of_replies(reply: str, answer: str | None):
    assert LastLetters().parse(reply) == answer


@given(answer=ANSWERS, quotes=QUOTES, markup=MARKUP, end=ENDS, upper=st.booleans(), hyphens=st.booleans())
def test_letters_survive_quotes_markup_case_and_punctuation(
    answer: str, quotes: str, markup: str, end: str, upper: bool, hyphens: bool
):
    shown = "-".join(answer) if hyphens else answer
    shown = shown.upper() if upper else shown
    for said in (quotes.format(shown), markup.format(shown), markup.format(quotes.format(shown))):
        assert LastLetters().parse(said + end) == answer
        assert LastLetters().parse(f'Of the words "Mon Pelu" it is {quotes.format(shown)}{end}') == answer
        assert LastLetters().parse("The answer is " + said + end) == answer


def test_letters_score_against_references_as_people_write_them():
    task = LastLetters()
    assert all(task.score("nu", reference) for reference in ("nu", "NU", '"nu"', " n-u "))
    assert not task.score("un", "nu")


def test_lower_case_changes_the_quoted_words_of_the_last_turn_only():
    twin = lower_case(user('Take the Last letters of "Mon Pelu" and Join them.'))
    assert twin == user('Take the Last letters of "mon pelu" and Join them.')
    assert lower_case(user("Take the last letters of Mon Pelu.")) is None
    same = user('The last letters of "mon pelu"?')
    assert lower_case(same) == same


# Coin flip


@pytest.mark.parametrize(
    ("reply", "answer"),
    [
        ("Yes, the coin is still heads up.", "yes"),
        ("**No**, it isn't. Yes?", "no"),
        ("_Yes_", "yes"),
        ("Answer:No", "no"),
        ("\\boxed{Yes}", "yes"),
        ("It starts as yes, so $\\boxed{\\text{No}}$", "no"),
        ("<answer>No</answer>", "no"),
        ("Yes at first, but the answer is: no", "no"),
        ("There is no doubt: the answer is yes.", "yes"),
        ("No one flips it. Yes.", "yes"),
        ("Answer Yes or No: No", "no"),
        ("**Yes**/**No**? No", "no"),
        ("yes or no?", None),
        ("Is it yes, or no? No.", "no"),
        ("Yes/No", None),
        ("'Yes' or 'No'", None),
        ("It is not heads up.", None),
        ("Nobody knows; yesterday, nothing, eyes.", None),
        ("The coin is heads up.", None),
        ("", None),
    ],
)
def test_coin_of_replies(reply: str, answer: str | None):
    assert CoinFlip().parse(reply) == answer


@given(answer=YES_NO, markup=MARKUP, quotes=QUOTES, end=ENDS, case=st.sampled_from([str.upper, str.title]))
def test_coin_survives_markup_case_and_punctuation(answer: str, markup: str, quotes: str, end: str, case):
    for said in (markup.format(case(answer)), quotes.format(answer), markup.format(quotes.format(answer))):
        assert CoinFlip().parse(said + end) == answer
        assert CoinFlip().parse(f"The coin was flipped twice: {said}{end}") == answer


def test_coin_scores():
    task = CoinFlip()
    assert task.score("yes", "Yes")
    assert not task.score("no", "yes")
    assert not task.score(None, "heads")


COIN = "A coin is heads up. {}  Is the coin still heads up? Flip means reverse."


@pytest.mark.parametrize(
    ("acts", "swapped"),
    [
        (
            "ann-lee flips the coin. \u00f3lan does not flip the coin.",
            "\u00f3lan does not flip the coin. ann-lee flips the coin.",
        ),
        (
            "A flips the coin. B C flips the coin. D does not flip the coin.",
            "D does not flip the coin. B C flips the coin. A flips the coin.",
        ),
    ],
)
def test_swap_people_reverses_them_and_keeps_the_rest(acts: str, swapped: str):
    assert swap_people(user(COIN.format(acts))) == user(COIN.format(swapped))


@pytest.mark.parametrize(
    "text",
    [
        "Is it raining?",
        COIN.format("ann flips the coin."),
        COIN.format("ann flips the coin. bo spins the coin."),
        COIN.format("ann flips the coin. bo flips the coin.") + " Who was first?",
        COIN.format("ann flips the coin. bo flips the coin.").replace("heads up. ", "tails up. ", 1),
    ],
)
def test_swap_people_leaves_other_forms_alone(text: str):
    assert swap_people(user(text)) is None


def test_swap_people_twice_is_the_same_question():
    rng = random.Random(0)
    for _ in range(50):
        acts = [
            f"{name} {rng.choice(['flips', 'does not flip'])} the coin."
            for name in rng.sample(["ann", "bo", "cy-jo", "dee"], rng.randint(2, 4))
        ]
        start = user(COIN.format(" ".join(acts)))
        twin = swap_people(start)
        assert twin is not None
        assert sorted(re.findall(r"\S+", twin[-1].content)) == sorted(re.findall(r"\S+", start[-1].content))
        assert swap_people(twin) == start


# Open


@pytest.mark.parametrize(
    ("reply", "answer"),
    [
        ("Paris.", "paris"),
        ("  **New\n York** ", "new york"),
        ("\u201cParis\u201d!", "paris"),
        ("-5", "-5"),
        ("C++", "c++"),
        ("5%", "5%"),
        ("\\boxed{Paris}", "paris"),
        ("$\\boxed{\\text{Paris}}$.", "paris"),
        ("<answer>Paris</answer>", "paris"),
        ("\\boxed{\\frac{1}{2}}", "\\boxed{\\frac{1}{2}}"),
        ("The town is \\boxed{Paris}", "the town is \\boxed{paris}"),
        ("...", None),
        (" ** ", None),
    ],
)
def test_open_replies(reply: str, answer: str | None):
    assert Open().parse(reply) == answer


@given(answer=st.from_regex(r"[a-z]{1,5}( [a-z0-9]{1,5}){0,3}", fullmatch=True), quotes=QUOTES, end=ENDS)
def test_open_survives_case_space_and_quotes(answer: str, quotes: str, end: str):
    for said in (answer, answer.upper(), answer.replace(" ", "\n  "), quotes.format(answer)):
        assert Open().parse(f" {said}{end}") == answer
        assert Open().score(answer, said + end)


# The registry


def said(name: str, perturbations: tuple[str, ...] = ()) -> str:
    with pytest.raises(BadInputError) as caught:
        load_task(name, perturbations)
    return str(caught.value)


def test_every_registered_task_is_a_task_of_that_name():
    for name in TASKS:
        task = load_task(name)
        assert isinstance(task, Task)
        assert task.name == name
        assert load_task(name, tuple(task.perturbations))


def test_what_is_wrong_with_a_name():
    assert "did you mean 'coin_flip'?" in said("coinflip")
    text = said("coin_flip", ("swap_peoples",))
    assert "curate.perturbations: task 'coin_flip' has no 'swap_peoples', did you mean 'swap_people'?" in text
    assert "(it has: none)" in said("open", ("swap_people",))


def test_a_task_of_ones_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "s2d_test_tasks.py").write_text(
        "from s2d_loop.tasks.open import Open\n"
        "class Mine(Open):\n    name = 'mine'\n"
        "class Whole(Open):\n    def parse(self, reply): return reply\n"
        "class Half:\n    name = 'half'\n    def parse(self, reply): return reply\n"
        "class Needy(Open):\n    def __init__(self, path): pass\n"
        "task = Mine()\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    try:
        assert load_task("s2d_test_tasks:Mine").name == "mine"
        whole = load_task("s2d_test_tasks:Whole")
        assert isinstance(whole, Task)
        assert whole.parse("<think>\nRome?\n</think>\n\nParis") == "Paris"
        assert whole.parse("<think>\nRome?") is None
        assert whole.score("Paris", "<think>\nRome?\n</think>\n\nParis")
        assert "Half has no perturbations, no format, no score" in said("s2d_test_tasks:Half")
        assert "It must take no arguments" in said("s2d_test_tasks:Needy")
        assert "is not a class" in said("s2d_test_tasks:task")
    finally:
        sys.modules.pop("s2d_test_tasks", None)
