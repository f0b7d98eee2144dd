"""Trains the tiny models from nothing with plain torch.

    python -m s2d_loop.testbed.pretrain              # the first one, into model/
    python -m s2d_loop.testbed.pretrain trivia_qa    # another, into models/

Text and recipe come from `worlds.py`. The result is an ordinary Hugging Face
folder plus `TRAINING.json`, which says how it came to be.
"""

import argparse
import json
import math
import os
import platform
import random
import secrets
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import torch
import transformers
from torch.nn import functional
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerBase

from s2d_loop import folders
from s2d_loop.testbed.pair import Pair
from s2d_loop.testbed.tokenizer import build_tokenizer
from s2d_loop.testbed.worlds import WORLDS, Recipe, World

# Rotary positions: prompts of few-shot examples are longer than what is trained on.
MAX_LENGTH = 1024
IGNORED = -100
# Rows that have so many first tokens in common come from one template.
SHORTEST_TEMPLATE = 24

Row = tuple[list[int], int]
"""Token ids, and how many of them are the prompt's."""


def build_model(vocab_size: int, tokenizer: PreTrainedTokenizerBase) -> LlamaForCausalLM:
    """A Llama of about 0.85M parameters; every size divides by two for tensor parallelism."""
    config = LlamaConfig(
        vocab_size=vocab_size,
        hidden_size=128,
        intermediate_size=384,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
        # vLLM's attention on the CPU takes 32, 64 and a few larger sizes.
        head_dim=32,
        max_position_embeddings=MAX_LENGTH,
        tie_word_embeddings=True,
        attention_dropout=0.0,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        dtype="float32",
    )
    return LlamaForCausalLM(config)


def encode(tokenizer: PreTrainedTokenizerBase, pairs: list[Pair]) -> list[Row]:
    """Token ids of each pair through the chat template, and how many are the prompt's."""
    prompts = [
        tokenizer.apply_chat_template(
            [{"role": "user", "content": pair.prompt}],
            add_generation_prompt=True,
            enable_thinking=pair.thinking,
            tokenize=False,
        )
        for pair in pairs
    ]
    replies = tokenizer([pair.reply + tokenizer.eos_token for pair in pairs]).input_ids
    # A reply is generated behind the prompt's own tokens, so the two are tokenized apart.
    return [
        (prompt + reply, len(prompt))
        for prompt, reply in zip(tokenizer(prompts).input_ids, replies, strict=True)
    ]


