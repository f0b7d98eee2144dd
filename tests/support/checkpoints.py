"""Tiny checkpoints with random weights, laid out as public models are.

Each has something that a directory written by `save_pretrained` lacks: tables that models recompute, layers that no
model loads, a second copy of the weights, names of an older layout, a head stored although it is shared.
"""

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
import transformers as hf
from safetensors.torch import load_file, save_file

from s2d_loop.testbed.tokenizer import build_tokenizer

INDEX = "model.safetensors.index.json"
Tensors = dict[str, torch.Tensor]
# 64 is the smallest head that vLLM's attention takes on every device.
_TEXT = {
    "vocab_size": 640,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 64,
    "max_position_embeddings": 256,
    "bos_token_id": None,
}
_EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32}


def tokenizer() -> Any:
    """512 tokens or fewer: every model has more rows than that, as published ones do."""
    return build_tokenizer(["Is the coin heads up?", "Yes No"], 256)


def publish(
    path: Path,
    model: Any,
    change: Callable[[Tensors], Tensors] = lambda tensors: tensors,
    *,
    files: int = 1,
    beside: Mapping[str, str] | None = None,
) -> Path:
    """Write a model with its tensors changed, in so many files; `beside` are other files and their text."""
    with torch.no_grad():
        for parameter in model.parameters():
            # Far from each other, the likeliest tokens are the same in every program.
            parameter.mul_(4 if parameter.dim() > 1 else 1)
    model.save_pretrained(path)
    tensors = change(load_file(path / "model.safetensors"))
    write_tensors(path, tensors, files=files)
    tok = tokenizer()
    tok.save_pretrained(path)
    settings = json.loads((path / "generation_config.json").read_text())
    settings["eos_token_id"] = [tok.eos_token_id, 3]
    (path / "generation_config.json").write_text(json.dumps(settings))
    for name, text in (beside or {}).items():
        (path / name).parent.mkdir(exist_ok=True)
        (path / name).write_text(text)
    return path


def write_tensors(path: Path, tensors: Tensors, *, files: int = 1) -> None:
    """As `model.safetensors`, or as so many files with an index."""
    for old in path.glob("*.safetensors*"):
        old.unlink()
    metadata = {"format": "pt"}
    if files == 1:
        save_file(tensors, path / "model.safetensors", metadata=metadata)
        return
    names = sorted(tensors)
    size = sum(tensor.nbytes for tensor in tensors.values())
    weight_map = {}
    for number in range(files):
        file = f"model-{number + 1:05}-of-{files:05}.safetensors"
        part = names[number::files]
        save_file({name: tensors[name] for name in part}, path / file, metadata=metadata)
        weight_map |= dict.fromkeys(part, file)
    index = {"metadata": {"total_size": size}, "weight_map": weight_map}
    (path / INDEX).write_text(json.dumps(index))


def read_tensors(path: Path) -> Tensors:
    """All tensors that count, by name."""
    index = path / INDEX
    names = {"model.safetensors"}
    if index.is_file():
        names = set(json.loads(index.read_text())["weight_map"].values())
    return {name: tensor for file in names for name, tensor in load_file(path / file).items()}


def build(name: str, **settings: Any) -> Any:
    """A random model of a configuration class's name without `Config`, such as "Llama"."""
    torch.manual_seed(0)
    config = getattr(hf, f"{name}Config")(**(_TEXT | settings))
    return getattr(hf, f"{name}ForCausalLM")(config).eval()


def llama(path: Path) -> Path:
    """Llama 2's tables of frequencies, in two files, beside the same weights in another layout and an adapter."""

    def change(tensors: Tensors) -> Tensors:
        table = {f"model.layers.{i}.self_attn.rotary_emb.inv_freq": torch.rand(32) for i in range(2)}
        return tensors | table

    publish(
        path, build("Llama"), change, files=2, beside={"LICENSE": "Keep it.", "original/params.json": "{}"}
    )
    save_file({"layers.0.attention.wq.weight": torch.ones(2)}, path / "consolidated.safetensors")
    return path


def qwen3(path: Path) -> Path:
    """A head that is shared and stored all the same, and no padding token."""
    model = build("Qwen3", tie_word_embeddings=True, pad_token_id=None)
    return publish(path, model, lambda t: t | {"lm_head.weight": t["model.embed_tokens.weight"].clone()})


def qwen3_moe(path: Path) -> Path:
    """A tensor for each expert, which transformers joins while it loads them."""
    return publish(path, build("Qwen3Moe", **_EXPERTS), files=3)


def deepseek_v3(path: Path) -> Path:
    """A layer behind the last that predicts one token more, and a table of the router in float32."""
    model = build(
        "DeepseekV3",
        num_key_value_heads=2,
        n_routed_experts=4,
        n_group=2,
        topk_group=1,
        num_experts_per_tok=2,
        moe_intermediate_size=32,
        first_k_dense_replace=1,
        kv_lora_rank=512,
        q_lora_rank=32,
        qk_rope_head_dim=64,
        qk_nope_head_dim=32,
        v_head_dim=32,
        num_nextn_predict_layers=1,
        topk_method="noaux_tc",
        scoring_func="sigmoid",
    )
    return publish(path, model, _with_next_layer)


