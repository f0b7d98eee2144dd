"""`TrainConfig` as a DeepSpeed configuration; the names are DeepSpeed's.

`worker.py` hands it to `deepspeed.initialize`.  The optimiser and the learning rate are set there,
because they must be the same for every ZeRO stage.
"""

from typing import Any

from s2d_loop.config.training import TrainConfig

# Elements a reduction or gathering handles at once: small enough for a small machine's memory.
BUCKET = 50_000_000


def deepspeed_config(config: TrainConfig, *, accumulation: int) -> dict[str, Any]:
    """The whole configuration for one training."""
    return {
        "train_micro_batch_size_per_gpu": 1,
        "gradient_accumulation_steps": accumulation,
        "gradient_clipping": config.max_grad_norm,
        "bf16": {"enabled": config.bf16},
        "zero_optimization": _zero(config),
        # The optimiser is torch's AdamW on every device: DeepSpeed's own are compiled for minutes.
        "zero_allow_untested_optimizer": True,
        "zero_force_ds_cpu_optimizer": False,
        "steps_per_print": 2**31 - 1,
        "wall_clock_breakdown": False,
    }


def _zero(config: TrainConfig) -> dict[str, Any]:
    zero: dict[str, Any] = {
        "stage": config.zero_stage,
        # Both need CUDA streams, and change no result.
        "overlap_comm": config.gpus_per_worker > 0,
        "contiguous_gradients": config.gpus_per_worker > 0,
        "reduce_bucket_size": BUCKET,
        "allgather_bucket_size": BUCKET,
    }
    if config.zero_stage == 3:
        zero["stage3_prefetch_bucket_size"] = BUCKET
        zero["stage3_gather_16bit_weights_on_model_save"] = True
    if config.offload != "none":
        zero["offload_optimizer"] = {"device": "cpu", "pin_memory": config.gpus_per_worker > 0}
    if config.offload == "all":
        zero["offload_param"] = {"device": "cpu", "pin_memory": config.gpus_per_worker > 0}
    return zero
