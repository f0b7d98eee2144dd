"""Each program against a scripted model: what it asks, in which order, and what it returns."""

import json
from pathlib import Path

import pytest

from s2d_loop.errors import BadInputError
from s2d_loop.records import Input, Message, Part, Reply, Sample
from s2d_loop.system2.base import as_samples
from s2d_loop.system2.bsm import bsm, verdict
from s2d_loop.system2.cot import cot
from s2d_loop.system2.few_shot import cot_few_shot, direct_few_shot
from s2d_loop.system2.judge_cot import judge_cot
from s2d_loop.system2.prompts import PROMPTS, load
from s2d_loop.system2.registry import load_method
from s2d_loop.system2.s2a import s2a
from s2d_loop.system2.self_refine import self_refine
from s2d_loop.system2.tree_of_thoughts import parse_value, tree_of_thoughts
from tests.support.programs import Scripted

LOST = (Sample("", False),)
SYSTEM = Message("system", "Be brief.")


def asked(text: str = "Who wrote Emma?") -> Input:
    return Input("test:0", "qa", (SYSTEM, Message("user", text)), "0")


PAIR = Input(
    "test:1",
    "judge",
    (SYSTEM, Message("user", "Which answer is better?")),
    "1",
    (Part("question", "Why is it {wet}?"), Part("answer_a", "Rain."), Part("answer_b", "No {question}.")),
)


# System 2 Attention


async def test_s2a_is_figure_6():
    llm = Scripted(extract="\n Context: none. Query: who wrote it? ", answer="Austen")
    assert as_samples(await s2a(asked(), llm)) == (Sample("Austen", True),)
    (extract,) = llm.texts("extract")
    assert extract.startswith("Given the following text by a user, extract the part that is unbiased")
    assert extract.endswith("\n\nText by User: Who wrote Emma?")
    assert llm.texts("answer") == ["Context: none. Query: who wrote it?\n\nAnswer in an unbiased way."], (
        "all of the first stage's text, and nothing of the input"
    )
    assert all(messages[0] == SYSTEM for _, _, messages in llm.asked)


@pytest.mark.parametrize("extracted", [Reply(" \n"), Reply("Unbiased text cont", finished=False)])
async def test_s2a_does_not_answer_a_lost_question(extracted: Reply):
    llm = Scripted(extract=extracted)
    assert as_samples(await s2a(asked(), llm)) == LOST


# Chain of thought


async def test_cot_is_figure_10():
    llm = Scripted(answer="1 + 1 = 2. Final answer: 2")
    assert (await cot(asked("What is 1 + 1?"), llm)).text == "1 + 1 = 2. Final answer: 2"
    assert llm.texts("answer") == [
        "Your task is to answer the question below. Give step by step reasoning before you answer, and when "
        'you\'re ready to answer, please use the format "Final answer: ..."\nQuestion: What is 1 + 1?\nSolution:'
    ]


ROWS = [
    {"question": f"What is {n} + 1?", "answer": f"{n}+1 = <<{n}+1={n + 1}>>{n + 1}\n#### {n + 1}"}
    for n in range(12)
]


@pytest.fixture
def examples(tmp_path: Path) -> str:
    path = tmp_path / "train.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in ROWS) + "\n")
    return str(path)


def turns(llm: Scripted) -> list[tuple[str, str]]:
    ((_, _, messages),) = llm.asked
    return [(message.role, message.content) for message in messages]


async def test_few_shots_are_the_first_rows_as_earlier_turns(examples: str):
    llm = Scripted(answer="Final answer: 9")
    await cot_few_shot(asked("What is 4 + 5?"), llm, examples=examples)
    said = turns(llm)
    assert said[0] == ("system", "Be brief.")
    assert said[1:3] == [("user", "What is 0 + 1?"), ("assistant", "0+1 = 1\nFinal answer: 1")]
    assert said[-1] == ("user", "What is 4 + 5?")
    assert len(said) == 1 + 2 * 8 + 1


async def test_system_1_few_shot_has_the_same_rows_without_the_reasoning(examples: str):
    two, one = Scripted(answer=""), Scripted(answer="")
    await cot_few_shot(asked(), two, examples=examples, num_shots=3)
    await direct_few_shot(asked(), one, examples=examples, num_shots=3)
    assert [text for role, text in turns(one) if role == "assistant"] == [
        f"Final answer: {n}" for n in (1, 2, 3)
    ]
    assert [turn for turn in turns(one) if turn[0] == "user"] == [
        turn for turn in turns(two) if turn[0] == "user"
    ]


async def test_kept_pairs_are_examples_as_they_stand(tmp_path: Path):
    path = tmp_path / "pool.jsonl"
    said = {
        "prompt": [{"role": "user", "content": "What is 1 + 1?"}],
        "completion": [{"role": "assistant", "content": "Two."}],
    }
    path.write_text(json.dumps(said))
    llm = Scripted(answer="")
    await direct_few_shot(asked(), llm, examples=str(path), num_shots=1)
    assert turns(llm)[1:3] == [("user", "What is 1 + 1?"), ("assistant", "Two.")]
    with pytest.raises(BadInputError, match="no reasoning to show: use direct_few_shot"):
        await cot_few_shot(asked(), llm, examples=str(path), num_shots=1)


