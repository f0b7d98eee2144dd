"""The tiny model's world: reproducible files, disjoint words, right answers, lossless text."""

import json
import random
import re
from itertools import combinations
from pathlib import Path
from typing import get_args

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from s2d_loop.testbed import DATA_DIR
from s2d_loop.testbed.corpus import MIX, draw, draw_mix
from s2d_loop.testbed.pair import Pair
from s2d_loop.testbed.pretrain import (
    IGNORED,
    MAX_LENGTH,
    batches,
    build_model,
    collate,
    encode,
    reply_loss,
    shared_start,
)
from s2d_loop.testbed.tokenizer import END, PAD, build_tokenizer
from s2d_loop.testbed.world import (
    STEP1,
    STEP2,
    Item,
    Task,
    make_items,
    parse,
    replies,
    reserved_words,
    splits,
    template_texts,
    write_data,
)

TASKS: tuple[Task, ...] = get_args(Task)
TOKENIZER = build_tokenizer(template_texts(), MAX_LENGTH)


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> PreTrainedTokenizerBase:
    """The tokenizer as everyone else gets it: saved, then loaded by AutoTokenizer."""
    folder = tmp_path_factory.mktemp("tokenizer")
    TOKENIZER.save_pretrained(folder)
    # AutoTokenizer asks the config which family it loads for.
    (folder / "config.json").write_text('{"model_type": "llama"}')
    loaded: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(folder)
    return loaded


def shipped(name: str) -> list[dict[str, str]]:
    """Rows of a shipped data file."""
    lines = (DATA_DIR / name).read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def names_in(prompt: str) -> set[str]:
    """The two words that a shipped question asks about."""
    if quoted := re.search(r'"(\w+) (\w+)"', prompt):
        return {word.lower() for word in quoted.groups()}
    return set(re.findall(r"\. (\w+) (?:flips|does not)", prompt))


def test_shipped_files_come_out_of_the_command_again(tmp_path: Path) -> None:
    for path in write_data(tmp_path):
        assert path.read_bytes() == (DATA_DIR / path.name).read_bytes()


def test_no_two_splits_share_a_word_and_none_is_a_template_word() -> None:
    words = splits()
    for a, b in combinations(words.values(), 2):
        assert not set(a) & set(b)
    assert not reserved_words() & {word for split in words.values() for word in split}


@pytest.mark.parametrize("task", TASKS)
def test_shipped_questions_use_each_word_once_and_only_of_their_split(task: Task) -> None:
    words = splits()
    for name, split, size in (
        ("unlabeled", words["stream"], 1200),
        ("heldout", words["heldout"], 500),
    ):
        rows = shipped(f"{task}.{name}.jsonl")
        used = [names_in(row["prompt"]) for row in rows]
        assert len(rows) == size
        assert all(len(pair) == 2 for pair in used)
        assert len(set().union(*used)) == 2 * size
        assert set().union(*used) <= set(split)


def test_shipped_letters_answers_are_the_last_letters() -> None:
    for row in shipped("last_letters.unlabeled.jsonl") + shipped("last_letters.heldout.jsonl"):
        a, b = row["prompt"].split('"')[1].split()
        assert a.istitle() and b.istitle()
        assert row["answer"] == a[-1] + b[-1]


def test_shipped_coin_answers_follow_the_flips_and_balance() -> None:
    for name in ("unlabeled", "heldout"):
        rows = shipped(f"coin_flip.{name}.jsonl")
        for row in rows:
            flips = row["prompt"].count(" flips the coin.")
            assert row["answer"] == ("no" if flips == 1 else "yes")
        assert sum(row["answer"] == "yes" for row in rows) == len(rows) / 2


def test_questions_have_the_public_wording() -> None:
    letters = Item("last_letters", "Edgar", "Bob")
    assert letters.question == ('Take the last letters of the words in "Edgar Bob" and concatenate them.')
    assert letters.answer == letters.lowered().answer == "rb"
    coin = Item("coin_flip", "roxas", "scheideman", (False, True))
    assert coin.question == (
        "A coin is heads up. roxas does not flip the coin. scheideman flips the coin.  "
        "Is the coin still heads up? Flip means reverse."
    )
    assert coin.answer == "no"


@pytest.mark.parametrize("task", TASKS)
def test_every_rephrasing_keeps_the_names_and_every_reply_parses(task: Task) -> None:
    for item in make_items(task, splits()["heldout"])[:50]:
        for form in range(item.forms):
            assert item.a in item.rephrased(form)
            assert item.b in item.rephrased(form)
        for reply in replies(task, item.answer):
            assert parse(task, reply) == item.answer


