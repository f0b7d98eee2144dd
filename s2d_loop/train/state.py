"""Checkpoints of a DeepSpeed engine through Ray Train, and going on from one."""

import tempfile
import uuid
from pathlib import Path
from typing import Any

import torch

from s2d_loop.errors import TrainError
from s2d_loop.train.checkpoint import Found, Trusted, digest_of, find_checkpoint, write_manifest

_TAG = "deepspeed"


def save(engine: Any, *, job: str, step: int, losses: list[float]) -> str:
    """Every rank saves its shard and a manifest; Ray Train merges them in its storage.

    The directory's name is new every time: a retry must never write over a partial checkpoint.
    Returns the checkpoint's digest.
    """
    import ray.train

    name = from_rank_0(f"step-{step:08d}-{uuid.uuid4().hex[:8]}")
    num_ranks = torch.distributed.get_world_size()
    with tempfile.TemporaryDirectory() as local:
        engine.save_checkpoint(local, tag=_TAG)
        manifest = write_manifest(
            Path(local),
            job=job,
            step=step,
            rank=torch.distributed.get_rank(),
            num_ranks=num_ranks,
            losses=losses,
        )
        ray.train.report(
            {"step": step, "loss": losses[-1]},
            checkpoint=ray.train.Checkpoint.from_directory(local),
            checkpoint_dir_name=name,
        )
    manifests: list[Any] = [None] * num_ranks
    torch.distributed.all_gather_object(manifests, manifest)
    return digest_of(manifests)


def resume(engine: Any, scratch_dir: str, *, job: str, trusted: Trusted) -> list[float]:
    """Load the last complete checkpoint; the losses of the steps it holds, none at a fresh start.

    Ray Train may name an older one than the last (it polls), or none after a new start of the
    driver, so the storage is asked.  Rank 0 chooses for all.
    """
    chooses = torch.distributed.get_rank() == 0
    found: Found | None = from_rank_0(
        find_checkpoint(scratch_dir, job=job, trusted=trusted) if chooses else None
    )
    if found is None:
        return []
    _allow_deepspeed_classes()
    # DeepSpeed's own would unpickle whatever the file says.
    engine.checkpoint_engine.load = load_data
    loaded, _ = engine.load_checkpoint(found.path, tag=_TAG)
    if loaded is None or not (engine.global_steps == found.step == len(found.losses)):
        raise TrainError(
            f"{found.path}: says step {found.step}, but holds step {engine.global_steps}; "
            "remove it to train from an earlier one"
        )
    return found.losses


def load_data(path: str, map_location: Any = None) -> Any:
    """A file of torch's, as tensors and plain values; pickle.UnpicklingError where it holds anything else."""
    return torch.load(path, map_location=map_location, weights_only=True)


def from_rank_0(value: Any) -> Any:
    """Rank 0's value, on every rank; all take part."""
    box = [value]
    torch.distributed.broadcast_object_list(box, src=0)
    return box[0]


def _allow_deepspeed_classes() -> None:
    """The classes that DeepSpeed itself puts into checkpoints."""
    from deepspeed.runtime.fp16.loss_scaler import DynamicLossScaler, LossScaler
    from deepspeed.runtime.zero.config import ZeroStageEnum
    from deepspeed.utils.tensor_fragment import fragment_address, tensor_fragment

    torch.serialization.add_safe_globals(
        [DynamicLossScaler, LossScaler, ZeroStageEnum, fragment_address, tensor_fragment]
    )
