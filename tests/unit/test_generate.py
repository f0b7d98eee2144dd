"""Generation of one input: seeds, counts, and what a failure costs."""

import asyncio
from dataclasses import replace

import pytest

from s2d_loop.config import Config
from s2d_loop.errors import EngineError, PromptTooLongError, RequestError
from s2d_loop.generate import generate
from s2d_loop.plan import Plan, Stop, Usc, system1_plans
from s2d_loop.records import Input, Message, Reply, Request, Sampling, Selection, content_hash

QUESTION = 'Take the last letters of the words in "Edgar Bob" and concatenate them.'
X = Input("s:f#0", "letters", (Message("user", QUESTION),), content_hash([Message("user", QUESTION)]))
PLAN = Plan(
    task="letters",
    parser="last_letters",
    method="rar_2step",
    options={"prompt": "last_letters", "answers": 3},
    samples=4,
    sampling=Sampling(),
    steps={},
    seed=0,
    perturbations=("lower_case",),
    direct_samples=2,
)


class Script:
    """Answers with the seed, so that a test sees which calls were the same work."""

    def __init__(self) -> None:
        self.requests: list[Request] = []

    async def __call__(self, request: Request) -> Reply:
        self.requests.append(request)
        await asyncio.sleep(0)
        return Reply(f"reply {request.seed}", num_tokens=2, weights="w")


async def test_every_call_has_a_seed_of_its_own_and_a_rerun_is_the_same_work() -> None:
    first, second = Script(), Script()
    row = await generate(X, PLAN, first)
    assert await generate(X, PLAN, second) == row
    seeds = [r.seed for r in first.requests]
    # 4 rephrasings, 3 answers each, once for the input and once for its twin; 2 direct answers.
    assert len(seeds) == len(set(seeds)) == 2 * (4 + 12) + 2
    assert sorted(seeds) == sorted(r.seed for r in second.requests)
    other_run, other_input = Script(), Script()
    await generate(X, replace(PLAN, seed=1), other_run)
    await generate(replace(X, id="s:f#1"), PLAN, other_input)
    assert not set(seeds) & {r.seed for r in [*other_run.requests, *other_input.requests]}


async def test_every_generated_token_counts_once() -> None:
    row = await generate(X, PLAN, Script())
    assert len(row.samples) == 12
    assert row.num_calls == 16
    assert row.num_tokens == 2 * 16, "a rephrasing that three answers share is counted once"
    assert row.num_direct_tokens == 2 * 2
    assert [len(twin.samples) for twin in row.twins] == [12]


class Halting(Script):
    """Cuts off the second answer of every rephrasing."""

    async def __call__(self, request: Request) -> Reply:
        before = sum(each.messages == request.messages for each in self.requests)
        reply = await super().__call__(request)
        cut = before == 1 and request.messages[-1].content.startswith("reply")
        return replace(reply, reasoning="so", sampled_ids=(request.seed, 3), finished=not cut)


async def test_calls_are_kept_as_they_can_be_trained_on_with_the_samples_that_came_of_them() -> None:
    plan = replace(PLAN, keep_turns=True, perturbations=(), samples=2)
    script = Halting()
    row = await generate(X, plan, script)
    assert (await generate(X, replace(plan, keep_turns=False), Halting())).turns == ()
    asked = {request.seed: request.messages for request in script.requests}
    rephrased = [turn for turn in row.turns if turn.step == "rephrase"]
    assert [turn.samples for turn in rephrased] == [(0, 1, 2), (3, 4, 5)]
    answers = [turn for turn in row.turns if turn.step == "respond"]
    whole = [number for number, sample in enumerate(row.samples) if sample.finished]
    assert [turn.samples for turn in answers] == [(number,) for number in whole]
    assert 0 < len(whole) < 6, "one that was cut off can't be trained on"
    for turn in row.turns:
        assert turn.prompt == asked[turn.sampled_ids[0]]
        assert turn.completion == f"<think>\nso\n</think>\n\nreply {turn.sampled_ids[0]}"
    for number, turn in zip(whole, answers, strict=True):
        assert turn.completion.endswith(row.samples[number].text)


async def test_the_question_that_system_2_answers_is_the_rephrased_one_only() -> None:
    script = Script()
    await generate(X, PLAN, script)
    asked = [r.messages[-1].content for r in script.requests]
    responds = [text for text in asked if text.startswith("reply ")]
    assert len(responds) == 24
    assert not any("Edgar" in text for text in responds)


async def test_a_request_that_cannot_be_served_costs_its_input_only() -> None:
    async def refuse(request: Request) -> Reply:
        raise RequestError("the prompt has 900 tokens, the engine takes 512")

    row = await generate(X, PLAN, refuse)
    assert row.error is not None
    assert "900 tokens" in row.error
    assert row.samples == ()


async def test_a_program_that_fails_on_an_input_costs_that_input_only() -> None:
    async def broken(request: Request) -> Reply:
        raise ZeroDivisionError("division by zero")

    row = await generate(X, PLAN, broken)
    assert row.error is not None
    assert "ZeroDivisionError" in row.error


async def test_an_outage_is_not_the_inputs_fault() -> None:
    async def down(request: Request) -> Reply:
        raise EngineError("no engine is left")

    with pytest.raises(EngineError, match="no engine is left"):
        await generate(X, PLAN, down)


