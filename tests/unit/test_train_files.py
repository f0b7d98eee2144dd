"""Checkpoints, exports and settings on disk; no Ray, no DeepSpeed."""

import dataclasses
import json
import pickle
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from s2d_loop.config.training import TrainConfig
from s2d_loop.errors import TrainError
from s2d_loop.records import Weights
from s2d_loop.train import RayTrainer, TrainJob, check_export, weights_digest
from s2d_loop.train.checkpoint import STORAGE, Trusted, digest_of, find_checkpoint, write_manifest
from s2d_loop.train.deepspeed_config import deepspeed_config
from s2d_loop.train.job import job_digest
from tests.support.damage import damages

KNOWN: dict[str, list[bytes]] = {}
"""The manifests of every checkpoint that was written."""


def write_checkpoint(scratch: Path, step: int, *, job: str = "job", ranks: tuple[int, ...] = (0, 1)) -> Path:
    """What Ray Train merges from the given ranks of two."""
    merged = scratch / STORAGE / "attempt-1" / f"step-{step}"
    merged.mkdir(parents=True)
    for rank in ranks:
        local = scratch / f"local-{rank}"
        local.mkdir()
        (local / f"shard-{rank}").write_text(f"weights of {rank}")
        KNOWN.setdefault(str(merged), []).append(
            write_manifest(local, job=job, step=step, rank=rank, num_ranks=2, losses=[0.5] * step)
        )
        shutil.copytree(local, merged, dirs_exist_ok=True)
        shutil.rmtree(local)
    return merged


def find(scratch: Path, *, known: bool = True, attempt: str = "attempt-2") -> int | None:
    """The step that is found by one who knows all the manifests that were written, or none."""
    digests = [digest_of(each) for each in KNOWN.values()] if known else []
    found = find_checkpoint(str(scratch), job="job", trusted=Trusted(digests, attempt))
    return found.step if found else None


def test_the_last_complete_checkpoint_of_the_job_is_found(tmp_path: Path) -> None:
    assert find(tmp_path) is None
    write_checkpoint(tmp_path, 3)
    whole = write_checkpoint(tmp_path, 6)
    write_checkpoint(tmp_path, 9, ranks=(0,))
    write_checkpoint(tmp_path, 12, ranks=(1,))
    write_checkpoint(tmp_path, 15, job="another")
    assert find(tmp_path) == 6
    (whole / "shard-1").write_text("weights of 2")
    assert find(tmp_path) == 3, "a damaged shard is as bad as none"


def test_nobody_elses_checkpoint_is_read(tmp_path: Path) -> None:
    """Whoever can write a checkpoint can write manifests that fit: the ledger has to know them."""
    write_checkpoint(tmp_path, 3)
    assert find(tmp_path) == 3
    assert find(tmp_path, known=False) is None
    assert find(tmp_path, known=False, attempt="attempt-1") == 3, "what the attempt itself wrote"


@pytest.mark.parametrize("name", ["shard-2", ".hidden", "deeper/latest", "link"])
def test_a_checkpoint_with_a_file_that_no_manifest_knows_is_not_read(tmp_path: Path, name: str) -> None:
    whole = write_checkpoint(tmp_path, 3)
    assert find(tmp_path) == 3
    (whole / name).parent.mkdir(exist_ok=True)
    if name == "link":
        (whole / name).symlink_to(whole / "shard-0")
    else:
        (whole / name).write_text("stray")
    assert find(tmp_path) is None
    (whole / name).unlink()
    assert find(tmp_path) == 3


def test_a_shard_that_is_a_link_is_not_read(tmp_path: Path) -> None:
    whole = write_checkpoint(tmp_path, 3)
    (whole / "shard-1").rename(tmp_path / "elsewhere")
    (whole / "shard-1").symlink_to(tmp_path / "elsewhere")
    assert find(tmp_path) is None


def test_every_damage_of_a_manifest_is_found(tmp_path: Path) -> None:
    file = write_checkpoint(tmp_path, 3) / "manifest-rank-00001.json"
    whole = file.read_bytes()
    for what, damaged in damages(whole):
        file.write_bytes(damaged)
        assert find(tmp_path, attempt="attempt-1") is None, what
    file.write_bytes(whole)
    assert find(tmp_path) == 3


