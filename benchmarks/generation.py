"""Does generating through the engine pool cost speed?  Two-step RaR against a plain vLLM script.

    python -m benchmarks.generation

Ours: `generate.generate` on many inputs at once in a runner actor, its calls through `PoolClient` to
an engine actor.  The baseline: vLLM's offline `LLM` in a process of its own, step 1 of all inputs and
then step 2 of all, as one would write it by hand.  Both have the same prompts, sampling and seeds, so
they must generate the same number of tokens, which is checked; the same engine settings, except that
each keeps the faster of an engine in a process of its own and in the caller's (`LLM` alone can have
the latter).  Both are up at the same time and take turns; the one that goes first alternates.  Every
round has inputs of its own, so neither finds the last round's prefixes in its cache.
"""

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from s2d_loop.config.generation import EngineConfig
from s2d_loop.generate import generate
from s2d_loop.plan import Plan
from s2d_loop.records import Input, Message, Messages, Sampling, Weights, call_seed, content_hash
from s2d_loop.system2.prompts import fill, load
from s2d_loop.testbed import DATA_DIR, MODEL_DIR

TASKS = ("last_letters", "coin_flip")
# The default rows in flight: more calls than the engine takes at once, so that it is never short.
ROWS_IN_FLIGHT = 64
SAMPLING = Sampling(temperature=0.8, max_tokens=64)


def plans(samples: int) -> dict[str, Plan]:
    """The quickstart's two-step RaR, without its System 1 samples, which the baseline doesn't draw."""
    return {
        task: Plan(
            task=task,
            parser=task,
            method="rar_2step",
            options={},
            samples=samples,
            sampling=SAMPLING,
            steps={},
            seed=0,
        )
        for task in TASKS
    }


