"""What is read out of evaluation plans and scores, however a model writes them."""

import json
import os
import time
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from s2d_loop.system2.plans import Criterion, criteria
from s2d_loop.system2.scores import scores

# Texts made of the very things that the readers look for.
PIECES = st.one_of(
    st.sampled_from(["Assistant A", "Assistant B", "A:", "'s", "Score", "4", "/5", "out of", "five", "8/10"]),
    st.sampled_from(["1.", "2)", "- ", "* ", "**", "### ", ":", ",", ".", " ", "\n", "\n\n", "\t", "(1-5)"]),
    st.sampled_from(["Relevance", "Criterion 3:", "Conclusion"]),
)
ANY_TEXT = st.one_of(st.text(), st.lists(PIECES, max_size=40).map("".join))

WORD = st.text("abcdefghijklmnopqrstuvwxyz", min_size=2, max_size=8)
NAME = st.lists(WORD, min_size=1, max_size=3).map(lambda words: " ".join(words).capitalize())
ABOUT = st.lists(WORD, min_size=1, max_size=8).map(lambda words: " ".join(words).capitalize() + "?")
# The names of a plan's headings are no criteria.
PLAN = st.lists(st.tuples(NAME, ABOUT), min_size=2, max_size=8).filter(
    lambda plan: not any(set(name.lower().split()) & TITLES for name, _ in plan)
)
TITLES = {
    "plan",
    "steps",
    "step",
    "note",
    "notes",
    "summary",
    "score",
    "rating",
    "final",
    "overall",
    "method",
}

LISTS = {
    "numbers": "{n}. {name}: {about}",
    "brackets": "{n}) {name} - {about}",
    "bold numbers": "**{n}. {name}:** {about}",
    "bold names": "{n}. **{name}** \u2013 {about}",
    "words": "Criterion {n}: {name} - {about}",
    "bullets": "* {name}: {about}",
    "bold bullets": "- **{name}**: {about}",
    "points": "\u2022 {name}: {about}",
    "headings": "### {name}\n{about}",
    "numbered headings": "## {n}. {name}\n\n{about}",
    "bold lines": "**{name}**\n{about}",
    "bare": "{name}: {about}",
    "sub-points": "{n}. {name}:\n   - {about}",
    "below": "{n}. {name}\n\n{about}",
}


@given(ANY_TEXT, st.integers(1, 6))
def test_no_text_is_an_error_to_the_plan_reader(text: str, limit: int):
    found = criteria(text, limit)
    assert len(found) <= limit
    assert all(each.name and each.text.startswith(each.name) for each in found)
    assert not any("\n" in each.text for each in found)


@settings(max_examples=500)
@given(st.sampled_from(list(LISTS.values())), PLAN, st.booleans(), st.booleans())
def test_a_tidy_list_reads_back(form: str, plan: list[tuple[str, str]], prose: bool, blank: bool):
    items = [form.format(n=n, name=name, about=about) for n, (name, about) in enumerate(plan, start=1)]
    text = ("\n\n" if blank else "\n").join(items)
    if prose and form != LISTS["below"]:
        text = f"Sure! Here is an evaluation plan:\n\n{text}\n\nThese factors let us compare both responses."
    assert criteria(text) == tuple(Criterion(name, f"{name}: {about}") for name, about in plan[:5])