async def test_two_calls_with_one_name_are_refused() -> None:
    row = await generate(X, replace(PLAN, method="tests.unit.test_generate:twice", options={}), Script())
    assert row.error is not None
    assert "number them" in row.error


async def twice(x: Input, llm) -> str:  # type: ignore[no-untyped-def]
    await llm("a", step="ask")
    await llm("b", step="ask")
    return "c"


class Choosing(Script):
    """Takes prompts of up to `room` characters, and selects sample 1."""

    def __init__(self, room: int) -> None:
        super().__init__()
        self._room = room

    async def __call__(self, request: Request) -> Reply:
        asked = request.messages[-1].content
        if "most consistent response" not in asked:
            return await super().__call__(request)
        self.requests.append(request)
        if len(asked) > self._room:
            raise PromptTooLongError(f"{len(asked)}")
        return Reply("The most consistent response is Response 1.", num_tokens=7, weights="w")


USC = replace(PLAN, perturbations=(), usc=Usc(Sampling(temperature=0.0), fewer=2))


@pytest.mark.parametrize(
    ("room", "selection", "asked"),
    [
        (100_000, Selection(1, "selected"), 1),
        (500, Selection(1, "selected_of_fewer"), 2),
        (10, Selection(None, "too_long"), 2),
    ],
)
async def test_samples_that_do_not_fit_are_shown_in_part(room: int, selection: Selection, asked: int) -> None:
    script = Choosing(room)
    row = await generate(X, USC, script)
    assert row.error is None
    assert row.selection == selection
    choices = [r for r in script.requests if "most consistent response" in r.messages[-1].content]
    assert len(choices) == asked
    assert {r.sampling.temperature for r in choices} == {0.0}
    assert len({r.seed for r in script.requests}) == len(script.requests)
    answered = 7 if selection.chosen is not None else 0
    assert row.num_tokens == 2 * 16 + answered, "the selection's tokens are System 2's"
    first = choices[0].messages[-1].content
    assert first.count("Response ") == 12 + 1, "every sample is shown, and the form of the reply"


async def planned(x: Input, llm) -> Reply:  # type: ignore[no-untyped-def]
    plan = await llm("plan", step="plan", shared=True)
    return await llm(f"{x.question} {plan.text}", step="answer")


async def test_a_shared_call_is_made_once_for_an_input_and_its_twins() -> None:
    script = Script()
    plan = replace(PLAN, method="tests.unit.test_generate:planned", options={}, samples=1, direct_samples=0)
    row = await generate(X, plan, script)
    assert row.error is None
    asked = [r.messages[-1].content for r in script.requests]
    assert asked.count("plan") == 1
    answers = [text for text in asked if text != "plan"]
    assert len(answers) == 2
    assert len({text.rpartition("reply ")[2] for text in answers}) == 1, "both orders saw one plan"
    assert row.num_tokens == 2 * 2, "an order's tokens count the plan that it used"


async def differently(x: Input, llm) -> Reply:  # type: ignore[no-untyped-def]
    return await llm(x.question, step="plan", shared=True)


async def test_a_shared_call_that_depends_on_the_order_is_a_mistake() -> None:
    plan = replace(PLAN, method="tests.unit.test_generate:differently", options={}, samples=1)
    row = await generate(X, plan, Script())
    assert row.error is not None
    assert "is not shared" in row.error


def test_system_1_is_asked_as_configured() -> None:
    def plan(**task: object) -> Plan:
        method = {"name": "rar_2step"}
        heldout = {"type": "jsonl", "path": "h.jsonl"}
        config = Config.model_validate(
            {
                "run": {"dir": "r"},
                "model": {"path": "m"},
                "tasks": {"t": {"method": method, "heldout": heldout, **task}},
                "sources": [{"task": "t", "type": "jsonl", "path": "s.jsonl"}],
            }
        )
        return system1_plans(config)["t"]

    assert (plan().method, plan().options) == ("direct", {})
    few = plan(system1_method={"name": "direct_few_shot", "options": {"examples": "e.jsonl"}})
    assert (few.method, few.options, few.samples) == ("direct_few_shot", {"examples": "e.jsonl"}, 1)


class Voter:
    """Every final answer is the same, so a vote of eight is decided after five."""

    def __init__(self, *answers: str) -> None:
        self.answers = answers
        self.asked = 0

    async def __call__(self, request: Request) -> Reply:
        answer = self.answers[self.asked % len(self.answers)]
        self.asked += 1
        return Reply(f'"{answer}"', num_tokens=1, weights="w")


VOTE = replace(
    PLAN, method="direct", options={}, samples=8, perturbations=(), stop=Stop("unique_plurality", 0.0, None)
)


async def test_sampling_ends_once_the_vote_is_decided() -> None:
    row = await generate(X, VOTE, Voter("nb"))
    assert len(row.samples) == 5
    assert row.planned == 8
    row = await generate(X, replace(VOTE, stop=None), Voter("nb"))
    assert len(row.samples) == row.planned == 8


async def test_sampling_goes_on_while_the_vote_is_open() -> None:
    row = await generate(X, VOTE, Voter("nb", "xx"))
    assert len(row.samples) == row.planned == 8


async def test_samples_come_in_runs_where_a_run_gives_several() -> None:
    plan = replace(PLAN, samples=8, options={"prompt": "last_letters", "answers": 8}, perturbations=())
    row = await generate(X, replace(plan, stop=VOTE.stop), Voter("nb"))
    assert len(row.samples) == 5 * 8
    assert row.planned == 64
