"""The wording that the paper's figures hang on, and what is read from replies to it: changed only on purpose."""

import hashlib

import pytest

from s2d_loop.config import CurateConfig
from s2d_loop.curate.judge import PERTURBATION_DISAGREES, curate
from s2d_loop.curate.vote import LOW_SHARE
from s2d_loop.records import KEPT, Generation, Input, Message, Reply, Sample, Twin
from s2d_loop.reproduce.of_rar import TABLE_6
from s2d_loop.system2 import usc
from s2d_loop.system2.bsm import bsm, verdict
from s2d_loop.system2.prompts import PROMPTS, load
from s2d_loop.system2.scores import scores
from s2d_loop.tasks.pairwise import Pairwise, judge_prompt, pair_parts

PINNED = {
    # Figures 3 to 5
    "rar_1step": "{question}\n\nReword and elaborate on the inquiry, then provide an answer.",
    "rar_2step.rephrase.last_letters": (
        "{question}\n\nBased on the details given in the initial inquiry, could you kindly rephrase the question and "
        "separate these 2 words in the revised question? Please ensure these 2 words remain unchanged from the original "
        "question."
    ),
    "rar_2step.respond.default": "{rephrased}",
    "rar_2step.rephrase.default": (
        "{question}\n\nBased on the information provided in the original query, could you please rephrase it and expand "
        "it to help you do better answering. Please ensure that your response solely includes the reformulated question, "
        "excluding any introductory phrases or explanatory remarks, while preserving all the details from the original "
        "query."
    ),
    "rar_2step.respond.coin_flip": "{rephrased} Answer the Yes or No question.",
    # Figure 6
    "s2a.extract": (
        "Given the following text by a user, extract the part that is unbiased and not their opinion, so that using that "
        "text alone would be good context for providing an unbiased answer to the question portion of the text. Please "
        "include the actual question or query that the user is asking. Separate this into two categories labeled with "
        '"Unbiased text context (includes all content except user\'s bias):" and "Question/Query (does not include user '
        'bias/preference):".\n\nText by User: {question}'
    ),
    "s2a.answer": "{extracted}\n\nAnswer in an unbiased way.",
    # Figures 7 to 9
    "bsm.branch": (
        "We want to evaluate the quality of the responses provided by two AI assistants to the user question displayed "
        "below. Your task is to propose an evaluation plan that can be executed to compare the two responses. The "
        "evaluation plan should consist of a list of up to five factors that one should consider such as helpfulness, "
        "relevance, accuracy, etc. In each line, write an evaluation criterion along with a short description of how we "
        "should evaluate that criterion.\n\nUser Question: {question}\n\nEvaluation Plan:"
    ),
    "bsm.solve": (
        "You are given a user question and responses provided by two AI assistants. Your task is to evaluate and score "
        "the quality of the responses based on a single evaluation criterion displayed below. Make sure to evaluate only "
        "based on the criterion specified and none other. In the first line, provide a score between 1 to 5 for Assistant "
        "A's response. In the second line, provide a score between 1 to 5 for Assistant B's response.\n\n[User Question]\n"
        "{question}\n[The Start of Assistant A's Answer]\n{answer_a}\n[The End of Assistant A's Answer]\n[The Start of "
        "Assistant B's Answer]\n{answer_b}\n[The End of Assistant B's Answer]\n[Evaluation Criterion]\n{criterion}\n[End "
        "of Evaluation Criterion]\nEvaluation of {name}:"
    ),
    "bsm.merge": (
        "{solved}\n\nInstruction: You are requested to combine the five points that were previously discussed. For each "
        "point, provide a concise explanation to clarify its relevance. Also, include the respective score for each point "
        "to ensure a thorough understanding. Once you've done this, please draft a summary paragraph that encapsulates an "
        "overall evaluation based on these five points. Finally, present your conclusive judgement. Use the format "
        '"[[A]]" if you determine assistant A to be superior, "[[B]]" if you find assistant B to be better, and "[[C]]" '
        "in case of a tie."
    ),
    # Figure 10
    "cot": (
        "Your task is to answer the question below. Give step by step reasoning before you answer, and when you're ready "
        'to answer, please use the format "Final answer: ..."\nQuestion: {question}\nSolution:'
    ),
    # Figure 13
    "judge": (
        "Please act as an impartial judge and evaluate the quality of the responses provided by two AI assistants to the "
        "user question displayed below. Output your final verdict by strictly following this format: "
        '"[[A]]" if assistant A is better, "[[B]]" if assistant B is better, and "[[C]]" for a tie.\n\n[User Question]\n'
        "{question}\n\n[The Start of Assistant A's Answer]\n{answer_a}\n[The End of Assistant A's Answer]\n\n[The Start of "
        "Assistant B's Answer]\n{answer_b}\n[The End of Assistant B's Answer]"
    ),
    # Ours: Figure 12 is an image, and the CoT judge's prompt isn't printed.  These are Chen et al.'s and FastChat's.
    "usc": (
        "I have generated the following responses to the question: {question}\n\n{responses}\nEvaluate these responses.\n"
        "Select the most consistent response based on majority consensus.\nStart your answer with "
        '"The most consistent response is Response X" (without quotes).'
    ),
    "judge_cot.system": (
        "Please act as an impartial judge and evaluate the quality of the responses provided by two AI assistants to the "
        "user question displayed below. You should choose the assistant that follows the user's instructions and answers "
        "the user's question better. Your evaluation should consider factors such as the helpfulness, relevance, "
        "accuracy, depth, creativity, and level of detail of their responses. Begin your evaluation by comparing the two "
        "responses and provide a short explanation. Avoid any position biases and ensure that the order in which the "
        "responses were presented does not influence your decision. Do not allow the length of the responses to influence "
        "your evaluation. Do not favor certain names of the assistants. Be as objective as possible. After providing your "
        'explanation, output your final verdict by strictly following this format: "[[A]]" if assistant A is better, '
        '"[[B]]" if assistant B is better, and "[[C]]" for a tie.'
    ),
    "judge_cot.user": (
        "[User Question]\n{question}\n\n[The Start of Assistant A's Answer]\n{answer_a}\n[The End of Assistant A's "
        "Answer]\n\n[The Start of Assistant B's Answer]\n{answer_b}\n[The End of Assistant B's Answer]"
    ),
}
"""By the prompt's file: the text as the paper prints it."""
NOT_THE_PAPERS = {
    "self_refine.critique": "835797dd459c8909",
    "self_refine.revise": "108618512f7164fe",
    "tree_of_thoughts.answer": "3669612d77dc1937",
    "tree_of_thoughts.propose": "0ea51d2f7641cd12",
    "tree_of_thoughts.value": "ed91448280830418",
}
"""Prompts of methods that the paper prints none of: by the prompt's file, the digest of the text."""


