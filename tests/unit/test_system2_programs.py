"""System 2 programs against a scripted model: what they ask, in which order, and what they return."""

import asyncio
import typing

import pytest

from s2d_loop.records import Input, Message, Messages, Reply, Sample
from s2d_loop.system2 import scripted
from s2d_loop.system2.base import as_samples
from s2d_loop.system2.direct import direct
from s2d_loop.system2.prompts import PROMPTS, fill, load
from s2d_loop.system2.rar import Variant, rar_1step, rar_2step
from tests.support.programs import Scripted

LETTERS = 'Take the last letters of the words in "Mon Pelu" and concatenate them.'


def asked(text: str = LETTERS, task: str = "last_letters", *, system: str | None = None) -> Input:
    first = (Message("system", system),) if system else ()
    return Input("test:0", task, (*first, Message("user", text)), "0")


async def test_direct_asks_the_input_as_it_stands():
    x = asked(system="Be brief.")
    llm = Scripted(answer="nu")
    assert as_samples(await direct(x, llm)) == (Sample("nu", True),)
    assert llm.asked == [("answer", 0, x.messages)]


async def test_rar_1step_is_figure_3():
    llm = Scripted(answer="Reworded. nu")
    assert (await rar_1step(asked(), llm)).text == "Reworded. nu"
    assert llm.texts("answer") == [
        LETTERS + "\n\nReword and elaborate on the inquiry, then provide an answer."
    ]


async def test_rar_2step_is_figure_4_for_letters():
    llm = Scripted(rephrase='\n Join "Mon" and "Pelu". \n', respond='"nu"')
    assert as_samples(await rar_2step(asked(), llm)) == (Sample('"nu"', True),)
    assert llm.texts("rephrase") == [
        LETTERS + "\n\nBased on the details given in the initial inquiry, could you kindly rephrase the "
        "question and separate these 2 words in the revised question? Please ensure these 2 words remain "
        "unchanged from the original question."
    ]
    assert llm.texts("respond") == ['Join "Mon" and "Pelu".']


async def test_rar_2step_is_figure_5_for_the_coin():
    llm = Scripted(rephrase="Is it heads?", respond="Yes.")
    await rar_2step(asked("Is the coin still heads up?", "coin_flip"), llm)
    (rephrase,) = llm.texts("rephrase")
    assert rephrase.startswith("Is the coin still heads up?\n\nBased on the information provided")
    assert rephrase.endswith("while preserving all the details from the original query.")
    assert llm.texts("respond") == ["Is it heads? Answer the Yes or No question."]


async def test_the_scripted_model_shows_a_program_no_thoughts():
    thinking = scripted.Scripted(
        rephrase="<think>\nThey ask of a coin.\n</think>\n\nIs it heads up?",
        respond=["<think>\nYes?\n</think>\n\nNo", "<think>\nYes, no, wait"],
    )
    samples = as_samples(await rar_2step(asked(), thinking, answers=2))
    assert thinking.asked["respond"] == ["Is it heads up?"] * 2
    assert samples == (Sample("No", True), Sample("", False))
    lost = scripted.Scripted(rephrase="<think>\nThey ask of")
    assert as_samples(await rar_2step(asked(), lost)) == (Sample("", False),)


async def test_a_task_of_another_name_gets_the_general_wording_unless_told():
    llm = Scripted(rephrase="Q", respond="A")
    await rar_2step(asked(task="my_coins"), llm)
    await rar_2step(asked(task="my_coins"), llm, prompt="coin_flip")
    assert llm.texts("respond") == ["Q", "Q Answer the Yes or No question."]


async def test_several_answers_share_a_rephrasing_and_keep_their_order():
    llm = Scripted(rephrase="Q", respond=[str(index) for index in range(8)])
    samples = as_samples(await rar_2step(asked(), llm, answers=8))
    assert [sample.text for sample in samples] == [str(index) for index in range(8)]
    assert len(llm.texts("rephrase")) == 1
    assert [index for step, index, _ in llm.asked if step == "respond"] == list(range(8))


@pytest.mark.parametrize("rephrasing", [Reply("  \n"), Reply("What is the", finished=False)])
async def test_a_lost_rephrasing_is_not_answered_but_counts(rephrasing: Reply):
    llm = Scripted(rephrase=rephrasing)
    assert as_samples(await rar_2step(asked(), llm, answers=3)) == (Sample("", False),) * 3
    assert len(llm.asked) == 1


async def test_a_failing_call_ends_the_others():
    async def llm(prompt: str | Messages, *, step: str, index: int = 0) -> Reply:
        if step == "respond" and index == 1:
            raise RuntimeError("lost")
        if step == "respond":
            await asyncio.sleep(60)
        return Reply("Q")

    with pytest.raises(ExceptionGroup) as caught:
        await asyncio.wait_for(rar_2step(asked(), llm, answers=3), timeout=5)
    assert [str(error) for error in caught.value.exceptions] == ["lost"]


async def test_earlier_turns_stay():
    llm = Scripted(rephrase="Q", respond="A")
    await rar_2step(asked(system="Be brief."), llm)
    assert all(messages[0] == Message("system", "Be brief.") for _, _, messages in llm.asked)


async def test_model_text_is_never_expanded():
    nasty = "{rephrased} {question} {0} {"
    llm = Scripted(rephrase=nasty, respond=nasty)
    await rar_2step(asked(nasty, "coin_flip"), llm)
    assert llm.texts("rephrase")[0].startswith(nasty + "\n\n")
    assert llm.texts("respond") == [nasty + " Answer the Yes or No question."]


def test_fill_is_one_pass_over_the_template():
    assert fill("{a}-{b}-{c}", a="{b}", b="{a}") == "{b}-{a}-{c}"
    assert fill("{a}", a=r"\1 \g<0>") == r"\1 \g<0>"


def test_fill_refuses_to_lose_text():
    with pytest.raises(ValueError) as caught:
        fill("{question}", question="q", rephrased="r")
    assert "no {rephrased} slot" in str(caught.value)


def test_every_prompt_file_has_its_slot_and_a_variant_that_is_offered():
    for path in PROMPTS.glob("rar_*.txt"):
        text = path.read_text()
        slot = "{rephrased}" if ".respond." in path.name else "{question}"
        assert text.count(slot) == text.count("{") == 1, path.name
        assert text.endswith("\n"), path.name
        variant = path.name.split(".")[2] if path.name.count(".") == 3 else "default"
        assert variant in typing.get_args(Variant), path.name
    assert not load("rar_1step").endswith("\n")


def test_samples_of_every_kind_of_output():
    cut = Reply("cut", finished=False)
    assert as_samples("a") == (Sample("a", True),)
    assert as_samples(cut) == (Sample("cut", False),)
    assert as_samples(["a", cut]) == (Sample("a", True), Sample("cut", False))
    assert as_samples([]) == ()


@pytest.mark.parametrize("output", [None, 3, b"a", [None], ["a", 3], [["a"]]])
def test_another_output_is_an_error_in_words(output: object):
    with pytest.raises(TypeError) as caught:
        as_samples(typing.cast(str, output))
    assert "must return a Reply, a str, or a list of those" in str(caught.value)
