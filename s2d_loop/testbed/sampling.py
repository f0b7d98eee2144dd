"""Batched generation for the tiny models with transformers alone, without vLLM or Ray.

`measure.py` runs the programs on it: many inputs at once, whose calls gather here into batches.
"""

import asyncio
from collections import defaultdict
from collections.abc import Sequence

import torch
from transformers import LlamaForCausalLM, PreTrainedTokenizerBase

from s2d_loop.chat import reasoning
from s2d_loop.chat.tokens import chat_of
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
    chat, arguments = chat_of(tokenizer), sampling.chat_template_kwargs
    prompts = [chat.prompt_ids(messages, arguments) for messages in conversations]
    replies: dict[int, Reply] = {}
    # Neighbours of like length, so that little of a batch is padding.
    order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
    for start in range(0, len(order), BATCH):
        chosen = order[start : start + BATCH]
        batch = tokenizer.pad({"input_ids": [list(prompts[i]) for i in chosen]}, return_tensors="pt")
        rows = _decode_batch(model, batch["input_ids"], batch["attention_mask"], sampling)
        end = tokenizer.eos_token_id
        for i, row in zip(chosen, rows, strict=True):
            length = row.index(end) if end in row else len(row)
            said = row[:length]
            text = tokenizer.decode(said, skip_special_tokens=True)
            split = reasoning.split(tokenizer, reasoning.TEXT, prompts[i], said, text, arguments)
            replies[i] = Reply(
                text=split.text,
                num_tokens=min(length + 1, len(row)),
                num_prompt_tokens=len(prompts[i]),
                finished=length < len(row) and split.closed,
                reasoning=split.reasoning,
            )
    return [replies[i] for i in range(len(prompts))]


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
