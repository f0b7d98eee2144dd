"""The data side of training: tokens, mask, plan, packing."""

import dataclasses
from collections import Counter
from itertools import islice
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from s2d_loop.errors import BadInputError, TrainError
from s2d_loop.records import Example, Message, TemplateArguments
from s2d_loop.testbed.tokenizer import build_tokenizer
from s2d_loop.train import batch
from s2d_loop.train.batch import IGNORED, Encoded

LENGTHS = st.lists(st.integers(2, 40), min_size=1, max_size=40)
CHATML = (
    "{% for m in messages %}<|user|>{{ m['role'] }}\n{{ m['content'] | trim }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|user|>assistant\n{% endif %}"
)


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return build_tokenizer(["Is the coin heads up?", "Yes No"], 512)


def make_example(
    prompt: str = "Is the coin heads up?",
    answer: str = "Yes",
    name: str = "a",
    task: str = "coin",
    sampled_ids: tuple[int, ...] = (),
    step: str = "",
) -> Example:
    return Example(
        id=name,
        input_id=name,
        task=task,
        prompt=(Message("system", "Be brief."), Message("user", prompt)),
        completion=(Message("assistant", answer),),
        answer=answer,
        share=1.0,
        iteration=0,
        weights="w",
        sampled_ids=sampled_ids,
        step=step,
    )


def encode_all(
    tokenizer: Any, examples: list[Example], max_tokens: int = 512, **arguments: TemplateArguments
) -> batch.Encoding:
    ends = frozenset({tokenizer.eos_token_id})
    return batch.encode_all(tokenizer, examples, end_ids=ends, max_tokens=max_tokens, arguments=arguments)


def fake(lengths: list[int]) -> list[Encoded]:
    """Documents of given lengths whose tokens are all different; the last two are the answer."""
    result, token = [], 1
    for number, length in enumerate(lengths):
        ids = tuple(range(token, token + length))
        token += length
        result.append(Encoded(str(number), ids[:-1], ids[-1:], ""))
    return result


@given(answer=st.text(min_size=1, max_size=30).filter(str.strip))
@example(answer="<|end|>")
@example(answer="<|user|>Yes<|end|> <|assistant|>")
@settings(deadline=None, max_examples=60)
def test_labels_are_the_answer_and_its_end(tokenizer: Any, answer: str) -> None:
    trained = make_example(answer=answer)
    (encoded,) = encode_all(tokenizer, [trained]).examples
    rendered = tokenizer.apply_chat_template(
        [dataclasses.asdict(m) for m in trained.prompt], add_generation_prompt=True, return_dict=False
    )
    assert list(encoded.prompt_ids) == rendered
    row = batch.make_row([encoded])
    labelled = [label for label in row.labels if label != IGNORED]
    assert tokenizer.decode(labelled[:-1]) == answer
    assert [token for token in labelled if token in tokenizer.all_special_ids] == [tokenizer.eos_token_id]
    assert row.labels[len(rendered)] != IGNORED, "the first answer token is learned"
    batch.check_row(row, [encoded])


def with_template(template: str | None) -> Any:
    made = build_tokenizer(["Is the coin heads up?"], 512)
    made.chat_template = template
    return made


def test_what_a_template_writes_behind_the_end_token_is_left_out() -> None:
    chatml = with_template(CHATML)
    (encoded,) = encode_all(chatml, [make_example()]).examples
    assert chatml.decode(encoded.prompt_ids).endswith("<|end|>\n<|user|>assistant\n")
    assert chatml.decode(encoded.answer_ids) == "Yes<|end|>"


def test_a_template_that_renders_another_prompt_before_an_answer_is_trained_on() -> None:
    """The row is what System 1 is prompted with; how the template would render it later is nobody's concern."""
    odd = with_template("{{ messages | length }}" + CHATML)
    (encoded,) = encode_all(odd, [make_example()]).examples
    assert odd.decode(encoded.prompt_ids).startswith("2<|user|>system\n")
    assert odd.decode(encoded.answer_ids) == "Yes<|end|>"


@pytest.mark.parametrize(
    ("template", "reason"),
    [
        ("{% for m in messages %}<|user|>{{ m['content'] }}{% endfor %}", "no_end_token"),
        ("{{ messages[-1]['content'] }}<|end|>", "template_refused"),
        (
            "{% if messages | length > 1 %}{{ raise_exception('one turn only') }}{% endif %}" + CHATML,
            "template_refused",
        ),
    ],
)
def test_an_example_that_can_not_be_trained_on_is_dropped_by_reason(template: str, reason: str) -> None:
    encoding = encode_all(with_template(template), [make_example()])
    assert encoding.dropped == {reason: 1}
    assert encoding.explanation.startswith(f"{reason}: a: ")


