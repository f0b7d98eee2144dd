"""The pool: which rows a round trains on."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from s2d_loop.config import PoolConfig
from s2d_loop.known import KeyIndex
from s2d_loop.pool import gather, new_examples, replayed_turns, training_rows
from s2d_loop.records import KEPT, Example, Input, Message, Pair, Turn, Verdict, content_hash, rows, table


def verdict(number: int, task: str = "t") -> Verdict:
    messages = (Message("user", f"question {number}"),)
    x = Input(f"s:f#{number}", task, messages, content_hash(messages))
    return Verdict(x, "w", KEPT, "a", "the answer is a", 1.0, (), 8, 0, 0.0, None, 1, 1)


def made(*verdicts: Verdict, known: KeyIndex | None = None) -> tuple[list[Example], int]:
    found, inputs = new_examples(table(verdicts, Verdict), iteration=3, known=known or KeyIndex())
    return list(rows(found, Example)), inputs


def test_an_example_is_the_original_question_and_the_target_and_nothing_else() -> None:
    ((example,), _) = made(verdict(1))
    assert example.prompt == (Message("user", "question 1"),)
    assert example.completion == (Message("assistant", "the answer is a"),)
    assert (example.input_id, example.task, example.answer, example.share) == ("s:f#1", "t", "a", 1.0)
    assert (example.iteration, example.weights) == (3, "w")


def test_twins_that_train_follow_their_input() -> None:
    pair = Pair("swap", (Message("user", "the other way round"),), "[[B]]", "B")
    one, two = replace(verdict(0), twins=(pair,)), replace(verdict(2), twins=(pair, replace(pair, name="x")))
    all_of_them, inputs = made(one, verdict(1), one, two)
    assert inputs == 3
    assert [e.completion[0].content == "[[B]]" for e in all_of_them] == [
        False,
        True,
        False,
        False,
        True,
        True,
    ]
    assert all_of_them[1].prompt == pair.prompt
    assert len({e.id for e in all_of_them}) == 6
    assert [e.input_id for e in all_of_them] == ["s:f#0"] * 2 + ["s:f#1"] + ["s:f#2"] * 3


def test_the_calls_of_system_2_follow_their_input_with_what_was_asked_and_said() -> None:
    asked, again = (Message("user", "rephrase it"),), (Message("user", "rephrased"),)
    turns = (Turn("rephrase", (0, 1), asked, "rephrased", (5, 3)), Turn("respond", (1,), again, "a", (6, 3)))
    pair = Pair("swap", (Message("user", "the other way round"),), "[[B]]", "B")
    found, inputs = made(
        replace(verdict(1), turns=turns, twins=(pair,)), verdict(2), replace(verdict(3), turns=turns)
    )
    assert inputs == 3
    assert [e.step for e in found] == ["", "", "rephrase", "respond", "", "", "rephrase", "respond"]
    assert len({e.id for e in found}) == len(found)
    for first in (2, 6):
        rephrased, answered = found[first : first + 2]
        assert (rephrased.prompt, answered.prompt) == (asked, again)
        assert [e.completion[0].content for e in (rephrased, answered)] == ["rephrased", "a"]
        assert (rephrased.sampled_ids, answered.sampled_ids) == ((5, 3), (6, 3))
        assert (rephrased.answer, answered.answer) == ("a", "a")
        assert {e.input_id for e in (rephrased, answered)} == {found[first - 1].input_id}


@given(
    tasks=st.lists(st.integers(0, 2), max_size=60),
    direct=st.integers(0, 60),
    share=st.sampled_from([0.1, 0.5, 0.9]),
)
def test_calls_fill_their_share_of_the_rows_where_there_are_as_many(
    tasks: list[int], direct: int, share: float
) -> None:
    config = PoolConfig(system2_share=share, balance=1.0)
    chosen = replayed_turns(np.array(tasks, int), direct, config, 0)
    assert chosen.tolist() == replayed_turns(np.array(tasks, int), direct, config, 0).tolist()
    assert set(chosen) <= set(range(len(tasks)))
    assert len(chosen) <= len(tasks)
    if len(chosen) < len(tasks):
        assert abs(len(chosen) - share * (direct + len(chosen))) <= 1


def test_calls_and_answers_share_the_room() -> None:
    config = PoolConfig(system2_share=0.25, max_examples=40)
    answers = training_rows(np.zeros(100, int), 0, config, 0)
    assert len(answers) == 30
    assert len(replayed_turns(np.zeros(100, int), len(answers), config, 0)) == 10


def test_an_example_enters_the_pool_once() -> None:
    known = KeyIndex()
    first, inputs = made(verdict(1), verdict(1), verdict(2), known=known)
    assert (len(first), inputs) == (2, 2)
    again, inputs = made(verdict(1), verdict(3), known=known)
    assert [e.input_id for e in again] == ["s:f#3"]
    assert inputs == 1


@given(
    old=st.lists(st.integers(0, 2), max_size=80),
    new=st.lists(st.integers(0, 2), min_size=1, max_size=80),
    share=st.sampled_from([0.0, 0.25, 0.5, 1.0]),
    balance=st.sampled_from([0.0, 0.5, 1.0]),
    room=st.none() | st.integers(1, 60),
    seed=st.integers(0, 3),
)
def test_training_rows(
    old: list[int], new: list[int], share: float, balance: float, room: int | None, seed: int
) -> None:
    tasks = np.array(old + new)
    config = PoolConfig(replay_share=share, balance=balance, max_examples=room)
    chosen = training_rows(tasks, len(old), config, seed)
    assert chosen.tolist() == training_rows(tasks, len(old), config, seed).tolist()
    assert set(chosen) <= set(range(len(tasks)))
    fresh = chosen[chosen >= len(old)]
    if room is not None:
        assert len(chosen) <= room
    if room is None and balance == 1.0:
        assert set(fresh) == set(range(len(old), len(tasks))), "no new example is left out"
    if share == 0.0:
        assert len(fresh) == len(chosen)
    if balance == 0.0:
        counts = Counter(tasks[fresh].tolist())
        assert not counts or max(counts.values()) - min(counts[task] for task in set(new)) <= 1


@given(sizes=st.lists(st.integers(0, 9), min_size=1, max_size=5), data=st.data())
@settings(max_examples=50)
def test_rows_are_gathered_in_the_order_that_was_drawn(sizes: list[int], data: st.DataObject) -> None:
    """And a part that nothing was drawn from is not read."""
    starts = np.cumsum([0, *sizes]).tolist()
    places = data.draw(st.lists(st.integers(0, starts[-1] - 1), max_size=12)) if starts[-1] else []
    pool, _ = new_examples(table(map(verdict, range(starts[-1])), Verdict), iteration=1, known=KeyIndex())
    read = []

    def tables(part: int) -> Iterator[pa.Table]:
        read.append(part)
        yield pool.slice(starts[part], sizes[part])

    gathered = gather([(size, tables(part)) for part, size in enumerate(sizes)], np.array(places, int))
    assert pa.concat_tables([pool.slice(0, 0), *gathered]).equals(pool.take(pa.array(places, pa.int64())))
    assert read == [
        n for n, size in enumerate(sizes) if any(starts[n] <= p < starts[n] + size for p in places)
    ]