@pytest.mark.parametrize("name", PINNED)
def test_a_prompt_is_the_papers(name: str) -> None:
    assert load(name) == PINNED[name]


@pytest.mark.parametrize("name", NOT_THE_PAPERS)
def test_a_prompt_of_our_own_changes_only_on_purpose(name: str) -> None:
    assert hashlib.sha256(load(name).encode()).hexdigest()[:16] == NOT_THE_PAPERS[name]


def test_every_prompt_of_the_papers_methods_is_pinned() -> None:
    assert {path.stem for path in PROMPTS.glob("*.txt")} == {*PINNED, *NOT_THE_PAPERS}


def test_the_judges_prompt_is_filled_in_as_figure_13_shows() -> None:
    filled = judge_prompt("Q?", "first", "second")
    assert filled.endswith("[The End of Assistant B's Answer]")
    assert "[User Question]\nQ?\n\n[The Start of Assistant A's Answer]\nfirst\n" in filled
    assert hashlib.sha256(filled.encode()).hexdigest()[:16] == "16bb6a129ce3f8ad"


def test_table_6_has_the_papers_three_endings() -> None:
    for section in ("System 1", "Distill System 1", "Distill System 2"):
        rows = [row for row in TABLE_6.rows if row.section == section]
        assert [row.overrides for row in rows] == [
            (),
            ("system1_suffix=Flip means reverse.",),
            ("system1_suffix=Flip means reverse. Answer the Yes or No question.",),
        ]


