"""The stop rule on counts, and what a held-out set is large enough for."""

from s2d_loop.config import GateConfig
from s2d_loop.evaluate.collapse import (
    LEVEL,
    Sign,
    Signs,
    agreement,
    both_say,
    commonest_wrong,
    judge_collapse,
    level_of,
    read,
)
from s2d_loop.evaluate.enough import hopeless, thin
from s2d_loop.evaluate.noninferiority import Pairs
from s2d_loop.records import Scored

SAME = Pairs(250, 0, 0, 250)
FELL = Pairs(200, 60, 10, 230)
"""Ten points worse."""
LEVEL_OF_A_LOOK = level_of(50, 1)


def sign(
    accuracy: Pairs = SAME, same_wrong: Pairs = SAME, now: float | None = 0.9, best: float | None = 0.8
) -> Sign:
    return read(Signs(accuracy, same_wrong, now, best), 0.02, LEVEL_OF_A_LOOK)


def test_the_level_of_a_run_is_divided_among_all_its_tests() -> None:
    assert level_of(50, 3) * 50 * 3 * 2 == LEVEL


def test_it_shows_in_a_fall_and_in_one_wrong_answer_while_the_systems_agree() -> None:
    assert sign(FELL).shows
    assert sign(same_wrong=Pairs(0, 0, 150, 350)).shows
    assert not sign().shows
    assert not sign(Pairs(240, 15, 5, 240)).shows, "within the margin"
    assert not sign(same_wrong=Pairs(0, 0, 40, 460)).shows, "8 points are not enough"
    assert not sign(FELL, now=0.3).shows, "a training gone wrong, not a collapse"
    assert sign(FELL, now=None).shows
    assert sign(same_wrong=Pairs(0, 0, 150, 350), now=0.3).shows, "the pairs are of what both systems say"
    assert not sign(same_wrong=Pairs(0, 0, 0, 0), now=None).shows
    assert not read(Signs(FELL, SAME), 1.0, LEVEL_OF_A_LOOK).shows, "without a gate nothing is too bad"


def test_the_same_task_has_to_show_it_twice_in_a_row() -> None:
    first = judge_collapse({"a": sign(FELL), "b": sign()}, [])
    assert not first["stop"]
    assert not judge_collapse({"a": sign(), "b": sign(FELL)}, [first])["stop"]
    fine = judge_collapse({"a": sign(), "b": sign()}, [first])
    assert not judge_collapse({"a": sign(FELL), "b": sign()}, [first, fine])["stop"]
    stopped = judge_collapse({"a": sign(FELL), "b": sign()}, [fine, first])
    assert (stopped["stop"], stopped["tasks"]) == (True, ["a"])
    assert "a -10.0 points beside the best so far" in stopped["sentence"]
    assert "agrees with System 2 on 90% (80% before)" in stopped["sentence"]


def test_a_task_that_was_not_measured_before_stops_nothing() -> None:
    assert not judge_collapse({"a": sign(FELL)}, [{"by_task": {}}])["stop"]


def scored(number: int, answer: str | None, correct: bool | None = None) -> Scored:
    return Scored(f"x#{number}", "t", "system1", answer, correct, "", 1)


def test_the_commonest_wrong_answer_and_agreement_by_hand() -> None:
    given = [
        scored(n, a, c) for n, (a, c) in enumerate([("a", True), ("b", False), ("b", False), ("c", False)])
    ]
    assert commonest_wrong(given) == "b"
    assert commonest_wrong(given[:1]) is None
    slow = [scored(0, "a"), scored(1, "c"), scored(2, None), scored(9, "a")]
    said = both_say("b", given, [scored(0, "b"), scored(1, "b"), scored(2, "c")])
    assert [each for _, each in said] == [False, True, False, None], "not right, by both, and both asked"
    assert agreement(given, slow) == 0.5
    assert agreement(given, []) is None


def test_held_out_inputs_that_are_too_few_are_told_before_a_run() -> None:
    gate = GateConfig()
    assert thin(gate, 3, {"coin": {"": 500}}) == hopeless(gate, 3, {"coin": {"": 500}}) == []
    (said,) = thin(gate, None, {"coin": {"": 500}})
    assert said.startswith(
        "gate.margin: with 500 held-out inputs of coin only a candidate that is much better"
    )
    assert "wants 713" in said
    assert hopeless(gate, None, {"coin": {"": 500}}) == []
    (never,) = hopeless(gate, 3, {"coin": {"": 4}})
    assert "nothing would ever be promoted" in never
    assert hopeless(GateConfig(margin=1.0), 3, {"coin": {"": 4}}) == []


def test_classes_that_are_tested_are_told_too() -> None:
    (said,) = thin(GateConfig(), 50, {"coin": {"long": 120, "short": 700, "odd": 9}})
    assert said.startswith("gate.class_margin: with 120 held-out inputs of coin, class 'long'")
