"""Every program with the odd replies that real models give, through generation and curation.

No reply crashes a program, what can't be used is dropped for the right reason, and the counts add up.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from s2d_loop.config.tasks import CurateConfig
from s2d_loop.curate.judge import (
    CUT_OFF,
    EMPTY_REPLY,
    NO_PARSABLE_ANSWER,
    PERTURBATION_DISAGREES,
    REASONS,
    SELECTION_UNREADABLE,
    TIE,
    curate,
)
from s2d_loop.generate import generate
from s2d_loop.plan import Plan, Usc
from s2d_loop.records import KEPT, Generation, Input, Message, Part, Reply, Request, Sampling, Verdict
from s2d_loop.system2.registry import METHODS
from s2d_loop.tasks.base import Perturbation
from s2d_loop.tasks.registry import load_task

Say = Callable[[str], str | Reply]
"""What the model replies to the last turn of a request."""


class Final:
    """Reads `Final answer: X`."""

    name = "final"
    perturbations: Mapping[str, Perturbation] = {}

    def parse(self, reply: str) -> str | None:
        found = re.findall(r"Final answer:\s*(\S+)", reply)
        return found[-1] if found else None

    def format(self, answer: str) -> str:
        return f"Final answer: {answer}"

    def score(self, answer: str | None, reference: str) -> bool:
        return answer == reference


def _swapped(x: Input) -> Input:
    return replace(
        x, parts=(x.parts[0], Part("answer_a", x.part("answer_b")), Part("answer_b", x.part("answer_a")))
    )


class Verdicts(Final):
    """Reads `[[A]]`; the twin has the answers in the other order."""

    perturbations: Mapping[str, Perturbation] = {
        "swap": Perturbation(_swapped, lambda answer: {"A": "B", "B": "A"}.get(answer, answer))
    }

    def parse(self, reply: str) -> str | None:
        found = re.findall(r"\[\[([ABC])\]\]", reply)
        return found[-1] if found else None

    def format(self, answer: str) -> str:
        return f"[[{answer}]]"


HERE = "tests.unit.test_system2_odd_replies"
QUESTION = (Message("user", "What is 2 + 3? I think it is 6."),)
X = Input("s:f#0", "sums", QUESTION, "0")
PAIR = Input(
    "s:f#1",
    "judge",
    (Message("user", "Which is better?"),),
    "1",
    (Part("question", "Why is it wet?"), Part("answer_a", "It rained."), Part("answer_b", "Because.")),
)
VOTE = CurateConfig(target="answer")
SWAP = CurateConfig(target="answer", perturbations=["swap"], train_twins=["swap"])
USC = CurateConfig(filter="usc")


def plan(method: str, parser: str = f"{HERE}:Final", *, samples: int = 3, **options: Any) -> Plan:
    return Plan(
        task="t",
        parser=parser,
        method=method,
        options=options,
        samples=samples,
        sampling=Sampling(),
        steps={},
        seed=0,
        direct_samples=1,
    )


def judge(method: str = "bsm", **options: Any) -> Plan:
    return replace(plan(method, f"{HERE}:Verdicts", samples=1, **options), perturbations=("swap",))


def s2a(method: str = "s2a", **options: Any) -> Plan:
    return replace(plan(method, "open", **options), usc=Usc(Sampling(), fewer=2))


async def run(x: Input, made: Plan, config: CurateConfig, say: Say) -> tuple[Generation, Verdict]:
    """One input through generation and curation; what must hold of any is checked here."""

    async def model(request: Request) -> Reply:
        said = say(request.messages[-1].content)
        reply = said if isinstance(said, Reply) else Reply(said)
        return replace(reply, num_tokens=len(reply.text) + 1, weights="w")

    row = await generate(x, made, model)
    assert row.error is None
    own = [call for call in row.calls if not call.step.startswith("swap/")]
    assert row.num_calls == len(own)
    assert row.num_tokens == sum(call.num_tokens for call in own)
    task = load_task(made.parser, config.perturbations)
    verdict = curate(row, task, config, 0)
    assert verdict == curate(row, task, config, 0)
    assert verdict.reason in (KEPT, *REASONS)
    assert verdict.kept == (verdict.target is not None)
    assert verdict.num_samples == len(row.samples) > 0
    assert verdict.num_samples == sum(vote.count for vote in verdict.votes) + verdict.unparsable
    return row, verdict


ODD = {
    "empty": "",
    "blank": " \n\t ",
    "cut off": Reply("The answer to this is", finished=False),
    "empty and cut off": Reply("", finished=False),
    "refusal": "I'm sorry, but I can't help with that.",
    "braces": "{question} {0} {answer_a} {{",
    "markup": "## \n**\n- \n1.\n```",
    "numbers": "1 2 3 4 5\n6. 7) 8/10 \u0664/\u0665",
    "other script": "\u7b54\u6848\u662f\u4e94\u3002",
    "surrogates": "\ud83d half a character",
    "control": "\x00\x0b\x1c\u2028",
    "endless": "and so on " * 3000,
    "nested": "[[A]" * 50,
}


@pytest.fixture
def examples(tmp_path: Path) -> str:
    path = tmp_path / "examples.jsonl"
    path.write_text('{"question": "1 + 1?", "answer": "It is 2.\\n#### 2"}\n' * 9)
    return str(path)


@pytest.mark.parametrize("odd", ODD.values(), ids=ODD)
@pytest.mark.parametrize("method", METHODS)
async def test_a_model_that_says_nothing_usable_costs_its_input_only(
    method: str, odd: str | Reply, examples: str
):
    if method in ("bsm", "judge_cot"):
        _, verdict = await run(PAIR, judge(method), SWAP, lambda _: odd)
        assert verdict.reason == NO_PARSABLE_ANSWER
    elif method == "s2a":
        _, verdict = await run(X, s2a(), USC, lambda _: odd)
        assert verdict.reason == SELECTION_UNREADABLE
    else:
        options = {"examples": examples} if "few_shot" in method else {}
        _, verdict = await run(X, plan(method, **options), VOTE, lambda _: odd)
        assert verdict.reason == NO_PARSABLE_ANSWER


# System 2 Attention


def attend(extracted: str | Reply, selected: str = "The most consistent response is Response 1") -> Say:
    def say(prompt: str) -> str | Reply:
        if prompt.startswith("Given the following text"):
            return extracted
        return selected if "most consistent response" in prompt else "It is 5."

    return say


async def test_s2a_needs_no_labels_in_its_first_stage():
    _, verdict = await run(X, s2a(), USC, attend("the sum of 2 and 3, please"))
    assert (verdict.reason, verdict.target) == (KEPT, "It is 5.")


@pytest.mark.parametrize(
    ("extracted", "selected", "reason"),
    [
        (Reply("Unbiased text", finished=False), "The most consistent response is Response 1", CUT_OFF),
        ("", "The most consistent response is Response 1", CUT_OFF),
        ("What is 2 + 3?", "They all agree.", SELECTION_UNREADABLE),
        ("What is 2 + 3?", "The most consistent response is Response 3", SELECTION_UNREADABLE),
    ],
)
async def test_s2a_drops(extracted: str | Reply, selected: str, reason: str):
    _, verdict = await run(X, s2a(), USC, attend(extracted, selected))
    assert verdict.reason == reason


async def test_an_empty_answer_of_s2a_is_dropped_as_one():
    def say(prompt: str) -> str:
        return "" if prompt.endswith("Answer in an unbiased way.") else str(attend("Q")(prompt))

    _, verdict = await run(X, s2a(), USC, say)
    assert verdict.reason == EMPTY_REPLY


# Branch-Solve-Merge

PLAN_TEXT = "Sure! Here is a plan:\n\n1. **Relevance:** on topic?\n\n2) Depth - enough?\n\nThese two suffice."


def compare(
    solve: Callable[[str, bool], str | Reply], branch: str | Reply = PLAN_TEXT, merge: str | Reply = ""
) -> Say:
    """`solve` is told the criterion's name, and whether the rain comes first."""

    def say(prompt: str) -> str | Reply:
        if prompt.endswith("Evaluation Plan:"):
            return branch
        if "[Evaluation Criterion]" in prompt:
            return solve(prompt.rpartition("of ")[2], prompt.index("It rained.") < prompt.index("Because."))
        return merge

    return say


