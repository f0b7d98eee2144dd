"""A tiny model, examples and trainings over them, for the tests of training."""

import random
import time
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from s2d_loop.config.training import TrainConfig
from s2d_loop.records import Example, Message, Weights, table
from s2d_loop.train import TrainJob, weights_digest
from s2d_loop.train.job import WorkerTask, job_digest
from tests.support import checkpoints

DROPOUT_OF_THE_START = 0.03


def write_model(path: Path) -> None:
    """A random Llama whose heads divide by two, with a chat template, and tables that it would recompute."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from s2d_loop.testbed.tokenizer import build_tokenizer

    tokenizer = build_tokenizer(["Take the last letters of each word in"], 512)
    torch.manual_seed(0)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=64,
            intermediate_size=128,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            head_dim=32,
            max_position_embeddings=512,
            tie_word_embeddings=True,
            attention_dropout=DROPOUT_OF_THE_START,
            bos_token_id=None,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
            dtype="float32",
        )
    )
    model.save_pretrained(path)
    tokenizer.save_pretrained(path)
    table = {f"model.layers.{i}.self_attn.rotary_emb.inv_freq": torch.rand(16) for i in range(2)}
    checkpoints.write_tensors(path, checkpoints.read_tensors(path) | table)


def write_unpacked(path: Path) -> None:
    """A random BLOOM, whose attention sees across the documents of a row."""
    checkpoints.publish(path, checkpoints.build("Bloom", n_layer=2, n_head=2, pad_token_id=0, eos_token_id=3))


def make_examples(count: int) -> list[Example]:
    """Last letters of two made-up words; the last example is too long for the tests' rows."""
    draw = random.Random(1)
    result = []
    for number in range(count):
        size = 200 if number == count - 1 else draw.randint(2, 6)
        words = ["".join(draw.choices("abcdefgh", k=size)) for _ in range(2)]
        result.append(
            Example(
                id=f"example-{number:04}",
                input_id=f"input-{number:04}",
                task="last_letters",
                prompt=(Message("user", f"Take the last letters of each word in {' '.join(words)}"),),
                completion=(Message("assistant", words[0][-1] + words[1][-1]),),
                answer=words[0][-1] + words[1][-1],
                share=1.0,
                iteration=0,
                weights="start",
            )
        )
    return result


def write_examples(path: Path, count: int = 60) -> None:
    pq.write_table(table(make_examples(count), Example), path)


def make_config(**changes: Any) -> TrainConfig:
    """Twelve steps of about 400 tokens on two workers, two micro-batches each."""
    settings: dict[str, Any] = {
        "steps": 12,
        "tokens_per_step": 400,
        "micro_batch_tokens": 128,
        "learning_rate": 2e-3,
        "warmup_steps": 4,
        "num_workers": 2,
        "checkpoint_every": 3,
        "start_timeout_s": 180.0,
        "timeout_s": 400.0,
    }
    return TrainConfig(**(settings | changes))


def make_job(root: Path, name: str, config: TrainConfig, *, start: str = "start", **more: Any) -> TrainJob:
    path = str(root / start)
    return TrainJob(
        examples=[str(root / "examples.parquet")],
        start=Weights(path, weights_digest(path)),
        out_dir=str(root / name),
        config=config,
        seed=5,
        scratch_dir=str(root / f"{name}.scratch"),
        **more,
    )


def make_task(job: TrainJob) -> WorkerTask:
    """What `RayTrainer` would hand to the workers, for running several jobs in one worker group."""
    Path(job.scratch_dir).mkdir(parents=True)
    return WorkerTask(
        examples=job.examples,
        start=job.start.path,
        start_digest=job.start.digest,
        export_dir=job.out_dir,
        config=job.config,
        seed=job.seed,
        job=job_digest(job),
        scratch_dir=job.scratch_dir,
        attempt="attempt-0",
        checkpoints=[],
        chat=job.chat,
        origin=None if job.origin is None else job.origin.path,
        template_arguments=job.template_arguments,
        progress_file=str(Path(job.scratch_dir, "progress.jsonl")),
        stop_file=str(Path(job.scratch_dir, "stop")),
        deadline=time.time() + 300,
        log_dir=None,
    )


def run_all(settings: dict[str, Any]) -> dict[str, Any] | None:
    """A training function that runs one task after another; rank 0 returns every account."""
    import ray.train

    from s2d_loop.train.worker import run

    context = ray.train.get_context()
    accounts = {}
    for name, task in settings["tasks"].items():
        began = time.monotonic()
        account = run(task, context.get_world_rank(), context.get_world_size())
        if account is not None:
            accounts[name] = account | {"seconds": time.monotonic() - began}
    return accounts or None
