"""Public chat templates, each from System 1's prompt to the row that trains it."""

import functools
from pathlib import Path
from typing import Any

import pytest

from benchmarks.templates import PAGE, table, with_table
from s2d_loop.chat.template import MARKERS, arguments_of, knows, open_block
from s2d_loop.chat.tokens import Chat
from s2d_loop.config import load
from s2d_loop.errors import ConversationRefusedError
from s2d_loop.plan import system1_arguments, system1_plans, system2_plans
from s2d_loop.records import Example, Message, Messages, TemplateArguments
from s2d_loop.train import batch
from tests.support import templates

QUESTION, ANSWER = "Which of the two is larger, 9.11 or 9.8?", "The second one."
ASKED: Messages = (Message("user", QUESTION),)
CONVERSATIONS: dict[str, Messages] = {
    "system turn": (Message("system", "Answer in one sentence."), *ASKED),
    "two user turns": (Message("user", "A question follows."), *ASKED),
    "example": (Message("user", "Is 3 more than 2?"), Message("assistant", "The first one."), *ASKED),
}
# What these templates say themselves: roles must alternate, and there is no system turn.
REFUSED = {
    "system turn": ("gemma",),
    "two user turns": ("cohere", "cohere2", "gemma", "gemma3"),
    "example": (),
}

# They want a message as a list of parts.
TAKE_PARTS = ("idefics3", "llava_next", "smolvlm")

EVERY = templates.every()
SWITCH = "enable_thinking"
THINKING = [name for name in EVERY if SWITCH in arguments_of(templates.source(name))]


@functools.cache
def chat_of(family: str) -> Chat:
    return Chat(*templates.tokenizer_of(family))


def rendered(family: str, turns: Messages, arguments: TemplateArguments = (), **options: Any) -> Any:
    """What the tokenizer itself makes of a conversation, without a line of this project."""
    parts = family.removesuffix("_training") in TAKE_PARTS
    tokenizer, _ = templates.tokenizer_of(family)
    made = [
        {"role": m.role, "content": [{"type": "text", "text": m.content}] if parts else m.content}
        for m in turns
    ]
    return tokenizer.apply_chat_template(made, return_dict=False, **dict(arguments), **options)


def steering(chat: Chat, ids: tuple[int, ...]) -> list[str]:
    """The control tokens among ids, in order."""
    added = {token: name for name, token in chat.tokenizer.get_added_vocab().items()}
    return [added[token] for token in ids if token in added]


def example(name: str, prompt: Messages) -> Example:
    completion = (Message("assistant", ANSWER),)
    return Example(name, name, "compare", prompt, completion, ANSWER, share=1.0, iteration=0, weights="w")


def test_there_are_many_families() -> None:
    assert len(templates.families()) >= 25
    assert len(THINKING) >= 10


@pytest.mark.parametrize("family", EVERY)
def test_a_prompt_is_what_the_tokenizer_itself_makes(family: str) -> None:
    chat = chat_of(family)
    ids = chat.prompt_ids(ASKED)
    assert list(ids) == rendered(family, ASKED, add_generation_prompt=True)
    assert chat.decode(ids) == chat.prompt_text(ASKED)
    assert chat.decode(ids).count(QUESTION) == 1


@pytest.mark.parametrize("family", EVERY)
def test_a_row_is_the_prompt_the_answer_and_the_end_token(family: str) -> None:
    chat = chat_of(family)
    row = chat.row(ASKED, ANSWER)
    assert row.prompt_ids == chat.prompt_ids(ASKED)
    opening, answer, end = chat.decode(row.answer_ids).partition(ANSWER)
    assert answer == ANSWER
    assert end.endswith(templates.end_of(family))
    assert [token for token in row.answer_ids if token in chat.ends] == [row.answer_ids[-1]]
    assert steering(chat, row.answer_ids) == steering(chat, tuple(chat.tokenizer.encode(opening + end)))
    # The template's own rendering of the answer says what stands before it, where it keeps the prompt at all.
    whole = rendered(family, (*ASKED, Message("assistant", ANSWER)), tokenize=False)
    prompt = chat.prompt_text(ASKED)
    if whole.startswith(prompt):
        # GLM writes no end of its own: the next turn's mark is one.
        assert f"{whole}{templates.end_of(family)}".startswith(prompt + opening + ANSWER + end)
    else:
        assert opening.strip() in MARKERS.values(), (
            "else the prompt's open block of thoughts is closed at once"
        )


