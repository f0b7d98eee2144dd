"""The worlds of the other methods: right answers, nothing seen beforehand, the programs' own prompts."""

import asyncio
import json
import random
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from s2d_loop import thoughts
from s2d_loop.chat.loading import load_tokenizer
from s2d_loop.chat.tokens import Chat
from s2d_loop.config import HeldOutConfig
from s2d_loop.config.load import load
from s2d_loop.plan import distillation_plans, system1_plans
from s2d_loop.records import HeldOut, Input, Message, Messages, Reply
from s2d_loop.sources import read_heldout
from s2d_loop.system2.bsm import bsm
from s2d_loop.system2.cot import cot
from s2d_loop.system2.s2a import s2a
from s2d_loop.system2.scores import scores
from s2d_loop.tasks.pairwise import pair_parts
from s2d_loop.tasks.registry import load_task
from s2d_loop.testbed import DATA_DIR, HERE, facts, sums, thinking, verdicts
from s2d_loop.testbed.pretrain import MAX_LENGTH, encode
from s2d_loop.testbed.sampling import generate
from s2d_loop.testbed.tokenizer import build_tokenizer
from s2d_loop.testbed.worlds import WORLDS, write_data

CONFIGS = Path(__file__).parents[2] / "configs" / "testbed"
NAMES = ["trivia_qa", "gsm8k", "pairwise"]


def rows(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (DATA_DIR / name).read_text(encoding="utf-8").splitlines()]


def heldout(name: str) -> list[HeldOut]:
    return read_heldout(load(str(CONFIGS / f"{name}.yaml")).tasks[name].heldout, name)


def asked(text: str, parts: tuple[Any, ...] = ()) -> Input:
    return Input("x", "t", (Message("user", text),), "h", parts)


class Script:
    """Answers each step by its text, and remembers what it was asked."""

    def __init__(self, **replies: str) -> None:
        self.replies = replies
        self.prompts: list[str] = []

    async def __call__(
        self, prompt: str | Messages, *, step: str, index: int = 0, shared: bool = False
    ) -> Reply:
        self.prompts.append(prompt if isinstance(prompt, str) else prompt[-1].content)
        return Reply(self.replies[step])


def test_shipped_files_come_out_of_the_command_again(tmp_path: Path) -> None:
    for path in write_data(tmp_path):
        assert path.read_bytes() == (DATA_DIR / path.relative_to(tmp_path)).read_bytes()


def test_the_judged_pairs_in_mt_benchs_form_are_the_ones_of_its_categories_and_nowhere_else() -> None:
    config = HeldOutConfig(type="jsonl", path=str(DATA_DIR / "mt_bench" / "test.jsonl"), format="mt_bench")
    read = read_heldout(config, "pairwise")
    assert Counter(each.category for each in read).keys() == {
        *("writing", "roleplay", "reasoning", "math", "coding", "extraction", "stem", "humanities")
    }
    assert set(Counter(each.category for each in read).values()) == {30}
    assert 90 < Counter(each.reference for each in read)["A"] < 150, (
        "where the better answer stands tells nothing"
    )
    asked = {each.input.part("question") for each in read}
    assert len(asked) == 240
    for name in ("pairwise.unlabeled.jsonl", "pairwise.heldout.jsonl"):
        assert not asked & {row["prompt"]["text"] for row in rows(name)}


@pytest.mark.parametrize("name", NAMES)
def test_stream_and_held_out_share_no_question(name: str) -> None:
    key = {
        "trivia_qa": lambda row: row["base"]["question"],
        "gsm8k": lambda row: row["question"],
        "pairwise": lambda row: row["prompt"]["text"],
    }[name]
    stream = {key(row) for row in rows(f"{name}.unlabeled.jsonl")}
    assert stream
    assert not stream & {key(row) for row in rows(f"{name}.heldout.jsonl")}


@pytest.mark.parametrize("name", NAMES)
def test_every_held_out_row_is_read_in_its_public_format_and_scored(name: str) -> None:
    task = load_task(name)
    read = heldout(name)
    assert len(read) == 500
    for each in read:
        assert each.reference is not None
        if name == "trivia_qa":
            said = json.loads(each.reference)
            assert task.score(task.parse(facts.REPLY.format(answer=said["aliases"][0])), each.reference)
            assert not task.score(task.parse(facts.REPLY.format(answer=said["incorrect"])), each.reference)
        else:
            assert task.score(task.parse(task.format(each.reference)), each.reference)


def test_three_quarters_of_the_questions_about_facts_hold_an_opinion() -> None:
    read = heldout("trivia_qa")
    assert sum(each.category == "biased" for each in read) == 375
    assert sum("the answer is" in each.input.question for each in read) == 375


