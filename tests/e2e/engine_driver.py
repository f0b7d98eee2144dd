"""A driver of its own for `test_engine.py`: an engine on two ranks, until the driver is killed.

Prints one JSON line when it has answered on both weights, and then waits.
"""

import asyncio
import json
import os
import sys
import time
from pathlib import Path

import ray

from s2d_loop.config.generation import EngineConfig
from s2d_loop.engine.actor import Engine
from s2d_loop.engine.ray_engines import RayEngines
from s2d_loop.records import Message, Reply, Request, Sampling, Weights

QUESTIONS = (
    "A coin is heads up. Ana flips the coin. Is the coin still heads up?",
    'Take the last letters of each word in "Ada Byron" and concatenate them.',
    "Rephrase and expand the question, and respond.",
)


class ForgetfulEngine(Engine):
    """An engine whose refresh silently does nothing where the weights say so."""

    async def _reload(self, weights: Weights) -> None:
        if not (Path(weights.path) / "FORGET").exists():
            await super()._reload(weights)


def requests(temperature: float, seed: int = 0, max_tokens: int = 24) -> list[Request]:
    sampling = Sampling(temperature=temperature, max_tokens=max_tokens)
    return [Request((Message("user", question),), sampling, seed) for question in QUESTIONS]


def replies(engines: RayEngines, wanted: list[Request]) -> list[Reply]:
    async def run() -> list[Reply]:
        client = engines.client_factory()()
        try:
            return await asyncio.gather(*(client.call(request) for request in wanted))
        finally:
            await client.close()

    return asyncio.run(run())


def pids(engines: RayEngines) -> list[int]:
    handles = ray.get(engines.pool.engines.remote()).values()
    return [pid for handle in handles for pid in ray.get(handle.pids.remote())]


def main() -> None:
    first, second, logs = sys.argv[1:]
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    config = EngineConfig(tensor_parallel_size=2, cpus_per_engine=2, kv_cache_gb=0.5)
    with RayEngines(config, log_dir=logs) as engines:
        said = {}
        for path in (first, second):
            engines.serve(Weights(path, path))
            said[path] = [reply.text for reply in replies(engines, requests(0.0))]
        print(json.dumps({"said": said, "pids": [os.getpid(), *pids(engines)]}), flush=True)
        time.sleep(600)


if __name__ == "__main__":
    main()
