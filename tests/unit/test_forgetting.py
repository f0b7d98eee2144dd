"""What a candidate has lost, by the table, and what that does to the gate's decision."""

import asyncio
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from s2d_loop.chat.loading import load_tokenizer
from s2d_loop.chat.tokens import Chat
from s2d_loop.config import ForgettingConfig
from s2d_loop.engine.actor import Engine
from s2d_loop.evaluate.metrics import mean
from s2d_loop.evaluate.retention import (
    TaskRetention,
    general_retention,
    task_retention,
    token_f1,
    with_retention,
)
from s2d_loop.records import General, Message, Request, Sampling, Scored
from s2d_loop.testbed import MODEL_DIR

N = 500
RULES = ForgettingConfig()


def scored(right: int, n: int = N) -> list[Scored]:
    return [Scored(f"x{i}", "t", "system1", "1", i < right, "", 4) for i in range(n)]


def row(best: int, candidate: int, n: int = N) -> TaskRetention:
    return task_retention(3, scored(best, n), scored(candidate, n), 0.02)


@pytest.mark.parametrize(
    ("best", "candidate", "n", "state"),
    [
        (400, 420, 500, "kept"),
        (400, 400, 500, "kept"),
        (400, 395, 500, "unclear"),  # 1 point; a loss of more than 2 isn't ruled out
        (400, 385, 500, "over"),  # 3 points; it may as well be less than 2
        (400, 340, 500, "lost"),  # 12 points
        (8, 7, 10, "over"),  # of ten inputs one tells nothing
    ],
)
def test_a_loss_is_told_from_what_may_be_none(best: int, candidate: int, n: int, state: str) -> None:
    assert row(best, candidate, n).state == state


def test_what_is_shown_to_be_lost_holds_and_says_from_which_version() -> None:
    promote = {"decision": "promote", "sentence": "Promoted: t +0.0 points."}
    held = with_retention(promote, {"a": row(400, 400), "t": row(400, 340)}, None)
    assert held["decision"] == "hold"
    assert held["sentence"].startswith("Held: what earlier weights could do is lost: t -12.0 points (")
    assert held["sentence"].endswith("from version 3, with a budget of 2.")
    assert held["retention"]["tasks"]["a"]["state"] == "kept"
    for candidate in (385, 395):
        assert with_retention(promote, {"t": row(400, candidate)}, None)["decision"] == "promote"


def test_a_candidate_that_is_held_already_says_both() -> None:
    held = with_retention({"decision": "hold", "sentence": "Held: why."}, {"t": row(400, 340)}, None)
    assert held["sentence"].endswith("a budget of 2. Held: why.")


def general(texts: list[str], nats: float) -> list[General]:
    return [General(f"g{i}", text, -nats * 10, 10) for i, text in enumerate(texts)]


def test_the_starting_weights_have_lost_nothing() -> None:
    start = general(["a b c", "", "d"], 0.2)
    found = general_retention(start, start, RULES)
    assert (found.agreement.value, found.perplexity.value, found.failed) == (1.0, 1.0, False)


def test_perplexity_is_how_many_times_as_surprising_a_token_has_become() -> None:
    start, now = general(["a", "b", "c"], 0.2), general(["a", "b", "c"], 0.2 + math.log(2))
    found = general_retention(start, now, RULES)
    assert found.perplexity.value == pytest.approx(2.0)
    assert found.failed
    held = with_retention({"decision": "promote", "sentence": "Promoted."}, {}, found)
    assert held["decision"] == "hold"
    assert "2.00 times as perplexing (2.00 to 2.00; at most 1.5)" in held["sentence"]
    assert held["retention"]["general"]["n"] == 3


def test_other_answers_fail_too_and_what_they_may_be_is_configured() -> None:
    start, now = general(["the sky is blue"] * 4, 0.2), general(["42"] * 3 + ["the sky is red"], 0.2)
    found = general_retention(start, now, RULES)
    assert found.agreement.value == pytest.approx(0.75 / 4)
    assert found.failed
    assert not general_retention(start, now, ForgettingConfig(agreement=0.1)).failed


def test_an_answer_of_no_tokens_has_no_likelihood() -> None:
    start = [General("a", "", 0.0, 0), General("b", "x", -2.0, 4), General("c", "y", -2.0, 4)]
    now = [General("a", "z", 0.0, 0), General("b", "x", -2.0, 4), General("c", "y", -6.0, 4)]
    assert general_retention(start, now, RULES).perplexity.value == pytest.approx(math.exp(0.5))


@pytest.mark.parametrize(
    ("first", "second", "f1"),
    [
        ("", "", 1.0),
        ("", "a", 0.0),
        ("A b", "b a", 1.0),
        ("a b c d", "a b", 2 * 1 * 0.5 / 1.5),
        ("a a b", "a b b", 2 / 3),
    ],
)
def test_token_f1(first: str, second: str, f1: float) -> None:
    assert token_f1(first, second) == pytest.approx(f1)


@given(st.lists(st.sampled_from("abc"), max_size=8), st.lists(st.sampled_from("abc"), max_size=8))
def test_token_f1_is_between_0_and_1_and_the_same_both_ways(a: list[str], b: list[str]) -> None:
    one, other = token_f1(" ".join(a), " ".join(b)), token_f1(" ".join(b), " ".join(a))
    assert 0 <= one == other <= 1
    assert (one == 1) == (sorted(a) == sorted(b))


@given(st.lists(st.floats(-5, 5), min_size=2, max_size=40))
def test_a_mean_has_the_interval_that_scipy_gives_it(values: list[float]) -> None:
    found = mean(values)
    if math.isclose(found.low, found.high, abs_tol=1e-9):
        return
    wanted = stats.ttest_1samp(values, 0.0).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((wanted.low, wanted.high), abs=1e-9)


@pytest.mark.parametrize(("context", "wanted"), [(100, 3), (6, 2), (4, 0)])
def test_an_engine_sums_over_the_answers_own_tokens_as_far_as_the_context_reaches(
    context: int, wanted: int
) -> None:
    """Token t is as likely as exp(-t), and the first token of a text is none that can be likely."""
    tokenizer, ends = load_tokenizer(str(MODEL_DIR))
    asked = Request((Message("user", "Is it?"),), Sampling(), 0, read="Yes, it")
    said = Chat(tokenizer, ends).answer_ids(asked.messages, "Yes, it")
    assert len(said) == 3

    class Reader(Engine):
        def __init__(self) -> None:
            self._tokenizer, self._ends = tokenizer, ends

        def _context(self) -> int:
            return context

        async def _read(self, row: tuple[int, ...]) -> tuple[float, ...]:
            assert len(row) < context
            return tuple(-float(token) for token in row[1:])

    reply = asyncio.run(Reader()._read_answer((1, 2, 3), asked, "w"))
    likely = -float(sum(said[:wanted]))
    assert (reply.num_tokens, reply.logprob, reply.weights, reply.text) == (wanted, likely, "w", "")
