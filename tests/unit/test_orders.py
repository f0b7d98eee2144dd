"""The exact sign test of an order, against scipy's: two-sided, at 0.05, over the inputs that both rows answered."""

from collections.abc import Sequence

import pytest
from scipy.stats import binomtest

from s2d_loop.reproduce.measure import Result
from s2d_loop.reproduce.metrics import Figure
from s2d_loop.reproduce.of_rar import TABLE_1
from s2d_loop.reproduce.orders import Outcome, compared

ABOVE, BELOW = "Distill System 2: Distill 2-Step RaR", "System 2: 2-Step RaR"


def measured(metric: str, values: dict[str, float]) -> Result:
    mean = sum(values.values()) / len(values)
    return Result({metric: Figure(mean, None, None, len(values))}, {metric: values})


def outcome(
    metric: str, above: str, below: str, first: dict[str, float], second: dict[str, float]
) -> Outcome:
    """What becomes of one order of Table 1 that two rows were measured for."""
    nothing = Result({}, {})
    results = {each.name: {row.key: nothing for row in TABLE_1.rows} for each in TABLE_1.sets}
    results["last_letters"] |= {above: measured(metric, first), below: measured(metric, second)}
    order = ("last_letters", metric, above, below)
    (found,) = [each for each in compared(TABLE_1, results) if each[:4] == order]
    return found


def named(values: Sequence[float]) -> dict[str, float]:
    return {f"x{number}": value for number, value in enumerate(values)}


@pytest.mark.parametrize(
    ("ups", "downs", "verdict"),
    [
        (5, 0, "not resolved"),  # one-sided it would be: 0.031
        (6, 0, "holds"),  # 0.031
        (7, 1, "not resolved"),  # 0.070, with half of the middle 0.039
        (8, 1, "holds"),  # 0.039
        (0, 6, "reversed"),
        (1, 7, "not resolved"),
        (3, 3, "not resolved"),
    ],
)
@pytest.mark.parametrize("alike", [0, 40])
def test_right_answers_are_told_apart_by_mcnemars_exact_test(
    ups: int, downs: int, alike: int, verdict: str
) -> None:
    """Inputs on which both are alike say nothing."""
    first = [1.0] * ups + [0.0] * downs + [1.0, 0.0] * (alike // 2)
    second = [0.0] * ups + [1.0] * downs + [1.0, 0.0] * (alike // 2)
    found = outcome("accuracy", ABOVE, BELOW, named(first), named(second))
    assert found.p == pytest.approx(binomtest(ups, ups + downs).pvalue)
    assert found.verdict == verdict


def test_tokens_are_told_apart_by_which_are_more_on_each_input_that_both_answered() -> None:
    more = named([90.0] + [12.0] * 6 + [10.0] * 2) | {"only here": 1.0}
    less = named([10.0] * 9) | {"only there": 900.0}
    found = outcome("tokens", BELOW, ABOVE, more, less)
    assert found.p == pytest.approx(binomtest(7, 7).pvalue)
    assert found.verdict == "not resolved", "the mean says the contrary"
    less["only there"] = 1.0
    assert outcome("tokens", BELOW, ABOVE, more, less).verdict == "holds"