async def test_an_input_that_is_an_example_is_not_shown_its_own_answer(examples: str):
    llm = Scripted(answer="")
    await cot_few_shot(asked("What is 2 + 1?"), llm, examples=examples)
    questions = [text for role, text in turns(llm) if role == "user"]
    assert questions == [f"What is {n} + 1?" for n in (0, 1, 3, 4, 5, 6, 7, 8, 2)]
    llm = Scripted(answer="")
    await cot_few_shot(asked("What is 2 + 1?"), llm, examples=examples, num_shots=12)
    assert len(turns(llm)) == 1 + 2 * 11 + 1, "with no row to spare, one fewer"


async def test_too_few_examples_are_an_error_in_words(examples: str):
    with pytest.raises(BadInputError, match="holds 12 examples, and num_shots is 13"):
        await cot_few_shot(asked(), Scripted(answer=""), examples=examples, num_shots=13)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "can't be read: No such file"),
        ("", "holds no examples"),
        ("not json\n", "is not of the form"),
        ('{"question": "q"}\n', "KeyError"),
        ('{"question": "q", "answer": 3}\n', "is not of the form"),
        ("[1]\n", "is not of the form"),
        ('{"question": "q", "answer": "72"}\n', "nothing before or after '####'"),
        ('{"prompt": [], "completion": []}\n', "is not of the form"),
    ],
)
def test_a_file_that_is_no_examples_is_found_before_the_run(tmp_path: Path, text: str | None, said: str):
    path = tmp_path / "examples.jsonl"
    if text is not None:
        path.write_text(text)
    with pytest.raises(BadInputError, match=said) as caught:
        load_method("direct_few_shot", {"examples": str(path)}, key="system1_method")
    assert str(caught.value).startswith("system1_method.options.examples: ")


def test_few_shot_programs_need_their_examples():
    with pytest.raises(BadInputError, match="examples: 'cot_few_shot' needs it"):
        load_method("cot_few_shot", {})


# Judges


async def test_judge_cot_asks_with_a_system_turn_of_its_own():
    llm = Scripted(judge="A is better. [[A]]")
    assert (await judge_cot(PAIR, llm)).text == "A is better. [[A]]"
    ((_, _, (system, user)),) = llm.asked
    assert system.role == "system"
    assert system.content.startswith("Please act as an impartial judge")
    assert system.content.endswith('"[[B]]" if assistant B is better, and "[[C]]" for a tie.')
    assert user.content == (
        "[User Question]\nWhy is it {wet}?\n\n[The Start of Assistant A's Answer]\nRain.\n"
        "[The End of Assistant A's Answer]\n\n[The Start of Assistant B's Answer]\nNo {question}.\n"
        "[The End of Assistant B's Answer]"
    )


PLAN = "1. Relevance: on topic?\n2. Depth: enough of it?"


async def test_bsm_branches_on_the_question_and_solves_each_criterion():
    llm = Scripted(branch=PLAN, solve=["Assistant A: 4\nAssistant B: 2", "3/5\n4/5"])
    assert await bsm(PAIR, llm) == "[[A]]"
    (branch,) = llm.texts("branch")
    assert branch.startswith("We want to evaluate the quality of the responses")
    assert branch.endswith("\n\nUser Question: Why is it {wet}?\n\nEvaluation Plan:")
    assert "Rain." not in branch, "the plan is about the question, whatever the answers"
    assert llm.shared == {"branch"}
    first, second = llm.texts("solve")
    assert "[The Start of Assistant A's Answer]\nRain.\n[The End" in first
    assert "[The Start of Assistant B's Answer]\nNo {question}.\n[The End" in first
    assert first.endswith(
        "[Evaluation Criterion]\nRelevance: on topic?\n[End of Evaluation Criterion]\nEvaluation of Relevance:"
    )
    assert second.endswith("Evaluation of Depth:")
    assert [index for step, index, _ in llm.asked if step == "solve"] == [0, 1]


async def test_bsm_merges_by_the_model_over_what_was_solved():
    llm = Scripted(branch=PLAN, solve=["A good, B bad. ", "  "], merge="Overall: [[A]]")
    assert as_samples(await bsm(PAIR, llm, merge="llm")) == (Sample("Overall: [[A]]", True),)
    (merge,) = llm.texts("merge")
    assert merge.startswith("Evaluation of Relevance:\nA good, B bad.\n\nInstruction: You are requested")
    assert merge.endswith('"[[C]]" in case of a tie.')


@pytest.mark.parametrize("merge", ["score", "llm"])
async def test_bsm_without_a_plan_or_a_judgement_says_nothing(merge: str):
    no_plan = Scripted(branch="I can't help with that.")
    assert as_samples(await bsm(PAIR, no_plan, merge=merge)) == (Sample("", True),)
    assert len(no_plan.asked) == 1
    empty = Scripted(branch=PLAN, solve=["", " \n"])
    assert as_samples(await bsm(PAIR, empty, merge=merge)) == (Sample("", True),)


