"""Training: Ray Train starts DeepSpeed workers, which fine-tune on x -> y and export a model.

`trainer.RayTrainer` is what the loop calls.  Nothing imported here loads Ray, torch or DeepSpeed.
"""

from s2d_loop.train.export import check_export
from s2d_loop.train.job import TrainJob, TrainResult
from s2d_loop.train.trainer import RayTrainer
from s2d_loop.weights import weights_digest

__all__ = ["RayTrainer", "TrainJob", "TrainResult", "check_export", "weights_digest"]