def question(text: str = "Which?") -> Input:
    return Input("s:f#0", "t", (Message("user", text),), "h")


async def test_candidates_of_a_selection_are_counted_from_0() -> None:
    shown: list[str] = []

    async def llm(prompt: object, *, step: str, index: int = 0, shared: bool = False) -> Reply:
        shown.append(prompt[-1].content)  # type: ignore[index]
        return Reply("The most consistent response is Response 0.")

    chosen = await usc.select(question(), ["first", "second", "third"], llm, 2)
    assert chosen.chosen == 0, "the first, not none and not the one before it"
    assert "question: Which?\n\nResponse 0: first\n\nResponse 1: second\n\nResponse 2: third\n" in shown[0]
    assert usc.parse("The most consistent response is Response 2") == 2


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("Assistant A: 4/10\nAssistant B: 3/5", (None, 3)),
        ("Assistant A: 4 out of 10\nAssistant B: 3 out of 5", (None, 3)),
        ("Score: 4/10\nScore: 3/5", (None, 3)),
        ("Assistant A: four out of ten\nAssistant B: three out of five", (None, 3)),
        ("Assistant A: ?/5 points\nAssistant B: 3 points", (None, 3)),
        ("Assistant A: 1,2/4/5\nAssistant B: 3", (None, 3)),
        ("Assistant A: 4/5\nAssistant B: 2/5", (4, 2)),
    ],
)
def test_a_score_of_ten_is_none_of_five(text: str, read: tuple[int | None, int | None]) -> None:
    assert scores(text) == read


def test_a_criterion_scored_of_ten_is_left_out_of_the_average() -> None:
    assert verdict(["Assistant A: 4/10\nAssistant B: 3/5"]) == "", "none is left, so there is no verdict"
    assert verdict(["Assistant A: 4/10\nAssistant B: 3/5", "Assistant A: 2/5\nAssistant B: 3/5"]) == "[[B]]"


async def test_bsm_reads_its_scores_so() -> None:
    async def llm(prompt: object, *, step: str, index: int = 0, shared: bool = False) -> Reply:
        if step == "branch":
            return Reply("1. Accuracy: is it right?\n2. Depth: is it deep?")
        return Reply(["Assistant A: 4/10\nAssistant B: 1/5", "Assistant A: 2/5\nAssistant B: 5/5"][index])

    x = Input("s:f#0", "t", (Message("user", judge_prompt("Q", "a", "b")),), "h", pair_parts("Q", "a", "b"))
    assert await bsm(x, llm) == "[[B]]"


def judged(own: str, twin: str) -> Generation:
    """A pair with samples such as `AAAB`, and its twin's."""

    def samples(letters: str) -> tuple[Sample, ...]:
        return tuple(Sample(f"[[{letter}]]", True) for letter in letters)

    return Generation(
        question(), "w", "p", samples(own), (), (Twin("swap", samples(twin)),), (), len(own), 1, 0, None
    )


def test_min_share_is_of_the_inputs_own_samples_and_its_twins_need_only_agree() -> None:
    config = CurateConfig(perturbations=["swap"], min_share=0.75)
    task = Pairwise()
    assert curate(judged("AAAB", "BBBA"), task, config, 0).reason == KEPT
    assert curate(judged("AAAB", "BBACC"), task, config, 0).reason == PERTURBATION_DISAGREES, (
        "a tie agrees with nobody"
    )
    assert curate(judged("AAAB", "BBAC"), task, config, 0).reason == KEPT, "half of the twin's is enough"
    assert curate(judged("AAB", "BBB"), task, config, 0).reason == LOW_SHARE, "two thirds of its own are not"
    assert curate(judged("AAA?", "BBB"), task, config, 0).reason == KEPT
    assert curate(judged("AAA??", "BBB"), task, config, 0).reason == LOW_SHARE, "what can't be read counts"
    assert curate(judged("AAAB", "AAAB"), task, config, 0).reason == PERTURBATION_DISAGREES
