"""A model that thinks: how it is asked, what a program is told, and whose tokens are trained."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from s2d_loop.config import load
from s2d_loop.config.tasks import CurateConfig
from s2d_loop.curate.judge import TEMPLATE_REFUSED, curate
from s2d_loop.engine.client import _error_of
from s2d_loop.engine.wire import Refusal
from s2d_loop.errors import ConversationRefusedError, PromptTooLongError, RequestError
from s2d_loop.generate import generate
from s2d_loop.known import KeyIndex
from s2d_loop.plan import Plan, distillation_plans, system1_arguments, system1_plans, system2_plans
from s2d_loop.pool import new_examples
from s2d_loop.records import (
    KEPT,
    Example,
    Generation,
    Input,
    Message,
    Pair,
    Reply,
    Request,
    Sample,
    Sampling,
    Verdict,
    content_hash,
    rows,
    table,
)
from s2d_loop.tasks.coin_flip import CoinFlip

ROOT = Path(__file__).parents[2]
OFF, ON = (("enable_thinking", False),), (("enable_thinking", True),)
MESSAGES = (Message("user", "Is the coin up?"),)
X = Input("s:f#0", "coin", MESSAGES, content_hash(MESSAGES))
PLAN = Plan(
    task="coin",
    parser="coin_flip",
    method="think",
    options={},
    samples=4,
    sampling=Sampling(max_tokens=500, chat_template_kwargs=ON, thinking_token_budget=300),
    steps={},
    seed=0,
    direct_samples=2,
    direct=Sampling(max_tokens=500, chat_template_kwargs=OFF),
)


def plans(**coin: Any) -> tuple[Plan, Plan, Plan]:
    """System 1's plan of a task with these changes, System 2's, and the one that is distilled."""
    overrides = [f"tasks.coin_flip.{key.replace('__', '.')}={value}" for key, value in coin.items()]
    config = load(
        str(ROOT / "configs/quickstart.yaml"),
        ["model.chat_template_kwargs={enable_thinking: false, x: 1}", *overrides],
    )
    assert (
        system1_arguments(config)["coin_flip"]
        == system1_plans(config)["coin_flip"].sampling.chat_template_kwargs
    )
    return tuple(each(config)["coin_flip"] for each in (system1_plans, system2_plans, distillation_plans))  # type: ignore[return-value]


def test_the_model_s_arguments_go_under_a_method_s_and_those_under_a_step_s() -> None:
    direct, taught, distilled = plans(
        method__sampling="{temperature: 0.8, chat_template_kwargs: {enable_thinking: true}, thinking_token_budget: 64}",
        method__steps="{respond: {temperature: 0.5, chat_template_kwargs: {x: 2}}}",
    )
    assert direct.sampling.chat_template_kwargs == (*OFF, ("x", 1))
    assert taught.sampling.chat_template_kwargs == (*ON, ("x", 1))
    assert taught.sampling.thinking_token_budget == 64
    assert taught.steps["respond"].chat_template_kwargs == (*ON, ("x", 2))
    # Beside System 2, System 1 is asked as System 1 is, and sampled as System 2 is.
    assert distilled.direct is not None
    assert distilled.direct.chat_template_kwargs == direct.sampling.chat_template_kwargs
    assert (distilled.direct.temperature, distilled.direct.thinking_token_budget) == (0.8, None)


def test_distilling_system_1_asks_it_without_thoughts() -> None:
    *_, distilled = plans(
        distill="system1", method__sampling="{chat_template_kwargs: {enable_thinking: true}}"
    )
    assert distilled.method == "direct"
    assert distilled.sampling.chat_template_kwargs == (*OFF, ("x", 1))


class Thinker:
    """Thinks where it is asked to, and then says something else than what it thought."""

    def __init__(self) -> None:
        self.requests: list[Request] = []

    async def __call__(self, request: Request) -> Reply:
        self.requests.append(request)
        if request.sampling.chat_template_kwargs == ON:
            return Reply("Yes", 9, weights="w", reasoning="No?", num_reasoning_tokens=7, token_ids=(5, 1))
        return Reply("No", 2, weights="w", token_ids=(6, 1))


async def test_a_program_is_told_the_text_and_a_trace_keeps_both() -> None:
    model = Thinker()
    row = await generate(X, PLAN, model)
    assert [sample.text for sample in row.samples] == ["Yes"] * 4
    assert [sample.text for sample in row.direct] == ["No"] * 2
    assert {(call.reasoning, call.text) for call in row.calls} == {("No?", "Yes")}
    assert row.num_tokens == 4 * 9, "thoughts cost what they cost"
    budgets = {(r.sampling.chat_template_kwargs, r.sampling.thinking_token_budget) for r in model.requests}
    assert budgets == {(ON, 300), (OFF, None)}


async def test_the_target_is_a_sample_with_the_tokens_that_it_was_sampled_in() -> None:
    row = await generate(X, PLAN, Thinker())
    verdict = curate(row, CoinFlip(), CurateConfig(), 0)
    assert (verdict.reason, verdict.target, verdict.target_ids) == (KEPT, "Yes", (5, 1))
    written = curate(row, CoinFlip(), CurateConfig(target="answer"), 0)
    assert (written.target, written.target_ids) == ("Yes", ()), "no model said it like this"
    mixed = replace(
        row, samples=(Sample("Yes.", True, (7, 1)), Sample("It is: yes", True, (8, 9, 1)), *row.samples[:1])
    )
    for seed in range(8):
        chosen = curate(mixed, CoinFlip(), CurateConfig(), seed)
        assert (chosen.target, chosen.target_ids) in [(s.text, s.token_ids) for s in mixed.samples]


def test_an_example_carries_the_target_s_tokens_and_its_twin_s_its_own() -> None:
    pair = Pair("swap", (Message("user", "the other way round"),), "No", "no", (6, 1))
    verdict = Verdict(X, "w", KEPT, "yes", "Yes", 1.0, (), 8, 0, 0.0, None, 1, 1, (pair,), (5, 1))
    made, _ = new_examples(table([verdict], Verdict), iteration=1, known=KeyIndex())
    assert [each.sampled_ids for each in rows(made, Example)] == [(5, 1), (6, 1)]


def test_verdicts_from_before_tokens_were_kept_make_examples_without_them() -> None:
    pair = Pair("swap", (Message("user", "the other way round"),), "No", "no")
    verdict = Verdict(X, "w", KEPT, "yes", "Yes", 1.0, (), 8, 0, 0.0, None, 1, 1, (pair,))
    old = table([verdict], Verdict).drop_columns(["target_ids"])
    made, _ = new_examples(old, iteration=1, known=KeyIndex())
    assert [each.sampled_ids for each in rows(made, Example)] == [(), ()]


@pytest.mark.parametrize(
    ("refusal", "kind", "reason"),
    [
        (Refusal("no", retry=False, refused=True), ConversationRefusedError, TEMPLATE_REFUSED),
        (Refusal("no", retry=False, too_long=True), PromptTooLongError, "generation_failed"),
        (Refusal("no", retry=False), RequestError, "generation_failed"),
    ],
)
async def test_what_a_template_refuses_is_dropped_for_that(refusal: Refusal, kind: type, reason: str) -> None:
    error = _error_of(refusal)
    assert type(error) is kind

    async def refuses(_: Request) -> Reply:
        raise error

    row: Generation = await generate(X, PLAN, refuses)
    assert curate(row, CoinFlip(), CurateConfig(), 0).reason == reason
