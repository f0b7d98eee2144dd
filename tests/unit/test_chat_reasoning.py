"""A reply's thoughts are told from its text before anything reads it."""

from typing import Any

import pytest

from s2d_loop.chat import reasoning
from s2d_loop.chat.reasoning import HARMONY, NONE, TEXT, Split
from s2d_loop.chat.tokens import Chat, chat_of
from s2d_loop.errors import BadInputError
from s2d_loop.records import Message, TemplateArguments
from tests.support import chats, templates

# What opens thoughts and what closes them, by vLLM's name of the parser; most have Qwen's marks.
MARKS = {
    "cohere_command3": ("<|START_THINKING|>", "<|END_THINKING|><|START_RESPONSE|>"),
    "cohere_command4": ("<|START_THINKING|>", "<|END_THINKING|><|START_TEXT|>"),
    "gemma4": ("<|channel>thought\n", "<channel|>"),
    "granite": ("Here is my thought process:", "Here is my response:"),
    "hunyuan_a13b": ("<think>\n", "\n</think>\n<answer>\n"),
    "inkling": ("<|content_thinking|>", "<|end_message|><|message_model|><|content_text|>"),
    "k2_horizon": ("<ifm|think>", "</ifm|think>"),
    "kimi_k3": ("<|open|>think<|sep|>", "<|close|>think<|sep|><|open|>response<|sep|>"),
    "minimax_m3": ("<mm:think>", "</mm:think>"),
    "mistral": ("[THINK]", "[/THINK]"),
    "muse_glimmer": (" to=self<|message|>", "<|eom|><|start|>assistant to=user<|message|>"),
    HARMONY: ("<|channel|>analysis<|message|>", "<|end|><|start|>assistant<|channel|>final<|message|>"),
    "plamo3": ("<|plamo:begin_think:plamo|>", "<|plamo:end_think:plamo|>"),
    "seed_oss": ("<seed:think>", "</seed:think>"),
}
QWEN = ("<think>", "</think>")
TOKENS = [
    *("<|START_THINKING|>", "<|END_THINKING|>", "<|START_RESPONSE|>", "<|START_TEXT|>", "<|channel>", "<channel|>"),
    *("<|content_thinking|>", "<|content_text|>", "<|message_model|>", "<|end_message|>", "<response>", "</response>"),
    *("<ifm|think>", "</ifm|think>", "<|open|>", "<|close|>", "<|sep|>", "<mm:think>", "</mm:think>", "[THINK]"),
    *("[/THINK]", "[TOOL_CALLS]", "<|eom|>", "<|start|>", "<|message|>", "<|channel|>", "<|end|>", "<tool_call>"),
    *("</tool_call>", "<assistant>", "</assistant>", "<seed:think>", "</seed:think>"),
    *("<|plamo:begin_think:plamo|>", "<|plamo:end_think:plamo|>"),
]  # fmt: skip
# Those that open a block need no other mark; these can't be opened by a prompt.
NEVER_OPENED = ("gemma4", "granite", "muse_glimmer", HARMONY)
# Their tokenizers hold more than tokens (`hf`: a response template), or tokens of ordinary text (OLMo 3).
OTHERWISE = ("hf", "olmo3")
PARSERS = [name for name in (*reasoning.known_parsers(), TEXT) if name not in OTHERWISE]
PROMPT = (Message("user", "Is it <think>up?</think> <think>"),)


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    """Every family's marks as tokens that stay when a reply is decoded."""
    made = chats.byte_level()
    made.add_tokens([each for each in TOKENS if each not in made.get_vocab()])
    return made


def ids_of(tokenizer: Any, text: str) -> tuple[int, ...]:
    return tuple(tokenizer.encode(text, add_special_tokens=False))


def split(
    tokenizer: Any, name: str, said: str, before: str = "", arguments: TemplateArguments = ()
) -> tuple[Split, str]:
    """A reply taken apart, and what its text's ids say.

    Args:
        before: what the prompt ends in.
    """
    prompt = chat_of(tokenizer).prompt_ids(PROMPT) + ids_of(tokenizer, before)
    ids = ids_of(tokenizer, said)
    found = reasoning.split(
        tokenizer, name, prompt, ids, tokenizer.decode(ids, skip_special_tokens=True), arguments
    )
    assert found.token_ids == ids[len(ids) - len(found.token_ids) :]
    return found, tokenizer.decode(found.token_ids)


