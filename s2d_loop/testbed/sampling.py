"""Batched generation for the tiny models with transformers alone, without vLLM or Ray.

`measure.py` runs the programs on it: many inputs at once, whose calls gather here into batches.
"""

import asyncio
from collections import defaultdict
from collections.abc import Sequence

import torch
from transformers import LlamaForCausalLM, PreTrainedTokenizerBase

from s2d_loop.records import Messages, Reply, Request, Sampling

BATCH = 256
# Programs that were answered together ask again within moments; the rest of a batch waits for them.
GATHER_S = 0.05


class BatchedModel:
    """Answers calls as `generate.CallModel` does; calls that come together are sampled together.

    Samples come from torch's own seed, not from the requests': the batch decides who draws what.
    """

    def __init__(self, model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerBase) -> None:
        self._model = model
        self._tokenizer = tokenizer
        self._waiting: list[tuple[Request, asyncio.Future[Reply]]] = []

    async def __call__(self, request: Request) -> Reply:
        loop = asyncio.get_running_loop()
        if not self._waiting:
            loop.call_later(GATHER_S, self._answer)
        future: asyncio.Future[Reply] = loop.create_future()
        self._waiting.append((request, future))
        return await future

    def _answer(self) -> None:
        waiting, self._waiting = self._waiting, []
        by_sampling: dict[Sampling, list[tuple[Request, asyncio.Future[Reply]]]] = defaultdict(list)
        for request, future in waiting:
            by_sampling[request.sampling].append((request, future))
        for sampling, calls in by_sampling.items():
            replies = generate(self._model, self._tokenizer, [call.messages for call, _ in calls], sampling)
            for (_, future), reply in zip(calls, replies, strict=True):
                future.set_result(reply)


def generate(
    model: LlamaForCausalLM,
    tokenizer: PreTrainedTokenizerBase,
    conversations: Sequence[Messages],
    sampling: Sampling,
) -> list[Reply]:
    """Answer every conversation once; temperature 0 is greedy."""
    replies: dict[int, Reply] = {}
    # Neighbours of like length, so that little of a batch is padding.
    order = sorted(range(len(conversations)), key=lambda i: sum(len(m.content) for m in conversations[i]))
    for start in range(0, len(order), BATCH):
        chosen = order[start : start + BATCH]
        batch = tokenizer.apply_chat_template(
            [[{"role": m.role, "content": m.content} for m in conversations[i]] for i in chosen],
            add_generation_prompt=True,
            padding=True,
            return_tensors="pt",
            return_dict=True,
        )
        rows = _decode_batch(model, batch["input_ids"], batch["attention_mask"], sampling)
        end = tokenizer.eos_token_id
        for i, mask, row in zip(chosen, batch["attention_mask"], rows, strict=True):
            length = row.index(end) if end in row else len(row)
            replies[i] = Reply(
                text=tokenizer.decode(row[:length], skip_special_tokens=True),
                num_tokens=min(length + 1, len(row)),
                num_prompt_tokens=int(mask.sum()),
                finished=length < len(row),
            )
    return [replies[i] for i in range(len(conversations))]


@torch.inference_mode()
def _decode_batch(
    model: LlamaForCausalLM, ids: torch.Tensor, mask: torch.Tensor, sampling: Sampling
) -> list[list[int]]:
    """Generate token rows for one left-padded batch."""
    heat = sampling.temperature
    choose = {"do_sample": True, "temperature": heat} if heat else {"do_sample": False}
    out = model.generate(
        input_ids=ids,
        attention_mask=mask,
        max_new_tokens=sampling.max_tokens,
        top_k=0,
        top_p=sampling.top_p,
        **choose,
    )
    rows: list[list[int]] = out[:, ids.shape[1] :].tolist()
    return rows
