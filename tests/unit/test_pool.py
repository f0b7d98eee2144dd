"""The pool: which rows a round trains on."""

from collections import Counter
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from s2d_loop.config import PoolConfig
from s2d_loop.pool import DUPLICATE, new_examples, training_rows
from s2d_loop.records import KEPT, Example, Input, Message, Pair, Verdict, content_hash


def verdict(number: int, task: str = "t") -> Verdict:
    messages = (Message("user", f"question {number}"),)
    x = Input(f"s:f#{number}", task, messages, content_hash(messages))
    return Verdict(x, "w", KEPT, "a", "the answer is a", 1.0, (), 8, 0, 0.0, None, 1, 1)


def examples(task: str, count: int, iteration: int = 1) -> list[Example]:
    new, _ = new_examples((verdict(n, task) for n in range(count)), iteration=iteration, known=())
    return new


def test_an_example_is_the_original_question_and_the_target_and_nothing_else() -> None:
    (example,) = examples("t", 1)
    assert example.prompt == (Message("user", "question 0"),)
    assert example.completion == (Message("assistant", "the answer is a"),)


def test_twins_that_train_enter_with_their_input() -> None:
    pair = Pair("swap", (Message("user", "the other way round"),), "[[B]]", "B")
    both, dropped = new_examples([replace(verdict(0), twins=(pair,))] * 2, iteration=1, known=())
    assert dropped == {DUPLICATE: 1}
    assert [e.completion[0].content for e in both] == ["the answer is a", "[[B]]"]
    assert both[1].prompt == pair.prompt
    assert len({e.id for e in both}) == 2
    assert len({e.input_id for e in both}) == 1


def test_an_example_enters_the_pool_once() -> None:
    first, dropped = new_examples([verdict(1), verdict(1), verdict(2)], iteration=1, known=())
    assert len(first) == 2
    assert dropped == {DUPLICATE: 1}
    again, dropped = new_examples([verdict(1), verdict(3)], iteration=2, known=(e.id for e in first))
    assert [e.input_id for e in again] == ["s:f#3"]
    assert dropped == {DUPLICATE: 1}


@given(
    new=st.dictionaries(st.sampled_from("abc"), st.integers(1, 40), min_size=1),
    old=st.dictionaries(st.sampled_from("abc"), st.integers(1, 40)),
    share=st.sampled_from([0.0, 0.25, 0.5, 1.0]),
    balance=st.sampled_from([0.0, 0.5, 1.0]),
    room=st.none() | st.integers(1, 60),
    seed=st.integers(0, 3),
)
def test_training_rows(
    new: dict[str, int], old: dict[str, int], share: float, balance: float, room: int | None, seed: int
) -> None:
    fresh = [e for task, count in new.items() for e in examples(task, count, iteration=2)]
    replay = [e for task, count in old.items() for e in examples(task, count, iteration=1)]
    config = PoolConfig(replay_share=share, balance=balance, max_examples=room)
    chosen = training_rows(fresh, replay, config, seed)
    assert chosen == training_rows(fresh, replay, config, seed)
    assert set(chosen) <= {*fresh, *replay}
    if room is not None:
        assert len(chosen) <= room
    if room is None and balance == 1.0:
        assert {e for e in chosen if e.iteration == 2} == set(fresh), "no new example is left out"
    if share == 0.0:
        assert all(e.iteration == 2 for e in chosen)
    if balance == 0.0:
        counts = Counter(e.task for e in chosen if e.iteration == 2)
        assert not counts or max(counts.values()) - min(counts[task] for task in new) <= 1
