"""What an engine is started with: vLLM's arguments, its environment, and its cores.

Pure functions of `EngineConfig` and what the node has; `actor.py` applies them.
"""

import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from s2d_loop.config.generation import EngineConfig
from s2d_loop.engine import pretrained
from s2d_loop.errors import BadInputError

# Blocks of 32 tokens: with vLLM's own 128 on CPUs short prompts share no prefix at all.
CPU_BLOCK_SIZE = 32
# Tokens of one step on a CPU, at least a whole prompt.
CPU_BATCHED_TOKENS = 4096
# What vLLM assumes of a configuration that states no context, and the names that it looks for.
UNSTATED_CONTEXT = 2048
_CONTEXT_KEYS = (
    "max_position_embeddings",
    "n_positions",
    "max_seq_len",
    "seq_length",
    "model_max_length",
    "max_target_positions",
    "max_sequence_length",
    "max_seq_length",
    "seq_len",
)


def num_ranks(config: EngineConfig) -> int:
    """Accelerators, or core groups on a CPU, that one engine is sharded over."""
    return config.tensor_parallel_size * config.pipeline_parallel_size


def environment(config: EngineConfig, gpu: bool, offline: bool) -> dict[str, str]:
    """Variables that must be set before vLLM is imported."""
    env = {"VLLM_LOGGING_LEVEL": "WARNING", "VLLM_NO_USAGE_STATS": "1", "TOKENIZERS_PARALLELISM": "false"}
    if offline:
        env["HF_HUB_OFFLINE"] = "1"
    if not gpu:
        env["OMP_NUM_THREADS"] = str(config.cpus_per_engine)
        # Threads that spin while they wait lose most of an engine's speed (10 times and more) as soon as
        # anything else runs on its cores, its own front end included.
        env["OMP_WAIT_POLICY"] = "PASSIVE"
        # Log-probabilities otherwise compile a kernel for half a minute at their first use.
        env["TORCHDYNAMO_DISABLE"] = "1"
        if num_ranks(config) == 1:
            # Keeps the one rank inside the engine core: a process less, and a quicker start.
            env["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"
    return env


def context_of(path: str) -> int:
    """The longest context of a checkpoint in tokens, as vLLM finds it; vLLM itself stretches it for scaled RoPE.

    Raises:
        BadInputError: `config.json` can't be read.
    """
    written = pretrained.read_config(path)
    stated = _context_in(written.get("text_config") or written)
    if stated is None:
        # Published configurations leave out what is the default of their architecture.
        with suppress(BadInputError):
            stated = _context_in(vars(pretrained.configuration(path).get_text_config()))
    return stated or UNSTATED_CONTEXT


def _context_in(text: Mapping[str, Any]) -> int | None:
    """The smallest of the names that architectures have for it; Cohere's goes before all."""
    found = {key: int(text[key]) for key in _CONTEXT_KEYS if isinstance(text.get(key), int | float)}
    return found.get("model_max_length") or min(found.values(), default=None)


def executor(config: EngineConfig, across_nodes: bool) -> str:
    """vLLM's name for how the ranks run: in the core, as processes of the node, or as Ray actors."""
    if across_nodes:
        return "ray"
    return "uni" if num_ranks(config) == 1 else "mp"


def engine_args(
    config: EngineConfig, path: str, *, context: int, gpu: bool, across_nodes: bool
) -> dict[str, Any]:
    """Keyword arguments of vLLM's `AsyncEngineArgs`; `context` is the model's own limit in tokens."""
    args: dict[str, Any] = {
        "model": path,
        "tensor_parallel_size": config.tensor_parallel_size,
        "pipeline_parallel_size": config.pipeline_parallel_size,
        "distributed_executor_backend": executor(config, across_nodes),
        "dtype": config.dtype,
        "max_model_len": config.max_model_len,
        "max_num_seqs": config.max_num_seqs,
        "enforce_eager": config.enforce_eager,
        "enable_prefix_caching": True,
        "load_format": "safetensors",
        "trust_remote_code": False,
        # A model of text and pictures is asked in text only: no memory is kept for the rest.
        "language_model_only": True,
        "worker_extension_cls": "s2d_loop.engine.worker.ReloadExtension",
        "disable_log_stats": True,
        "enable_log_requests": False,
    }
    if config.block_size is not None:
        args["block_size"] = config.block_size
    if gpu:
        args["gpu_memory_utilization"] = config.gpu_memory_utilization
        return args
    # CPUs here have no native half precision, and compile nothing that pays off.
    args["dtype"] = "float32" if config.dtype == "auto" else config.dtype
    args["enforce_eager"] = True
    args["kv_cache_memory_bytes"] = int(config.kv_cache_gb * 2**30)
    args.setdefault("block_size", CPU_BLOCK_SIZE)
    # A seeded request whose prompt is read in two chunks kills vLLM's engine core on a CPU ("CPU
    # Generator does not use offset"): prompts are read whole.
    args["enable_chunked_prefill"] = False
    args["max_num_batched_tokens"] = max(context, CPU_BATCHED_TOKENS)
    return args


def thread_binding(config: EngineConfig, slot: int, allowed: Sequence[int] | None = None) -> str:
    """`VLLM_CPU_OMP_THREADS_BIND` for the engine in place `slot` on its node: `0-1`, or `0|1` for ranks.

    Engines of a node take the allowed cores in turn; where there are fewer cores than engines want
    (Ray counts logical CPUs), they share them.
    """
    cores = list(allowed if allowed is not None else sorted(os.sched_getaffinity(0)))
    ranks, wanted = num_ranks(config), config.cpus_per_engine
    if wanted < ranks:
        raise BadInputError(
            f"engine.cpus_per_engine is {wanted}, but tensor_parallel_size x pipeline_parallel_size is "
            f"{ranks}: every rank needs a core; raise engine.cpus_per_engine to {ranks} or more"
        )
    mine = [cores[(slot * wanted + i) % len(cores)] for i in range(wanted)]
    groups = [mine[rank::ranks] for rank in range(ranks)]
    return "|".join(",".join(map(str, sorted(set(group)))) for group in groups)