@pytest.mark.parametrize(
    ("plan", "names"),
    [
        ("", []),
        ("I would look at helpfulness and relevance.", []),
        ("Here is my plan:", []),
        ("1. Relevance: on topic?", ["Relevance"]),
        ("**Evaluation Plan**\n\n- Relevance: a\n- Accuracy: b\n\n**Conclusion**\n- done", ["Relevance", "Accuracy"]),
        ("### Relevance\n1. a\n2. b\n### Accuracy\n1. c\n2. d", ["Relevance", "Accuracy"]),
        ("## The plan\n### Relevance\na\n### Accuracy\nb\n## What then", ["Relevance", "Accuracy"]),
        ("**Relevance**\n- a\n- b\n\n**Accuracy**\n- c", ["Relevance", "Accuracy"]),
        ("1. Relevance\n2. Accuracy\n\nBoth matter.", ["Relevance", "Accuracy"]),
        ("1. Does it answer the question that was asked?\n2. Is it right?",
         ["Does it answer the question that was asked?", "Is it right?"]),
        ("1. **Depth (20 points):** a\n2. **Style: is it plain?**", ["Depth (20 points)", "Style"]),
        ("  1. Relevance: a\n     1. on topic\n     2. whole\n  2. Accuracy: b", ["Relevance", "Accuracy"]),
        ("> 1. Relevance: a\n> 2. Accuracy: b", ["Relevance", "Accuracy"]),
    ],
)  # fmt: skip
def test_plans_as_models_write_them(plan: str, names: list[str]):
    assert [each.name for each in criteria(plan)] == names


def test_a_criterion_keeps_its_sub_points_and_not_the_prose_after_it():
    plan = "1. Relevance: on topic?\n   * all of it\n   * nothing else\n\nAdd up the scores: that is all."
    assert criteria(plan) == (Criterion("Relevance", "Relevance: on topic? all of it nothing else"),)


def test_six_factors_or_more_are_the_first_five():
    plan = "\n".join(f"{n}. Factor of {n} legs: text" for n in range(1, 13))
    assert [each.name for each in criteria(plan)] == [f"Factor of {n} legs" for n in range(1, 6)]


@pytest.mark.parametrize("astray", ["1. a{}b", "a{}b: c\nd: e", "Assistant A{}x", "4{}x", "between 1{}5"])
@pytest.mark.parametrize("filler", [" ", "\t", "(", "**", ": ", "score ", "Assistant A "])
def test_a_model_gone_astray_is_read_in_no_time(astray: str, filler: str):
    text = astray.format(filler * 20_000)
    start = time.perf_counter()
    assert len(criteria(text)) <= 5
    assert len(scores(text)) == 2
    assert time.perf_counter() - start < 5


# Scores

VALUE = st.one_of(
    st.integers(1, 5).map(Decimal),
    st.sampled_from(["1.5", "2.5", "3.25", "4.5"]).map(Decimal),
)
WRITTEN = {
    "plain": "{}",
    "of five": "{}/5",
    "spaced": "{} / 5",
    "out of": "{} out of 5",
    "bold": "**{}**/5",
    "stars": "{} stars",
    "point": "{}.",
    "explained": "{} - it answers the question",
}
PAIRS = {
    "lines": "{a}\n{b}",
    "blank lines": "{a}\n\n{b}\n\nBoth answers mention 3 facts.",
    "scores": "Score: {a}\nScore: {b}",
    "names": "Assistant A: {a}\nAssistant B: {b}",
    "bold names": "**Assistant A:** {a}\n\n**Assistant B:** {b}",
    "answers": "* Assistant A's answer: {a}\n* Assistant B's answer: {b}",
    "curly": "Assistant A\u2019s response: {a}\nAssistant B\u2019s response: {b}",
    "letters": "A: {a}\nB: {b}",
    "score for": "Score for Assistant A: {a}\nScore for Assistant B: {b}",
    "numbered": "1. Assistant A: {a}\n2. Assistant B: {b}",
    "below": "Assistant A:\n{a}\n\nAssistant B:\n{b}",
    "other order": "Assistant B: {b}\nAssistant A: {a}",
    "explained": "Assistant A: {a}\nIt names 2 causes.\n\nAssistant B: {b}\nUnlike Assistant A it names 1.",
    "a scale": "On a scale of 1 to 5:\nAssistant A: {a}\nAssistant B: {b}",
    "lines named": "Line 1: {a}\nLine 2: {b}",
}


@given(ANY_TEXT)
def test_no_text_is_an_error_to_the_score_reader(text: str):
    assert all(value is None or 1 <= value <= 5 for value in scores(text))


