"""Ray Train's side of a training: runs as a Ray task of its own, so that it can be stopped.

`trainer.py` starts `fit` and waits with a limit.  Ray Train's `fit()` itself waits for ever; ending
this task ends the controller and the workers, which it owns.
"""

import errno
import os
from pathlib import Path
from typing import Any

from s2d_loop.train.checkpoint import STORAGE
from s2d_loop.train.job import WorkerTask

# How often the controller looks at its workers; its own 2 s would be a tenth of a short training.
_POLL_S = "0.5"
_LAST_LINES = 25


def fit(task: WorkerTask, name: str) -> dict[str, Any]:
    """Train, and return rank 0's account of it, or `{"error": text}`."""
    import ray

    os.environ["RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S"] = str(task.config.start_timeout_s)
    os.environ.setdefault("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", _POLL_S)
    if len(ray.nodes()) == 1:
        # It tells workers that their node will be taken away: one process less to start here.
        os.environ.setdefault("RAY_TRAIN_ENABLE_PREEMPTION_WATCHER", "0")
    from ray.train import CheckpointConfig, FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchConfig, TorchTrainer
    from ray.train.v2.api.exceptions import TrainingFailedError

    from s2d_loop.train.worker import train_loop

    config = task.config
    cuda = config.gpus_per_worker > 0
    resources = {"CPU": float(config.cpus_per_worker)}
    if cuda:
        resources["GPU"] = config.gpus_per_worker
    trainer = TorchTrainer(
        train_loop,
        train_loop_config={"task": task},
        torch_config=TorchConfig(
            backend="nccl" if cuda else "gloo", timeout_s=max(1, int(config.start_timeout_s))
        ),
        scaling_config=ScalingConfig(
            num_workers=config.num_workers, use_gpu=cuda, resources_per_worker=resources
        ),
        run_config=RunConfig(
            name=name,
            storage_path=str(Path(task.scratch_dir, STORAGE)),
            failure_config=FailureConfig(
                max_failures=config.max_failures,
                # Ray's default tries to start workers for ever.
                controller_failure_limit=min(1, config.max_failures),
            ),
            # The newest may be partial when a rank dies in its upload.
            checkpoint_config=CheckpointConfig(num_to_keep=2),
        ),
    )
    try:
        account: dict[str, Any] = trainer.fit().return_value
    except TrainingFailedError as failure:
        return {"error": explain(str(failure), task.scratch_dir)}
    return account


def explain(error: str, scratch_dir: str) -> str:
    """The end of a failure's text, where the worker says what it was; a full disk in words."""
    lines = [line for line in error.splitlines() if line.strip()]
    cut = lines if len(lines) <= _LAST_LINES else ["...", *lines[-_LAST_LINES:]]
    why = "training failed"
    if os.strerror(errno.ENOSPC) in error:
        why += f": a disk is full, that of {scratch_dir} or of temporary files. Make room; the same command goes on"
    return "\n".join([f"{why}; the last lines are:", *cut, f"More is under {scratch_dir}."])