@pytest.mark.parametrize("family", THINKING)
def test_thoughts_are_asked_for_by_the_prompt(family: str) -> None:
    """With them off, the prompt says so and the answer follows at once."""
    chat = chat_of(family)
    off, on = ((SWITCH, False),), ((SWITCH, True),)
    prompts = {arguments: chat.prompt_ids(ASKED, arguments) for arguments in (off, on)}
    assert prompts[off] != prompts[on]
    for arguments, prompt in prompts.items():
        assert list(prompt) == rendered(family, ASKED, arguments, add_generation_prompt=True)
        row = chat.row(ASKED, ANSWER, arguments)
        assert row.prompt_ids == prompt
        assert chat.decode(row.answer_ids).endswith(ANSWER + templates.end_of(family))
    opening = chat.decode(chat.row(ASKED, ANSWER, off).answer_ids).partition(ANSWER)[0]
    assert not any(mark in opening for pair in MARKERS.items() for mark in pair)
    assert not open_block(chat.prompt_text(ASKED, off))


@pytest.mark.parametrize("shape", CONVERSATIONS)
@pytest.mark.parametrize("family", EVERY)
def test_a_conversation_is_rendered_whole_or_refused(family: str, shape: str) -> None:
    chat, turns = chat_of(family), CONVERSATIONS[shape]
    if family.removesuffix("_training") in REFUSED[shape]:
        with pytest.raises(ConversationRefusedError, match=r"refuses this conversation \(\w+, user\): \w+"):
            chat.prompt_ids(turns)
        return
    row = chat.row(turns, ANSWER)
    assert list(row.prompt_ids) == rendered(family, turns, add_generation_prompt=True)
    prompt = chat.decode(row.prompt_ids)
    places = [prompt.index(message.content) for message in turns]
    assert places == sorted(places)
    assert all(prompt.count(message.content) == 1 for message in turns)
    assert row.answer_ids == chat.row(ASKED, ANSWER).answer_ids


@pytest.mark.parametrize("family", templates.families())
def test_control_tokens_in_a_text_are_its_letters(family: str) -> None:
    chat = chat_of(family)
    spelled = "Say " + " and ".join(chat.tokenizer.get_added_vocab()) + "!"
    harmless = chat.row(ASKED, ANSWER)
    row = chat.row((Message("user", f"{QUESTION} {spelled}"),), f"{ANSWER} {spelled}")
    assert steering(chat, row.prompt_ids) == steering(chat, harmless.prompt_ids)
    assert steering(chat, row.answer_ids) == steering(chat, harmless.answer_ids)
    assert chat.decode(row.prompt_ids) == chat.prompt_text(ASKED).replace(QUESTION, f"{QUESTION} {spelled}")
    assert chat.decode(row.answer_ids) == chat.decode(harmless.answer_ids).replace(
        ANSWER, f"{ANSWER} {spelled}"
    )


@pytest.mark.parametrize("family", templates.families())
def test_training_keeps_or_counts_every_example(family: str) -> None:
    tokenizer, ends = templates.tokenizer_of(family)
    given = [example("question", ASKED), *(example(*each) for each in CONVERSATIONS.items())]
    encoding = batch.encode_all(tokenizer, given, end_ids=ends, max_tokens=4096)
    refused = sum(family.removesuffix("_training") in families for families in REFUSED.values())
    assert encoding.dropped == ({"template_refused": refused} if refused else {})
    assert len(encoding.examples) + refused == encoding.num_examples == len(given)
    assert all(each.answer_ids[-1] in ends for each in encoding.examples)


@pytest.mark.parametrize(
    ("family", "arguments"),
    [
        ("qwen3", {"enable_thinking"}),
        ("qwen3_8", {"enable_thinking", "reasoning_effort", "preserve_thinking", "add_vision_id"}),
        ("gemma4_v5", {"enable_thinking", "preserve_thinking"}),
        ("llama3_2", {"date_string", "custom_tools", "tools_in_user_message"}),
        ("phi3", set()),
    ],
)
def test_what_a_template_may_be_given_is_named(family: str, arguments: set[str]) -> None:
    assert arguments_of(templates.source(family)) == arguments
    assert all(knows(templates.source(family), name) for name in arguments)
    assert not knows(templates.source(family), "enable_thinkng")


def test_the_page_has_the_table_that_the_command_makes() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert with_table(page, table(templates.families())) == page, "run `python -m benchmarks.templates`"


def test_the_page_s_example_thinks_in_system2_only(tmp_path: Path) -> None:
    blocks = PAGE.read_text(encoding="utf-8").split("```")
    written = next(block.removeprefix("yaml\n") for block in blocks if "name: think" in block)
    file = tmp_path / "run.yaml"
    rest = "run: {dir: runs/mine}\nsources: [{task: letters, type: jsonl, path: letters.jsonl}]\n"
    file.write_text(f"{written}{rest}")
    config = load(str(file))
    (system2,) = system2_plans(config).values()
    (system1,) = system1_plans(config).values()
    assert system2.sampling.chat_template_kwargs == ((SWITCH, True),)
    assert system2.sampling.thinking_token_budget == 1536
    assert system1.sampling.chat_template_kwargs == ((SWITCH, False),)
    assert system1_arguments(config) == {"letters": ((SWITCH, False),)}
