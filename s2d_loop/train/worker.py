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
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import torch
import torch.nn.functional as F

from s2d_loop import records
from s2d_loop.chat.loading import load_tokenizer
from s2d_loop.engine import pretrained
from s2d_loop.engine.processes import redirect_output
from s2d_loop.errors import BadInputError, TrainError
from s2d_loop.records import Example
from s2d_loop.train import batch, model, state
from s2d_loop.train.batch import Encoded, Encoding, Row
from s2d_loop.train.checkpoint import Trusted
from s2d_loop.train.deepspeed_config import deepspeed_config
from s2d_loop.train.dropout import attention_dropouts
from s2d_loop.train.job import WorkerTask
from s2d_loop.train.packing import sees_across

# Documents are cut to this for the checks that ask the model something.
_PROBE_TOKENS = 64
_PROBES = 2
# Of what a document changes in the one that it runs on into, this much may be seen across packed ones: the noise
# of another kernel's summation order, 1e-6 in float32 where it was measured.
_LEAK_FLOAT32 = 1e-4
_LEAK_BF16 = 0.05


@dataclass(frozen=True, slots=True)
class Plan:
    """What is trained in which step; the same on every rank."""

    tokenizer: Any
    encoding: Encoding
    steps: list[list[int]]
    accumulation: int
    alone: bool = False
    """Every document has a row of its own: this architecture sees across the documents of a row."""

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
    except (TrainError, BadInputError) as refusal:
        # The same on every rank and at every try: raised, Ray Train would start workers again for it.
        return {"error": str(refusal)}


class _SeenAcrossError(TrainError):
    """A model sees one document while it reads another of the same row."""


def run(task: WorkerTask, rank: int, world: int) -> dict[str, Any] | None:
    """One whole training on this rank, in a process whose group of ranks is set up."""
    with _limited(task, rank):
        torch.set_num_threads(task.config.cpus_per_worker)
        plan = prepare(task, world)
        if not sees_across(pretrained.configuration(task.start), task.config.micro_batch_tokens):
            try:
                return _run(plan, task, rank, world)
            except _SeenAcrossError:
                pass  # found before the first step
        return _run(_one_document_a_row(plan, task, world), task, rank, world)


