"""Which system serves a task, from what both measure on the same inputs."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from s2d_loop.config import ServingConfig
from s2d_loop.evaluate.at_k import votes_of
from s2d_loop.evaluate.policy import Serving, choose
from s2d_loop.records import Generation, Input, Message, Sample, Scored, VotedAt
from s2d_loop.tasks.registry import load_task

N = 500


def fast(right: int, n: int = N) -> list[Scored]:
    return [Scored(f"x{i}", "t", "system1", "1", i < right, "", 4) for i in range(n)]


def slow(votes: int, right: int, n: int = N) -> list[VotedAt]:
    """The first are right, like System 1's: the same inputs are easy for both."""
    return [VotedAt(f"x{i}", "t", votes, "1", i < right, 30.0 * votes) for i in range(n)]


def chosen(one: int, two: list[VotedAt], **rules: float) -> Serving:
    return choose(fast(one), two, ServingConfig(**rules), version=3)


@pytest.mark.parametrize(
    ("one", "two", "serve"),
    [
        (450, 400, "system1"),  # better
        (450, 450, "system1"),  # the same answers
        (440, 450, "system1"),  # 2 points below, and more than 5 are ruled out
        (425, 450, "system2"),  # 5 points below
        (100, 450, "system2"),
        (0, 0, "system1"),  # neither is ever right: the cheaper one
    ],
)
def test_system_1_serves_where_it_is_shown_to_be_no_worse(one: int, two: int, serve: str) -> None:
    found = chosen(one, slow(1, two))
    assert found.serve == serve
    assert found.system2_version == 3
    assert found.n == N
    assert found.difference.value == pytest.approx((one - two) / N)


def test_few_inputs_prove_nothing_so_system_2_serves() -> None:
    assert choose(fast(8, 10), slow(1, 8, 10), ServingConfig()).serve == "system2"


def test_system_2_takes_the_fewest_votes_within_the_interval_of_the_best() -> None:
    ladder = [*slow(1, 300), *slow(2, 330), *slow(4, 390), *slow(8, 400)]
    found = chosen(100, ladder)
    assert (found.serve, found.votes) == ("system2", 4)
    assert [each.votes for each in found.system2] == [1, 2, 4, 8]
    assert found.system2[2].tokens == 120.0
    assert found.sentence.startswith("System 2 with 4 votes (78.0%): System 1 is -60.0 points")
    # Against the best it is that System 1 has to hold its own, not against those that are enough.
    assert found.difference.value == pytest.approx((100 - 400) / N)


def test_where_both_are_poor_none_serves() -> None:
    assert chosen(10, slow(1, 20), floor=0.2).serve == "none"
    assert chosen(10, slow(1, 20), floor=0.2).votes == 0
    assert chosen(10, slow(1, 95), floor=0.2).serve == "system2"  # its interval reaches 20 %
    assert chosen(10, slow(1, 20)).serve == "system1"


def test_what_nothing_can_be_compared_on_is_served_by_system_2() -> None:
    unjudged = [Scored(f"x{i}", "t", "system1", None, None, "", 4) for i in range(5)]
    found = choose(unjudged, slow(1, 5, 5), ServingConfig())
    assert (found.serve, found.n, found.system1.accuracy) == ("system2", 0, None)


@given(
    one=st.integers(0, 60), two=st.lists(st.integers(0, 60), min_size=1, max_size=4), margin=st.floats(0, 1)
)
def test_it_serves_what_was_measured(one: int, two: list[int], margin: float) -> None:
    ladder = [each for i, right in enumerate(two) for each in slow(2**i, right, 60)]
    found = choose(fast(one, 60), ladder, ServingConfig(margin=margin))
    assert found.serve in ("system1", "system2")
    if found.serve == "system2":
        best = max(two)
        (mine,) = [each for each in found.system2 if each.votes == found.votes]
        assert mine.accuracy is not None
        assert mine.accuracy >= min(e.low for e in found.system2 if e.accuracy == best / 60)
        assert all(e.accuracy < mine.accuracy for e in found.system2 if e.votes < mine.votes and e.accuracy)
    else:
        assert one / 60 >= max(two) / 60 - margin


def test_votes_are_runs_of_the_program_whatever_a_run_gives() -> None:
    """Three runs of two samples each: the first run votes for 5, all of them for 7."""
    said = ["5", "5", "7", "7", "7", "x"]
    x = Input("a", "t", (Message("user", "?"),), "h")
    row = Generation(
        input=x, weights="w", program="p", samples=tuple(Sample(f"#### {each}", True) for each in said),
        direct=(), twins=(), calls=(), num_calls=6, num_tokens=60, num_direct_tokens=0, error=None,
    )  # fmt: skip
    found = list(votes_of(row, 3, load_task("gsm8k"), 0))
    assert (found[0].votes, found[0].answer, found[0].num_tokens) == (1, "5", 20.0)
    assert (found[-1].votes, found[-1].answer) == (3, "7")
    assert [each.votes for each in found] == [1, 2, 3]