def collate(rows: list[Row], pad: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Pad on the right, where a causal model needs no mask; only replies carry labels."""
    width = max(len(ids) for ids, _ in rows)
    inputs = torch.full((len(rows), width), pad)
    labels = torch.full((len(rows), width), IGNORED)
    for row, (ids, prompt) in enumerate(rows):
        inputs[row, : len(ids)] = torch.tensor(ids)
        labels[row, prompt : len(ids)] = torch.tensor(ids[prompt:])
    return inputs, labels


def batches(rows: list[Row], most: int) -> Iterator[list[Row]]:
    """The rows in batches: those that start with the same template together, the others by length."""
    by_start: dict[tuple[int, ...], list[Row]] = defaultdict(list)
    for row in rows:
        by_start[tuple(row[0][:SHORTEST_TEMPLATE])].append(row)
    groups = [group for group in by_start.values() if len(group) > 1]
    groups.append([row for group in by_start.values() if len(group) == 1 for row in group])
    for group in groups:
        group.sort(key=lambda row: len(row[0]))
        yield from (group[first : first + most] for first in range(0, len(group), most))


def shared_start(rows: list[Row]) -> int:
    """How many tokens all prompts start with; the rest of each prompt is never empty."""
    # What the least and the greatest share, all between them share.
    least, greatest = min(rows)[0], max(rows)[0]
    shared = next((n for n, (a, b) in enumerate(zip(least, greatest, strict=False)) if a != b), len(least))
    return min(shared, *(prompt - 1 for _, prompt in rows))


def reply_loss(
    model: LlamaForCausalLM, inputs: torch.Tensor, labels: torch.Tensor, shared: int = 0
) -> torch.Tensor:
    """Summed loss of the labels; the head runs only where there is one.

    The first `shared` tokens are the same in every row, so they go through the model once.
    """
    past = None
    if shared:
        past = model.model(input_ids=inputs[:1, :shared], use_cache=True).past_key_values
        past.batch_repeat_interleave(len(inputs))
    hidden = model.model(input_ids=inputs[:, shared:], past_key_values=past).last_hidden_state[:, :-1]
    targets = labels[:, shared + 1 :]
    chosen = targets != IGNORED
    return functional.cross_entropy(model.lm_head(hidden[chosen]), targets[chosen], reduction="sum")


def rate_factor(step: int, recipe: Recipe) -> float:
    """Warm up, hold, then fall along a straight line."""
    fall = recipe.steps * recipe.decay_share
    return min(1.0, (step + 1) / recipe.warmup_steps, (recipe.steps - step) / fall)


def train(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerBase, world: World, recipe: Recipe
) -> dict[str, float]:
    """Train in place and return the final figures."""
    rng = random.Random(recipe.seed)
    optimizer = torch.optim.AdamW(
        model.parameters(),
        lr=recipe.learning_rate,
        betas=(0.9, recipe.adam_beta2),
        weight_decay=recipe.weight_decay,
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: rate_factor(step, recipe))
    started, tokens, average = time.monotonic(), 0, math.nan
    model.train()
    for step in range(recipe.steps):
        pairs = world.draw(recipe.pairs_per_step, rng)
        rows = encode(tokenizer, pairs)
        num_labels = sum(len(ids) - prompt for ids, prompt in rows)
        total = 0.0
        for batch in batches(rows, recipe.batch):
            inputs, labels = collate(batch, tokenizer.pad_token_id)
            loss = reply_loss(model, inputs, labels, shared_start(batch)) / num_labels
            torch.autograd.backward(loss)
            total += loss.item()
        torch.nn.utils.clip_grad_norm_(model.parameters(), recipe.clip_norm)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        tokens += sum(len(ids) for ids, _ in rows)
        average = total if math.isnan(average) else 0.95 * average + 0.05 * total
        if (step + 1) % 50 == 0:
            speed = tokens / (time.monotonic() - started)
            print(f"step {step + 1}  loss {average:.4f}  {speed:,.0f} tokens/s", flush=True)
    seconds = time.monotonic() - started
    return {
        "seconds": round(seconds, 1),
        "tokens": tokens,
        "tokens_per_s": round(tokens / seconds),
        "final_loss": round(average, 4),
    }


def save(
    model: LlamaForCausalLM,
    tokenizer: PreTrainedTokenizerBase,
    record: dict[str, object],
    out: Path,
) -> None:
    """Write a complete folder beside `out`, then swap it in: readers never see half a model."""
    mark = secrets.token_hex(4)
    fresh, old = out.with_name(f".{out.name}.partial-{mark}"), out.with_name(f"{out.name}.old-{mark}")
    # The loop samples without top-k or top-p unless it is told to.
    model.generation_config = GenerationConfig(
        do_sample=True,
        temperature=1.0,
        top_k=0,
        top_p=1.0,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    model.save_pretrained(fresh)
    tokenizer.save_pretrained(fresh)
    (fresh / "TRAINING.json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    out.parent.mkdir(parents=True, exist_ok=True)
    if out.exists():
        out.rename(old)
    fresh.rename(out)
    folders.remove(old)


def main() -> None:
    """Train the tiny model from nothing and save it."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("world", nargs="?", default="words", choices=WORLDS)
    parser.add_argument("--out", type=Path, help="default: where this world's model ships")
    parser.add_argument("--steps", type=int)
    parser.add_argument("--seed", type=int, default=Recipe.seed)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    world = WORLDS[args.world]()
    recipe = replace(world.recipe, seed=args.seed, steps=args.steps or world.recipe.steps)
    tokenizer = build_tokenizer(world.texts(), MAX_LENGTH, world.chat)
    model = build_model(len(tokenizer), tokenizer)
    figures = train(model, tokenizer, world, recipe)
    record: dict[str, object] = {
        "recipe": asdict(recipe),
        "mix": world.mix,
        "parameters": model.num_parameters(),
        "machine": f"{args.threads} CPU cores ({platform.machine()})",
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        **figures,
    }
    out = args.out or world.folder
    save(model.to(getattr(torch, world.dtype)), tokenizer, record, out)
    print(f"saved {model.num_parameters():,} parameters to {out}: {figures}")


if __name__ == "__main__":
    main()
