"""Loading the start model under DeepSpeed, asking it, and gathering its weights whole."""

import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from s2d_loop.config.training import TrainConfig
from s2d_loop.errors import TrainError

# What model families call the dropout of attention weights.
_DROPOUT_NAMES = ("attention_dropout", "attn_pdrop")


def load_tokenizer(path: str) -> tuple[Any, frozenset[int]]:
    """The start model's tokenizer, and the tokens that end a turn in generation."""
    from transformers import AutoTokenizer, GenerationConfig

    tokenizer = AutoTokenizer.from_pretrained(path, local_files_only=True)
    ends = {tokenizer.eos_token_id}
    try:
        configured = GenerationConfig.from_pretrained(path, local_files_only=True).eos_token_id
    except OSError:
        configured = None
    ends |= set(configured) if isinstance(configured, list) else {configured}
    return tokenizer, frozenset(ends - {None})


@contextmanager
def deepspeed_model(path: str, config: TrainConfig, settings: dict[str, Any]) -> Iterator[Any]:
    """A DeepSpeed engine around the start model."""
    cuda = config.gpus_per_worker > 0
    if not cuda:
        os.environ["DS_ACCELERATOR"] = "cpu"
    # DeepSpeed reads its checkpoints as pickles; this makes torch refuse anything but tensors and
    # the few classes that `state.py` names.
    os.environ["TORCH_FORCE_WEIGHTS_ONLY_LOAD"] = "1"
    import deepspeed
    import deepspeed.ops
    from transformers.integrations import HfDeepSpeedConfig, unset_hf_deepspeed_config

    logging.getLogger("DeepSpeed").setLevel(logging.WARNING)
    # A shared-memory all-reduce for tensor-parallel inference, which training never calls and
    # whose compilation takes a minute and a compiler.
    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    deepspeed.init_distributed(dist_backend="nccl" if cuda else "gloo", verbose=False)
    # Kept until the model is built: stage 3 splits the weights while they are loaded.
    hf_config = HfDeepSpeedConfig(settings)
    try:
        network = _load(path, config)
        engine, *_ = deepspeed.initialize(
            model=network,
            optimizer=torch.optim.AdamW(
                network.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay
            ),
            config=settings,
            dist_init_required=False,
        )
        yield engine
        engine.destroy()
    finally:
        del hf_config
        unset_hf_deepspeed_config()


def _load(path: str, config: TrainConfig) -> Any:
    from transformers import AutoConfig, AutoModelForCausalLM
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()
    settings = AutoConfig.from_pretrained(path, local_files_only=True)
    _set_dropout(settings, config.dropout, path)
    network = AutoModelForCausalLM.from_pretrained(
        path,
        config=settings,
        dtype=torch.bfloat16 if config.bf16 else torch.float32,
        # It honours document boundaries and dropout on every device; see decision 0003.
        attn_implementation="sdpa",
        local_files_only=True,
        use_safetensors=True,
    )
    if config.gradient_checkpointing:
        network.gradient_checkpointing_enable({"use_reentrant": False})
    return network


def _set_dropout(settings: Any, rate: float, path: str) -> None:
    """Table 4's dropout, where open models have it: on attention weights."""
    names = [name for name in _DROPOUT_NAMES if hasattr(settings, name)]
    if not names and rate > 0:
        raise TrainError(f"{path}: a {settings.model_type} has no attention dropout: set train.dropout: 0")
    for name in names:
        setattr(settings, name, rate)


@torch.no_grad()
def logits(engine: Any, input_ids: Sequence[int], position_ids: Sequence[int]) -> torch.Tensor:
    """What the model says on one row.  Under ZeRO 3 every rank must ask at once."""
    engine.eval()
    output = engine(
        input_ids=torch.tensor([list(input_ids)], device=engine.device),
        position_ids=torch.tensor([list(position_ids)], device=engine.device),
        use_cache=False,
    )
    result: torch.Tensor = output.logits[0]
    return result


@torch.no_grad()
def full_state(engine: Any, *, keep: bool) -> dict[str, torch.Tensor]:
    """Every weight whole, on the CPU; all ranks take part, those that don't `keep` get nothing.

    From the optimiser's float32 master copy in bf16 training: at the paper's learning rate much of
    what was learned is smaller than bf16's rounding.
    """
    import deepspeed
    from deepspeed.utils import safe_get_full_fp32_param

    network = engine.module
    stage, half = engine.zero_optimization_stage(), engine.bfloat16_enabled()
    result: dict[str, torch.Tensor] = {}
    for name, parameter in network.named_parameters():
        if half:
            value = safe_get_full_fp32_param(parameter)
        elif stage == 3:
            with deepspeed.zero.GatheredParameters([parameter]):
                value = parameter.detach().clone() if keep else None
        else:
            value = parameter.detach()
        if keep:
            result[name] = value.cpu().clone()
    if keep:
        known = set(dict(network.named_parameters(remove_duplicate=False)))
        for name, value in network.state_dict().items():
            if name not in known:
                result[name] = value.cpu().clone()
    return result
