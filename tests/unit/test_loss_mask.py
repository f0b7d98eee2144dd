"""The loss mask of a packed row, token by token, and that a row with another one is refused."""

from collections.abc import Callable

import pytest

from s2d_loop.errors import TrainError
from s2d_loop.train.batch import IGNORED, Encoded, Row, check_row, make_row

END = 0
FIRST = Encoded("first", (11, 12, 13), (21, 22, END), "")
SECOND = Encoded("second", (14,), (23, END), "")
FIRST_ANSWER = 3
"""Where the first document's answer begins; with its end token it takes three places."""


def test_a_row_is_labelled_where_it_is_an_answer_or_its_end() -> None:
    row = make_row([FIRST, SECOND])
    assert row.input_ids == [11, 12, 13, 21, 22, END, 14, 23, END]
    assert row.labels == [IGNORED] * 3 + [21, 22, END] + [IGNORED] + [23, END]
    assert row.position_ids == [0, 1, 2, 3, 4, 5, 0, 1, 2]
    assert row.num_labels == 5
    check_row(row, [FIRST, SECOND])


def unlabel(place: int) -> Callable[[Row], None]:
    def damage(row: Row) -> None:
        row.labels[place] = IGNORED

    return damage


def label(place: int) -> Callable[[Row], None]:
    def damage(row: Row) -> None:
        row.labels[place] = row.input_ids[place]

    return damage


def shift(by: int) -> Callable[[Row], None]:
    def damage(row: Row) -> None:
        row.labels[:] = row.labels[-by:] + row.labels[:-by]

    return damage


def other_label(row: Row) -> None:
    row.labels[FIRST_ANSWER] = 99


def other_prompt(row: Row) -> None:
    row.input_ids[1] = 99


def run_together(row: Row) -> None:
    row.position_ids[:] = range(len(row.position_ids))


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        pytest.param(label(FIRST_ANSWER - 1), "first: the loss mask", id="one prompt token"),
        pytest.param(label(6), "second: the loss mask", id="one prompt token of the second"),
        pytest.param(unlabel(FIRST_ANSWER), "first: the loss mask", id="no first answer token"),
        pytest.param(unlabel(FIRST_ANSWER + 1), "first: the loss mask", id="a hole"),
        pytest.param(unlabel(FIRST_ANSWER + 2), "first: the loss mask", id="no end token"),
        pytest.param(unlabel(8), "second: the loss mask", id="no end token of the second"),
        pytest.param(shift(1), "first: the loss mask", id="a place late"),
        pytest.param(shift(-1), "first: the loss mask", id="a place early"),
        pytest.param(other_label, "first: the labels are not the answer's tokens", id="another label"),
        pytest.param(other_prompt, "first: the prompt's tokens differ", id="another prompt"),
        pytest.param(run_together, "holds 1 documents, the plan says 2", id="documents run together"),
    ],
)
def test_a_row_with_another_mask_is_refused(damage: Callable[[Row], None], said: str) -> None:
    row = make_row([FIRST, SECOND])
    damage(row)
    with pytest.raises(TrainError, match=said):
        check_row(row, [FIRST, SECOND])