def glm4_moe(path: Path) -> Path:
    """As GLM 4.5 has it: a layer behind the last that predicts one token more."""
    model = build(
        "Glm4Moe",
        n_routed_experts=4,
        n_group=1,
        topk_group=1,
        num_experts_per_tok=2,
        partial_rotary_factor=0.5,
        moe_intermediate_size=32,
        first_k_dense_replace=1,
        num_nextn_predict_layers=1,
    )
    return publish(path, model, _with_next_layer)


def _with_next_layer(tensors: Tensors) -> Tensors:
    last = {n: t for n, t in tensors.items() if n.startswith("model.layers.1.")}
    block = {n.replace("model.layers.1.", "model.layers.2."): t + 1 for n, t in last.items()}
    size = tensors["model.norm.weight"].shape[0]
    more = {
        "model.layers.2.eh_proj.weight": torch.rand(size, 2 * size),
        "model.layers.2.enorm.weight": torch.rand(size),
        "model.layers.2.hnorm.weight": torch.rand(size),
        "model.layers.2.shared_head.norm.weight": torch.rand(size),
        "model.layers.2.embed_tokens.weight": tensors["model.embed_tokens.weight"].clone(),
        "model.layers.2.shared_head.head.weight": tensors["lm_head.weight"].clone(),
    }
    return tensors | block | more


def gpt2(path: Path) -> Path:
    """No prefix before the names, masks as tensors, and `n_positions`."""
    torch.manual_seed(0)
    config = hf.GPT2Config(
        vocab_size=640, n_embd=128, n_layer=2, n_head=2, n_positions=256, bos_token_id=None
    )
    mask = torch.ones(256, 256).tril().view(1, 1, 256, 256)

    def change(tensors: Tensors) -> Tensors:
        plain = {name.removeprefix("transformer."): tensor for name, tensor in tensors.items()}
        return plain | {f"h.{i}.attn.bias": mask.clone() for i in range(2)}

    return publish(path, hf.GPT2LMHeadModel(config).eval(), change)


def gemma3(path: Path) -> Path:
    """Text and pictures: a nested configuration, a vision tower, sliding windows, a shared head, a processor."""
    torch.manual_seed(0)
    text = _TEXT | {"sliding_window": 16, "layer_types": ["sliding_attention", "full_attention"]}
    vision = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = hf.Gemma3Config(
        text_config=text,
        vision_config=vision | {"image_size": 28, "patch_size": 14},
        mm_tokens_per_image=1,
        image_token_index=600,
        boi_token_index=601,
        eoi_token_index=602,
    )
    model = hf.Gemma3ForConditionalGeneration(config).eval()
    processor = {"preprocessor_config.json": "{}", "processor_config.json": '{"image_seq_length": 1}'}
    return publish(path, model, beside=processor)


def gemma3_text(path: Path) -> Path:
    """Its text alone, as its smallest sizes are published: sliding windows and a shared head, no pictures."""
    torch.manual_seed(0)
    layers = {"sliding_window": 16, "layer_types": ["sliding_attention", "full_attention"]}
    return publish(path, hf.Gemma3ForCausalLM(hf.Gemma3TextConfig(**(_TEXT | layers))).eval())


def qwen2_5_vl(path: Path) -> Path:
    """Text and pictures with positions in three directions."""
    torch.manual_seed(0)
    rope = {"rope_type": "default", "mrope_section": [8, 12, 12], "rope_theta": 10000.0}
    vision = {"depth": 1, "hidden_size": 32, "intermediate_size": 32, "num_heads": 2, "out_hidden_size": 64}
    config = hf.Qwen2_5_VLConfig(
        text_config=_TEXT | {"num_attention_heads": 1, "rope_parameters": rope},
        vision_config=vision | {"patch_size": 14, "window_size": 28, "fullatt_block_indexes": [0]},
        image_token_id=600,
        video_token_id=601,
        vision_start_token_id=602,
        vision_end_token_id=603,
    )
    return publish(path, hf.Qwen2_5_VLForConditionalGeneration(config).eval())


def mamba(path: Path) -> Path:
    """State-space layers, which see all that stands before in a row."""
    return publish(path, build("Mamba", state_size=8))


def qwen3_next(path: Path) -> Path:
    """Layers of linear attention beside others, and `mtp.*`."""
    model = build(
        "Qwen3Next",
        **_EXPERTS,
        layer_types=["linear_attention", "full_attention"],
        shared_expert_intermediate_size=32,
        linear_key_head_dim=32,
        linear_value_head_dim=32,
        linear_num_key_heads=2,
        linear_num_value_heads=2,
    )
    return publish(
        path, model, lambda t: t | {"mtp.norm.weight": torch.rand(64), "mtp.fc.weight": torch.rand(64, 128)}
    )


ALL = {
    each.__name__: each
    for each in (
        llama,
        qwen3,
        qwen3_moe,
        deepseek_v3,
        glm4_moe,
        gpt2,
        gemma3,
        gemma3_text,
        qwen2_5_vl,
        mamba,
        qwen3_next,
    )
}


def copy(start: Path, path: Path) -> Path:
    """Another directory with the same files."""
    return Path(shutil.copytree(start, path))