@settings(max_examples=1000)
@given(st.sampled_from(list(PAIRS.values())), st.sampled_from(list(WRITTEN.values())), VALUE, VALUE)
def test_tidy_scores_read_back(pair: str, written: str, a: Decimal, b: Decimal):
    assert scores(pair.format(a=written.format(a), b=written.format(b))) == (a, b)


@pytest.mark.parametrize(
    ("text", "a", "b"),
    [
        ("four\ntwo", 4, 2),
        ("Assistant A: Four out of five\nAssistant B: three", 4, 3),
        ("Assistant A: 4/5, Assistant B: 3/5", 4, 3),
        ("Assistant A: 4 | Assistant B: 3", 4, 3),
        ("Scores: A=4, B=3", 4, 3),
        ("4, 3", 4, 3),
        ("4/5 3/5", 4, 3),
        ("I'd give Assistant A's response a score of 4 out of 5 and Assistant B's response a score of 2.", 4, 2),
        ("4/5 for Assistant A and 3/5 for Assistant B", 4, 3),
        ("Score: 4/5 (Assistant A)\nScore: 2/5 (Assistant B)", 4, 2),
        ("Assistant A and Assistant B get 4/5 and 3/5.", 4, 3),
        ("Score: 4/5\nAssistant A is clear.\n\nScore: 3/5\nAssistant B is less so.", 4, 3),
        # One line missing: the other keeps its side, or the only one is no pair.
        ("Assistant A: 4", 4, None),
        ("Assistant B: 3/5", None, 3),
        ("Assistant A: N/A\nAssistant B: 3", None, 3),
        ("4/5", 4, None),
        # Out of the scale, and on its side still.
        ("Assistant A: 8/10\nAssistant B: 4/5", None, 4),
        ("8/10\n4/5", None, 4),
        ("Assistant A: 0/5\nAssistant B: 6", None, None),
        ("Assistant A: -1\nAssistant B: 45", None, None),
        # No scores, though there are numbers.
        ("", None, None),
        ("Assistant A gave 3 examples\nAssistant B gave 2 examples", None, None),
        ("Assistant A's score is one of the best", None, None),
        ("Please score between 1 and 5.", None, None),
        # Whose they are isn't plain.
        ("I give a 4 to Assistant A and a 3 to Assistant B", None, None),
        ("Both assistants get 4/5", None, None),
        ("Assistant A is better than Assistant B: 4/5", None, None),
    ],
)  # fmt: skip
def test_scores_as_models_write_them(text: str, a: int | None, b: int | None):
    assert scores(text) == (a, b)


def test_thoughts_are_no_part_of_a_plan_or_of_scores():
    thoughts = "<think>\n1. Tone: kind?\n2. Length: short?\nAssistant A: 1\nAssistant B: 5\n</think>\n\n"
    assert [each.name for each in criteria(f"{thoughts}1. Truth: a\n2. Depth: b")] == ["Truth", "Depth"]
    assert scores(f"{thoughts}Assistant A: 4\nAssistant B: 3") == (4, 3)
    assert criteria("<think>\n1. Tone: kind?\n2. Length: short?") == ()
    assert scores("<think>\nAssistant A: 1\nAssistant B: 5") == (None, None)


@pytest.mark.skipif("S2D_DATA" not in os.environ, reason="S2D_DATA names no folder of real data")
def test_real_texts_are_no_errors():
    seen = 0
    for text in _real_texts(Path(os.environ["S2D_DATA"]) / "mt_bench"):
        assert len(criteria(text)) <= 5
        assert len(scores(text)) == 2
        seen += 1
    assert seen > 900


def _real_texts(folder: Path) -> Iterator[str]:
    for path in sorted((folder / "model_answer").glob("*.jsonl")):
        for line in path.read_text(encoding="utf-8").splitlines():
            yield from json.loads(line)["choices"][0]["turns"]
