"""Measures where a model folder starts, with transformers alone.

    python -m s2d_loop.testbed.measure --model s2d_loop/testbed/model

Prints, per task, how often the held-out inputs are answered rightly by System 1
(greedy, the question alone), by one sample of System 2 (two-step Rephrase and
Respond), and by a vote of several, with 95 % Wilson intervals and tokens per
answer. Only the scoring at the end looks at the answers.
"""

import argparse
import json
import math
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import get_args

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaForCausalLM
from transformers import PreTrainedTokenizerBase as Tokenizer

from s2d_loop.testbed import DATA_DIR, MODEL_DIR
from s2d_loop.testbed.sampling import generate
from s2d_loop.testbed.world import STEP1, STEP2, Task, parse

# 95 % of a normal distribution lies within this many standard deviations.
Z95 = 1.96
# About twice the longest rephrasing and the longest reply of this world.
REPHRASE_TOKENS = 96
ANSWER_TOKENS = 24


@dataclass(frozen=True)
class Figure:
    """One row of the table."""

    task: str
    way: str
    num_right: int
    num_inputs: int
    low: float
    high: float
    tokens_per_answer: float


def wilson(right: int, total: int) -> tuple[float, float]:
    """The 95 % interval of a share."""
    share, z2 = right / total, Z95**2
    middle = share + z2 / (2 * total)
    spread = Z95 * math.sqrt(share * (1 - share) / total + z2 / (4 * total**2))
    return (middle - spread) / (1 + z2 / total), (middle + spread) / (1 + z2 / total)


def plurality(votes: list[str | None]) -> str | None:
    """The answer with more votes than any other, or None. Unparsed votes can't win."""
    ranked = Counter(vote for vote in votes if vote is not None).most_common(2)
    if not ranked or (len(ranked) == 2 and ranked[0][1] == ranked[1][1]):
        return None
    return ranked[0][0]


def system2(
    model: LlamaForCausalLM, tokenizer: Tokenizer, task: Task, questions: list[str], heat: float
) -> list[tuple[str | None, int]]:
    """One two-step sample a question: its parsed answer and the tokens of both calls."""
    prompts = [STEP1[task].format(question=question) for question in questions]
    first = generate(model, tokenizer, prompts, temperature=heat, max_tokens=REPHRASE_TOKENS)
    prompts = [STEP2[task].format(question=reply.text) for reply in first]
    second = generate(model, tokenizer, prompts, temperature=heat, max_tokens=ANSWER_TOKENS)
    return [(parse(task, b.text), a.num_tokens + b.num_tokens) for a, b in zip(first, second, strict=True)]


def figure(task: Task, way: str, rights: list[bool], tokens: float) -> Figure:
    """Score one way of answering; `rights` may count an input once per sample."""
    low, high = wilson(sum(rights), len(rights))
    return Figure(task, way, sum(rights), len(rights), low, high, tokens)


def measure(
    model: LlamaForCausalLM,
    tokenizer: Tokenizer,
    task: Task,
    rows: list[dict[str, str]],
    *,
    votes: int,
    temperature: float,
) -> list[Figure]:
    """All figures of one task."""
    questions = [row["prompt"] for row in rows]
    direct = generate(model, tokenizer, questions, temperature=0.0, max_tokens=ANSWER_TOKENS)
    repeated = [question for question in questions for _ in range(votes)]
    sampled = system2(model, tokenizer, task, repeated, temperature)

    answers = [row["answer"] for row in rows]
    groups = [sampled[i * votes : (i + 1) * votes] for i in range(len(rows))]
    direct_right = [parse(task, r.text) == a for r, a in zip(direct, answers, strict=True)]
    # The first sample of each input only: samples of one input are not independent.
    single_right = [g[0][0] == a for g, a in zip(groups, answers, strict=True)]
    vote_right = [plurality([v for v, _ in g]) == a for g, a in zip(groups, answers, strict=True)]
    per_sample = sum(tokens for _, tokens in sampled) / len(sampled)
    return [
        figure(task, "System 1", direct_right, sum(r.num_tokens for r in direct) / len(rows)),
        figure(task, "System 2, one sample", single_right, per_sample),
        figure(task, f"System 2, vote of {votes}", vote_right, per_sample * votes),
    ]


def main() -> None:
    """Measure a model folder on the held-out inputs."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--model", type=Path, default=MODEL_DIR)
    parser.add_argument("--data", type=Path, default=DATA_DIR)
    parser.add_argument("--inputs", type=int, default=500, help="held-out inputs a task")
    parser.add_argument("--votes", type=int, default=8)
    parser.add_argument("--temperature", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="write the figures here too")
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    tokenizer = AutoTokenizer.from_pretrained(args.model)
    model = AutoModelForCausalLM.from_pretrained(args.model).eval()
    figures: list[Figure] = []
    print(f"{'task':14}{'answered by':22}{'right':>8}   {'95 % interval':16}{'tokens':>7}")
    for task in get_args(Task):
        lines = (args.data / f"{task}.heldout.jsonl").read_text(encoding="utf-8").splitlines()
        rows = [json.loads(line) for line in lines[: args.inputs]]
        found = measure(model, tokenizer, task, rows, votes=args.votes, temperature=args.temperature)
        for f in found:
            share, interval = f.num_right / f.num_inputs, f"{f.low:.1%} - {f.high:.1%}"
            print(f"{f.task:14}{f.way:22}{share:8.1%}   {interval:16}{f.tokens_per_answer:7.1f}")
        figures += found
    if args.json:
        text = json.dumps([asdict(f) for f in figures], indent=2)
        args.json.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
