"""Trains the tiny model from nothing with plain torch.

    python -m s2d_loop.testbed.pretrain --out s2d_loop/testbed/model

Text comes from `corpus.py`, words from `world.py`. The result is an ordinary
Hugging Face folder plus `TRAINING.json`, which says how it came to be.
"""

import argparse
import json
import math
import os
import platform
import random
import shutil
import time
from collections import defaultdict
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
import transformers
from torch.nn import functional
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerBase

from s2d_loop.testbed import MODEL_DIR
from s2d_loop.testbed.corpus import MIX, Pair, draw_mix
from s2d_loop.testbed.tokenizer import build_tokenizer
from s2d_loop.testbed.world import splits, template_texts

MAX_LENGTH = 512
IGNORED = -100


@dataclass(frozen=True)
class Recipe:
    """Everything that decides how the model comes out."""

    seed: int = 7
    steps: int = 700
    pairs_per_step: int = 64
    # Pairs sorted by length go through the model in this many parts: less padding.
    parts: int = 8
    learning_rate: float = 2e-3
    warmup_steps: int = 100
    # The rate falls to zero over the last part of the run.
    decay_share: float = 0.25
    weight_decay: float = 0.1
    adam_beta2: float = 0.98
    clip_norm: float = 1.0


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


def encode(tokenizer: PreTrainedTokenizerBase, pairs: list[Pair]) -> list[tuple[list[int], int]]:
    """Token ids of each pair through the chat template, and how many are the prompt's."""
    chats = [[{"role": "user", "content": pair.prompt}] for pair in pairs]
    prompts = tokenizer.apply_chat_template(chats, add_generation_prompt=True, tokenize=False)
    replies = tokenizer([pair.reply + tokenizer.eos_token for pair in pairs]).input_ids
    # The prompt ends in a special token, so the two parts tokenize apart.
    return [
        (prompt + reply, len(prompt))
        for prompt, reply in zip(tokenizer(prompts).input_ids, replies, strict=True)
    ]


def collate(rows: list[tuple[list[int], int]], pad: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Pad on the right, where a causal model needs no mask; only replies carry labels."""
    width = max(len(ids) for ids, _ in rows)
    inputs = torch.full((len(rows), width), pad)
    labels = torch.full((len(rows), width), IGNORED)
    for row, (ids, prompt) in enumerate(rows):
        inputs[row, : len(ids)] = torch.tensor(ids)
        labels[row, prompt : len(ids)] = torch.tensor(ids[prompt:])
    return inputs, labels


def reply_loss(model: LlamaForCausalLM, inputs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Summed loss of the labels; the head runs only where there is one."""
    hidden = model.model(input_ids=inputs).last_hidden_state[:, :-1]
    targets = labels[:, 1:]
    chosen = targets != IGNORED
    return functional.cross_entropy(model.lm_head(hidden[chosen]), targets[chosen], reduction="sum")


def rate_factor(step: int, recipe: Recipe) -> float:
    """Warm up, hold, then fall along a straight line."""
    fall = recipe.steps * recipe.decay_share
    return min(1.0, (step + 1) / recipe.warmup_steps, (recipe.steps - step) / fall)


def train(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerBase, recipe: Recipe) -> dict[str, float]:
    """Train in place and return the final figures."""
    rng = random.Random(recipe.seed)
    words = splits()["pretrain"]
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
        pairs = draw_mix(recipe.pairs_per_step, words, rng)
        rows = sorted(encode(tokenizer, pairs), key=lambda row: len(row[0]))
        num_labels = sum(len(ids) - prompt for ids, prompt in rows)
        size = math.ceil(len(rows) / recipe.parts)
        total = 0.0
        for first in range(0, len(rows), size):
            inputs, labels = collate(rows[first : first + size], tokenizer.pad_token_id)
            loss = reply_loss(model, inputs, labels) / num_labels
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
    fresh, old = out.with_name(out.name + ".fresh"), out.with_name(out.name + ".old")
    for leftover in (fresh, old):
        shutil.rmtree(leftover, ignore_errors=True)
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
    shutil.rmtree(old, ignore_errors=True)


def main() -> None:
    """Train the tiny model from nothing and save it."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--out", type=Path, default=MODEL_DIR)
    parser.add_argument("--steps", type=int, default=Recipe.steps)
    parser.add_argument("--seed", type=int, default=Recipe.seed)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    recipe = Recipe(seed=args.seed, steps=args.steps)
    tokenizer = build_tokenizer(template_texts(), MAX_LENGTH)
    model = build_model(len(tokenizer), tokenizer)
    figures = train(model, tokenizer, recipe)
    mix: defaultdict[str, dict[str, float]] = defaultdict(dict)
    for (task, kind), share in MIX.items():
        mix[task][kind] = share
    record: dict[str, object] = {
        "recipe": asdict(recipe),
        "mix": mix,
        "parameters": model.num_parameters(),
        "machine": f"{args.threads} CPU cores ({platform.machine()})",
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        **figures,
    }
    save(model, tokenizer, record, args.out)
    print(f"saved {model.num_parameters():,} parameters to {args.out}: {figures}")


if __name__ == "__main__":
    main()