async def test_bsm_trusts_no_line_that_was_cut_off():
    plan = Reply("1. Relevance: a\n2. Dep", finished=False)
    llm = Scripted(branch=plan, solve=Reply("Assistant A: 2\nAssistant B: 3\nBecause", finished=False))
    assert await bsm(PAIR, llm) == "[[B]]"
    assert len(llm.texts("solve")) == 1
    llm = Scripted(branch=plan, solve=Reply("Assistant A: 2\nAssistant B: 4", finished=False))
    assert await bsm(PAIR, llm) == "", "it may have been about to say 4.5"


async def test_bsm_takes_so_many_criteria_at_most():
    llm = Scripted(branch="\n".join(f"{n}. Point {n}: x" for n in range(1, 8)), solve="4\n3")
    await bsm(PAIR, llm)
    await bsm(PAIR, llm, max_criteria=2)
    assert len(llm.texts("solve")) == 5 + 2


@pytest.mark.parametrize(
    ("solved", "said"),
    [
        (["5\n1", "2\n3"], "[[A]]"),
        (["5\n1", "1\n5"], "[[C]]"),
        (["4.1\n4", "3.9\n4"], "[[C]]"),  # exact: floats would find a winner here
        (["5\n1", "Assistant A: 2", "2\n4", "1\n4"], "[[B]]"),  # a criterion without both scores is left out
        (["Assistant A: 5", "Assistant B: 1"], ""),
        ([], ""),
    ],
)
def test_the_verdict_is_the_higher_average(solved: list[str], said: str):
    assert verdict(solved) == said


# Past the paper


async def test_self_refine_drafts_criticises_and_revises():
    llm = Scripted(draft="Bronte", critique=["Wrong sister.", "No changes needed."], revise=["Austen"])
    assert (await self_refine(asked(), llm, rounds=3)).text == "Austen"
    assert [(step, index) for step, index, _ in llm.asked] == [
        ("draft", 0), ("critique", 0), ("revise", 0), ("critique", 1),
    ]  # fmt: skip
    (revise,) = llm.texts("revise")
    assert "Who wrote Emma?" in revise
    assert "Bronte" in revise
    assert "Wrong sister." in revise


@pytest.mark.parametrize("critique", [Reply(" "), Reply("It is", finished=False)])
async def test_self_refine_keeps_the_answer_when_the_critique_is_lost(critique: Reply):
    assert (
        await self_refine(asked(), Scripted(draft="Austen", critique=critique), rounds=2)
    ).text == "Austen"


@pytest.mark.parametrize("draft", [Reply(""), Reply("Aust", finished=False)])
async def test_self_refine_does_not_criticise_a_lost_draft(draft: Reply):
    llm = Scripted(draft=draft)
    assert await self_refine(asked(), llm) == draft
    assert len(llm.asked) == 1


async def test_tree_of_thoughts_keeps_the_best_lines():
    llm = Scripted(
        propose=["a", "b", "-", "-", "c", "d", "e", " "],
        value=["3", "Value: 9/10", "-", "-", "unsure", "8", "10", "-"],
        answer="Austen",
    )
    reply = await tree_of_thoughts(asked(), llm, depth=2, proposals=2, keep=2)
    assert reply.text == "Austen"
    # First a and b; then two more steps behind each, b's line first because it is the better one.
    assert [index for step, index, _ in llm.asked if step == "propose"] == [0, 1, 4, 5, 6, 7]
    assert [("1. b" in text, "1. a" in text) for text in llm.texts("propose")[2:]] == [
        (True, False), (False, True), (True, False), (False, True),
    ]  # fmt: skip
    assert len(llm.texts("value")) == 5, "an empty step is no step"
    assert llm.texts("answer") == ["Who wrote Emma?\n\nUse these steps:\n1. b\n2. e"]


async def test_tree_of_thoughts_that_cannot_grow_answers_from_what_there_is():
    llm = Scripted(propose=["a", "", "", ""], value="5", answer="Austen")
    assert (await tree_of_thoughts(asked(), llm, proposals=2, keep=1)).text == "Austen"
    assert llm.texts("answer")[0].endswith("\n1. a")
    lost = Scripted(propose=Reply("one", finished=False))
    assert as_samples(await tree_of_thoughts(asked(), lost)) == LOST


@pytest.mark.parametrize(
    ("reply", "value"),
    [("7", 7), ("**10**.", 10), ("0/10", 0), ("", 0), ("8 of 10", 8), ("3.5", 0), ("11", 0)],
)
def test_values(reply: str, value: int):
    assert parse_value(reply) == value


# Prompts


def test_every_prompt_is_filled_by_its_program_and_ends_in_one_line_break():
    for path in PROMPTS.glob("*.txt"):
        text = path.read_text(encoding="utf-8")
        assert text.endswith("\n"), path.name
        assert not text.endswith("\n\n"), path.name
        assert load(path.stem) == text[:-1]
