"""Canaries: fixed token rows and the log-probabilities that a model gives them.

The trainer writes `canaries.json` into an export, with its own forward pass in float32.  An engine
that gives the same rows the same log-probabilities serves these weights.

    {"version": 1, "dtype": "float32",
     "canaries": [{"token_ids": [...], "num_prompt_tokens": n, "logprobs": [...]}, ...]}

`token_ids` are prompt and continuation; `logprobs` has one entry a continuation token.
"""

import json
import random
from pathlib import Path
from typing import TYPE_CHECKING, Any

from s2d_loop.train.batch import Tokenizer

if TYPE_CHECKING:
    import torch

FILE = "canaries.json"
PROMPTS = (
    "What is 2 + 3?",
    "Name a colour.",
    'Take the last letters of the words in "Ada Grace" and concatenate them.',
)
# Continuations are random tokens: every row of the embedding and every layer has a say in their
# log-probabilities, where a sensible answer may have probability 1 under many weights.
CONTINUATION_TOKENS = 16
_SEED = 20240708


def canary_rows(tokenizer: Tokenizer, *, vocab_size: int) -> list[tuple[list[int], int]]:
    """The canaries' token ids with the length of each prompt; the same for all weights of a model."""
    draw = random.Random(_SEED)
    rows = []
    for prompt in PROMPTS:
        text = tokenizer.apply_chat_template(
            [{"role": "user", "content": prompt}], tokenize=False, add_generation_prompt=True
        )
        ids = list(tokenizer(text, add_special_tokens=False)["input_ids"])
        rows.append((ids + [draw.randrange(vocab_size) for _ in range(CONTINUATION_TOKENS)], len(ids)))
    return rows


def canary_logprobs(model: Any, rows: list[tuple[list[int], int]]) -> list[list[float]]:
    """The model's log-probability of every continuation token."""
    import torch

    result: list[list[float]] = []
    for ids, num_prompt in rows:
        tokens = torch.tensor([ids], device=model.device)
        with torch.no_grad():
            logits: torch.Tensor = model(input_ids=tokens, use_cache=False).logits[0]
        chosen = logits.float().log_softmax(-1)[num_prompt - 1 : -1]
        result.append(chosen.gather(1, tokens[0, num_prompt:, None])[:, 0].tolist())
    return result


def write_canaries(path: str, rows: list[tuple[list[int], int]], logprobs: list[list[float]]) -> None:
    """Write `canaries.json` into a model directory."""
    canaries = [
        {"token_ids": ids, "num_prompt_tokens": num_prompt, "logprobs": values}
        for (ids, num_prompt), values in zip(rows, logprobs, strict=True)
    ]
    content = {"version": 1, "dtype": "float32", "canaries": canaries}
    Path(path, FILE).write_text(json.dumps(content, indent=1))
