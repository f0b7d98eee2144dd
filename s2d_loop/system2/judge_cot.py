"""A judge that explains itself before its verdict (the paper's section 4.4: "CoT" in the judge table).

The paper doesn't print this prompt.  `judge_cot.system` and `judge_cot.user` are `pair-v2` of LMSYS
FastChat's judge prompts (github.com/lm-sys/FastChat, fastchat/llm_judge/data/judge_prompts.jsonl;
Zheng et al., 2023), licensed under Apache-2.0.
"""

from s2d_loop.records import Input, Message, Reply
from s2d_loop.system2.base import LLM
from s2d_loop.system2.prompts import fill, load


async def judge_cot(x: Input, llm: LLM) -> Reply:
    """Compare x's two answers in words; the verdict stands at the end of the reply."""
    user = fill(
        load("judge_cot.user"),
        question=x.part("question"),
        answer_a=x.part("answer_a"),
        answer_b=x.part("answer_b"),
    )
    return await llm((Message("system", load("judge_cot.system")), Message("user", user)), step="judge")