def fair(_: str, rain_first: bool) -> str:
    return "Assistant A: 4/5\nAssistant B: 2/5" if rain_first else "Score: 2\nScore: 4 out of 5"


async def test_a_fair_judge_is_kept_and_trains_in_both_orders():
    row, verdict = await run(PAIR, judge(), SWAP, compare(fair))
    assert (verdict.reason, verdict.target) == (KEPT, "[[A]]")
    assert [(twin.name, twin.target) for twin in verdict.twins] == [("swap", "[[B]]")]
    assert row.num_calls == 1 + 2
    steps = [call.step for call in row.calls]
    assert steps.count("branch") == steps.count("swap/branch") == 1
    assert steps.count("solve") == steps.count("swap/solve") == 2


async def test_both_orders_are_judged_by_one_plan():
    plans: list[str] = []

    def say(prompt: str) -> str | Reply:
        if prompt.endswith("Evaluation Plan:"):
            plans.append(prompt)
            return f"1. Plan number {len(plans)}: x\n2. Depth: y"
        return "4\n4"

    row, verdict = await run(PAIR, judge(), SWAP, say)
    assert len(plans) == 1
    assert (verdict.reason, verdict.answer) == (KEPT, "C")
    assert [call.text for call in row.calls if call.step.endswith("branch")] == [
        "1. Plan number 1: x\n2. Depth: y"
    ] * 2


