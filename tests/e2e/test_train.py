"""Real training: Ray Train, DeepSpeed, two workers.

Starting workers costs more than training here, so all ZeRO stages run in one worker group, and the
kills of a worker and of a driver share one training.
"""

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from s2d_loop.config.generation import EngineConfig
from s2d_loop.engine.ray_engines import RayEngines
from s2d_loop.errors import StoppedError, TrainError
from s2d_loop.records import Weights
from s2d_loop.train import RayTrainer, weights_digest
from tests.e2e import training
from tests.e2e.engine_driver import replies, requests

pytestmark = pytest.mark.timeout(600)

CASES: dict[str, dict[str, Any]] = {
    "zero0": {"zero_stage": 0},
    "zero1": {"zero_stage": 1},
    "zero2": {"zero_stage": 2},
    "zero3": {"zero_stage": 3},
    "zero2-offload": {"zero_stage": 2, "offload": "optimizer"},
    "zero3-offload": {"zero_stage": 3, "offload": "all"},
    "zero3-recompute": {"zero_stage": 3, "gradient_checkpointing": True},
    "zero2-bf16": {"zero_stage": 2, "bf16": True, "dropout": 0.0},
    "zero3-bf16": {"zero_stage": 3, "bf16": True, "dropout": 0.0},
    "zero1-answer-tokens": {"zero_stage": 1, "count_tokens": "answer", "tokens_per_step": 30},
    # Found not to keep packed documents apart, and trained a document a row.
    "unpacked": {"zero_stage": 1, "start": "unpacked-start"},
    # Long enough to be killed in.
    "long": {"zero_stage": 2, "steps": 60, "checkpoint_every": 5},
}


@pytest.fixture(scope="module")
def ray_here() -> Iterator[None]:
    ray = pytest.importorskip("ray")
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("RAY_worker_niceness", "0")
        # A checkpoint waits for the controller's next look at its workers.
        environment.setenv("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.2")
        environment.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
        ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
        yield
        ray.shutdown()


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("train")
    training.write_model(path / "start")
    training.write_unpacked(path / "unpacked-start")
    training.write_examples(path / "examples.parquet")
    return path


@pytest.fixture(scope="module")
def accounts(ray_here: None, root: Path) -> dict[str, Any]:
    """Every case trained by two workers, one after another in one worker group."""
    from ray.train import RunConfig, ScalingConfig
    from ray.train.torch import TorchConfig, TorchTrainer

    tasks = {}
    for name, changes in CASES.items():
        start = changes.get("start", "start")
        config = training.make_config(**{key: value for key, value in changes.items() if key != "start"})
        tasks[name] = training.make_task(training.make_job(root, name, config, start=start))
    trainer = TorchTrainer(
        training.run_all,
        train_loop_config={"tasks": tasks},
        torch_config=TorchConfig(backend="gloo", timeout_s=120),
        scaling_config=ScalingConfig(num_workers=2),
        run_config=RunConfig(storage_path=str(root / "storage"), name="all"),
    )
    result: dict[str, Any] = trainer.fit().return_value
    print({name: round(account["seconds"], 1) for name, account in result.items()})
    return result


@pytest.fixture(scope="module")
def exports(accounts: dict[str, Any], root: Path) -> dict[str, Path]:
    """The export directories by case, for whoever wants to serve them."""
    return {name: root / name for name in accounts}


def test_every_stage_has_the_same_loss_curve(accounts: dict[str, Any]) -> None:
    reference = accounts["zero0"]["losses"]
    assert len(reference) == 12
    assert reference[-1] < reference[0] - 0.5
    for name in ("zero1", "zero2", "zero3", "zero2-offload", "zero3-offload", "zero3-recompute"):
        assert accounts[name]["losses"] == pytest.approx(reference, abs=5e-4), name
    assert accounts["zero3-bf16"]["losses"] == pytest.approx(accounts["zero2-bf16"]["losses"], abs=0.02)


def test_every_example_is_accounted_for(accounts: dict[str, Any]) -> None:
    for account in accounts.values():
        assert account["num_examples"] == 60 == account["trained"] + sum(account["dropped"].values())
        assert account["dropped"]["too_long"] == 1
    assert accounts["zero1-answer-tokens"]["answer_tokens"] <= 12 * 30
    assert 12 * 400 * 0.85 < accounts["zero0"]["tokens"] <= 12 * 400


def test_documents_that_would_be_seen_from_others_get_rows_of_their_own(
    accounts: dict[str, Any], exports: dict[str, Path]
) -> None:
    account = accounts["unpacked"]
    assert account["losses"][-1] < account["losses"][0] - 0.5
    assert 12 * 400 * 0.85 < account["tokens"] <= 12 * 400, "steps as full as packed ones"
    assert "one document each" in (exports["unpacked"] / "README.md").read_text()
    assert "one document each" not in (exports["zero0"] / "README.md").read_text()


