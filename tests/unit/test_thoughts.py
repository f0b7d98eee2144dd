"""Thoughts told apart from what is said, in every form that models give them."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from s2d_loop.thoughts import Thoughts, split, spoken

BLOCKS = {
    "think": "<think>\n{}\n</think>\n\n",
    "capitals": "<THINK>{}</THINK>",
    "thinking": "<thinking>{}</thinking>\n",
    "thought": "<thought>{}</thought>",
    "reasoning": "<reasoning>{}</reasoning>",
    "namespace": "<seed:think>{}</seed:think>",
    "effort": "<ifm|think_fast>{}</ifm|think_fast>",
    "suffix": "<think:6124c78e>{}</think:6124c78e>",
    "brackets": "[THINK]{}[/THINK]",
    "triangles": "\u25c1think\u25b7{}\u25c1/think\u25b7",
    "of thought": "<|begin_of_thought|>{}<|end_of_thought|>",
    "command": "<|START_THINKING|>{}<|END_THINKING|>",
    "channel": "<|channel>{}<channel|>",
    "elements": "<|open|>think<|sep|>{}<|close|>think<|sep|>",
    "content": "<|content_thinking|>{}<|end_message|><|message_model|><|content_text|>",
    "namespaced token": "<|plamo:begin_think:plamo|>{}<|plamo:end_think:plamo|>",
    "words": "Here is my thought process: {} Here is my response: ",
    "harmony": "<|channel|>analysis<|message|>{}<|end|><|start|>assistant<|channel|>final<|message|>",
    "bare harmony": "analysis{}assistantfinal",
}
"""Each form around its thoughts."""
MARKED = [name for name in BLOCKS if name not in ("words", "bare harmony")]
THOUGHTS = st.text(
    st.characters(exclude_characters="<>[]|\u25c1\u25b7\"'`\u201c\u2018", exclude_categories=["C", "Z"]),
    min_size=1,
)
SAID = st.text(st.characters(exclude_characters="<>[]|\u25c1\u25b7"), max_size=40).map(str.strip)
BLOCK_MARKS = [
    "<think>",
    "</think>",
    "<reasoning>",
    "</reasoning>",
    "[THINK]",
    "[/THINK]",
    "<|channel>",
    "<channel|>",
]
MARKS = [*BLOCK_MARKS, "<|channel|>", "<|message|>", "<|end|>", "<|start|>assistant", "final", "analysis"]


def made_of(marks: list[str]) -> st.SearchStrategy[str]:
    """Texts made of the very things that are looked for."""
    return st.lists(st.sampled_from([*marks, " ", "\n", "Yes", "a"]), max_size=12).map("".join)


def parted(block: str) -> tuple[str, str]:
    """A form's text before the thoughts and behind them."""
    before, _, behind = block.partition("{}")
    return before, behind


@given(block=st.sampled_from(list(BLOCKS.values())), thoughts=THOUGHTS, said=SAID)
def test_a_block_at_the_start_is_thought(block: str, thoughts: str, said: str):
    taken = split(f" \n{block.format(thoughts)}{said}")
    assert (taken.text, taken.closed) == (said, True)
    assert thoughts.strip() in taken.reasoning
    assert spoken(block.format(thoughts) + said) == said


@pytest.mark.parametrize("name", MARKED)
def test_the_prompt_may_have_begun_the_block(name: str):
    _, behind = parted(BLOCKS[name])
    assert split(f"Twice is even.{behind}Yes") == Thoughts("Twice is even.", "Yes", closed=True)


@pytest.mark.parametrize("name", MARKED)
def test_a_block_that_never_ends_was_cut_off(name: str):
    before, _ = parted(BLOCKS[name])
    assert split(f"{before}Twice is even, so Yes") == Thoughts("Twice is even, so Yes", "", closed=False)
    assert spoken(f"{before}Twice is even, so Yes") == ""


@given(st.text(st.characters(exclude_characters="<[|\u25c1"), max_size=60))
def test_a_reply_without_marks_is_untouched(reply: str):
    if not reply.lower().lstrip().startswith(("analysis", "here")):
        assert split(reply) == Thoughts("", reply, closed=True)
        assert spoken(reply) == reply


