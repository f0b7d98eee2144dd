"""Batched generation for the tiny model with transformers alone.

`measure.py` and `pretrain.py` measure with it, without vLLM or Ray.
"""

from dataclasses import dataclass

import torch
from transformers import LlamaForCausalLM, PreTrainedTokenizerBase

BATCH = 512


@dataclass(frozen=True)
class Reply:
    """One generated reply and how many tokens it took, its end token included."""

    text: str
    num_tokens: int


def generate(
    model: LlamaForCausalLM,
    tokenizer: PreTrainedTokenizerBase,
    prompts: list[str],
    *,
    temperature: float,
    max_tokens: int,
) -> list[Reply]:
    """Answer every prompt once, each as a single user message; temperature 0 is greedy."""
    replies: dict[int, Reply] = {}
    # Neighbours of like length, so that little of a batch is padding.
    order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
    for start in range(0, len(order), BATCH):
        chosen = order[start : start + BATCH]
        batch = tokenizer.apply_chat_template(
            [[{"role": "user", "content": prompts[i]}] for i in chosen],
            add_generation_prompt=True,
            padding=True,
            return_tensors="pt",
            return_dict=True,
        )
        rows = _decode_batch(model, batch["input_ids"], batch["attention_mask"], temperature, max_tokens)
        end = tokenizer.eos_token_id
        for i, row in zip(chosen, rows, strict=True):
            length = row.index(end) if end in row else len(row)
            text = tokenizer.decode(row[:length], skip_special_tokens=True)
            replies[i] = Reply(text, min(length + 1, len(row)))
    return [replies[i] for i in range(len(prompts))]


@torch.inference_mode()
def _decode_batch(
    model: LlamaForCausalLM,
    ids: torch.Tensor,
    mask: torch.Tensor,
    temperature: float,
    max_tokens: int,
) -> list[list[int]]:
    """Generate token rows for one left-padded batch."""
    choose = {"do_sample": True, "temperature": temperature} if temperature else {"do_sample": False}
    out = model.generate(
        input_ids=ids,
        attention_mask=mask,
        max_new_tokens=max_tokens,
        top_k=0,
        top_p=1.0,
        **choose,
    )
    rows: list[list[int]] = out[:, ids.shape[1] :].tolist()
    return rows