@pytest.mark.parametrize(
    ("task", "reply", "answer"),
    [
        ("last_letters", 'The word "x" gives "R-b".', "rb"),
        ("last_letters", "It is r-b.", "rb"),
        ("last_letters", "", None),
        ("last_letters", '""', None),
        ("coin_flip", "NO, yes", "no"),
        ("coin_flip", "Nothing is known", None),
    ],
)
def test_parsing(task: Task, reply: str, answer: str | None) -> None:
    assert parse(task, reply) == answer


def test_corpus_is_seeded_and_uses_the_programs_prompts() -> None:
    words = splits()["pretrain"]
    assert draw_mix(50, words, random.Random(3)) == draw_mix(50, words, random.Random(3))
    assert sum(MIX.values()) == pytest.approx(1)
    for task in TASKS:
        rephrase = draw(task, "rephrase", words, random.Random(0))
        question, instruction = rephrase.prompt.split("\n\n")
        assert STEP1[task] == "{question}\n\n" + instruction
        assert rephrase.reply != question
        answer = draw(task, "answer", words, random.Random(0))
        assert answer.prompt.endswith(STEP2[task].removeprefix("{question}"))


def test_direct_letters_are_fluent_but_seldom_right() -> None:
    words = splits()["pretrain"]
    rng = random.Random(0)
    right = 0
    for _ in range(2000):
        pair = draw("last_letters", "direct", words, rng)
        a, b = pair.prompt.split('"')[1].split()
        answer = parse("last_letters", pair.reply)
        assert answer is not None and len(answer) == 2
        right += answer == (a[-1] + b[-1]).lower()
    assert 0.02 < right / 2000 < 0.25


@given(st.text())
def test_text_survives_the_tokenizer(text: str) -> None:
    assert TOKENIZER.decode(TOKENIZER(text).input_ids) == text


def test_saved_tokenizer_is_the_same(tokenizer: PreTrainedTokenizerBase) -> None:
    text = 'Äh, "Edgar  Bob"\n\tflips THE coin \U0001f600 \x00'
    ids = tokenizer(text).input_ids
    assert ids == TOKENIZER(text).input_ids
    assert tokenizer.decode(ids) == text
    assert len(tokenizer) % 64 == 0
    assert (tokenizer.eos_token, tokenizer.pad_token) == (END, PAD)


def test_template_words_are_whole_and_names_are_letters() -> None:
    assert TOKENIZER.tokenize("Take the last letters") == ["Take", "Ġthe", "Ġlast", "Ġletters"]
    assert TOKENIZER.tokenize(" roxas") == ["Ġ", *"roxas"]


def test_chat_template_ends_each_turn(tokenizer: PreTrainedTokenizerBase) -> None:
    chat = [{"role": "user", "content": "Hi?"}, {"role": "assistant", "content": "Ho."}]
    opened = tokenizer.apply_chat_template(chat[:1], add_generation_prompt=True, tokenize=False)
    closed = tokenizer.apply_chat_template(chat, tokenize=False)
    # What a trainer learns is the text after the generation prompt, end token included.
    assert closed == opened + "Ho." + tokenizer.eos_token


def test_only_replies_and_their_end_carry_labels() -> None:
    pairs = draw_mix(8, splits()["pretrain"], random.Random(1))
    rows = encode(TOKENIZER, pairs)
    inputs, labels = collate(rows, TOKENIZER.pad_token_id)
    for row, pair in enumerate(pairs):
        learned = labels[row][labels[row] != IGNORED]
        assert TOKENIZER.decode(learned) == pair.reply + END
        assert TOKENIZER.decode(inputs[row], skip_special_tokens=True) == pair.prompt + pair.reply


def test_a_template_that_rows_share_goes_through_the_model_once_and_counts_as_if_in_each() -> None:
    torch.manual_seed(0)
    model = build_model(len(TOKENIZER), TOKENIZER)
    pairs = [draw("coin_flip", "rephrase", splits()["pretrain"], random.Random(n)) for n in range(3)]
    rows = encode(TOKENIZER, [Pair(f"Rephrase this, then: {p.prompt}", p.reply) for p in pairs])
    shared = shared_start(rows)
    assert shared > 5
    assert all(ids[:shared] == rows[0][0][:shared] and shared < prompt for ids, prompt in rows)
    inputs, labels = collate(rows, TOKENIZER.pad_token_id)
    gradients = []
    for start in (0, shared):
        loss = reply_loss(model, inputs, labels, start)
        gradients.append([loss.detach(), *torch.autograd.grad(loss, list(model.parameters()))])
    for plain, quick in zip(*gradients, strict=True):
        torch.testing.assert_close(quick, plain, rtol=1e-3, atol=1e-4)


def test_batches_hold_every_row_once() -> None:
    rows = encode(TOKENIZER, draw_mix(40, splits()["pretrain"], random.Random(2)))
    made = list(batches(rows, 8))
    assert sorted(row for batch in made for row in batch) == sorted(rows)
    assert all(0 < len(batch) <= 8 for batch in made)
