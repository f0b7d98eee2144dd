"""The last minutes of a training, on rank 0: write the export, prove it, name its digest."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from s2d_loop.engine import pretrained, proof
from s2d_loop.errors import TrainError
from s2d_loop.train.average import average
from s2d_loop.train.export import check_export, check_logits, write_export
from s2d_loop.train.published import correspond, trainable
from s2d_loop.weights import weights_digest


def finish(
    path: str,
    *,
    model: Any,
    state: dict[str, torch.Tensor],
    start: str,
    facts: Mapping[str, Any],
    probes: Sequence[tuple[list[int], torch.Tensor]],
    tokenizer: Any,
    bf16: bool,
    template: str | None = None,
    origin: str | None = None,
    origin_share: float = 0.0,
) -> str:
    """Write the model directory `path`, check it, and return its digest.

    `state` holds the trained weights of `model`, and is emptied.  `probes` are token rows with what the
    trained model says on them, float32 logits of shape (tokens, vocabulary).  `template` is the chat template that
    was trained with, where it isn't the start model's.  The export is read back with
    transformers, which also gives the canaries that engines are held against.  Once it is proved to be what was
    trained, it is averaged with the weights `origin`, of which it gets the share `origin_share`.

    Raises:
        TrainError: the export isn't what was trained.
    """
    from transformers.integrations import unset_hf_deepspeed_config

    # Else transformers would split these weights over ranks that are gone.
    unset_hf_deepspeed_config()
    plan = correspond(start)
    if trainable(plan.model).keys() != trainable(model).keys():
        raise TrainError(f"{start}: changed during the training: its weights are named otherwise")
    write_export(path, plan=plan, state=state, start=start, facts=facts, template=template)
    check_export(path, start, trained=plan.trained)
    reloaded = pretrained.load(path, dtype=torch.float32).eval()
    exact = not bf16 and {plan.tensors[name].dtype for name in plan.trained} == {"F32"}
    for ids, said in probes:
        with torch.no_grad():
            again = reloaded(input_ids=torch.tensor([ids]), use_cache=False).logits[0]
        check_logits(again, said, exact=exact, path=path)
    if origin_share:
        assert origin is not None, "whoever averages says with what"
        average(path, origin, origin_share, trained=plan.trained)
        check_export(path, start, trained=plan.trained)
        reloaded = pretrained.load(path, dtype=torch.float32).eval()
    proof.record(path, proof.reference_of(reloaded, tokenizer))
    return weights_digest(path)