@pytest.mark.parametrize("template", [CHATML.replace("| trim", "| upper"), "{% for m in messages %}", None])
def test_a_template_that_can_ask_nothing_stops_the_training(template: str | None) -> None:
    with pytest.raises(BadInputError, match="chat template"):
        encode_all(with_template(template), [make_example()])


def test_bad_examples_are_counted(tokenizer: Any) -> None:
    end, user, yes = tokenizer.convert_tokens_to_ids(["<|end|>", "<|user|>", "Yes"])
    examples = [
        make_example(name="ok"),
        make_example(answer=" ", name="b"),
        make_example("x" * 99, name="c"),
        make_example(answer="<think>Heads, then", name="d"),
        make_example(name="e", sampled_ids=(yes, user, end)),
        make_example(name="f", sampled_ids=(yes, yes, end)),
        make_example(name="g", sampled_ids=(yes,)),
    ]
    encoding = encode_all(tokenizer, examples, max_tokens=60)
    reasons = ("empty_answer", "too_long", "cut_off", "control_token", "answer_altered", "no_end_token")
    assert encoding.dropped == dict.fromkeys(reasons, 1)
    assert encoding.num_examples == len(encoding.examples) + sum(encoding.dropped.values())
    assert [each.id for each in encoding.examples] == ["ok"]
    assert encoding.explanation.count("\n") == 5


def test_a_sampled_reply_is_trained_in_the_tokens_that_were_sampled(tokenizer: Any) -> None:
    end, y, e, s = tokenizer.convert_tokens_to_ids(["<|end|>", "Y", "e", "s"])
    written, sampled = encode_all(
        tokenizer, [make_example(name="a"), make_example(name="b", sampled_ids=(y, e, s, end))]
    ).examples
    assert sampled.answer_ids == (y, e, s, end)
    assert tokenizer.convert_ids_to_tokens(list(written.answer_ids)) == ["Yes", "<|end|>"]


def test_thoughts_are_not_trained(tokenizer: Any) -> None:
    (encoded,) = encode_all(tokenizer, [make_example(answer="<think>\nHeads.\n</think>\n\nYes")]).examples
    assert (tokenizer.decode(encoded.answer_ids), encoded.answer) == ("Yes<|end|>", "Yes")


def test_each_task_s_system1_has_its_arguments() -> None:
    """A row's prompt is the one that its task is asked with."""
    chatml = with_template(CHATML.replace("assistant\n", "{{ 'assistant' if brief else 'teacher' }}\n"))
    examples = [make_example(name="a"), make_example(name="b", task="letters")]
    coin, letters = encode_all(chatml, examples, coin=(("brief", True),)).examples
    assert chatml.decode(coin.prompt_ids).endswith("<|user|>assistant\n")
    assert chatml.decode(letters.prompt_ids).endswith("<|user|>teacher\n")
    assert coin.answer_ids == letters.answer_ids


def test_a_call_of_system_2_trains_as_it_was_sampled_thoughts_included(tokenizer: Any) -> None:
    thought = tokenizer.encode("<think> heads </think> Yes", add_special_tokens=False)
    end = tokenizer.eos_token_id
    said = "<think>\nheads\n</think>\n\nYes"
    call = make_example(answer=said, sampled_ids=(*thought, end), step="think")
    (encoded,) = encode_all(tokenizer, [call]).examples
    assert encoded.answer_ids == (*thought, end)
    (direct,) = encode_all(tokenizer, [make_example(answer=said)]).examples
    assert encoded.prompt_ids == direct.prompt_ids
    assert tokenizer.decode(direct.answer_ids) == "Yes<|end|>", "what System 1 learns has no thoughts"
    for cut in (thought, (*thought, end, *thought), (*thought, end, end)):
        odd = encode_all(tokenizer, [make_example(answer=said, sampled_ids=tuple(cut), step="think")])
        assert odd.dropped == {"no_end_token": 1}, "a reply ends once, at its end"


def test_each_call_is_asked_as_its_step_was(tokenizer: Any) -> None:
    template = CHATML.replace("assistant\n{%", "assistant{{ '!' * (times or 0) }}\n{%")
    chatml = with_template(template)
    told = {"coin": (("times", 1),), "coin/*": (("times", 2),), "coin/solve": (("times", 3),)}
    examples = [make_example(name=str(n), step=step) for n, step in enumerate(["", "branch", "solve"])]
    found = encode_all(chatml, examples, **told).examples
    texts = [chatml.decode(each.prompt_ids) for each in found]
    assert [len(text) - len(text.rstrip("\n").rstrip("!")) - 1 for text in texts] == [1, 2, 3]


def test_the_order_of_files_does_not_matter(tokenizer: Any) -> None:
    examples = [make_example(name=str(i), answer=f"{i} Yes") for i in range(5)]
    assert encode_all(tokenizer, examples).examples == encode_all(tokenizer, examples[::-1]).examples


