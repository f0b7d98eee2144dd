"""The driver's side of training: start it, follow it, limit it, publish the export.

`loop.py` calls `RayTrainer.train`, in a process that has done `ray.init`.
"""

import json
import time
import uuid
from pathlib import Path
from typing import Any

from s2d_loop import folders
from s2d_loop.errors import StoppedError, TrainError
from s2d_loop.records import Weights
from s2d_loop.train.job import TrainJob, TrainResult, WorkerTask, job_digest

_POLL_S = 0.25
# Workers end themselves at the deadline; this long after it the driver ends what is left.
_GRACE_S = 30.0
# How long workers may take for their step and a checkpoint when the run is stopped.
_CHECKPOINT_S = 600.0
# How long Ray Train may take to end workers that it is asked to end.
_STOP_S = 45.0


class RayTrainer:
    """Trains with Ray Train and DeepSpeed on the Ray that the driver is connected to."""

    def __init__(self, log_dir: str | Path | None = None) -> None:
        self._log_dir = None if log_dir is None else str(Path(log_dir).absolute())

    def train(self, job: TrainJob) -> TrainResult:
        """Train and export; `TrainError` with the failing worker's last lines when it can't be done.

        Checkpoints stay in `scratch_dir`: whoever commits the result removes them then.
        """
        began = time.monotonic()
        _check_job(job)
        _check_resources(job)
        scratch = Path(job.scratch_dir)
        # DeepSpeed's checkpoints lie here: for the run's own user only.
        folders.make(scratch)
        _remove_partial_exports(job.out_dir)
        attempt = uuid.uuid4().hex[:8]
        task = _task(job, attempt, self._log_dir)
        account = _follow(task, job)
        if "error" in account:
            raise TrainError(account["error"])
        return _publish(job, task, account, began)


def _check_job(job: TrainJob) -> None:
    for name in ("out_dir", "scratch_dir"):
        if not Path(getattr(job, name)).is_absolute():
            raise TrainError(f"TrainJob.{name} must be an absolute path, not {getattr(job, name)!r}")
    if Path(job.out_dir).exists():
        raise TrainError(f"{job.out_dir} exists already: an export never replaces anything")
    if job.config.average_with_start and job.origin is None:
        raise TrainError("train.average_with_start: TrainJob.origin must name the run's starting weights")
    if not job.examples:
        raise TrainError("there is no file of examples to train on")
    missing = [p for p in (*job.examples, str(Path(job.start.path, "config.json"))) if not Path(p).is_file()]
    if missing:
        raise TrainError(f"not found: {', '.join(missing[:3])}")


def _check_resources(job: TrainJob) -> None:
    """Ray waits for ever for what the cluster doesn't have."""
    import ray

    if not ray.is_initialized():
        raise TrainError("training needs a driver that is connected to Ray: call ray.init() first")
    config = job.config
    there = ray.cluster_resources()
    for kind, each in (("CPU", config.cpus_per_worker), ("GPU", config.gpus_per_worker)):
        wanted = each * config.num_workers
        if wanted > there.get(kind, 0):
            raise TrainError(
                f"training wants {wanted:g} {kind}s ({config.num_workers} workers with {each:g} each), "
                f"the cluster has {there.get(kind, 0):g}: lower train.num_workers or add nodes"
            )


def _remove_partial_exports(out_dir: str) -> None:
    out = Path(out_dir)
    out.parent.mkdir(parents=True, exist_ok=True)
    for left in out.parent.glob(f"{out.name}.partial-*"):
        folders.remove(left)


