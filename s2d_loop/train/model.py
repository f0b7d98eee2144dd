"""Loading the start model under DeepSpeed, asking it, and gathering its weights whole."""

import inspect
import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from s2d_loop.chat.loading import load_tokenizer as load_tokenizer
from s2d_loop.config.training import TrainConfig
from s2d_loop.engine import pretrained
from s2d_loop.train.dropout import set_attention_dropout
from s2d_loop.train.packing import positions
from s2d_loop.train.published import train_text_only, trainable


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
                [parameter for parameter in network.parameters() if parameter.requires_grad],
                lr=config.learning_rate,
                weight_decay=config.weight_decay,
            ),
            config=settings,
            dist_init_required=False,
        )
        try:
            yield engine
        finally:
            engine.destroy()
    finally:
        del hf_config
        unset_hf_deepspeed_config()


def _load(path: str, config: TrainConfig) -> Any:
    settings = pretrained.configuration(path)
    set_attention_dropout(settings, config)
    network = pretrained.load(path, settings, dtype=torch.bfloat16 if config.bf16 else torch.float32)
    train_text_only(network)
    if config.gradient_checkpointing:
        network.gradient_checkpointing_enable({"use_reentrant": False})
    return network


def gradients_finite(engine: Any) -> bool:
    """Whether all gradients are, before an optimiser takes them; ZeRO's own look for themselves.

    At stage 0 DeepSpeed would clip an infinite gradient to one that isn't a number, and spoil every weight.
    """
    if engine.zero_optimization_stage() > 0:
        return True
    gradients = [p.grad for p in engine.module.parameters() if p.grad is not None]
    return bool(torch.stack([gradient.isfinite().all() for gradient in gradients]).all())


def forward(engine: Any, input_ids: Sequence[int], position_ids: Sequence[int], **more: Any) -> torch.Tensor:
    """The model's logits on one row, of shape (tokens, vocabulary).

    `more` is left out where the architecture doesn't take it, and so are positions, which a state-space model
    doesn't have.
    """
    more["position_ids"] = positions(engine.module.config, position_ids, engine.device)
    known = inspect.signature(engine.module.forward).parameters
    output = engine(
        input_ids=torch.tensor([list(input_ids)], device=engine.device),
        # With a cache, transformers would not look for document boundaries.
        use_cache=False,
        **{name: value for name, value in more.items() if name in known},
    )
    result: torch.Tensor = output.logits[0]
    return result


@torch.no_grad()
def logits(engine: Any, input_ids: Sequence[int], position_ids: Sequence[int]) -> torch.Tensor:
    """What the model says on one row.  Under ZeRO 3 every rank must ask at once."""
    engine.eval()
    return forward(engine, input_ids, position_ids)


@torch.no_grad()
def full_state(engine: Any, *, keep: bool) -> dict[str, torch.Tensor]:
    """Every trained weight whole, on the CPU; all ranks take part, those that don't `keep` get nothing.

    A weight that the model shares stands under each of its names.  From the optimiser's float32 master
    copy in bf16 training: at the paper's learning rate much of what was learned is smaller than bf16's
    rounding.
    """
    import deepspeed
    from deepspeed.utils import safe_get_full_fp32_param

    stage, half = engine.zero_optimization_stage(), engine.bfloat16_enabled()
    result: dict[str, torch.Tensor] = {}
    gathered: dict[int, torch.Tensor] = {}
    for name, parameter in trainable(engine.module).items():
        if id(parameter) not in gathered:
            if half:
                value = safe_get_full_fp32_param(parameter)
            elif stage == 3:
                with deepspeed.zero.GatheredParameters([parameter]):
                    value = parameter.detach().clone() if keep else None
            else:
                value = parameter.detach()
            gathered[id(parameter)] = value.cpu().clone() if keep else torch.empty(0)
        if keep:
            result[name] = gathered[id(parameter)]
    return result
