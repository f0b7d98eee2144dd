"""Placement, core binding and the proof of weights: pure functions, no cluster."""

import dataclasses
import random
from pathlib import Path

import pytest

from s2d_loop.config.generation import EngineConfig
from s2d_loop.config.training import TrainConfig
from s2d_loop.engine import placement, proof, settings
from s2d_loop.engine.wire import Proof
from s2d_loop.errors import BadInputError

GPU_NODE = {"GPU": 8.0, "CPU": 64.0}


def test_ranks_share_a_node_s_bundle_where_one_node_has_room() -> None:
    plan = placement.plan(EngineConfig(tensor_parallel_size=4, pipeline_parallel_size=2), [GPU_NODE])
    assert (plan.bundles, plan.strategy) == (({"GPU": 8.0, "CPU": 1.0},), "STRICT_PACK")
    assert settings.executor(EngineConfig(tensor_parallel_size=8), plan.across_nodes) == "mp"


def test_an_engine_larger_than_a_node_has_a_bundle_a_rank_and_vllm_s_ray_executor() -> None:
    config = EngineConfig(tensor_parallel_size=8, pipeline_parallel_size=2)
    plan = placement.plan(config, [GPU_NODE, GPU_NODE])
    assert plan.bundles == ({"GPU": 1.0, "CPU": 1.0},) * 16
    assert (plan.across_nodes, plan.strategy) == (True, "PACK")
    assert settings.executor(config, plan.across_nodes) == "ray"
    placement.check_fits(config, [GPU_NODE, GPU_NODE])
    with pytest.raises(BadInputError, match=r"wanted 2 engines, each 16 x \(GPU 1, CPU 1\)"):
        placement.check_fits(config.model_copy(update={"num_engines": 2}), [GPU_NODE, GPU_NODE])


def test_what_is_free_over_all_nodes_is_not_what_fits_on_one() -> None:
    config = EngineConfig(num_engines=3, tensor_parallel_size=4)
    with pytest.raises(BadInputError, match="enough for 2"):
        placement.check_fits(config, [{"GPU": 6.0, "CPU": 8.0}, {"GPU": 6.0, "CPU": 8.0}])


def test_train_workers_must_find_places_beside_the_engines() -> None:
    engine = EngineConfig(tensor_parallel_size=8)
    train = TrainConfig(num_workers=16, gpus_per_worker=1.0, cpus_per_worker=4)
    placement.check_fits(engine, [GPU_NODE] * 3, train)
    with pytest.raises(BadInputError, match=r"wanted 16 workers, .* beside 1 engines.* enough for 8"):
        placement.check_fits(engine, [GPU_NODE] * 2, train)
    # As many GPUs in all as are wanted, but half of one on each node.
    halves = TrainConfig(num_workers=1, gpus_per_worker=1.0)
    with pytest.raises(BadInputError, match="enough for 0"):
        placement.check_fits(EngineConfig(), [{"GPU": 1.5, "CPU": 8.0}, {"GPU": 0.5, "CPU": 8.0}], halves)


@pytest.mark.parametrize(
    ("ranks", "cpus", "slot", "cores", "binding"),
    [
        (1, 2, 0, [0, 1], "0,1"),
        (2, 2, 0, [0, 1], "0|1"),
        (2, 4, 1, [0, 1, 2, 3, 4, 5, 6, 7], "4,6|5,7"),
        (2, 2, 3, [5, 9], "5|9"),
    ],
)
def test_engines_of_a_node_take_its_cores_in_turn(
    ranks: int, cpus: int, slot: int, cores: list[int], binding: str
) -> None:
    config = EngineConfig(tensor_parallel_size=ranks, cpus_per_engine=cpus)
    assert settings.thread_binding(config, slot, cores) == binding


def test_every_rank_needs_a_core() -> None:
    with pytest.raises(BadInputError, match=r"raise engine\.cpus_per_engine to 2"):
        settings.thread_binding(EngineConfig(tensor_parallel_size=2), 0, [0, 1])


def test_a_short_configured_context_still_reads_prompts_whole() -> None:
    args = settings.engine_args(EngineConfig(), "m", context=100_000, gpu=False, across_nodes=False)
    assert args["max_num_batched_tokens"] == 100_000
    assert args["enable_chunked_prefill"] is False
    assert args["block_size"] == 32
    gpu = settings.engine_args(EngineConfig(dtype="bfloat16"), "m", context=9, gpu=True, across_nodes=False)
    assert "max_num_batched_tokens" not in gpu
    assert (gpu["dtype"], gpu["enforce_eager"]) == ("bfloat16", False)


def reference(rng: random.Random, near: proof.Reference | None = None, by: float = 1.0) -> proof.Reference:
    base = near.scores if near else ((0.0,) * 60,) * 4
    scores = tuple(tuple(x + rng.gauss(0, by) for x in row) for row in base)
    return proof.Reference(((1,) * 61,) * 4, scores)


def answer(scores: proof.LogProbs, dtype: str = "float32", noise: float = 0.0) -> Proof:
    rng = random.Random(5)
    noisy = tuple(tuple(x + rng.gauss(0, noise) for x in row) for row in scores)
    return Proof(dtype, noisy, ((1,),), ((-1.0,),), ((-1.0,),))


def test_only_the_right_weights_prove_themselves() -> None:
    rng = random.Random(0)
    old = reference(rng)
    new = reference(rng, near=old, by=0.1)
    assert proof.judge(answer(new.scores), new, old) is None
    assert "moved 0.00 of the way" in str(proof.judge(answer(old.scores), new, old))
    half = tuple(
        tuple((x + y) / 2 for x, y in zip(a, b, strict=True))
        for a, b in zip(old.scores, new.scores, strict=True)
    )
    assert "moved 0.50 of the way" in str(proof.judge(answer(half), new, old))
    assert "away from the checkpoint" in str(proof.judge(answer(old.scores), new, None))
    broken = (float("nan"),) * 60
    assert proof.judge(answer((broken, *new.scores[1:])), new, None)


def test_half_precision_tells_versions_apart_that_differ_by_less_than_its_noise() -> None:
    rng = random.Random(1)
    old = reference(rng)
    new = reference(rng, near=old, by=0.08)
    assert proof.tells_apart(old, new, "bfloat16")
    assert proof.judge(answer(new.scores, "bfloat16", noise=0.05), new, old) is None
    assert "of the way" in str(proof.judge(answer(old.scores, "bfloat16", noise=0.05), new, old))


def test_canaries_that_say_the_same_on_both_prove_nothing() -> None:
    rng = random.Random(2)
    old = reference(rng)
    assert not proof.tells_apart(old, old, "float32")
    assert not proof.tells_apart(old, reference(rng, near=old, by=1e-4), "bfloat16")


def test_a_prefix_cache_of_other_weights_shows() -> None:
    new = reference(random.Random(3))
    stale = dataclasses.replace(answer(new.scores), sampled=((-1.0, -2.0),), rescored=((-1.0, -2.5),))
    assert "prefix cache" in str(proof.judge(stale, new, None))


def test_engines_on_the_same_weights_draw_the_same_samples() -> None:
    scores = reference(random.Random(4)).scores
    one = answer(scores)
    assert proof.agree([one, answer(scores)]) is None
    assert "seeded samples differ" in str(proof.agree([one, dataclasses.replace(one, samples=((2,),))]))
    assert "away from another engine" in str(proof.agree([one, answer(scores, noise=1.0)]))


def test_a_recorded_reference_comes_back_as_it_was(tmp_path: Path) -> None:
    made = reference(random.Random(5))
    proof.record(tmp_path, made)
    assert proof.load_reference(tmp_path) == made