@pytest.mark.parametrize("name", PARSERS)
def test_every_parser_splits_what_its_models_say(tokenizer: Any, name: str) -> None:
    start, end = MARKS.get(name, QWEN)
    reply = f"{start}Heads,\nthen tails.\n{end}\n\nYes, it is."
    assert split(tokenizer, name, reply) == (
        Split("Heads,\nthen tails.", "Yes, it is.", ids_of(tokenizer, "Yes, it is."), closed=True),
        "Yes, it is.",
    )
    cut, _ = split(tokenizer, name, f"{start}Heads, then")
    assert (cut.text, cut.token_ids, cut.closed) == ("", (), False)
    assert cut.reasoning.endswith("Heads, then")
    assert split(tokenizer, name, "Yes, it is.") == (
        Split("", "Yes, it is.", ids_of(tokenizer, "Yes, it is."), closed=True),
        "Yes, it is.",
    )


@pytest.mark.parametrize("name", [name for name in PARSERS if name not in NEVER_OPENED])
def test_a_prompt_may_open_the_block_or_close_it(tokenizer: Any, name: str) -> None:
    start, end = MARKS.get(name, QWEN)
    opened, ids = split(tokenizer, name, f"Heads.\n{end}\n\nYes.", before=f"{start.rstrip()}\n")
    assert (opened.reasoning, opened.text, ids, opened.closed) == ("Heads.", "Yes.", "Yes.", True)
    cut, _ = split(tokenizer, name, "Heads, then", before=f"{start.rstrip()}\n")
    assert (cut.reasoning, cut.text, cut.token_ids, cut.closed) == ("Heads, then", "", (), False)
    asked_for_none, ids = split(tokenizer, name, "Yes.", before=f"{start}\n\n{end}\n\n")
    assert (asked_for_none.reasoning, asked_for_none.text, ids) == ("", "Yes.", "Yes.")
    assert asked_for_none.closed


@pytest.mark.parametrize("arguments", [(("enable_thinking", True),), (("enable_thinking", False),)])
@pytest.mark.parametrize("name", ["deepseek_v3", "glm45", "holo2", "kimi_k2", "nemotron_v3", "qwen3"])
def test_the_marks_decide_and_not_the_arguments(
    tokenizer: Any, name: str, arguments: TemplateArguments
) -> None:
    """Some of vLLM's parsers take the template's arguments for what the model then did."""
    found, _ = split(tokenizer, name, "<think>Heads.</think>Yes.", arguments=arguments)
    assert (found.reasoning, found.text) == ("Heads.", "Yes.")
    plain, _ = split(tokenizer, name, "Yes.", arguments=arguments)
    assert (plain.reasoning, plain.text, plain.closed) == ("", "Yes.", True)


def test_none_leaves_a_reply_as_it_is(tokenizer: Any) -> None:
    said = "<think>Heads.</think> Yes. "
    assert split(tokenizer, NONE, said) == (Split("", said, ids_of(tokenizer, said), closed=True), said)


@pytest.mark.parametrize("name", [NONE, TEXT, HARMONY, "deepseek_r1", "granite"])
def test_a_reply_without_thoughts_stays_as_it_is(tokenizer: Any, name: str) -> None:
    said = " Yes \n"
    assert split(tokenizer, name, said) == (Split("", said, ids_of(tokenizer, said), closed=True), said)


def test_letters_that_spell_a_mark_are_text(tokenizer: Any) -> None:
    """The model spoke of the tag; where a mark is a token, only the token is one."""
    chat = chat_of(tokenizer)
    ids = chat.answer_ids(PROMPT, "Write <think> first.")
    prompt = chat.prompt_ids(PROMPT)
    found = reasoning.split(tokenizer, "deepseek_r1", prompt, ids, "Write <think> first.", ())
    assert found == Split("", "Write <think> first.", ids, closed=True)


def test_a_text_whose_ids_say_more_has_none(tokenizer: Any) -> None:
    """One token that ends the thoughts and begins the answer: the row is then made of the text."""
    made = chats.byte_level()
    made.add_tokens(["g>Yes"])
    made.chat_template += "{# <reasoning> #}"
    reply = "<reasoning>Heads.</reasoning>Yes"
    ids = ids_of(made, reply)
    assert made.convert_tokens_to_ids("g>Yes") in ids
    found = reasoning.split(made, TEXT, chat_of(made).prompt_ids(PROMPT), ids, reply, ())
    assert found == Split("Heads.", "Yes", (), closed=True)


def test_a_text_in_a_frame_has_no_ids_of_its_own(tokenizer: Any) -> None:
    """Cohere's models end their text in a token before their end token."""
    start, end = MARKS["cohere_command3"]
    found, _ = split(tokenizer, "cohere_command3", f"{start}Heads.{end}Yes, it is heads up.<|END_RESPONSE|>")
    assert found == Split("Heads.", "Yes, it is heads up.", (), closed=True)


# The parser that a model gets.