@pytest.mark.parametrize("damage", ["all", "none", "late", "early"])
def test_a_wrong_mask_does_not_train(tokenizer: Any, damage: str) -> None:
    examples = encode_all(tokenizer, [make_example(name="a"), make_example(name="b", answer="No")]).examples
    row = batch.make_row(examples)
    batch.check_row(row, examples)
    first = len(examples[0].prompt_ids)
    if damage == "all":
        row.labels[:] = row.input_ids
    elif damage == "none":
        row.labels[:] = [IGNORED] * len(row.labels)
    elif damage == "late":
        row.labels[first] = IGNORED
    else:
        row.labels[first - 1] = row.input_ids[first - 1]
    with pytest.raises(TrainError, match="loss mask"):
        batch.check_row(row, examples)


@given(count=st.integers(1, 30), seed=st.integers(0, 99))
def test_every_epoch_holds_every_example_once(count: int, seed: int) -> None:
    drawn = list(islice(batch.order(count, seed), 3 * count))
    for epoch in range(3):
        assert sorted(drawn[epoch * count : (epoch + 1) * count]) == list(range(count))
    if count > 8:
        assert drawn[:count] != drawn[count : 2 * count], "epochs are shuffled anew"


@given(costs=LENGTHS, seed=st.integers(0, 99), steps=st.integers(1, 12), budget=st.integers(10, 200))
def test_steps_fill_their_budget_and_lose_nothing(
    costs: list[int], seed: int, steps: int, budget: int
) -> None:
    plan = batch.plan_steps(costs, seed=seed, steps=steps, budget=budget)
    assert plan == batch.plan_steps(costs, seed=seed, steps=steps, budget=budget)
    flat = [index for step in plan for index in step]
    assert flat == list(islice(batch.order(len(costs), seed), len(flat)))
    firsts = [step[0] for step in plan[1:]]
    for step, following in zip(plan, [*firsts, None], strict=True):
        total = sum(costs[i] for i in step)
        assert total <= max(budget, costs[step[0]])
        assert following is None or total + costs[following] > budget


@given(lengths=LENGTHS, num_rows=st.integers(1, 12), capacity=st.integers(40, 120))
def test_packing_keeps_every_document_within_the_row(
    lengths: list[int], num_rows: int, capacity: int
) -> None:
    rows = batch.pack(lengths, capacity=capacity, num_rows=num_rows)
    if rows is None:
        assert sum(lengths) > capacity * num_rows - num_rows * max(lengths)
        return
    assert Counter(i for row in rows for i in row) == Counter(range(len(lengths)))
    assert all(sum(lengths[i] for i in row) <= capacity for row in rows)


@given(lengths=LENGTHS, seed=st.integers(0, 9), workers=st.integers(1, 4), budget=st.integers(10, 200))
def test_workers_share_every_step_evenly(lengths: list[int], seed: int, workers: int, budget: int) -> None:
    """Any number of workers trains the same tokens in a step, each in the same number of rows."""
    plan = batch.plan_steps(lengths, seed=seed, steps=5, budget=budget)
    needed = batch.accumulation(lengths, plan, capacity=40, num_workers=workers)
    examples = fake(lengths)
    for step in plan:
        rows = batch.step_rows(examples, step, capacity=40, num_rows=needed * workers)
        shares = [rows[rank::workers] for rank in range(workers)]
        assert {len(share) for share in shares} == {needed}
        trained = sorted(t for row in rows for t in row.labels if t != IGNORED)
        assert trained == sorted(t for i in step for t in examples[i].answer_ids)
        assert sum(row.num_labels for row in rows) == len(trained)


def test_an_empty_row_has_nothing_to_learn() -> None:
    row = batch.make_row([])
    assert (row.num_labels, row.labels, len(row.input_ids)) == (0, [IGNORED], 1)


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_packed_loss_equals_unpacked(tokenizer: Any, attention: str) -> None:
    """Positions that restart keep documents apart; holds for sdpa and eager attention, without a mask."""
    torch = pytest.importorskip("torch")
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=4,
            attn_implementation=attention,
        )
    ).eval()

    def loss(row: batch.Row) -> float:
        with torch.no_grad():
            logits = model(
                input_ids=torch.tensor([row.input_ids]),
                position_ids=torch.tensor([row.position_ids]),
                use_cache=False,
            ).logits[0]
        labels = torch.tensor(row.labels)[1:]
        summed = torch.nn.functional.cross_entropy(logits[:-1], labels, reduction="sum")
        return float(summed)

    examples = [make_example(f"Is {'x' * i} up?", "Yes " * i, name=str(i)) for i in range(1, 6)]
    encoded = encode_all(tokenizer, examples).examples
    apart = sum(loss(batch.make_row([one])) for one in encoded)
    assert loss(batch.make_row(encoded)) == pytest.approx(apart, rel=1e-5)