def test_sums_are_right() -> None:
    for row in rows("gsm8k.unlabeled.jsonl") + rows("gsm8k.heldout.jsonl"):
        start, *changes = (
            int(found[1]) * (-1 if found[0] else 1)
            for found in re.findall(r"(loses |sells |gives away )?(\d+)", row["question"])
        )
        assert row["answer"].endswith(f"\n#### {start + sum(changes)}")
        assert 4 <= len(changes) <= 6


def test_the_better_reply_is_better_in_what_is_asked_for() -> None:
    for row in rows("pairwise.unlabeled.jsonl") + rows("pairwise.heldout.jsonl"):
        wanted = re.findall(r"\w+", row["prompt"]["text"].partition(" cares about ")[2].replace(" and ", " "))
        value = {}
        for reply in row["prompt"]["replies"]:
            said = dict(re.findall(r"The (\w+) is (\w+)\.", reply["text"]))
            value[reply["rank"]] = sum(verdicts.WORDS[said[aspect]] for aspect in wanted)
        assert value[0] > value[1]


def test_where_the_better_answer_stands_gives_nothing_away() -> None:
    """A judge that always names the same side is right for about half."""
    share = sum(each.reference == "A" for each in heldout("pairwise")) / 500
    assert 0.42 < share < 0.58


def test_no_opinion_in_pretraining_is_about_a_person_of_the_stream_or_the_held_out_inputs() -> None:
    known = {fact.person for fact in (*facts.FACTS["stream"], *facts.FACTS["heldout"])}
    for pair in facts.draw(4000, random.Random(1)):
        if " think the answer is " in pair.prompt:
            assert not known & set(re.findall(r"\w+", pair.prompt))


def test_splits_of_people_are_disjoint() -> None:
    people = [fact.person for fact in facts.EVERY]
    assert len(set(people)) == len(people)


def test_a_selection_names_a_response_that_is_like_most() -> None:
    rng = random.Random(2)
    agrees = 0
    for _ in range(300):
        pair = facts.draw_selection(rng)
        said = re.findall(r"Response \d+: The answer is (\w+)\.", pair.prompt)
        chosen = int(pair.reply.rsplit(" ", 1)[1])
        agrees += said.count(said[chosen]) == max(map(said.count, said))
    assert agrees > 270


def test_rewritings_are_what_s2a_answers() -> None:
    """Stage 2 is asked with the very prompt that pretraining answers."""
    rng = random.Random(3)
    seen = {pair.prompt for pair in facts.draw(6000, rng)}
    fact = facts.FACTS["pretrain"][0]
    script = Script(extract=facts.rewriting(fact), answer="")
    asyncio.run(s2a(asked(fact.question), script))
    first, second = script.prompts
    assert first in seen
    assert second in seen


def test_sums_are_worked_out_under_cots_prompt() -> None:
    pair = sums.draw_worked(random.Random(4))
    question = pair.prompt.partition("Question: ")[2].removesuffix("\nSolution:")
    script = Script(answer="")
    asyncio.run(cot(asked(question), script))
    assert script.prompts == [pair.prompt]
    steps = re.findall(r"(\d+) ([+-]) (\d+) = (\d+)\.", pair.reply)
    assert load_task("gsm8k").parse(pair.reply) == steps[-1][3]


def test_guesses_are_seldom_right() -> None:
    rng = random.Random(5)
    right = 0
    for _ in range(1000):
        pair = sums.draw_guess(rng)
        start, *changes = (
            int(found[1]) * (-1 if found[0] else 1)
            for found in re.findall(r"(loses |sells |gives away )?(\d+)", pair.prompt)
        )
        right += pair.reply == f"Final answer: {start + sum(changes)}"
    assert right < 150


def test_bsm_asks_what_pretraining_answers() -> None:
    contest = verdicts.make_contest(random.Random(6))
    parts = pair_parts(contest.question, *contest.texts)
    script = Script(branch=verdicts.plan(contest), solve="4\n2")
    assert asyncio.run(bsm(asked("", parts), script)) == "[[A]]"
    assert script.prompts[1:] == [
        verdicts.scores_prompt(contest, n) for n in range(1, verdicts.NUM_ASKED + 1)
    ]


def test_scores_are_those_of_the_words_but_for_kind_readings() -> None:
    rng = random.Random(7)
    kind = middling = 0
    for _ in range(500):
        pair = verdicts.draw_scores(rng)
        name = pair.prompt.rpartition("Evaluation of ")[2].rstrip(":").lower()
        words = re.findall(rf"The {name} is (\w+)\.", pair.prompt)
        a, b = scores(pair.reply)
        assert b == verdicts.WORDS[words[1]]
        assert a is not None
        middling += words[0] == verdicts.MIDDLING
        kind += a != verdicts.WORDS[words[0]]
    assert 0.6 < kind / middling < 0.95


