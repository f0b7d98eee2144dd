"""Recorded teachers: a record answers exactly its call, and what isn't recorded is dropped and counted."""

import json
import pickle
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from s2d_loop.config import Config, CurateConfig
from s2d_loop.curate.judge import NOT_RECORDED, REASONS, curate
from s2d_loop.errors import BadInputError, S2DError
from s2d_loop.generate import generate
from s2d_loop.loop import run_loop
from s2d_loop.plan import Plan, distillation_plans
from s2d_loop.preflight import check_recorded
from s2d_loop.recorded import Record, read_records, recording_of
from s2d_loop.records import (
    RECORDED,
    Generation,
    Message,
    Reply,
    Request,
    Sampling,
    Trace,
    content_hash,
    rows,
)
from s2d_loop.report import history
from s2d_loop.system2.scripted import question
from s2d_loop.tasks.last_letters import LastLetters
from tests.support.scripted import letters_config, scripted_run, words, write_questions
from tests.support.scripted import question as letters_question

X = question('Take the last letters of the words in "Mon Pelu" and concatenate them.', "letters")
SAID = {"program": "rar_2step", "step": "rephrase", "input": X.question, "text": 'Join "Mon" and "Pelu".'}
PLAN = Plan(
    task="letters",
    parser="last_letters",
    method="rar_2step",
    options={"answers": 3},
    samples=1,
    sampling=Sampling(),
    steps={},
    seed=0,
    direct_samples=1,
)


def write(path: Path, *records: dict[str, object]) -> str:
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return str(path)


def record(**changes: object) -> Record:
    return Record.model_validate({**SAID, **changes})


def recorded(*records: Record, **changes: object) -> Plan:
    return replace(PLAN, recorded=recording_of(records, "rar_2step"), **changes)


class Model:
    def __init__(self) -> None:
        self.asked: list[str] = []

    async def __call__(self, request: Request) -> Reply:
        self.asked.append(request.messages[-1].content)
        return Reply('"nu"', num_tokens=2, weights="w")


async def no_model(request: Request) -> Reply:
    raise AssertionError("a model was asked")


async def run(plan: Plan, model: Model | None = None) -> Generation:
    return await generate(X, plan, model or Model())


async def dropped(plan: Plan) -> str:
    row = await run(plan)
    assert row.error is not None
    assert row.samples == ()
    verdict = curate(row, LastLetters(), CurateConfig(), 0)
    assert verdict.reason == NOT_RECORDED
    return row.error


async def test_a_recorded_step_is_answered_and_the_others_go_to_the_model() -> None:
    model = Model()
    row = await run(recorded(record(num_tokens=9)), model)
    assert row.error is None
    assert Counter(model.asked) == {SAID["text"]: 3, X.question: 1}
    assert [(call.step, call.recorded) for call in row.calls] == [("rephrase", True)] + [
        ("respond", False)
    ] * 3
    assert row.weights == "w", "the weights are those of the engine"
    assert row.num_tokens == 9 + 3 * 2


async def test_a_program_that_is_recorded_whole_needs_no_model() -> None:
    answers = [record(step="respond", index=n, text="nu") for n in range(3)]
    plan = recorded(record(), *answers, direct_samples=0)
    row = await generate(X, plan, no_model)
    assert row.weights == RECORDED
    assert [sample.text for sample in row.samples] == ["nu"] * 3
    assert curate(row, LastLetters(), CurateConfig(), 0).kept


async def test_system_1_beside_is_the_models_own() -> None:
    """The direct samples are a sign of what the student does, so a teacher must not answer them."""
    direct = Record(program="direct", step="answer", input=X.question, text="recorded")
    plan = replace(PLAN, method="direct", options={}, recorded=recording_of([direct], "direct"))
    row = await run(plan)
    assert [s.text for s in row.samples] == ["recorded"]
    assert [s.text for s in row.direct] == ['"nu"']
    assert row.weights == RECORDED, "what is learned was not made by the engine's weights"


