"""The last minutes of a training, on rank 0: write the export, prove it, name its digest."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from s2d_loop.engine import proof
from s2d_loop.train.export import check_export, check_logits, tensors, write_export
from s2d_loop.weights import weights_digest


def finish(
    path: str,
    *,
    model: Any,
    state: Mapping[str, torch.Tensor],
    start: str,
    facts: Mapping[str, Any],
    probes: Sequence[tuple[list[int], torch.Tensor]],
    tokenizer: Any,
    bf16: bool,
) -> str:
    """Write the model directory `path`, check it, and return its digest.

    `probes` are token rows with what the trained model says on them.  The export is read back with
    transformers, which also gives the canaries that engines are held against.
    """
    write_export(path, model=model, state=state, start=start, facts=facts)
    tied = getattr(model, "all_tied_weights_keys", None) or ()
    check_export(path, start, tied=tuple(tied))
    reloaded = _reload(path)
    exact = not bf16 and {t.dtype for t in tensors(path).values()} == {"F32"}
    for ids, said in probes:
        with torch.no_grad():
            again = reloaded(input_ids=torch.tensor([ids]), use_cache=False).logits[0]
        check_logits(again, said, exact=exact, path=path)
    proof.record(path, proof.reference_of(reloaded, tokenizer))
    return weights_digest(path)


def _reload(path: str) -> Any:
    from transformers import AutoModelForCausalLM
    from transformers.integrations import unset_hf_deepspeed_config

    # Else transformers would split these weights over ranks that are gone.
    unset_hf_deepspeed_config()
    model = AutoModelForCausalLM.from_pretrained(
        path, dtype=torch.float32, attn_implementation="sdpa", local_files_only=True, use_safetensors=True
    )
    return model.eval()