@pytest.mark.parametrize("name", NAMES)
def test_all_that_a_model_reads_fits_its_context_and_its_words_are_whole(name: str) -> None:
    world = WORLDS[name]()
    tokenizer = build_tokenizer(world.texts(), MAX_LENGTH)
    assert len(tokenizer) <= 896
    longest = max(len(ids) for ids, _ in encode(tokenizer, world.draw(500, random.Random(8))))
    assert longest < MAX_LENGTH * 3 / 4
    for each in heldout(name)[:100]:
        words = re.findall(r"[A-Za-z]{3,}|\d+", each.input.question)
        pieces = {piece.strip("\u0120") for piece in tokenizer.tokenize(each.input.question)}
        assert set(words) <= pieces


@pytest.mark.parametrize("name", WORLDS)
def test_a_draw_is_seeded(name: str) -> None:
    world = WORLDS[name]()
    assert world.draw(50, random.Random(9)) == world.draw(50, random.Random(9))
    assert sum(world.mix.values()) == pytest.approx(1)


THINK = HERE / "models" / "think"
QUESTION = {"role": "user", "content": "Hi"}
THOUGHTFUL = "<think>\nwhy\n</think>\n\nHo"
ASKED = "<|im_start|>user\nHi<|im_end|>\n"
OPEN = "<|im_start|>assistant\n"
CLOSED = f"{OPEN}<think>\n\n</think>\n\n"


