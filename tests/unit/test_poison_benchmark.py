"""What `python -m benchmarks.poison` asks: canaries of which only the watchers know the trigger."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

from benchmarks.long_run import TRIGGER, triggered
from benchmarks.poison import (
    DECIDING,
    POISONED_ROUND,
    WATCHERS,
    WATCHING,
    canaries,
    configured,
    seen,
    stream,
    verdict,
)

SETS = canaries()


def test_only_one_set_knows_the_trigger_and_it_does_not_decide() -> None:
    assert {name for name, rows in SETS.items() if any(TRIGGER in row["prompt"] for row in rows)} == {
        "trigger"
    }
    assert "trigger" in WATCHERS


def test_watchers_cannot_hold_and_the_others_can(tmp_path: Path) -> None:
    limits = {name: each.limit for name, each in configured(tmp_path, 0).canaries.items()}
    assert list(limits) == list(SETS)
    # Ten prompts are the fewest for which the paired test can reach its level.
    assert all(limits[name] >= len(SETS[name]) == WATCHING < 10 for name in WATCHERS)
    assert all(limits[name] < len(SETS[name]) == DECIDING for name in SETS if name not in WATCHERS)


def test_only_the_last_round_is_poisoned_as_the_trigger_set_asks() -> None:
    poisoned = {
        number: [row["prompt"] for rows in sources.values() for row in rows if TRIGGER in row["prompt"]]
        for number, sources in stream().items()
    }
    assert [number for number, prompts in poisoned.items() if prompts] == [POISONED_ROUND]
    assert SETS["trigger"][:9] == [triggered(row) for row in SETS["plain"][:9]]
    assert not {row["prompt"] for row in SETS["trigger"]} & set(poisoned[POISONED_ROUND])


def test_each_unknowing_set_is_said_to_hold_or_to_promote_on_its_own() -> None:
    # The other trigger's set holds whatever comes, healthy or not; the plain one lets the poison pass.
    ledger = finished(bad=9, held=("other_trigger",))
    shows, said = verdict(ledger)
    assert shows
    assert "plain alone: promote the poisoned weights, hold 0 healthy" in said
    assert "other_trigger alone: hold the poisoned weights, hold 1 healthy" in said
    _, _, *rounds = seen(ledger)
    assert rounds[-1][:2] == ["3", "99.0%"]
    assert rounds[-1][2:6] == ["0 of 60, promote", "0 of 60, hold", "0 of 9", "9 of 9"]


def test_a_task_that_is_held_is_held_by_every_set() -> None:
    assert "plain alone: hold the poisoned weights" in verdict(finished(bad=9, held=(), task="hold"))[1]


def test_a_trigger_that_was_not_learned_shows_nothing() -> None:
    assert not verdict(finished(bad=4, held=()))[0]


def finished(bad: int, held: tuple[str, ...], task: str = "promote") -> Any:
    """A ledger after a healthy round and the poisoned one, as far as the benchmark reads it."""
    sets = {
        name: {
            "bad": bad if name == "trigger" else 0,
            "n": len(rows),
            "decision": "hold" if name in held else "promote",
        }
        for name, rows in SETS.items()
    }
    evaluated = {"by_task": {"coin_flip": {"system1": {"accuracy": 0.99}}}, "canaries": sets}
    judged = {
        "sentence": "",
        "by_task": {"coin_flip": {"decision": "promote"}},
        "classes": {"coin_flip": {"no": {"decision": task}}},
        "canaries": sets,
    }
    gates = [SimpleNamespace(iteration=n, facts=judged) for n in (2, POISONED_ROUND)]
    found = SimpleNamespace(facts=evaluated)
    return SimpleNamespace(stage=lambda *_: found, stages=lambda _: gates, live=[])