def _run(plan: Plan, task: WorkerTask, rank: int, world: int) -> dict[str, Any] | None:
    settings = deepspeed_config(task.config, accumulation=plan.accumulation)
    with model.deepspeed_model(task.start, task.config, settings) as engine:
        if not plan.alone:
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
    tokenizer, end_ids = load_tokenizer(task.start, task.chat)
    encoding = batch.encode_all(
        tokenizer,
        _read(task.examples),
        end_ids=end_ids,
        max_tokens=config.micro_batch_tokens,
        arguments=task.template_arguments,
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


def _one_document_a_row(plan: Plan, task: WorkerTask, num_workers: int) -> Plan:
    """The same steps without packing."""
    needed = batch.accumulation(
        [len(e) for e in plan.examples],
        plan.steps,
        capacity=task.config.micro_batch_tokens,
        num_workers=num_workers,
        alone=True,
    )
    return replace(plan, accumulation=needed, alone=True)


def _check_documents_apart(engine: Any, plan: Plan) -> None:
    """Packing relies on the model to see documents by their positions; prove that it does.

    What it says on a document behind another one must be what it says on it alone.

    Raises:
        _SeenAcrossError: it isn't, and all ranks agree.
    """
    longest = getattr(engine.module.config.get_text_config(), "max_position_embeddings", None)
    cut = min(_PROBE_TOKENS, longest // 2 if longest else _PROBE_TOKENS)
    first, second = ([*e.prompt_ids, *e.answer_ids][:cut] for e in (plan.examples[0], plan.examples[-1]))

    def change(positions: list[int]) -> float:
        said = model.logits(engine, first + second, positions)[len(first) :]
        return float((said.float() - alone).abs().max())

    alone = model.logits(engine, second, range(len(second))).float()
    whole = change([*range(len(first) + len(second))])
    try:
        # A leak is there every time.  On an overloaded machine 0.003 was seen once, and 0 ever after.
        leak = min(change([*range(len(first)), *range(len(second))]) for _ in range(_PROBES))
    except (RuntimeError, ValueError, IndexError):
        leak = math.inf  # an architecture with positions of another shape
    apart = leak <= (_LEAK_BF16 if engine.bfloat16_enabled() else _LEAK_FLOAT32) * whole
    if torch.distributed.is_initialized():
        apart = state.from_rank_0(apart)
    if not apart:
        raise _SeenAcrossError(
            f"{plan.tokenizer.name_or_path}: it sees across packed documents (logits change by {leak:.2g}, by "
            f"{whole:.2g} in one document): this architecture does not read their boundaries from position_ids"
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
            alone=plan.alone,
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
    lengths = [len(plan.examples[i]) for i in members]
    packed = batch.pack(lengths, capacity=capacity, num_rows=len(rows), alone=plan.alone)
    assert packed is not None
    for row, indices in zip(rows, packed, strict=True):
        if indices:
            batch.check_row(row, [plan.examples[members[i]] for i in indices])
    labels = sum(row.num_labels for row in rows)
    if labels != plan.num_answer_tokens(step):
        raise TrainError(f"step {step}: {labels} labels for {plan.num_answer_tokens(step)} answer tokens")


def _train_step(
    engine: Any, rows: list[Row], plan: Plan, task: WorkerTask, step: int, rank: int, world: int
) -> tuple[float, bool]:
    """One optimiser step: the exact mean over the step's answer tokens, whichever rank has them.

    Also whether the driver asked for a stop, on which all ranks agree.

    Raises:
        TrainError: the loss or a gradient isn't finite.  DeepSpeed leaves such a step out without a word.
    """
    config = task.config
    num_labels = plan.num_answer_tokens(step)
    # Linear, and not zero in the first step: the paper's warmup is a single step (Table 4).
    rate = config.learning_rate * min(1.0, (step + 1) / config.warmup_steps)
    for group in engine.optimizer.param_groups:
        group["lr"] = rate
    engine.train()
    # The loss, the stop that rank 0 sees, and gradients that aren't finite: they share one reduction.
    total = torch.zeros(3, dtype=torch.float64, device=engine.device)
    for number, row in enumerate(rows):
        # Dropout of its own for every micro-batch, the same again after a resume.
        torch.manual_seed(hash((task.seed, step, number, rank)) & 0x7FFF_FFFF)
        summed = _summed_loss(engine, row)
        # DeepSpeed divides by the number of micro-batches and averages over ranks.
        engine.backward(summed * (world * len(rows) / num_labels))
        if number == len(rows) - 1:
            total[2] = not model.gradients_finite(engine)
        engine.step()
        total[0] += summed.detach().double()
    total[1] = rank == 0 and Path(task.stop_file).exists()
    total[2] += not engine.was_step_applied()
    torch.distributed.all_reduce(total)
    loss, stop, astray = total.tolist()
    loss /= num_labels
    if not math.isfinite(loss):
        raise TrainError(f"step {step + 1}: the loss is {loss}: lower train.learning_rate")
    if astray:
        raise TrainError(
            f"step {step + 1}: its gradients are not finite (its loss is {loss:.4g}), so nothing was learned in it: "
            "lower train.learning_rate, or look for examples that the model finds impossible"
            + ("; train.bf16: false rounds less" if config.bf16 else "")
        )
    return loss, bool(stop)


def _summed_loss(engine: Any, row: Row) -> torch.Tensor:
    """Cross entropy summed over the row's labels; logits are computed where there is a label only."""
    targets = [i for i, label in enumerate(row.labels) if label != batch.IGNORED]
    wanted = torch.tensor([i - 1 for i in targets] or [0], device=engine.device)
    logits = model.forward(engine, row.input_ids, row.position_ids, logits_to_keep=wanted)
    if len(logits) != len(wanted):
        logits = logits[wanted]  # an architecture that knows no `logits_to_keep`
    if not targets:
        # Still a graph through every weight, for the collectives of the backward pass.
        nothing: torch.Tensor = logits.float().sum() * 0.0
        return nothing
    labels = torch.tensor([row.labels[i] for i in targets], device=engine.device)
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
    if task.config.average_with_start:
        facts["share_of_the_first_weights"] = task.config.average_with_start
    if plan.alone:
        facts["rows"] = "one document each, since this architecture sees across the documents of a row"
    if task.config.dropout > 0 and not attention_dropouts(engine.module.config):
        facts["dropout"] = "none, since this architecture has no attention dropout"
    digest = finish(
        task.export_dir,
        model=engine.module,
        state=gathered,
        start=task.start,
        facts=facts,
        probes=list(zip(probes, said, strict=True)),
        tokenizer=plan.tokenizer,
        bf16=task.config.bf16,
        template=task.chat.template,
        origin=task.origin,
        origin_share=task.config.average_with_start,
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