def test_exports_load_and_agree(accounts: dict[str, Any], exports: dict[str, Path], root: Path) -> None:
    import torch
    from safetensors.torch import load_file
    from transformers import AutoModelForCausalLM, AutoTokenizer

    reference = load_file(exports["zero0"] / "model.safetensors")
    tables = [name for name in reference if "inv_freq" in name]
    start = load_file(root / "start" / "model.safetensors")
    assert tables
    assert all(torch.equal(reference[name], start[name]) for name in tables)
    for name, path in exports.items():
        assert weights_digest(str(path)) == accounts[name]["digest"]
        weights = load_file(path / "model.safetensors")
        assert (set(weights) == set(reference)) is (name != "unpacked")
        if name in ("zero1", "zero2", "zero3"):
            far = max((weights[key] - reference[key]).abs().max().item() for key in reference)
            assert far < 1e-4, name
    path = exports["zero3"]
    model, loading = AutoModelForCausalLM.from_pretrained(path, output_loading_info=True)
    assert not loading["missing_keys"]
    assert not loading["unexpected_keys"]
    assert model.config.attention_dropout == training.DROPOUT_OF_THE_START
    tokenizer = AutoTokenizer.from_pretrained(path)
    assert tokenizer.chat_template == AutoTokenizer.from_pretrained(root / "start").chat_template
    rows = json.loads((path / "canaries.json").read_text())
    ids = torch.tensor([rows["tokens"][0]])
    with torch.no_grad():
        scores = model.eval()(ids).logits[0, :-1].log_softmax(-1).gather(1, ids[0, 1:, None])[:, 0]
    assert scores.tolist() == pytest.approx(rows["scores"][0], abs=1e-5)


def test_vllm_serves_what_every_stage_exported(
    accounts: dict[str, Any], exports: dict[str, Path], root: Path, tmp_path: Path
) -> None:
    """`serve` ends well only when vLLM's scores are those that the export carries in canaries.json.

    The start weights go between: one stage's export is too like another's for canaries to tell apart.
    """
    start = Weights(str(root / "start"), "start")
    config = EngineConfig(cpus_per_engine=2, kv_cache_gb=0.5, max_model_len=256)
    said = {}
    with RayEngines(config, log_dir=tmp_path) as engines:
        for name in ("zero0", "zero1", "zero2", "zero3"):
            engines.serve(start)
            engines.serve(Weights(str(exports[name]), accounts[name]["digest"]))
            answers = replies(engines, requests(0.0))
            assert {answer.weights for answer in answers} == {accounts[name]["digest"]}
            said[name] = [answer.text for answer in answers]
    assert said["zero1"] == said["zero2"] == said["zero3"] == said["zero0"]


def test_a_driver_killed_one_stopped_and_a_worker_killed_change_nothing(
    accounts: dict[str, Any], root: Path
) -> None:
    """The first driver goes away; the second is asked to stop; the third loses rank 0 further on."""

    class DriverGoneError(Exception):
        pass

    def stop(step: int, *_: Any) -> None:
        if step >= 6:
            raise DriverGoneError

    config = training.make_config(**CASES["long"])
    known: list[str] = []
    kept = {"on_checkpoint": lambda _, digest: known.append(digest), "checkpoints": known}
    with pytest.raises(DriverGoneError):
        RayTrainer().train(training.make_job(root, "disturbed", config, on_progress=stop, **kept))
    assert known, "a checkpoint was told before the driver went"
    scratch = root / "disturbed.scratch"
    assert not (root / "disturbed").exists()

    def asked(step: int, *_: Any) -> None:
        if step >= 12:
            raise StoppedError

    with pytest.raises(StoppedError):
        RayTrainer().train(training.make_job(root, "disturbed", config, on_progress=asked, **kept))
    before = set(scratch.glob("progress-*.jsonl"))

    seen: list[int] = []
    killed: list[int] = []

    def kill(step: int, *_: Any) -> None:
        seen.append(step)
        if step >= seen[0] + 8 and not killed:
            killed.append(step)
            (path,) = set(scratch.glob("progress-*.jsonl")) - before
            os.kill(json.loads(path.read_text().splitlines()[-1])["pid"], signal.SIGKILL)

    result = RayTrainer().train(training.make_job(root, "disturbed", config, on_progress=kill, **kept))
    assert seen[0] >= 12, "the third driver went on from the checkpoint that the stop made"
    again = [i for i in range(1, len(seen)) if seen[i] <= seen[i - 1]]
    assert len(again) == 1, "the second worker group went on from the killed one's checkpoint"
    assert seen[again[0]] > seen[0]
    assert result.steps == 60 == seen[-1]
    assert result.losses == accounts["long"]["losses"]
    assert result.weights.digest == accounts["long"]["digest"] == weights_digest(result.weights.path)
    assert result.num_examples == result.trained + sum(result.dropped.values())
    with pytest.raises(TrainError, match="exists already"):
        RayTrainer().train(training.make_job(root, "disturbed", config))