def inputs_of(number: int, size: int) -> list[Input]:
    """The inputs of one round, half of each task; no round shares any with another."""
    rows = []
    for task in TASKS:
        lines = (DATA_DIR / f"{task}.unlabeled.jsonl").read_text().splitlines()
        start = number * (size // len(TASKS))
        chosen = lines[start : start + size // len(TASKS)]
        if len(chosen) < size // len(TASKS):
            raise SystemExit(f"{task} has {len(lines)} inputs: lower --inputs or --rounds")
        for row, line in enumerate(chosen, start):
            messages = (Message("user", json.loads(line)["prompt"]),)
            rows.append(Input(f"{task}#{row}", task, messages, content_hash(messages)))
    return rows


class Runner:
    """Runs programs as `dataflow.Runner` does, without Ray Data around it."""

    def __init__(self, clients: Any) -> None:
        self._clients = clients
        self._client: Any = None

    async def run(self, rows: list[Input], samples: int) -> int:
        """The number of generated tokens."""
        if self._client is None:
            self._client = self._clients()
        room = asyncio.Semaphore(ROWS_IN_FLIGHT)
        by_task = plans(samples)

        async def one(x: Input) -> int:
            async with room:
                row = await generate(x, by_task[x.task], self._client.call)
            assert row.error is None, row.error
            return row.num_tokens

        return sum(await asyncio.gather(*(one(x) for x in rows)))


def engine_config(max_num_seqs: int) -> EngineConfig:
    """The engine settings of both sides."""
    return EngineConfig(cpus_per_engine=2, max_num_seqs=max_num_seqs, max_model_len=512)


class Offline:
    """The baseline's process."""

    def __init__(self, model: str, engine: EngineConfig, in_process: bool) -> None:
        from s2d_loop.engine import settings

        env = {**os.environ, **settings.environment(engine, gpu=False, offline=True)}
        env["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0" if in_process else "1"
        seqs = ["--max-num-seqs", str(engine.max_num_seqs)]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.generation", "--offline-worker", model, *seqs],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=env,
        )
        self._read()

    def run(self, number: int, size: int, samples: int) -> int:
        """The number of generated tokens."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps([number, size, samples]) + "\n")
        self._process.stdin.flush()
        return int(self._read())

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(30)

    def _read(self) -> Any:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith("@"):
                return json.loads(line[1:])
        raise SystemExit("the baseline's process ended; see above")


def offline_worker(model: str, engine: EngineConfig) -> None:
    """The plain script: all of step 1, then all of step 2."""
    from vllm import LLM

    from s2d_loop.engine import settings

    args = settings.engine_args(engine, model, context=512, gpu=False, across_nodes=False)
    if os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] == "1":
        os.environ["VLLM_CPU_OMP_THREADS_BIND"] = settings.thread_binding(engine, 0)
    for name in ("worker_extension_cls", "enable_log_requests"):
        del args[name]
    llm = LLM(**args)
    print("@0", flush=True)
    for line in sys.stdin:
        number, size, samples = json.loads(line)
        print(f"@{_offline_round(llm, inputs_of(number, size), samples)}", flush=True)


def _offline_round(llm: Any, rows: list[Input], samples: int) -> int:
    jobs = [(x, sample) for x in rows for sample in range(samples)]
    first = [x.ask(fill(load("rar_2step.rephrase", x.task), question=x.question)) for x, _ in jobs]
    rephrased = _chat(llm, first, [_seed(*job, "rephrase") for job in jobs])
    whole = [
        (job, text.strip())
        for job, (text, _, reason) in zip(jobs, rephrased, strict=True)
        if reason == "stop" and text.strip()
    ]
    second = [job[0].ask(fill(load("rar_2step.respond", job[0].task), rephrased=text)) for job, text in whole]
    answers = _chat(llm, second, [_seed(*job, "respond") for job, _ in whole])
    return sum(tokens for _, tokens, _ in [*rephrased, *answers])


def _chat(llm: Any, prompts: list[Messages], seeds: list[int]) -> list[tuple[str, int, str]]:
    from vllm import SamplingParams

    turns = [[{"role": m.role, "content": m.content} for m in prompt] for prompt in prompts]
    params = [
        SamplingParams(temperature=SAMPLING.temperature, max_tokens=SAMPLING.max_tokens, seed=seed)
        for seed in seeds
    ]
    outputs = [each.outputs[0] for each in llm.chat(turns, params, use_tqdm=False)]
    return [(each.text, len(each.token_ids), each.finish_reason) for each in outputs]


def _seed(x: Input, sample: int, step: str) -> int:
    return call_seed(0, x.id, "rar_2step", sample, step, 0)


def compare(
    model: Path, engine: EngineConfig, size: int, samples: int, rounds: int, in_process: bool
) -> None:
    """Print both sides' tokens/s by round, and the ratio."""
    os.environ.update(RAY_worker_niceness="0")
    import ray

    from s2d_loop.engine.ray_engines import RayEngines

    ray.init(num_cpus=4, include_dashboard=False, log_to_driver=False)
    with tempfile.TemporaryDirectory() as logs, RayEngines(engine, log_dir=logs) as engines:
        engines.serve(Weights(str(model), "benchmark"))
        runner = ray.remote(Runner).options(num_cpus=0).remote(engines.client_factory())
        offline = Offline(str(model), engine, in_process)
        ways: dict[str, Callable[[int], int]] = {
            "pool": lambda number: ray.get(runner.run.remote(inputs_of(number, size), samples)),
            "plain": lambda number: offline.run(number, size, samples),
        }
        try:
            ratios = []
            for number in range(rounds + 1):
                order = list(ways) if number % 2 else list(ways)[::-1]
                speed, tokens = {}, {}
                for way in order:
                    start = time.perf_counter()
                    tokens[way] = ways[way](number)
                    speed[way] = tokens[way] / (time.perf_counter() - start)
                assert tokens["pool"] == tokens["plain"], f"different work was measured: {tokens}"
                ratio = speed["pool"] / speed["plain"]
                label = f"round {number}" if number else "warm-up"
                print(
                    f"{label}: {tokens['pool']} tokens; pool {speed['pool']:.0f} tokens/s, "
                    f"plain {speed['plain']:.0f}, ratio {ratio:.3f}; load {os.getloadavg()[0]:.1f}",
                    flush=True,
                )
                ratios += [ratio] if number else []
            print(
                f"pool / plain vLLM: {statistics.median(ratios):.3f} "
                f"({min(ratios):.3f}-{max(ratios):.3f}, {rounds} rounds of {size} inputs, {samples} samples)"
            )
        finally:
            offline.close()
    ray.shutdown()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, default=MODEL_DIR)
    parser.add_argument("--inputs", type=int, default=240, help="inputs of a round")
    parser.add_argument("--samples", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--max-num-seqs", type=int, default=256, help="of both sides' engines")
    parser.add_argument(
        "--plain-core", action="store_true", help="the plain script's engine in a process of its own"
    )
    parser.add_argument("--offline-worker", metavar="MODEL", help=argparse.SUPPRESS)
    args = parser.parse_args()
    engine = engine_config(args.max_num_seqs)
    if args.offline_worker:
        offline_worker(args.offline_worker, engine)
    else:
        compare(args.model.absolute(), engine, args.inputs, args.samples, args.rounds, not args.plain_core)


if __name__ == "__main__":
    main()