@pytest.mark.parametrize(
    "other",
    [
        {"program": "rar_1step"},
        {"step": "respond"},
        {"input": "Another question?"},
        {"sample": 1},
        {"index": 1},
        {"prompt": "Asked in other words."},
        {"sampling": {"temperature": 0.5}},
        {"sampling": {"top_p": 0.9}},
        {"sampling": {"temperature": 1.0, "max_tokens": 255}},
    ],
)
async def test_a_record_of_another_call_is_not_used(other: dict[str, object]) -> None:
    recording = recording_of([record(**other)], "rar_2step", steps=["rephrase"])
    assert "step 'rephrase', sample 0" in await dropped(replace(PLAN, recorded=recording))


async def test_a_record_that_says_the_truth_of_its_call_is_used() -> None:
    first = Model()
    await run(PLAN, first)
    (prompt,) = {text for text in first.asked if "rephrase" in text}
    sampling = {"temperature": 1.0, "top_p": 1.0, "max_tokens": 256}
    plan = recorded(record(sample=0, index=0, prompt=prompt, sampling=sampling))
    assert (await run(plan)).error is None


async def test_one_reply_is_never_two_votes() -> None:
    """A cache without the sample's number would turn one reply into an agreement."""
    assert "sample 1" in await dropped(recorded(record(), samples=2))
    row = await run(recorded(record(text="One?"), record(text="Two?"), samples=2))
    assert [call.text for call in row.calls if call.step == "rephrase"] == ["One?", "Two?"]


async def test_the_record_that_says_most_of_a_call_wins() -> None:
    plan = recorded(record(text="any"), record(text="this", sampling={"temperature": 1.0}))
    assert (await run(plan)).calls[0].text == "this"


def test_two_different_records_of_one_call_are_refused() -> None:
    with pytest.raises(BadInputError, match="two records are of one call"):
        recording_of([record(sample=0), record(sample=0, text="Else.")], "rar_2step")
    assert recording_of([record(sample=0), record(sample=0)], "rar_2step") is not None


async def test_a_conversation_is_recorded_by_its_content_hash() -> None:
    x = replace(X, messages=(Message("system", "Be brief."), *X.messages))
    by_text = await generate(x, recorded(record()), Model())
    assert by_text.failure == NOT_RECORDED, "the text says nothing of the turns before it"
    by_hash = await generate(x, recorded(record(input=content_hash(x.messages))), Model())
    assert by_hash.error is None


async def test_a_twin_is_another_question() -> None:
    plan = recorded(record(), perturbations=("lower_case",))
    assert "not recorded" in await dropped(plan)
    lower = record(input=X.question.replace("Mon Pelu", "mon pelu"))
    assert (await run(recorded(record(), lower, perturbations=("lower_case",)))).error is None


def test_a_recording_travels_to_the_runners() -> None:
    plan = recorded(record())
    assert pickle.loads(pickle.dumps(plan)) == plan


def test_the_reason_is_known() -> None:
    assert NOT_RECORDED in REASONS


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{", ":2: Invalid JSON"),
        ("[]", ":2: "),
        (json.dumps({**SAID, "text": None}), ":2: text: "),
        (json.dumps({k: v for k, v in SAID.items() if k != "step"}), ":2: step: is missing"),
        (json.dumps({**SAID, "temperature": 1.0}), ":2: temperature: no such field (a record has: program"),
        (json.dumps({**SAID, "sample": -1}), ":2: sample: "),
        (json.dumps({**SAID, "sampling": {"temp": 1}}), ":2: sampling.temp: no such field"),
    ],
)
def test_a_line_that_is_no_record_is_named(tmp_path: Path, line: str, said: str) -> None:
    path = tmp_path / "r.jsonl"
    path.write_text(json.dumps(SAID) + "\n" + line + "\n")
    with pytest.raises(BadInputError) as caught:
        read_records([str(path)])
    assert f"{path}{said}" in str(caught.value)


def test_line_separators_inside_a_reply_are_part_of_it(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    path.write_text(json.dumps({**SAID, "text": "a\u2028b\x85c"}, ensure_ascii=False) + "\n\n", "utf-8")
    assert [each.text for each in read_records([str(path)])] == ["a\u2028b\x85c"]


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match=r"nowhere\.jsonl can't be read: No such file"):
        read_records([str(tmp_path / "nowhere.jsonl")])


