"""Agreement and inconsistency of judges, votes at k, and figures by category."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from s2d_loop.evaluate.at_k import tokens_at, vote_at
from s2d_loop.evaluate.judges import Judged, Ruling, agreement, agreement_by_category, ruling
from s2d_loop.evaluate.suite import by_category, exact_match
from s2d_loop.records import Generation, HeldOut, Input, Message, Sample, Scored
from s2d_loop.tasks.gsm8k import Gsm8k

VERDICTS = st.sampled_from(["A", "B", "C"])
X = Input("s:f#0", "t", (Message("user", "How many?"),), "h")


@pytest.mark.parametrize(
    ("first", "swapped", "said"),
    [
        ("A", "A", Ruling("A", True)),
        ("C", "C", Ruling("C", True)),
        ("A", "B", Ruling("C", False)),
        ("A", "C", Ruling("C", False)),
        ("A", None, Ruling("C", False)),
        (None, None, Ruling("C", False)),
    ],
)
def test_both_orders_must_agree(first: str | None, swapped: str | None, said: Ruling) -> None:
    assert ruling(first, swapped) == said


def test_every_vote_counts_and_a_tie_against_a_winner_is_a_miss() -> None:
    found = agreement(
        [
            Judged(ruling("A", "A"), ("A", "A", "B", "C"), "math"),  # two of three
            Judged(ruling("A", "B"), ("A",), "math"),  # inconsistent: a miss
            Judged(ruling("C", "C"), ("B",), "stem"),  # a tie: a miss
            Judged(ruling("A", "B"), ("C",), "stem"),  # no winner to agree with
            Judged(ruling("B", "B"), (), "stem"),
        ]
    )
    assert (found.agreeing, found.votes, found.votes_decided) == (2, 5, 3)
    assert (found.inconsistent, found.pairs) == (2, 5)
    assert (found.voted_inconsistent, found.voted_pairs) == (1, 3)
    assert found.agreement == pytest.approx(0.4)
    assert found.agreement_decided == pytest.approx(2 / 3)
    assert found.inconsistency == pytest.approx(0.4)
    assert found.voted_inconsistency == pytest.approx(1 / 3)


@given(
    st.lists(
        st.builds(
            lambda first, swapped, votes, category: Judged(ruling(first, swapped), tuple(votes), category),
            VERDICTS,
            VERDICTS,
            st.lists(VERDICTS, max_size=4),
            st.sampled_from(["math", "stem", "coding"]),
        )
    )
)
def test_categories_add_up(judged: list[Judged]) -> None:
    total, parts = agreement(judged), agreement_by_category(judged).values()
    for name in (
        "votes",
        "agreeing",
        "votes_decided",
        "pairs",
        "inconsistent",
        "voted_pairs",
        "voted_inconsistent",
    ):
        assert getattr(total, name) == sum(getattr(part, name) for part in parts)
    assert total.agreeing <= total.votes_decided <= total.votes


def test_shares_of_nothing_are_null() -> None:
    nothing = agreement([])
    assert (nothing.agreement, nothing.agreement_decided) == (None, None)
    assert (nothing.inconsistency, nothing.voted_inconsistency) == (None, None)


def generation(*texts: str, cut_off: int | None = None) -> Generation:
    samples = tuple(Sample(text, number != cut_off) for number, text in enumerate(texts))
    return Generation(X, "w", "p", samples, (), (), (), len(texts), 100, 0, None)


def test_votes_at_k_are_those_of_the_first_samples() -> None:
    row = generation("Final answer: 1", "Final answer: 2", "Final answer: 2.0", "none", cut_off=3)
    task = Gsm8k()
    assert [vote_at(row, k, task, 0) for k in (1, 3, 4)] == ["1", "2", "2"]
    assert {vote_at(row, 2, task, seed) for seed in range(40)} == {"1", "2"}, "a tie is broken at random"
    assert vote_at(generation("Final answer: 1", cut_off=0), 1, task, 0) is None
    with pytest.raises(ValueError) as caught:
        vote_at(row, 5, task, 0)
    assert "5 votes of 4 samples" in str(caught.value)
    assert [tokens_at(row, k) for k in (1, 4)] == [25, 100]
    assert tokens_at(generation(), 1) == 0


def scored(number: int, answer: str | None, correct: bool) -> Scored:
    return Scored(f"s:f#{number}", "t", "system1", answer, correct, "", 1)


def test_a_miss_match_is_no_exact_match_either() -> None:
    rows = [scored(0, "yes", True), scored(1, "no", False), scored(2, None, False), scored(3, "no", True)]
    assert exact_match(rows) == (0.5, 0.25, 4)
    assert exact_match([]) == (None, None, 0)


def test_answers_stand_under_their_inputs_heading() -> None:
    rows = [scored(0, "yes", True), scored(1, "no", False), scored(2, "no", True)]
    kept_out = [
        HeldOut(Input(f"s:f#{number}", "t", X.messages, "h"), "yes", category)
        for number, category in enumerate(["biased", "unbiased", "biased"])
    ]
    assert by_category(rows, kept_out) == {"biased": [rows[0], rows[2]], "unbiased": [rows[1]]}
