"""Verdicts on two answers, the prompt of Figure 13, and its twin in the other order."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from s2d_loop.records import Input, Message, Part
from s2d_loop.tasks.pairwise import Pairwise, judge_prompt, pair_parts, swap, swapped_verdict, votes

TASK = Pairwise()
VERDICT = st.sampled_from(["A", "B", "C"])
MARKUP = st.sampled_from(["{}", "**{}**", "*{}*", "`{}`", "_{}_", '"{}"', "({})", "# {}"])
ENDS = st.sampled_from(["", ".", "!", " ", "\n", ".\n\n"])


@pytest.mark.parametrize(
    ("reply", "verdict"),
    [
        ("[[A]]", "A"),
        ("[[b]]", "B"),
        ("[[A", "A"),
        ("[[Tie]]", "C"),
        ("[[Assistant B]]", "B"),
        ("\\[\\[A\\]\\]", "A"),
        ("[[ **C** ]]", "C"),
        ("[[B>A]]", "B"),
        ("[[a>>b]]", "A"),
        ("[[A<B]]", "B"),
        ("[[B<<A]]", "A"),
        ("[[A=B]]", "C"),
        ("\\boxed{A}", "A"),
        ("So it is $\\boxed{\\text{B}}$.", "B"),
        ("<answer>[[B]]</answer>", "B"),
        ('{"verdict": "A"}', "A"),
        ("## Verdict\n\n**B**", "B"),
        ("verdict: b", "B"),
        ("Conclusive judgement: [[A]]", "A"),
        ('I use "[[A]]" or "[[B]]". Assistant A is better on style. [[B]]', "B"),
        ("[B]", "B"),
        ("B", "B"),
        ("Assistant A", "A"),
        ("A tie.", "C"),
        ("My final verdict is: Assistant B", "B"),
        ("Verdict: **A**", "A"),
        ("Conclusive judgement: it is a tie", "C"),
        ("The verdict is a tie.", "C"),
        ("Final verdict: A tie.", "C"),
        ("**A tie**", "C"),
        ("Judgement: A tie between the two.", "C"),
        ("It's a draw!", "C"),
        ("Decision: A close call, but B wins", "B"),
        ("A slight edge goes to B", "B"),
        ("Winner: A clear winner is B", "B"),
        ("I would pick Assistant A.", "A"),
        ("The better response is B.", "B"),
        ("A > B", "A"),
        ("It speaks in favor of B.", "B"),
        ("Verdict: A, since it is right.", "A"),
        ("Overall, Assistant B's answer is clearly better.", "B"),
        ("Assistant A is the better one. Assistant A is better.", "A"),
        # No verdict, or more than one.
        ("Assistant A is better on style, Assistant B is better on facts.", None),
        ("Assistant A is not better.", None),
        ("The answer is a good one.", None),
        ("Verdict: A good answer on both sides", None),
        ("Verdict: A narrow win for Assistant B", None),
        ("Verdict: A, but B is better on facts", None),
        ("Neither A nor B is better.", None),
        ("I don't think that A is better.", None),
        ("Is B better?", None),
        ("It depends on whether B is better.", None),
        ("[[D]]", None),
        ("A and B", None),
        ("", None),
    ],
)
def test_verdicts_of_replies(reply: str, verdict: str | None):
    assert TASK.parse(reply) == verdict


FORMAT = '"[[A]]" if assistant A is better, "[[B]]" if assistant B is better, and "[[C]]" for a tie.'


@pytest.mark.parametrize(
    ("reply", "verdict"),
    [
        (FORMAT, None),
        (f"I must answer in this format: {FORMAT}", None),
        (f"{FORMAT}\n\n[[B]]", "B"),
        (f"{FORMAT}\n\nAssistant A is better.", "A"),
        ("[[A]]: A is better; [[B]]: B is better; [[C]]: a tie", None),
        ("[[A]] or [[B]]", None),
        ("[[A]], [[B]] or [[C]]", None),
        ("[[A/B/C]]", None),
        ("[[X]]", None),
        ("[[C]] for a tie", "C"),
        ("My verdict: [[C]] in case of a tie", "C"),
        ("At first [[A]]. On reflection, [[B]]", "B"),
        ("[[A]]\n[[B]]", "B"),
        ("My verdict: [[A]]. It isn't [[B]], since that one rambles.", "A"),
        ("[[A]] is what some would say, and [[B]] is what others would.", None),
    ],
)
def test_the_prompts_own_words_are_no_verdict_and_of_two_the_final_one_counts(
    reply: str, verdict: str | None
):
    assert TASK.parse(reply) == verdict


@given(verdict=VERDICT, markup=MARKUP, end=ENDS, lower=st.booleans())
def test_markup_case_and_punctuation_do_not_change_the_verdict(
    verdict: str, markup: str, end: str, lower: bool
):
    shown = verdict.lower() if lower else verdict
    for said in (f"[[{shown}]]", f"[[ {shown} ]]", f"[{shown}]", f"[[Assistant {shown}]]"):
        assert TASK.parse(markup.format(said) + end) == verdict
        assert TASK.parse(f"Both are clear, and A is a letter. {markup.format(said)}{end}") == verdict


@given(VERDICT)
def test_it_reads_back_what_it_formats(verdict: str):
    assert TASK.parse(TASK.format(verdict)) == verdict
    assert swapped_verdict(swapped_verdict(verdict)) == verdict


def test_votes_are_counted_and_a_split_is_a_tie():
    assert votes("A B C x") == ("A", "B", "C")
    assert TASK.score("A", "A A B")
    assert not TASK.score("B", "A A B")
    assert TASK.score("C", "A B")
    assert TASK.score("C", "C")
    assert not TASK.score("A", "")
    assert not TASK.score(None, "A")


def judged(question: str, a: str, b: str) -> Input:
    messages = (Message("system", "Be fair."), Message("user", judge_prompt(question, a, b)))
    return Input("s:f#0", "t", messages, "h", (*pair_parts(question, a, b), Part("note", "n")), "g")


@given(st.text(), st.text(), st.text())
def test_the_twin_shows_the_answers_in_the_other_order(question: str, a: str, b: str):
    x = judged(question, a, b)
    twin = swap(x)
    assert twin is not None
    assert (twin.part("question"), twin.part("answer_a"), twin.part("answer_b")) == (question, b, a)
    assert twin.part("note") == "n"
    assert (twin.messages[0], twin.question) == (x.messages[0], judge_prompt(question, b, a))
    assert swap(twin) == x


def test_what_is_not_this_prompt_has_no_twin():
    messages = (Message("user", "Which is better?"),)
    assert swap(Input("s:f#0", "t", messages, "h", pair_parts("q", "a", "b"))) is None
    assert swap(Input("s:f#0", "t", messages, "h")) is None


def test_the_twins_answer_is_read_for_the_pair():
    perturbation = TASK.perturbations["swap"]
    assert [perturbation.answer(verdict) for verdict in "ABC"] == ["B", "A", "C"]


def test_the_prompt_is_figure_13s():
    prompt = judge_prompt("Q {answer_a}", "one", "two")
    assert prompt.startswith("Please act as an impartial judge")
    assert 'and "[[C]]" for a tie.\n\n[User Question]\nQ {answer_a}\n\n[The Start of Assistant A' in prompt
    assert prompt.endswith("[The Start of Assistant B's Answer]\ntwo\n[The End of Assistant B's Answer]")
