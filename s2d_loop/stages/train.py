"""Fine-tunes on a round's rows."""

from pathlib import Path

from s2d_loop import folders, weights
from s2d_loop.chat.loading import chat_settings
from s2d_loop.ledger import Attempt, Counts, Record
from s2d_loop.plan import training_arguments
from s2d_loop.records import Example
from s2d_loop.stages.run import Balance, Run
from s2d_loop.train.job import TrainJob, TrainResult
from s2d_loop.versions import in_service


def train(run: Run, attempt: Attempt, pooled: Record) -> Balance:
    """Fine-tune on the round's rows; the export is checked before it counts."""
    config, current = run.config.train, run.weights(attempt.iteration)
    examples = _local_copy(run, attempt, pooled, "training")
    seed = training_seed(run, attempt.iteration)
    result = fit(run, attempt, examples, scratch_of(run, attempt.iteration), seed)
    return Counts(result.num_examples, result.trained, result.dropped), {
        "weights": weights.publish(run.ledger.store, attempt, result.weights),
        "start_version": in_service(run.ledger, attempt.iteration) if config.start == "current" else 0,
        "start": current.digest if config.start == "current" else run.start.digest,
        "steps": result.steps,
        "losses": result.losses,
        "tokens": result.tokens,
        "answer_tokens": result.answer_tokens,
    }


def training_seed(run: Run, iteration: int) -> int:
    """The seed of a round's training."""
    return run.config.run.seed + iteration


def fit(run: Run, attempt: Attempt, examples: str, scratch: Path, seed: int) -> TrainResult:
    """A round's training on the rows of a file; a rerun goes on from the checkpoints in `scratch`."""
    config = run.config.train
    current = run.weights(attempt.iteration)
    name = f"{attempt.iteration:05d}-{attempt.id}"
    with run.progress.stage(attempt.iteration, "train", config.steps) as progress:
        done = 0

        def step_done(step: int, total: int, loss: float, tokens: int) -> None:  # noqa: ARG001
            nonlocal done
            progress.advance(step - done, loss=loss)
            done = step
            if step < total:
                run.safe_point()

        def checkpointed(step: int, digest: str) -> None:
            facts = {"iteration": attempt.iteration, "step": step, "digest": digest}
            run.ledger.append("checkpoint", facts=facts)

        return run.trainer.train(
            TrainJob(
                examples=[examples],
                start=current if config.start == "current" else run.start,
                out_dir=str(run.weights_dir / name),
                config=config,
                seed=seed,
                scratch_dir=str(scratch),
                on_progress=step_done,
                on_checkpoint=checkpointed,
                checkpoints=_checkpoints(run, attempt.iteration),
                origin=run.start,
                chat=chat_settings(run.config.model, run.start.path),
                template_arguments=training_arguments(run.config),
            )
        )


def _checkpoints(run: Run, iteration: int) -> list[str]:
    """The digests of the checkpoints that drivers of this run made in a round's training."""
    made = (r.facts for r in run.ledger.live if r.kind == "checkpoint")
    return [facts["digest"] for facts in made if facts["iteration"] == iteration]


def _local_copy(run: Run, attempt: Attempt, record: Record, name: str) -> str:
    """A committed table as a file that train workers can open."""
    (file,) = [each for each in record.files if each.table == name]
    whole = run.ledger.read(record, name, Example)
    path = run.ledger.store.local_path(file.path)
    if path is None:
        import pyarrow.parquet as pq

        scratch = scratch_of(run, attempt.iteration)
        folders.make(scratch)
        path = str(scratch / f"{name}-{attempt.id}.parquet")
        pq.write_table(whole, path)
    return path


def sweep_training(run: Run, trained: Record) -> None:
    """Remove what a round needed until its weights were committed: checkpoints, parts of other exports."""
    folders.remove(scratch_of(run, trained.iteration))
    for part in run.weights_dir.glob(f"{trained.iteration:05d}-*.partial-*"):
        folders.remove(part)


def scratch_of(run: Run, iteration: int, without: str = "") -> Path:
    """Where a round's training keeps what it needs to go on, and one that leaves a source out."""
    return run.weights_dir / f".scratch-{iteration:05d}{without and f'-without-{without}'}"