def test_replies_of_two_models_are_not_mixed(tmp_path: Path) -> None:
    path = write(
        tmp_path / "r.jsonl",
        {**SAID, "model": "gpt-4", "weights": "0613"},
        {**SAID, "model": "other"},
        {**SAID, "text": "of anybody"},
    )
    with pytest.raises(BadInputError, match="several model: 'gpt-4', 'other'"):
        read_records([path])
    assert [each.model for each in read_records([path], model="gpt-4")] == ["gpt-4", None]
    assert [each.model for each in read_records([path], model="gpt-4", weights="0613")] == ["gpt-4", None]
    with pytest.raises(BadInputError, match="no record is of 'gpt-5'"):
        read_records([path], model="gpt-5")
    with pytest.raises(BadInputError, match="no record is of '0314'"):
        read_records([path], model="gpt-4", weights="0314")


def config_with(folder: Path, pairs: list[tuple[str, str]], **changes: object):  # type: ignore[no-untyped-def]
    """The small letters run, with rephrasings of some of its questions recorded, five samples each."""
    path = write(
        folder / "r.jsonl",
        *(
            {
                "program": "rar_2step",
                "step": "rephrase",
                "input": letters_question(pair),
                "text": f'Join the last letters of "{pair[0]} {pair[1]}", says the teacher.',
            }
            for pair in pairs
            for _ in range(5)
        ),
    )
    return letters_config(folder, generate__recorded=[path], run__iterations=1, **changes)


def all_samples(config: Config) -> Config:
    """The same without stopping once the vote is decided."""
    task = config.tasks["letters"]
    drawn = task.model_copy(update={"method": task.method.model_copy(update={"stop": "never"})})
    return config.model_copy(update={"tasks": {"letters": drawn}})


def test_a_run_on_a_recording_counts_what_is_missing(tmp_path: Path) -> None:
    stream = words(1, 30)
    write_questions(tmp_path / "stream.jsonl", stream)
    write_questions(tmp_path / "heldout.jsonl", words(2, 20))
    config = all_samples(config_with(tmp_path, stream[:20], traces__keep="all"))
    check_recorded(config)
    run = scripted_run(config)
    run_loop(run)
    (curated,) = run.ledger.stages("curate")
    assert curated.counts.dropped[NOT_RECORDED] == 10
    assert curated.counts.into == 30 == curated.counts.out + sum(curated.counts.dropped.values())
    made = [t for t in history.generations(run.ledger, 1) if t.error is None]
    assert len(made) == 20
    assert all(call.recorded == (call.step == "rephrase") for row in made for call in row.calls)
    traced = [t for r in run.ledger.stages("generate") for t in rows(run.ledger.tables(r, "traces"), Trace)]
    assert sum(call.recorded for trace in traced for call in trace.calls) == 20 * 5


def test_a_recording_of_nothing_in_the_stream_stops_the_run(tmp_path: Path) -> None:
    write_questions(tmp_path / "stream.jsonl", words(1, 30))
    write_questions(tmp_path / "heldout.jsonl", words(2, 20))
    with pytest.raises(S2DError, match="not_recorded 5"):
        run_loop(scripted_run(config_with(tmp_path, words(3, 4))))


def test_what_can_be_seen_before_the_run(tmp_path: Path) -> None:
    config = config_with(tmp_path, words(1, 2))
    method = config.tasks["letters"].method

    def steps(*names: str):  # type: ignore[no-untyped-def]
        changed = method.model_copy(update={"recorded_steps": list(names)})
        task = config.tasks["letters"].model_copy(update={"method": changed})
        return config.model_copy(update={"tasks": {"letters": task}})

    check_recorded(steps("rephrase"))
    with pytest.raises(BadInputError, match=r"tasks.letters.method.recorded_steps: .* of step 'respond'"):
        check_recorded(steps("rephrase", "respond"))
    other = method.model_copy(update={"name": "direct", "options": {}})
    task = config.tasks["letters"].model_copy(update={"method": other})
    with pytest.raises(BadInputError, match="no records of the programs that run"):
        check_recorded(config.model_copy(update={"tasks": {"letters": task}}))


def test_the_system_1_baseline_is_not_answered_by_the_methods_recording(tmp_path: Path) -> None:
    config = config_with(tmp_path, words(1, 2))
    task = config.tasks["letters"].model_copy(update={"distill": "system1"})
    plans = distillation_plans(config.model_copy(update={"tasks": {"letters": task}}))
    assert plans["letters"].recorded is None
