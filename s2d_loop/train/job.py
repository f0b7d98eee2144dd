"""What a training gets and gives back."""

import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from s2d_loop.chat.loading import ChatSettings
from s2d_loop.config.training import TrainConfig
from s2d_loop.records import TemplateArguments, Weights, digest
from s2d_loop.weights import sha256_of

# Settings that change neither the data plan nor the shape of a checkpoint.
_IRRELEVANT = {
    *("start", "average_with_start"),
    *("max_failures", "start_timeout_s", "timeout_s", "checkpoint_every", "cpus_per_worker"),
}

Progress = Callable[[int, int, float, int], None]
Checkpointed = Callable[[int, str], None]


@dataclass(frozen=True, slots=True)
class TrainJob:
    """One training.

    `examples` are parquet files of `records.Example`.  `out_dir` must not exist; it appears whole,
    by a rename, after all checks.  `scratch_dir` keeps checkpoints, progress and logs, and must be
    seen by every node; a rerun of the same job with the same `scratch_dir` goes on from the last
    complete checkpoint there.  `on_progress(step, total_steps, loss, tokens)` is called in the
    driver after every optimiser step; when it raises StoppedError the workers write a checkpoint first.
    """

    examples: list[str]
    start: Weights
    out_dir: str
    config: TrainConfig
    seed: int
    scratch_dir: str
    on_progress: Progress | None = field(default=None, compare=False)
    on_checkpoint: Checkpointed | None = field(default=None, compare=False)
    """Told the step and the digest of every checkpoint; whoever keeps them can go on from it."""
    checkpoints: Collection[str] = field(default=(), compare=False)
    """Digests of the checkpoints that may be gone on from: optimiser state of others is never read."""
    chat: ChatSettings = ChatSettings()  # noqa: RUF009 - frozen
    """The export carries its template."""
    origin: Weights | None = None
    """The run's starting weights, with which the trained ones are averaged (`config.average_with_start`)."""
    template_arguments: Mapping[str, TemplateArguments] = field(default_factory=dict)
    """What the chat template is given for each row (`plan.training_arguments`)."""


@dataclass(frozen=True, slots=True)
class TrainResult:
    """What came of it: `num_examples == trained + sum(dropped.values())`.

    `losses` has the mean loss of an answer token for every optimiser step; `tokens` and
    `answer_tokens` count what was trained on, repeats included.
    """

    weights: Weights
    steps: int
    losses: list[float]
    num_examples: int
    trained: int
    dropped: dict[str, int]
    tokens: int
    answer_tokens: int
    seconds: float


@dataclass(frozen=True, slots=True)
class WorkerTask:
    """All that a worker needs to know; every path is absolute, because Ray moves workers elsewhere."""

    examples: list[str]
    start: str
    start_digest: str
    export_dir: str
    config: TrainConfig
    seed: int
    job: str
    scratch_dir: str
    attempt: str
    """The folder of Ray Train's that this attempt writes to."""
    checkpoints: list[str]
    chat: ChatSettings
    origin: str | None
    template_arguments: Mapping[str, TemplateArguments]
    progress_file: str
    stop_file: str
    """Once it is there the workers write a checkpoint after their step, and leave."""
    deadline: float
    log_dir: str | None
    """Where ranks write what they say; Ray's own files unless given."""


def job_digest(job: TrainJob) -> str:
    """What a checkpoint belongs to: the same examples, start weights, seed and settings."""
    settings = job.config.model_dump(exclude=_IRRELEVANT)
    given = {task: arguments for task, arguments in job.template_arguments.items() if arguments}
    if job.chat.template is not None or given:
        settings |= {"template": job.chat.template, "template_arguments": sorted(given.items())}
    contents = sorted(sha256_of(Path(path)) for path in job.examples)
    return digest(job.start.digest, str(job.seed), json.dumps(settings, sort_keys=True), *contents)