@pytest.mark.parametrize(
    "reply",
    [
        "Models write their thoughts between <think> and </think>. Yes",
        "The `</think>` tag ends a block. Yes",
        'It ends with "</think>". Yes',
        "`<think>` begins a block. Yes",
        "Write it so:\n<think>\nthoughts\n</think>\nanswer",
        "Use <think> tags.",
        "Here is my response: Yes",
        "Here's my thought process: twice is even. Yes",
        "analysis of the coin: it is heads",
        "a <b> tag and </b>",
    ],
)
def test_marks_that_are_only_spoken_of_are_text(reply: str):
    assert split(reply) == Thoughts("", reply, closed=True)


@pytest.mark.parametrize(
    ("reply", "text"),
    [
        ("<think>a</think><think>b</think>Yes", "Yes"),
        ("<think>a</think>\nb</think>\nYes", "Yes"),
        ("<think>\n<think>\na</think>\nYes", "Yes"),
        ("<think>it closes with `</think>`, they say</think>Yes", "Yes"),
        ("<thinking>a<reflection>b</reflection>c</thinking>Yes", "Yes"),
        ("<think>\n\n</think>\n\nYes", "Yes"),
        ("Here's my thought process: a</think>Yes", "Yes"),
        ('<think>They want "so"</think>"so"', '"so"'),
        ("<think>a</think>", ""),
        ("<|START_THINKING|>a<|END_THINKING|><|START_RESPONSE|>Yes<|END_RESPONSE|>", "Yes"),
        ("<|begin_of_thought|>a<|end_of_thought|>\n\n<|begin_of_solution|>\nYes\n<|end_of_solution|>", "Yes"),
        ("<|channel>thought\na<channel|>Yes<turn|>", "Yes"),
        ("<|channel|>final<|message|>Yes<|return|>", "Yes"),
        ("<|start|>assistant<|channel|>final <|constrain|>json<|message|>Yes", "Yes"),
        ("<|channel|>analysis<|message|>a<|end|><|start|>assistant<|channel|>commentary<|message|>b<|end|>"
         "<|start|>assistant<|channel|>final<|message|>Yes<|return|>", "Yes"),
    ],
)  # fmt: skip
def test_what_is_left_is_what_was_said(reply: str, text: str):
    taken = split(reply)
    assert (taken.text, taken.closed) == (text, True)


def test_harmony_without_a_final_message_was_cut_off():
    ended = "<|channel|>analysis<|message|>a<|end|><|start|>assistant"
    assert split(ended) == Thoughts("a", "", closed=False)
    assert split("a<|end|><|start|>assistant<|channel|>comm") == Thoughts(
        "a<|channel|>comm", "", closed=False
    )


def test_readers_are_not_shown_blocks_further_in():
    assert spoken("Sure!\n<think>\nYes?\n</think>\nNo") == "Sure!\n \nNo"
    assert spoken("Use <think> tags. Yes") == "Use <think> tags. Yes"


@given(st.one_of(st.text(), made_of([*MARKS, "`", '"'])))
def test_no_text_is_an_error(reply: str):
    taken = split(reply)
    assert taken.closed or taken.text == ""
    assert len(spoken(reply)) <= len(reply)


@given(made_of(BLOCK_MARKS))
def test_what_is_said_holds_no_more_thoughts(reply: str):
    text = split(reply).text
    assert split(text) == Thoughts("", text, closed=True)


@pytest.mark.parametrize(
    "hostile",
    [
        "<think>",
        "</think>",
        "<think></think>",
        "x</think>",
        "`</think>`",
        "<",
        " <think>",
        "<|channel|>final",
    ],
)
def test_a_megabyte_is_read_in_linear_time(hostile: str):
    for reply in (hostile * (1_000_000 // len(hostile)), "Hm. " + hostile * (1_000_000 // len(hostile))):
        start = time.process_time()
        spoken(reply)
        # A processor that others share is up to three times slower.
        assert time.process_time() - start < 3