def _task(job: TrainJob, attempt: str, log_dir: str | None) -> WorkerTask:
    return WorkerTask(
        examples=list(job.examples),
        start=job.start.path,
        start_digest=job.start.digest,
        export_dir=f"{job.out_dir}.partial-{attempt}",
        config=job.config,
        seed=job.seed,
        job=job_digest(job),
        scratch_dir=job.scratch_dir,
        attempt=f"attempt-{attempt}",
        checkpoints=list(job.checkpoints),
        chat=job.chat,
        origin=None if job.origin is None else job.origin.path,
        template_arguments=dict(job.template_arguments),
        progress_file=str(Path(job.scratch_dir, f"progress-{attempt}.jsonl")),
        stop_file=str(Path(job.scratch_dir, f"stop-{attempt}")),
        deadline=time.time() + job.config.timeout_s,
        log_dir=log_dir,
    )


def _follow(task: WorkerTask, job: TrainJob) -> dict[str, Any]:
    """Run `fit` as a task, pass its progress on, and end it when its time is up or the driver stops."""
    import ray

    from s2d_loop.train.fit import explain, fit

    reference = ray.remote(num_cpus=0, max_retries=0)(fit).remote(task, task.attempt)
    progress = _Progress(task.progress_file, job)
    try:
        while not ray.wait([reference], timeout=_POLL_S)[0]:
            progress.pass_on()
            if time.time() > task.deadline + _GRACE_S:
                raise TrainError(
                    f"training was not done after train.timeout_s={job.config.timeout_s:g} seconds "
                    f"(step {progress.step} of {job.config.steps}); where its workers stood is in "
                    f"{job.scratch_dir}/stacks-rank-*.txt; the same command goes on from its last checkpoint"
                )
        progress.pass_on()
        account: dict[str, Any] = ray.get(reference)
    except ray.exceptions.RayError as failure:
        raise TrainError(explain(str(failure), job.scratch_dir)) from failure
    except BaseException as error:
        try:
            if isinstance(error, StoppedError):
                Path(task.stop_file).touch()
                ray.wait([reference], timeout=_CHECKPOINT_S)
                progress.pass_on(steps=False)
        finally:
            _stop(reference)
        raise
    return account


def _stop(reference: Any) -> None:
    """End a `fit`: asked first, since only then Ray Train gives its resources back at once."""
    import ray

    ray.cancel(reference)
    if not ray.wait([reference], timeout=_STOP_S)[0]:
        ray.cancel(reference, force=True)


class _Progress:
    """The lines that rank 0 has written since the last look."""

    def __init__(self, path: str, job: TrainJob) -> None:
        self._path = Path(path)
        self._offset = 0
        self._total = job.config.steps
        self._tell = job.on_progress
        self._checkpointed = job.on_checkpoint
        self.step = 0

    def pass_on(self, *, steps: bool = True) -> None:
        """Checkpoints, and steps too unless they have been told to stop."""
        if not self._path.is_file():
            return
        with self._path.open("rb") as file:
            file.seek(self._offset)
            whole, newline, _ = file.read().rpartition(b"\n")
        self._offset += len(whole) + len(newline)
        rows = [json.loads(line) for line in whole.splitlines()]
        for row in rows:
            # Before the steps, at which a stopped driver leaves.
            if self._checkpointed is not None and "checkpoint" in row:
                self._checkpointed(row["step"], row["checkpoint"])
        for row in rows:
            self.step = row["step"]
            if steps and self._tell is not None and "loss" in row:
                self._tell(row["step"], self._total, row["loss"], row["tokens"])


def _publish(job: TrainJob, task: WorkerTask, account: dict[str, Any], began: float) -> TrainResult:
    """The checked export gets its name; from here on it exists."""
    result = TrainResult(
        weights=Weights(job.out_dir, account["digest"]),
        steps=len(account["losses"]),
        losses=account["losses"],
        num_examples=account["num_examples"],
        trained=account["trained"],
        dropped=account["dropped"],
        tokens=account["tokens"],
        answer_tokens=account["answer_tokens"],
        seconds=time.monotonic() - began,
    )
    assert result.num_examples == result.trained + sum(result.dropped.values())
    assert result.steps == job.config.steps
    Path(task.export_dir).rename(job.out_dir)
    return result
