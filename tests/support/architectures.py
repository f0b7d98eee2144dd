"""Trains and serves the checkpoints of `checkpoints.py`, in processes of their own.

`train` runs the trainer's worker without Ray, one rank; `serve` asks vLLM.  Each prints one line of JSON.
"""

import gc
import json
import os
import socket
import sys
import time
from pathlib import Path
from typing import Any

from tests.support import checkpoints

# ZeRO stages in turn, so that each is used by several architectures.
STAGES = {name: number % 4 for number, name in enumerate(checkpoints.ALL)}
# vLLM's build for CPUs serves these.  It reads pictures with torchvision, which nothing else here needs, has no
# kernel for Mamba ("no attribute 'selective_scan_fwd'") and one for Qwen3-Next's in bfloat16 only, and on the start
# model of DeepSeek's shape its log-probabilities are 0.2 away from transformers' already.
SERVED = ("llama", "qwen3", "qwen3_moe", "glm4_moe", "gpt2", "gemma3_text")
PROMPTS = ("Is the coin heads up?", "Take the last letters of each word in ab cd", "No")
NEW_TOKENS = 16


def prompt_ids() -> list[list[int]]:
    """The prompts as a chat, in tokens."""
    tokenizer = checkpoints.tokenizer()
    chats = [[{"role": "user", "content": text}] for text in PROMPTS]
    return [tokenizer.apply_chat_template(c, add_generation_prompt=True)["input_ids"] for c in chats]


def train(root: Path) -> dict[str, Any]:
    """What the worker says of each architecture, after three steps and a checked export."""
    from s2d_loop.train import worker
    from tests.e2e import training

    _alone()
    training.write_examples(root / "examples.parquet", 13)
    accounts = {}
    for name, stage in STAGES.items():
        config = training.make_config(
            steps=3, tokens_per_step=700, num_workers=1, zero_stage=stage, learning_rate=1e-3, warmup_steps=1
        )
        job = training.make_job(root, f"{name}-export", config, start=name)
        began = time.monotonic()
        account = worker.run(training.make_task(job), 0, 1)
        assert account is not None
        accounts[name] = account | {"seconds": time.monotonic() - began}
    return accounts


def skip_steps(root: Path) -> dict[str, str]:
    """What becomes of a training whose second step has an infinite gradient, by ZeRO stage and type."""
    from types import SimpleNamespace

    import torch

    from s2d_loop.errors import TrainError
    from s2d_loop.train import batch, model, worker
    from s2d_loop.train.deepspeed_config import deepspeed_config
    from tests.e2e import training

    _alone()
    said = {}
    for stage, bf16 in ((0, False), (1, False), (2, False), (3, False), (1, True), (2, True), (3, True)):
        config = training.make_config(steps=4, zero_stage=stage, bf16=bf16, num_workers=1)
        example = batch.Encoded("a", (2, 5, 6, 7, 8), (9, 1), "x")
        plan: Any = SimpleNamespace(num_answer_tokens=lambda _: 2)
        task: Any = SimpleNamespace(config=config, seed=0, stop_file=str(root / "stop"))
        with model.deepspeed_model(
            str(root / "llama"), config, deepspeed_config(config, accumulation=1)
        ) as engine:
            now = [0]

            def spoil(gradient: Any, now: list[int] = now) -> Any:
                return torch.full_like(gradient, torch.inf) if now[0] == 1 else gradient

            next(iter(engine.module.parameters())).register_hook(spoil)
            try:
                for step in range(3):
                    now[0] = step
                    worker._train_step(engine, [batch.make_row([example])], plan, task, step, 0, 1)
                said[f"{stage} {bf16}"] = "nothing"
            except TrainError as error:
                said[f"{stage} {bf16}"] = str(error)
    return said


def _alone() -> None:
    """The one rank of a group."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    group = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1"}
    os.environ.update(group, MASTER_PORT=str(port))


def serve(root: Path) -> dict[str, list[list[int]]]:
    """vLLM's greedy answers on every export, as tokens."""
    from s2d_loop.config.generation import EngineConfig
    from s2d_loop.engine import settings

    config = EngineConfig(cpus_per_engine=1, kv_cache_gb=0.05, max_model_len=128, max_num_seqs=4)
    core = str(min(os.sched_getaffinity(0)))
    os.environ.update(settings.environment(config, gpu=False, offline=True), VLLM_CPU_OMP_THREADS_BIND=core)
    from vllm import LLM, SamplingParams
    from vllm.distributed import cleanup_dist_env_and_memory
    from vllm.model_executor.models.registry import ModelRegistry

    sampling = SamplingParams(temperature=0, max_tokens=NEW_TOKENS, ignore_eos=True)
    answers = {}
    for name in SERVED:
        path = root / f"{name}-export"
        kind = json.loads((path / "config.json").read_text())["architectures"][0]
        # Else vLLM starts a process of its own to look at each class, which takes 20 seconds.
        ModelRegistry.register_model(kind, ModelRegistry.models[kind].load_model_cls())
        args = settings.engine_args(config, str(path), context=128, gpu=False, across_nodes=False)
        del args["enable_log_requests"]
        engine = LLM(**args)
        asked: Any = [{"prompt_token_ids": ids} for ids in prompt_ids()]
        outputs = engine.generate(asked, sampling, use_tqdm=False)
        answers[name] = [list(output.outputs[0].token_ids) for output in outputs]
        del engine
        gc.collect()
        cleanup_dist_env_and_memory()
    return answers


def main() -> None:
    what, root = sys.argv[1:]
    found = {"train": train, "serve": serve, "skip_steps": skip_steps}[what](Path(root))
    print(f"\n{json.dumps(found)}")


if __name__ == "__main__":
    main()
