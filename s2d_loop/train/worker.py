"""What one Ray Train worker does: prepare, train step by step, export.

`fit.py` starts it on every rank.  All ranks prepare the same plan from the same files; rank r trains
on rows r, r + world, ... of each step.
"""

import faulthandler
import json
import math
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import torch
import torch.nn.functional as F

from s2d_loop import records
from s2d_loop.engine.processes import redirect_output
from s2d_loop.errors import TrainError
from s2d_loop.records import Example
from s2d_loop.train import batch, model, state
from s2d_loop.train.batch import Encoded, Encoding, Row
from s2d_loop.train.checkpoint import Trusted
from s2d_loop.train.deepspeed_config import deepspeed_config
from s2d_loop.train.job import WorkerTask

# Documents are cut to this for the checks that ask the model something.
_PROBE_TOKENS = 64
_PROBES = 2


@dataclass(frozen=True, slots=True)
class Plan:
    """What is trained in which step; the same on every rank."""

    tokenizer: Any
    encoding: Encoding
    steps: list[list[int]]
    accumulation: int

    @property
    def examples(self) -> tuple[Encoded, ...]:
        return self.encoding.examples

    def num_tokens(self, step: int) -> int:
        return sum(len(self.examples[i]) for i in self.steps[step])

    def num_answer_tokens(self, step: int) -> int:
        return sum(len(self.examples[i].answer_ids) for i in self.steps[step])


def train_loop(settings: dict[str, Any]) -> dict[str, Any] | None:
    """The training function; rank 0 returns what `TrainResult` needs, or `{"error": text}`."""
    import ray.train

    context = ray.train.get_context()
    task: WorkerTask = settings["task"]
    if task.log_dir is not None:
        redirect_output(Path(task.log_dir, f"train-rank-{context.get_world_rank():05d}.log"))
    try:
        return run(task, context.get_world_rank(), context.get_world_size())
    except TrainError as refusal:
        # The same on every rank and at every try: raised, Ray Train would start workers again for it.
        return {"error": str(refusal)}


def run(task: WorkerTask, rank: int, world: int) -> dict[str, Any] | None:
    """One whole training on this rank, in a process whose group of ranks is set up."""
    with _limited(task, rank):
        torch.set_num_threads(task.config.cpus_per_worker)
        plan = prepare(task, world)
        with model.deepspeed_model(
            task.start, task.config, deepspeed_config(task.config, accumulation=plan.accumulation)
        ) as engine:
            _check_documents_apart(engine, plan)
            losses = _train(engine, plan, task, rank, world)
            if len(losses) < task.config.steps:
                return {"stopped": len(losses)}
            return _export(engine, plan, task, rank, losses)


@contextmanager
def _limited(task: WorkerTask, rank: int) -> Iterator[None]:
    """End this process at the deadline, whatever it waits for, with every thread's stack in a file."""
    path = Path(task.scratch_dir, f"stacks-rank-{rank:05d}.txt")
    with path.open("w") as file:
        faulthandler.dump_traceback_later(max(1.0, task.deadline - time.time()), exit=True, file=file)
        try:
            yield
        finally:
            faulthandler.cancel_dump_traceback_later()


def prepare(task: WorkerTask, num_workers: int) -> Plan:
    """Read, tokenise and plan."""
    config = task.config
    tokenizer, end_ids = model.load_tokenizer(task.start)
    encoding = batch.encode_all(
        tokenizer, _read(task.examples), end_ids=end_ids, max_tokens=config.micro_batch_tokens
    )
    if not encoding.examples:
        raise TrainError(
            f"none of {encoding.num_examples} examples can be trained on:\n{encoding.explanation}"
        )
    lengths = [len(e) for e in encoding.examples]
    costs = lengths if config.count_tokens == "all" else [len(e.answer_ids) for e in encoding.examples]
    steps = batch.plan_steps(costs, seed=task.seed, steps=config.steps, budget=config.tokens_per_step)
    needed = batch.accumulation(lengths, steps, capacity=config.micro_batch_tokens, num_workers=num_workers)
    return Plan(tokenizer, encoding, steps, needed)


