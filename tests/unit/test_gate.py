"""The gate's decisions on counts: what is evidence, beside whom, and what it says."""

import pytest

from s2d_loop.config import GateConfig
from s2d_loop.evaluate.gate import ASK, HOLD, PROMOTE, Against, Cell, Decision, Rule, judge, pairs_of
from s2d_loop.evaluate.noninferiority import Pairs

SAME = Pairs(250, 0, 0, 250)


def decide(
    current: Pairs,
    best: Pairs | None = None,
    *,
    look: int = 1,
    iterations: int | None = 3,
    **settings: object,
) -> Decision:
    """A task's candidate beside version 2, in service, and version 1, the best."""
    cell = Cell(Against(2, current), Against(1, best) if best else Against(2, current))
    return judge({"letters": cell}, Rule.of(GateConfig.model_validate(settings), iterations, look))


def test_as_good_on_enough_inputs_is_promoted_and_on_few_it_is_not_shown() -> None:
    assert decide(SAME).decision == PROMOTE
    held = decide(Pairs(50, 0, 0, 50))
    assert (held.decision, held.by_task["letters"].reason) == (HOLD, "not shown")
    assert "Held: not shown to be within the margin on letters +0.0 points" in held.sentence
    assert "some 222 such inputs would show 2.0%" in held.sentence
    assert decide(Pairs(111, 0, 0, 111)).decision == PROMOTE


def test_the_more_looks_the_more_evidence() -> None:
    assert decide(SAME, iterations=3).decision == PROMOTE
    assert decide(SAME, iterations=None).decision == HOLD
    assert decide(Pairs(357, 0, 0, 356), iterations=None).decision == PROMOTE
    assert decide(SAME, iterations=None, looks=3).decision == PROMOTE


def test_what_measures_worse_by_more_than_the_margin_is_called_worse() -> None:
    held = decide(Pairs(200, 40, 10, 250))
    assert held.by_task["letters"].reason == "worse"
    assert held.sentence.startswith("Held: worse by more than the margin on letters -6.0 points")
    assert held.by_task["letters"].needed is None


def test_a_run_cannot_go_down_by_a_margin_a_time() -> None:
    """Beside the version in service all is well; beside the best it is not, and the sentence says so."""
    held = decide(SAME, best=Pairs(240, 30, 5, 225))
    assert held.decision == HOLD
    assert held.by_task["letters"].against == 1
    assert "-5.0 beside version 1, the best so far" in held.sentence
    assert decide(SAME, best=Pairs(250, 5, 30, 215)).by_task["letters"].better


def test_a_class_holds_the_whole_and_a_small_one_is_only_reported() -> None:
    fine, broken = Cell(*[Against(0, SAME)] * 2), Cell(*[Against(0, Pairs(50, 45, 5, 50))] * 2)
    rule = Rule.of(GateConfig(), 3, 1)
    held = judge({"coin": fine}, rule, {"coin": {"long": broken, "short": fine}})
    assert held.decision == HOLD
    assert "coin/long -26.7 points" in held.sentence
    few = Cell(*[Against(0, Pairs(5, 45, 5, 10))] * 2)
    passed = judge({"coin": fine}, rule, {"coin": {"long": few, "short": fine}})
    assert passed.decision == PROMOTE
    assert passed.classes["coin"]["long"].reason == "reported"


def test_with_ask_and_after_the_last_look_a_person_decides() -> None:
    asked = decide(SAME, promote="ask")
    assert asked.decision == ASK
    assert "waits for `s2d promote` (gate.promote is ask)" in asked.sentence
    assert decide(SAME, look=4).decision == ASK
    assert "looks of this run are used up" in decide(SAME, look=4).sentence
    assert decide(Pairs(50, 0, 0, 50), promote="ask").decision == HOLD
    assert decide(Pairs(50, 0, 0, 50), look=4).decision == HOLD


def test_a_margin_of_one_promotes_whatever_comes_but_not_what_nobody_can_judge() -> None:
    assert decide(Pairs(0, 9, 0, 1), margin=1.0).decision == PROMOTE
    assert decide(Pairs(0, 9, 0, 1), margin=1.0, look=9).decision == PROMOTE
    nothing = decide(Pairs(0, 0, 0, 0), margin=1.0)
    assert nothing.decision == HOLD
    assert "no held-out input has a reference" in nothing.sentence


@pytest.mark.parametrize("unknown", [("b", None), ("c", True)])
def test_only_what_both_were_judged_on_counts(unknown: tuple[str, bool | None]) -> None:
    before = [("a", True), ("b", False), ("d", None)]
    assert pairs_of(before, [("a", False), unknown, ("d", True)]) == Pairs(0, 1, 0, 0)