def test_a_checkpoint_executes_nothing(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    from s2d_loop.train.state import load_data

    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.touch, (tmp_path / "executed",)

    for zipped in (False, True):
        torch.save({"x": Evil()}, tmp_path / "evil.pt", _use_new_zipfile_serialization=zipped)
        with pytest.raises(pickle.UnpicklingError):
            load_data(str(tmp_path / "evil.pt"))
    assert not (tmp_path / "executed").exists()
    torch.save({"x": torch.ones(2)}, tmp_path / "good.pt")
    assert load_data(str(tmp_path / "good.pt"))["x"].sum() == 2


@pytest.mark.parametrize("keep", [0, 1, 10])
def test_a_partly_written_file_is_ignored(tmp_path: Path, keep: int) -> None:
    for name in ("manifest-rank-00001.json", "shard-0"):
        root = tmp_path / name
        write_checkpoint(root, 3)
        file = write_checkpoint(root, 6) / name
        file.write_bytes(file.read_bytes()[:keep])
        assert find(root) == 3


@pytest.fixture
def start(tmp_path: Path) -> Path:
    torch = pytest.importorskip("torch")
    from safetensors.torch import save_file

    path = tmp_path / "start"
    path.mkdir()
    save_file({"a": torch.ones(2, 3), "b": torch.zeros(4)}, path / "model.safetensors")
    for name in ("config.json", "generation_config.json", "tokenizer_config.json"):
        (path / name).write_text("{}")
    return path


def change(path: Path, **tensors: Any) -> None:
    from safetensors.torch import load_file, save_file

    file = path / "model.safetensors"
    weights = load_file(file) | tensors
    save_file({k: v for k, v in weights.items() if v is not None}, file)


def export_of(start: Path) -> Path:
    return Path(shutil.copytree(start, start.with_name("export")))


def test_an_export_must_hold_what_the_start_model_held(start: Path) -> None:
    import torch

    cases: list[tuple[dict[str, Any], str]] = [
        ({}, "training changed nothing"),
        ({"a": None}, "tensors missing"),
        ({"c": torch.ones(1)}, "not in the start model"),
        ({"a": torch.ones(3, 2)}, "in the start model F32"),
        ({"a": torch.ones(2, 3).bfloat16()}, "BF16"),
        ({"a": torch.full((2, 3), torch.nan)}, "not finite"),
    ]
    for tensors, message in cases:
        path = export_of(start)
        change(path, **tensors)
        with pytest.raises(TrainError, match=message):
            check_export(str(path), str(start))
        shutil.rmtree(path)
    path = export_of(start)
    change(path, a=torch.full((2, 3), 0.5))
    check_export(str(path), str(start))
    check_export(str(path), str(start), trained={"a"})
    with pytest.raises(TrainError, match="a isn't trained"):
        check_export(str(path), str(start), trained={"b"})
    (path / "tokenizer_config.json").unlink()
    with pytest.raises(TrainError, match=r"tokenizer_config\.json is missing"):
        check_export(str(path), str(start))


@pytest.mark.parametrize("damage", ["short", "long", "noise"])
def test_a_damaged_safetensors_file_is_named(start: Path, damage: str) -> None:
    path = export_of(start)
    file = path / "model.safetensors"
    content = file.read_bytes()
    file.write_bytes({"short": content[:-4], "long": content + b"1234", "noise": b"\xff" * 40}[damage])
    with pytest.raises(TrainError, match=r"model\.safetensors"):
        check_export(str(path), str(start))


def test_the_digest_is_of_the_model_not_of_what_is_said_about_it(start: Path) -> None:
    before = weights_digest(str(start))
    (start / "README.md").write_text("A model.")
    assert weights_digest(str(start)) == before
    (start / "config.json").write_text('{"attention_dropout": 0.1}')
    assert weights_digest(str(start)) != before


def test_a_checkpoint_belongs_to_one_job(tmp_path: Path) -> None:
    (tmp_path / "x.parquet").write_bytes(b"rows")
    job = TrainJob([str(tmp_path / "x.parquet")], Weights("p", "d"), "/o", TrainConfig(), 0, "/s")
    same = dataclasses.replace(job, config=TrainConfig(timeout_s=5.0), out_dir="/p")
    assert job_digest(same) == job_digest(job)
    assert job_digest(dataclasses.replace(job, seed=1)) != job_digest(job)
    assert job_digest(dataclasses.replace(job, config=TrainConfig(num_workers=2))) != job_digest(job)
    before = job_digest(job)
    (tmp_path / "x.parquet").write_bytes(b"other")
    assert job_digest(job) != before


def test_what_deepspeed_is_told() -> None:
    told = deepspeed_config(TrainConfig(zero_stage=3, offload="all", bf16=True), accumulation=4)
    assert told["gradient_accumulation_steps"] == 4
    assert told["bf16"] == {"enabled": True}
    assert told["zero_optimization"]["offload_param"]["device"] == "cpu"
    assert "offload_optimizer" not in deepspeed_config(TrainConfig(), accumulation=1)["zero_optimization"]
    json.dumps(told)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"out_dir": "relative"}, "absolute"),
        ({"examples": []}, "no file of examples"),
        ({"examples": ["/nowhere/x.parquet"]}, "not found: /nowhere/x.parquet"),
    ],
)
def test_a_job_that_can_not_work_is_refused_at_once(
    start: Path, changes: dict[str, Any], message: str
) -> None:
    file = start.with_name("x.parquet")
    file.write_bytes(b"rows")
    out = str(start.with_name("out"))
    job = TrainJob([str(file)], Weights(str(start), "d"), out, TrainConfig(), 0, f"{out}.scratch")
    with pytest.raises(TrainError, match=message):
        RayTrainer().train(dataclasses.replace(job, **changes))
    with pytest.raises(TrainError, match="exists already"):
        RayTrainer().train(dataclasses.replace(job, out_dir=str(start)))


def test_an_error_that_would_come_again_is_not_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A `TrainError` on the workers is an answer, not a failure that Ray Train restarts workers for."""
    ray_train = pytest.importorskip("ray.train")
    from s2d_loop.train import worker

    class Context:
        get_world_rank = get_world_size = staticmethod(lambda: 1)

    def refuse(*_: Any) -> None:
        raise TrainError("no chat template")

    monkeypatch.setattr(ray_train, "get_context", Context)
    monkeypatch.setattr(worker, "run", refuse)
    assert worker.train_loop({"task": SimpleNamespace(log_dir=None)}) == {"error": "no chat template"}


def test_a_failure_shows_its_last_lines() -> None:
    from s2d_loop.train.fit import explain

    text = explain("\n".join(f"line {n}" for n in range(100)), "/scratch")
    assert "line 99" in text
    assert "line 50" not in text
    assert text.endswith("/scratch.")


def test_a_full_disk_is_named_in_words() -> None:
    from s2d_loop.train.fit import explain

    said = explain(
        "a\nOSError: [Errno 28] Error writing bytes to file. No space left on device", "/run/.scratch"
    )
    assert said.splitlines()[0].startswith(
        "training failed: a disk is full, that of /run/.scratch or of temporary"
    )
    assert "No space left" in said
    assert "disk" not in explain("ValueError: no", "/run/.scratch")
