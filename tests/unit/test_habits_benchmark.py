"""`python -m benchmarks.habits`: what the docs say of the wrong answers that the tiny models read."""

import json
from typing import get_args

import pytest

from benchmarks.habits import answer, direct, habits
from s2d_loop.testbed import DATA_DIR, world


@pytest.mark.parametrize("task", get_args(world.Task))
def test_a_questions_answer_is_the_data_files(task: world.Task) -> None:
    rows = [json.loads(line) for line in (DATA_DIR / f"{task}.heldout.jsonl").read_text().splitlines()]
    assert [answer(task, row["prompt"]) for row in rows] == [row["answer"] for row in rows]


def test_a_fifth_of_what_the_first_model_reads_is_direct_and_most_of_it_wrong() -> None:
    found = habits(drawn=1000)
    share, wrong = direct(found, "testbed://model")
    assert share == pytest.approx(0.19)
    assert wrong == pytest.approx(0.12, abs=0.01)
    share, wrong = direct(found, "testbed://models/think")
    assert share == pytest.approx(0.3)
    assert wrong == pytest.approx(0.235, abs=0.015)
