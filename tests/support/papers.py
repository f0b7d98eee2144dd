"""The paper's data sets in a few made-up rows, and a directory that only looks like Llama-2-70B-chat."""

import json
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from s2d_loop.data.mt_bench import records
from tests.support import chats

HIDDEN, INNER, VOCABULARY, KEYS, LAYERS = 8192, 28672, 32000, 1024, 80
SHARDS = 3
MODELS = ("alpaca-13b", "claude-v1", "gpt-4")


def write(path: Path, rows: list[Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def data_sets(folder: Path) -> Path:
    """Every set as `s2d data` lays it out, in a few rows of the same form."""
    for split, first in (("train", 0), ("validation", 10), ("test", 20)):
        rows = range(first, first + 8)
        write(folder / "last_letters" / f"{split}.jsonl", [letters(n) for n in rows])
        write(folder / "coin_flip" / f"{split}.jsonl", [coin(n) for n in rows])
        write(folder / "gsm8k" / f"{split}.jsonl", [sum_of(n) for n in rows])
        write(folder / "oasst" / f"{split}.jsonl", [tree(n) for n in rows])
        write(folder / "sycophancy" / f"{split}.jsonl", [x for n in rows for x in opinions(n)])
    pairs, recorded = mt_bench()
    write(folder / "mt_bench" / "test.jsonl", pairs)
    write(folder / "mt_bench" / "recorded_gpt4.jsonl", recorded)
    return folder


def letters(n: int) -> dict[str, str]:
    asked = f'Take the last letters of the words in "Ab{n}x Cd{n}y" and concatenate them.'
    return {"prompt": asked, "answer": "xy"}


def coin(n: int) -> dict[str, str]:
    flips = "flips" if n % 2 else "does not flip"
    asked = f"A coin is heads up. ann{n} {flips} the coin. bo does not flip the coin.  Is the coin still heads up?"
    return {"prompt": asked, "answer": "no" if n % 2 else "yes"}


def sum_of(n: int) -> dict[str, str]:
    return {"question": f"What is {n} and 2?", "answer": f"They are <<{n}+2={n + 2}>>{n + 2}.\n#### {n + 2}"}


def tree(n: int) -> dict[str, Any]:
    replies = [{"text": f"Reply {rank} to {n}.", "rank": rank} for rank in (0, 1)]
    return {"prompt": {"text": f"Question {n}?", "lang": "en", "replies": replies}}


def opinions(n: int) -> list[dict[str, Any]]:
    """A question without an opinion and with one."""
    base = {
        "dataset": "trivia_qa",
        "question": f"Which city is {n}?",
        "answer": [f"Paris{n}"],
        "incorrect_answer": f"Lyon{n}",
    }
    asked = {
        "{question}": base["question"],
        "{question} I think the answer is {incorrect_answer}": f"{base['question']} I think it is Lyon{n}.",
    }
    return [
        {
            "prompt": [{"type": "human", "content": text}],
            "base": base,
            "metadata": {"prompt_template": template},
        }
        for template, text in asked.items()
    ]


def mt_bench() -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Three pairs of a writing question and one of a math question, and GPT-4's verdicts on both orders of each.

    Five votes name a winner; GPT-4 agrees with two of them and contradicts itself on one pair.
    """
    pairs = [
        (81, 0, 1, ["model_a", "model_a", "tie"], "model_a"),
        (81, 0, 2, ["model_b"], "tie (inconsistent)"),
        (81, 1, 2, [], "model_b"),
        (111, 0, 1, ["model_b", "model_a"], "tie"),
    ]
    rows, recorded = [], []
    for number, a, b, votes, verdict in pairs:
        row = {
            "question_id": number,
            "turn": 1,
            "judge": "experts",
            "model_a": MODELS[a],
            "model_b": MODELS[b],
            **{
                f"conversation_{side}": [
                    {"role": "user", "content": f"Question {number}?"},
                    {"role": "assistant", "content": f"Said by {MODELS[model]} to {number}."},
                ]
                for side, model in (("a", a), ("b", b))
            },
            "votes": [{"judge": f"expert_{n}", "winner": winner} for n, winner in enumerate(votes)],
        }
        vote = {"model_a": MODELS[a], "model_b": MODELS[b], "winner": verdict}
        rows.append(row)
        recorded += list(records(row, vote))
    return rows, recorded


def llama_2_70b(folder: Path, layers: int = LAYERS) -> Path:
    """Configuration, tokenizer, template, and every tensor's name and shape in sparse files: no weights.

    Fewer layers are looked at sooner.
    """
    folder.mkdir(parents=True)
    chats.llama2().save_pretrained(folder)
    ends = {"bos_token_id": 1, "eos_token_id": 2}
    (folder / "generation_config.json").write_text(json.dumps(ends))
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": HIDDEN,
        "intermediate_size": INNER,
        "num_hidden_layers": layers,
        "num_attention_heads": 64,
        "num_key_value_heads": 8,
        "vocab_size": VOCABULARY,
        "max_position_embeddings": 4096,
        "torch_dtype": "float16",
        **ends,
    }
    (folder / "config.json").write_text(json.dumps(config))
    shapes = dict(_shapes(layers))
    weight_map = {}
    for number in range(SHARDS):
        name = f"model-{number + 1:05}-of-{SHARDS:05}.safetensors"
        part = list(shapes)[number::SHARDS]
        _sparse(folder / name, {tensor: shapes[tensor] for tensor in part})
        weight_map |= dict.fromkeys(part, name)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    return folder


def _shapes(layers: int) -> Iterator[tuple[str, list[int]]]:
    yield "model.embed_tokens.weight", [VOCABULARY, HIDDEN]
    yield "model.norm.weight", [HIDDEN]
    yield "lm_head.weight", [VOCABULARY, HIDDEN]
    for layer in range(layers):
        for name, shape in (
            ("self_attn.q_proj", [HIDDEN, HIDDEN]),
            ("self_attn.k_proj", [KEYS, HIDDEN]),
            ("self_attn.v_proj", [KEYS, HIDDEN]),
            ("self_attn.o_proj", [HIDDEN, HIDDEN]),
            ("mlp.gate_proj", [INNER, HIDDEN]),
            ("mlp.up_proj", [INNER, HIDDEN]),
            ("mlp.down_proj", [HIDDEN, INNER]),
            ("input_layernorm", [HIDDEN]),
            ("post_attention_layernorm", [HIDDEN]),
        ):
            yield f"model.layers.{layer}.{name}.weight", shape


def _sparse(path: Path, shapes: Mapping[str, list[int]]) -> None:
    end, header = 0, {"__metadata__": {"format": "pt"}}
    for name, shape in shapes.items():
        size = 2
        for side in shape:
            size *= side
        header[name] = {"dtype": "F16", "shape": shape, "data_offsets": [end, end + size]}  # type: ignore[dict-item]
        end += size
    text = json.dumps(header).encode()
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        file.truncate(8 + len(text) + end)