def _read(paths: list[str]) -> list[Example]:
    return [example for path in paths for example in records.rows(pq.read_table(path), Example)]


def _check_documents_apart(engine: Any, plan: Plan) -> None:
    """Packing relies on the model's attention to see documents by their positions; prove that it does.

    Changing one document must not change what the model says on its neighbour.
    """
    documents = [
        list(e.prompt_ids + e.answer_ids)[:_PROBE_TOKENS] for e in (plan.examples[0], plan.examples[-1])
    ]
    changed = [(token + 1) % engine.module.config.vocab_size for token in documents[0]]
    positions = [position for document in documents for position in range(len(document))]

    def seen() -> float:
        said = [
            model.logits(engine, first + documents[1], positions)[len(first) :]
            for first in (documents[0], changed)
        ]
        return float((said[0] - said[1]).abs().max())

    # A leak is there every time.  On an overloaded machine 0.003 was seen once, and 0 ever after.
    leak = min(seen() for _ in range(_PROBES))
    if not leak <= 1e-3:
        raise TrainError(
            f"{plan.tokenizer.name_or_path}: its attention sees across packed documents ({leak:.2g}); "
            "this architecture does not read document boundaries from position_ids"
        )


def _train(engine: Any, plan: Plan, task: WorkerTask, rank: int, world: int) -> list[float]:
    """The losses of all steps; of fewer when the driver asked for a stop, after a checkpoint."""
    trusted = Trusted(task.checkpoints, task.attempt)
    losses = state.resume(engine, task.scratch_dir, job=task.job, trusted=trusted)
    first = len(losses)
    if rank == 0 and first:
        _progress(task, step=first, loss=losses[-1], tokens=0)
    for step in range(first, task.config.steps):
        rows = batch.step_rows(
            plan.examples,
            plan.steps[step],
            capacity=task.config.micro_batch_tokens,
            num_rows=plan.accumulation * world,
        )
        if step == first:
            _check_rows(rows, plan, step, task.config.micro_batch_tokens)
        loss, stop = _train_step(engine, rows[rank::world], plan, task, step, rank, world)
        losses.append(loss)
        if rank == 0:
            _progress(task, step=step + 1, loss=losses[-1], tokens=plan.num_tokens(step))
        due = stop or (step + 1) % task.config.checkpoint_every == 0
        if due and step + 1 < task.config.steps:
            saved = state.save(engine, job=task.job, step=step + 1, losses=losses)
            if rank == 0:
                _progress(task, step=step + 1, checkpoint=saved)
            if stop:
                return losses
    if not (engine.global_steps == len(losses) == task.config.steps):
        raise TrainError(
            f"training ended after {engine.global_steps} steps with {len(losses)} losses, "
            f"train.steps is {task.config.steps}"
        )
    return losses


def _check_rows(rows: list[Row], plan: Plan, step: int, capacity: int) -> None:
    """The masks of a whole step, proved on the rows that are trained on."""
    members = plan.steps[step]
    packed = batch.pack([len(plan.examples[i]) for i in members], capacity=capacity, num_rows=len(rows))
    assert packed is not None
    for row, indices in zip(rows, packed, strict=True):
        if indices:
            batch.check_row(row, [plan.examples[members[i]] for i in indices], plan.tokenizer)
    labels = sum(row.num_labels for row in rows)
    if labels != plan.num_answer_tokens(step):
        raise TrainError(f"step {step}: {labels} labels for {plan.num_answer_tokens(step)} answer tokens")