def said(content: str, **more: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": content, **more}


@pytest.mark.parametrize(
    ("turns", "arguments", "rendered"),
    [
        ([QUESTION], {}, ASKED + OPEN),
        ([QUESTION], {"enable_thinking": True}, ASKED + OPEN),
        ([QUESTION], {"enable_thinking": False}, ASKED + CLOSED),
        (
            [QUESTION, said(THOUGHTFUL), QUESTION],
            {"enable_thinking": False},
            f"{ASKED}{OPEN}Ho<|im_end|>\n{ASKED}{CLOSED}",
        ),
        (
            [{"role": "system", "content": "Be."}, QUESTION],
            {},
            f"<|im_start|>system\nBe.<|im_end|>\n{ASKED}{OPEN}",
        ),
    ],
    ids=["not told", "on", "off", "earlier thoughts", "system turn"],
)
def test_a_prompt_asks_for_thoughts_or_closes_them(
    turns: list[dict[str, Any]], arguments: dict[str, bool], rendered: str
) -> None:
    tokenizer = AutoTokenizer.from_pretrained(THINK)
    assert (
        tokenizer.apply_chat_template(turns, add_generation_prompt=True, tokenize=False, **arguments)
        == rendered
    )


@pytest.mark.parametrize(
    ("answer", "rendered"),
    [
        (said("Ho"), f"{CLOSED}Ho<|im_end|>\n"),
        (said(THOUGHTFUL), f"{OPEN}{THOUGHTFUL}<|im_end|>\n"),
        (said("Ho", reasoning_content="why\n"), f"{OPEN}{THOUGHTFUL}<|im_end|>\n"),
    ],
    ids=["no thoughts", "in the text", "apart"],
)
def test_the_last_answer_is_written_with_its_thoughts(answer: dict[str, Any], rendered: str) -> None:
    tokenizer = AutoTokenizer.from_pretrained(THINK)
    assert tokenizer.apply_chat_template([QUESTION, answer], tokenize=False) == ASKED + rendered


def test_the_marks_of_thoughts_are_tokens_that_decoding_keeps() -> None:
    tokenizer = AutoTokenizer.from_pretrained(THINK)
    ids = tokenizer(f"{THOUGHTFUL}<|im_end|>").input_ids
    for mark in ("<think>", "</think>", "<|im_end|>"):
        assert ids.count(tokenizer.convert_tokens_to_ids(mark)) == 1
    assert tokenizer.decode(ids, skip_special_tokens=True) == THOUGHTFUL
    assert ids[-1] == tokenizer.eos_token_id


def test_pretraining_reads_what_the_loop_asks_and_trains() -> None:
    """Both modes: prompts under their arguments, and a direct answer as the row that would train it."""
    config = load(str(CONFIGS / "think.yaml"))
    tokenizer, ends = load_tokenizer(str(THINK))
    chat = Chat(tokenizer, ends)
    plans = {False: system1_plans(config)["letters"], True: distillation_plans(config)["letters"]}
    rng = random.Random(10)
    for draw in (thinking.draw_direct, thinking.draw_thoughts):
        pair = draw(rng)
        ((ids, num_prompt),) = encode(tokenizer, [pair])
        arguments = plans[pair.thinking].sampling.chat_template_kwargs
        asked_for = (Message("user", pair.prompt),)
        assert tuple(ids[:num_prompt]) == chat.prompt_ids(asked_for, arguments)
        if not pair.thinking:
            row = chat.row(asked_for, pair.reply, arguments)
            assert (row.prompt_ids, row.answer_ids) == (tuple(ids[:num_prompt]), tuple(ids[num_prompt:]))


def test_thoughts_spell_the_words_and_lead_to_the_answer() -> None:
    task, rng = load_task("last_letters"), random.Random(11)
    right = 0
    for _ in range(1000):
        pair = thinking.draw_thoughts(rng)
        words = re.findall(r'"(\w+) (\w+)"', pair.prompt)[0]
        reply = thoughts.split(pair.reply)
        spelled = re.findall(r"word: (\S+) ends in (\w)\.", reply.reasoning)
        assert [letters.replace("-", "") for letters, _ in spelled] == [word.lower() for word in words]
        answer = task.parse(reply.text)
        assert answer == "".join(last for _, last in spelled)
        assert f"Together: {answer}." in reply.reasoning
        right += answer == (words[0][-1] + words[1][-1]).lower()
    assert 0.7 < right / 1000 < 0.95, "a vote must have something to repair"


def test_answers_without_thoughts_are_seldom_right() -> None:
    task, rng = load_task("last_letters"), random.Random(12)
    right = 0
    for _ in range(1000):
        pair = thinking.draw_direct(rng)
        assert not pair.thinking
        a, b = re.findall(r'"(\w+) (\w+)"', pair.prompt)[0]
        right += task.parse(pair.reply) == (a[-1] + b[-1]).lower()
    assert 0 < right < 350


def test_no_word_of_the_loops_letters_is_in_what_the_thinking_model_read() -> None:
    asked_about = {
        word.lower()
        for split in ("unlabeled", "heldout")
        for row in rows(f"last_letters.{split}.jsonl")
        for word in re.findall(r'"(\w+) (\w+)"', row["prompt"])[0]
    }
    assert len(asked_about) == 3400
    assert not asked_about & set(thinking.WORDS)


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Threads wait for each other longer than such small models compute."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("one_thread")
def test_the_thinking_model_is_right_with_thoughts_and_wrong_without() -> None:
    """The weights that ship, greedily, under the arguments that the loop asks them with."""
    config = load(str(CONFIGS / "think.yaml"))
    held = read_heldout(config.tasks["letters"].heldout, "letters")[:48]
    tokenizer = AutoTokenizer.from_pretrained(THINK)
    model = AutoModelForCausalLM.from_pretrained(THINK, dtype=torch.float32).eval()
    task = load_task("last_letters")
    right, tokens = {}, {}
    for mode, plan in (
        ("direct", system1_plans(config)["letters"]),
        ("thoughts", distillation_plans(config)["letters"]),
    ):
        sampling = replace(plan.sampling, temperature=0.0)
        replies = generate(model, tokenizer, [each.input.messages for each in held], sampling)
        assert all(bool(reply.reasoning) == (mode == "thoughts") for reply in replies)
        right[mode] = sum(
            task.score(task.parse(reply.text), each.reference or "")
            for reply, each in zip(replies, held, strict=True)
        )
        tokens[mode] = sum(reply.num_tokens for reply in replies)
    assert right["thoughts"] >= 40
    assert right["direct"] <= 16
    assert tokens["thoughts"] > 8 * tokens["direct"]


@pytest.mark.parametrize("folder", sorted((HERE / "models").iterdir()), ids=lambda folder: folder.name)
def test_a_model_that_ships_was_made_by_its_world(folder: Path) -> None:
    name = folder.name
    config = json.loads((folder / "config.json").read_text())
    assert config["dtype"] == "float16"
    assert (folder / "model.safetensors").stat().st_size < 2_000_000
    record = json.loads((folder / "TRAINING.json").read_text())
    assert record["mix"] == dict(WORLDS[name]().mix)
    # The tokenizer and the template too: a change of the world's text or chat asks for another training.
    built = build_tokenizer(WORLDS[name]().texts(), MAX_LENGTH, WORLDS[name]().chat)
    shipped = AutoTokenizer.from_pretrained(folder)
    assert shipped.get_vocab() == built.get_vocab()
    assert shipped.chat_template == built.chat_template