async def test_a_judge_that_likes_the_first_place_is_dropped():
    _, verdict = await run(PAIR, judge(), SWAP, compare(lambda *_: "4\n3"))
    assert verdict.reason == PERTURBATION_DISAGREES


@pytest.mark.parametrize(
    ("depth", "reason"),
    [
        ("Assistant A: 1", KEPT),  # one line missing: that criterion is left out, on either side
        ("Both are fine.", KEPT),
        ("8/10\n9/10", KEPT),
        (Reply("Assistant A: 1\nAssistant B", finished=False), KEPT),
        ("Assistant A: 1\nAssistant B: 5", PERTURBATION_DISAGREES),
    ],
)
async def test_a_criterion_without_both_scores_is_left_out(depth: str | Reply, reason: str):
    _, verdict = await run(
        PAIR, judge(), SWAP, compare(lambda name, first: fair(name, first) if name == "Relevance:" else depth)
    )
    assert verdict.reason == reason


@pytest.mark.parametrize(
    ("branch", "solve", "reason"),
    [
        ("There is no need for a plan.", "4\n2", NO_PARSABLE_ANSWER),
        (Reply("1. Relev", finished=False), "4\n2", NO_PARSABLE_ANSWER),
        (PLAN_TEXT, "Both answers are good.", NO_PARSABLE_ANSWER),
        (PLAN_TEXT, "Assistant B: 3", NO_PARSABLE_ANSWER),
        (PLAN_TEXT, "3\n3", KEPT),
    ],
)
async def test_a_pair_without_a_judgement_is_dropped_and_counted(
    branch: str | Reply, solve: str, reason: str
):
    _, verdict = await run(PAIR, judge(), SWAP, compare(lambda *_: solve, branch))
    assert verdict.reason == reason


@pytest.mark.parametrize(
    ("merge", "reason"),
    [
        ("1. Relevance: A 4/5, B 2/5.\nConclusive judgement: [[C]]", KEPT),
        ("Assistant A is superior.", NO_PARSABLE_ANSWER),
        (Reply("Conclusive judgement: [[C]] and", finished=False), NO_PARSABLE_ANSWER),
        ("Conclusive judgement: [[A]]", PERTURBATION_DISAGREES),
    ],
)
async def test_the_models_own_merge(merge: str | Reply, reason: str):
    made = judge(merge="llm")
    _, verdict = await run(
        PAIR, made, SWAP.model_copy(update={"target": "sample"}), compare(fair, PLAN_TEXT, merge)
    )
    assert verdict.reason == reason
    if reason == KEPT:
        assert verdict.target == merge, "the merge's whole text can be the target"


# Chain of thought


@pytest.mark.parametrize(
    ("replies", "reason", "target"),
    [
        (["... Final answer: 5", "so Final answer: 6", "Final answer: 5"], KEPT, "Final answer: 5"),
        (["It is five.", "", "2 + 3 = 5. Final answer: 5"], KEPT, "Final answer: 5"),
        (["Final answer: 5", "Final answer: 6", "?"], TIE, None),
        (["It is five."] * 3, NO_PARSABLE_ANSWER, None),
    ],
)
@pytest.mark.parametrize("method", ["cot", "cot_few_shot", "direct_few_shot", "self_refine"])
async def test_the_vote_over_chains_of_thought(
    method: str, replies: list[str], reason: str, target: str | None, examples: str
):
    left = iter(replies * 2)

    def say(prompt: str) -> str:
        return "No changes needed." if "Check the answer." in prompt else next(left)

    options = {"examples": examples} if "few_shot" in method else {}
    _, verdict = await run(X, plan(method, **options), VOTE, say)
    assert (verdict.reason, verdict.target) == (reason, target)


async def test_a_chain_that_was_cut_off_has_no_vote():
    cut = Reply("Final answer: 6", finished=False)
    left = iter([cut, cut, "Final answer: 5", "beside"])
    _, verdict = await run(X, plan("cot"), VOTE, lambda _: next(left))
    assert (verdict.answer, verdict.share, verdict.unparsable) == ("5", 1 / 3, 2)