def _train_step(
    engine: Any, rows: list[Row], plan: Plan, task: WorkerTask, step: int, rank: int, world: int
) -> tuple[float, bool]:
    """One optimiser step: the exact mean over the step's answer tokens, whichever rank has them.

    Also whether the driver asked for a stop, on which all ranks agree.
    """
    config = task.config
    num_labels = plan.num_answer_tokens(step)
    # Linear, and not zero in the first step: the paper's warmup is a single step (Table 4).
    rate = config.learning_rate * min(1.0, (step + 1) / config.warmup_steps)
    for group in engine.optimizer.param_groups:
        group["lr"] = rate
    engine.train()
    # The loss, and the stop that rank 0 sees: they share one reduction.
    total = torch.zeros(2, dtype=torch.float64, device=engine.device)
    for number, row in enumerate(rows):
        # Dropout of its own for every micro-batch, the same again after a resume.
        torch.manual_seed(hash((task.seed, step, number, rank)) & 0x7FFF_FFFF)
        summed = _summed_loss(engine, row)
        # DeepSpeed divides by the number of micro-batches and averages over ranks.
        engine.backward(summed * (world * len(rows) / num_labels))
        engine.step()
        total[0] += summed.detach().double()
    total[1] = rank == 0 and Path(task.stop_file).exists()
    torch.distributed.all_reduce(total)
    loss = total[0].item() / num_labels
    if not math.isfinite(loss):
        raise TrainError(f"step {step + 1}: the loss is {loss}: lower train.learning_rate")
    return loss, bool(total[1].item())


def _summed_loss(engine: Any, row: Row) -> torch.Tensor:
    """Cross entropy summed over the row's labels; logits are computed where there is a label only."""
    device = engine.device
    targets = [i for i, label in enumerate(row.labels) if label != batch.IGNORED]
    positions = torch.tensor([i - 1 for i in targets] or [0], device=device)
    logits = engine(
        input_ids=torch.tensor([row.input_ids], device=device),
        position_ids=torch.tensor([row.position_ids], device=device),
        logits_to_keep=positions,
        # With a cache, transformers would not look for document boundaries.
        use_cache=False,
    ).logits[0]
    if not targets:
        # Still a graph through every weight, for the collectives of the backward pass.
        nothing: torch.Tensor = logits.float().sum() * 0.0
        return nothing
    labels = torch.tensor([row.labels[i] for i in targets], device=device)
    return F.cross_entropy(logits.float(), labels, reduction="sum")


def _progress(task: WorkerTask, **values: Any) -> None:
    with Path(task.progress_file).open("a") as file:
        file.write(json.dumps({**values, "pid": os.getpid()}) + "\n")


def _export(
    engine: Any, plan: Plan, task: WorkerTask, rank: int, losses: list[float]
) -> dict[str, Any] | None:
    """Gather, write and check; only rank 0 goes on after the gathering."""
    from s2d_loop.train.finish import finish

    probes = [list((e.prompt_ids + e.answer_ids)[:_PROBE_TOKENS]) for e in plan.examples[:3]]
    said = [model.logits(engine, ids, list(range(len(ids)))).float().cpu() for ids in probes]
    gathered = model.full_state(engine, keep=rank == 0)
    if rank != 0:
        return None
    num_tokens = sum(map(plan.num_tokens, range(len(plan.steps))))
    num_answer_tokens = sum(map(plan.num_answer_tokens, range(len(plan.steps))))
    dropped = dict(plan.encoding.dropped)
    trained = len({i for step in plan.steps for i in step})
    if trained < len(plan.examples):
        dropped["not_reached"] = len(plan.examples) - trained
    facts = {
        "start_weights": task.start_digest,
        "examples": trained,
        "optimiser_steps": len(losses),
        "tokens": num_tokens,
        "answer_tokens": num_answer_tokens,
        "learning_rate": task.config.learning_rate,
        "first_loss": f"{losses[0]:.4f}",
        "last_loss": f"{losses[-1]:.4f}",
        "seed": task.seed,
    }
    digest = finish(
        task.export_dir,
        model=engine.module,
        state=gathered,
        start=task.start,
        facts=facts,
        probes=list(zip(probes, said, strict=True)),
        tokenizer=plan.tokenizer,
        bf16=task.config.bf16,
    )
    return {
        "digest": digest,
        "losses": losses,
        "num_examples": plan.encoding.num_examples,
        "trained": trained,
        "dropped": dropped,
        "tokens": num_tokens,
        "answer_tokens": num_answer_tokens,
    }