def model_with(*tokens: str, template: str = "") -> Any:
    made = chats.testbed()
    made.add_tokens(list(tokens))
    made.chat_template += template
    return made


@pytest.mark.parametrize(
    ("tokens", "template", "name"),
    [
        (("<think>", "</think>"), "", "deepseek_r1"),
        (("[THINK]", "[/THINK]"), "", "mistral"),
        (("<seed:think>", "</seed:think>"), "", "seed_oss"),
        (("<|START_THINKING|>", "<|END_THINKING|>"), "", "cohere_command3"),
        (("<|channel>", "<channel|>"), "", "gemma4"),
        (("<|channel|>", "<|message|>", "<think>", "</think>"), "", HARMONY),
        (("<|eom|>", "<|message|>"), "", "muse_glimmer"),
        (("<think>",), "", NONE),
        ((), "{{ '<think>' if think else '' }}", TEXT),
        ((), "{# \u25c1think\u25b7 #}", TEXT),
        (("<|think_start|>", "<|think_end|>"), "", TEXT),
        ((), "", NONE),
    ],
)
def test_auto_goes_by_the_model_s_tokens_and_template(
    tokens: tuple[str, ...], template: str, name: str
) -> None:
    assert reasoning.parser_name(model_with(*tokens, template=template), "auto") == name
    assert name in (NONE, TEXT, *reasoning.known_parsers())


def test_a_name_goes_over_what_the_tokens_say() -> None:
    made = model_with("<think>", "</think>")
    for name in ("qwen3", "glm45", "nemotron_v3", "granite", NONE):
        assert reasoning.parser_name(made, name) == name


@pytest.mark.parametrize("name", ["qwen33", "minimax_m2_append_think"])
def test_a_parser_that_there_is_not_is_named_with_those_that_are(name: str) -> None:
    with pytest.raises(BadInputError, match=r"model\.reasoning_parser: vLLM has no parser") as caught:
        reasoning.parser_name(model_with(), name)
    assert f"{name!r}" in str(caught.value)
    for known in ("qwen3", "deepseek_r1", "minimax_m2,", "auto", "none"):
        assert known in str(caught.value)


def test_the_names_are_vllm_s_own() -> None:
    """They are read from a file, because importing vLLM takes seconds."""
    from vllm.reasoning import ReasoningParserManager

    registered = ReasoningParserManager.list_registered()
    assert reasoning.known_parsers() == [name for name in registered if not name.endswith("_append_think")]


# Through public templates: what a row teaches is what the engine then reads.


@pytest.mark.parametrize("switch", [None, False, True])
@pytest.mark.parametrize("family", templates.families())
def test_a_trained_reply_is_read_as_the_answer_it_was_trained_on(family: str, switch: bool | None) -> None:
    tokenizer, ends = templates.tokenizer_of(family)
    chat, name = Chat(tokenizer, ends), reasoning.parser_name(tokenizer, "auto")
    arguments: TemplateArguments = () if switch is None else (("enable_thinking", switch),)
    asked = (Message("user", "Which of the two is larger?"),)
    row = chat.row(asked, "The second one.", arguments)
    ids = row.answer_ids[: -len(chat.end_ids(arguments))]
    found = reasoning.split(
        tokenizer, name, row.prompt_ids, ids, tokenizer.decode(ids, skip_special_tokens=True), arguments
    )
    assert (found.reasoning, found.text.strip(), found.closed) == ("", "The second one.", True)
    sampled = (*found.token_ids, *row.answer_ids[len(ids) :])
    assert chat.row(asked, found.text, arguments, sampled_ids=sampled) == row


@pytest.mark.parametrize("family", ["qwen3", "qwen3_5_think", "glm4moe", "gemma4", "gptoss", "deepseekv3"])
def test_thoughts_of_public_families(family: str) -> None:
    tokenizer, ends = templates.tokenizer_of(family)
    chat, name = Chat(tokenizer, ends), reasoning.parser_name(tokenizer, "auto")
    start, end = MARKS.get(name, QWEN)
    asked = (Message("user", "Which of the two is larger?"),)
    opened = chat.prompt_text(asked).rstrip().endswith(start)
    reply = f"{'' if opened else start}Compare them.{end}\n\nThe second."
    ids = ids_of(tokenizer, reply)
    text = tokenizer.decode(ids, skip_special_tokens=True)
    found = reasoning.split(tokenizer, name, chat.prompt_ids(asked), ids, text, ())
    assert (found.reasoning, found.text, found.closed) == ("Compare them.", "The second.", True)
    # What it thought is no part of what it then learns, and that it needn't think is.
    end_ids = chat.end_ids()
    row = chat.row(asked, found.text, sampled_ids=(*found.token_ids, *end_ids))
    assert row == chat.row(asked, "The second.")
