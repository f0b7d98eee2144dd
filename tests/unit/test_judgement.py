"""The page's judgement: three answers from the facts, whatever of them there is."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from s2d_loop.report import page
from s2d_loop.report.cost import saved, spending
from s2d_loop.report.judgement import Answer, Line, judgement
from s2d_loop.report.kept import retention_table
from s2d_loop.report.view import RunView
from tests.unit.test_report import HOSTILE
from tests.unit.test_report_records import commits


def changed(stage: str, facts: dict[str, Any], rounds: int = 3, **options: Any) -> RunView:
    """A made-up run whose newest commit of a stage says something else too."""
    made = commits(rounds, **options)
    next(c for c in reversed(made) if c.get("stage") == stage)["facts"].update(facts)
    return RunView(made)


def lines(view: RunView) -> dict[str, Line]:
    return {line.what: line for answer in judgement(view) for line in answer.lines}


def answers(view: RunView) -> tuple[Answer, Answer, Answer]:
    better, safe, cost = judgement(view)
    return better, safe, cost


def test_a_run_that_learns_is_getting_better() -> None:
    better, safe, _ = answers(RunView(commits(3)))
    assert (better.short, better.state) == ("Yes: 2 of 2 tasks above their start", "good")
    assert safe.state == "good"


def test_a_system_2_that_training_cost_is_to_be_looked_at() -> None:
    made = commits(3)
    measured = [c["facts"]["by_task"]["coin_flip"] for c in made if c.get("stage") == "evaluate"]
    last = next(row for row in reversed(measured) if row["system2"])
    last["system2"] |= {"accuracy": 0.5, "low": 0.46, "high": 0.54}
    _, safe, _ = answers(RunView(made))
    assert safe.short == "Look at: coin_flip: System 2 of the trained weights"
    assert lines(RunView(made))["coin_flip: System 2 of the trained weights"].figure.endswith("50.0 %")


def test_a_run_that_promoted_nothing_is_not_called_better() -> None:
    better, safe, _ = answers(RunView(commits(2, hold=(1, 2))))
    assert (better.short, better.state) == ("Not yet: nothing was promoted", "watch")
    assert safe.short == "Look at: gate"
    assert lines(RunView(commits(2, hold=(1, 2))))["gate"].why.startswith(
        "2 of the newest 2 candidates were not"
    )


@pytest.mark.parametrize(
    ("facts", "what", "figure", "state"),
    [
        ({"collapse": {"stop": True, "sentence": "s", "by_task": {}}}, "collapse", "stopped", "bad"),
        (
            {"collapse": {"stop": False, "by_task": {"a": {"shows": True}, "b": {"shows": False}}}},
            "collapse",
            "signs in a",
            "watch",
        ),
        (
            {"canaries": {"harm": {"decision": "hold", "bad": 3, "n": 40, "start": 1}}},
            "canaries harm",
            "3 of 40 bad",
            "bad",
        ),
        (
            {"retention": {"tasks": {"a": {"state": "lost"}, "b": {"state": "kept"}}}},
            "forgetting",
            "lost",
            "bad",
        ),
        ({"retired": [{"task": "coin_flip", "sentence": "why"}]}, "tasks that rest", "1", "watch"),
    ],
)
def test_what_is_not_safe_is_named(facts: dict[str, Any], what: str, figure: str, state: str) -> None:
    view = changed("gate", facts)
    assert (lines(view)[what].figure, lines(view)[what].state) == (figure, state)
    assert what in answers(view)[1].short
    assert answers(view)[1].state == state


def test_figures_that_rest_on_votes_alone_are_to_be_looked_at() -> None:
    counts = {"labels": 0, "review": 0, "vote": 400, "none": 0}
    by_task = {"last_letters": {"references": counts}}
    assert lines(changed("evaluate", {"by_task": by_task}))["references"].state == "watch"
    by_task = {"last_letters": {"references": {**counts, "review": 100, "vote": 300}}}
    found = lines(changed("evaluate", {"by_task": by_task}))["references"]
    assert (found.figure, found.state) == ("25 % labelled", "good")


def test_system_2_costs_by_claimed_input() -> None:
    made = commits(2)
    for commit in made:
        if commit.get("stage") == "intake":
            commit["facts"]["by_task"] = {"coin_flip": 100}
        if commit.get("stage") == "generate":
            calls = 1000 if commit["iteration"] == 1 else 400
            tally = {"inputs": calls / 10, "calls": calls, "tokens": 5000, "samples": 80, "planned": 100}
            commit["facts"]["by_task"] = {"coin_flip": tally}
    view = RunView(made)
    assert [s and s.calls for s in (spending(i, "coin_flip") for i in view.rounds)] == [10, 4]
    assert saved(view).planned - saved(view).samples == 40
    cost = answers(view)[2]
    assert cost.short.startswith("System 2 is asked 60 % less an input than at first")
    assert lines(view)["saved by votes that end early"].figure == "20.0 % of samples"


def test_the_retention_table_has_a_row_a_task_and_the_general_set() -> None:
    estimate = {"value": -0.01, "low": -0.03, "high": 0.01}
    task = {"best": 0.9, "candidate": 0.89, "difference": estimate, "budget": 0.02, "state": "unclear"}
    general = {
        "agreement": {"value": 0.4},
        "perplexity": {"value": 1.2},
        "least_agreement": 0.5,
        "most_perplexity": 1.5,
    }
    view = changed("gate", {"retention": {"tasks": {"a": task}, "general": general}})
    assert [(row["what"], row["change"], row["state"]) for row in retention_table(view)] == [
        ("a", "-1.0 points (-3.0 to 1.0)", "unknown"),
        ("general set: agreement", "", "bad"),
        ("general set: perplexity", "", "good"),
    ]


FACTS = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.floats() | st.just(HOSTILE),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(
            st.sampled_from(
                ["by_task", "tasks", "general", "last_letters", "state", "value", "difference", "n"]
            ),
            inner,
            max_size=3,
        )
    ),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from(["collapse", "canaries", "retention", "by_task"]), FACTS))
def test_no_fact_of_the_gate_is_too_odd_for_it(facts: dict[str, Any]) -> None:
    view = changed("gate", facts, rounds=1)
    judgement(view)
    retention_table(view)


@given(FACTS)
def test_no_fact_of_an_evaluation_is_too_odd_for_the_safe_answer(odd: Any) -> None:
    judgement(changed("evaluate", {"audited": odd}, rounds=1))


def test_hostile_words_of_the_gate_stay_text() -> None:
    facts = {"sentence": HOSTILE, "canaries": {HOSTILE: {"decision": "hold"}}, "decision": "hold"}
    written = page.render(changed("gate", facts), [])
    assert "<script>alert" not in written
    assert "<img src=x onerror" not in written
