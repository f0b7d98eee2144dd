"""Full disks: known before a stage where that can be, survived where it can't."""

import json
import os
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from s2d_loop import room
from s2d_loop.clock import SystemClock
from s2d_loop.config import Config
from s2d_loop.errors import BadInputError, ExitCode
from s2d_loop.ledger import Ledger
from s2d_loop.loop import run_loop
from s2d_loop.records import Example, rows
from s2d_loop.room import require_free, require_room
from s2d_loop.store import HashingFile, open_store
from tests.support.scripted import letters_config, scripted_run, words, write_questions

GIB = 2**30


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_questions(tmp_path / "stream.jsonl", words(1, 40))
    write_questions(tmp_path / "heldout.jsonl", words(2, 12))
    return tmp_path


def disk(monkeypatch: pytest.MonkeyPatch, free: float, files: int = 10**6) -> None:
    found = SimpleNamespace(f_frsize=1, f_bavail=int(free), f_files=10**7, f_favail=files)
    monkeypatch.setattr(room.os, "statvfs", lambda path: found)


def test_a_disk_below_the_floor_is_named_with_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk(monkeypatch, free=2 * GIB)
    require_free(tmp_path / "not" / "yet", 1.5)
    with pytest.raises(BadInputError, match=r"2\.00 GiB free, but run\.min_free_gb wants 3 left"):
        require_free(tmp_path, 3)
    disk(monkeypatch, free=2 * GIB, files=10)
    with pytest.raises(BadInputError, match=r"only 10 files \(inodes\)"):
        require_free(tmp_path, 0)


def model_of(path: Path, parameters: int) -> None:
    """A start model whose header names a tensor, without its bytes."""
    header = {"w": {"dtype": "F32", "shape": [parameters], "data_offsets": [0, 4 * parameters]}}
    text = json.dumps(header).encode()
    with (path / "model.safetensors").open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        file.truncate(8 + len(text) + 4 * parameters)


def test_training_needs_room_for_its_export_and_its_checkpoints(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = scripted_run(letters_config(folder, train__checkpoint_every=1))
    model_of(folder / "start", 10**8)
    export, checkpoints = 4e8, 3 * 16e8
    disk(monkeypatch, free=export + checkpoints - 1e7)
    with pytest.raises(BadInputError, match=r"train needs about 4\.84 GiB"):
        require_room(run, "train")
    require_room(run, "evaluate")
    disk(monkeypatch, free=export + checkpoints + 1e7)
    require_room(run, "train")


def test_a_stage_needs_about_what_it_wrote_for_as_many_rows(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = letters_config(folder, run__iterations=1, run__inputs_per_iteration=15)
    run = scripted_run(config)
    run_loop(run)
    generated, claimed = run.ledger.stages("generate")[0], run.ledger.stages("intake")[0]
    written = sum(file.size for file in generated.files)
    disk(monkeypatch, free=1.5 * written - 1)
    with pytest.raises(BadInputError, match="generate needs about"):
        require_room(run, "generate", claimed)
    disk(monkeypatch, free=1.5 * written + 1)
    require_room(run, "generate", claimed)


def came_to(config: Config) -> object:
    ledger = Ledger(open_store(config.run.dir), SystemClock())
    examples = [e for r in ledger.stages("pool") for e in rows(ledger.tables(r, "examples"), Example)]
    return [(r.iteration, r.stage, r.counts) for r in ledger.records if r.kind == "stage"], examples


@pytest.fixture
def calm(folder: Path) -> object:
    config = letters_config(folder, run__dir=str(folder / "calm"))
    run_loop(scripted_run(config))
    return came_to(config)


@pytest.mark.parametrize("write", [9, 40])
def test_a_disk_that_fills_in_a_write_costs_that_stage_only(
    folder: Path, calm: object, monkeypatch: pytest.MonkeyPatch, write: int
) -> None:
    """The n-th write of a table or of weights finds no space, and so does every later one."""
    done = 0
    take = HashingFile.write

    def full(self: HashingFile, data: bytes) -> int:
        nonlocal done
        done += 1
        if done >= write:
            raise OSError(28, "No space left on device")
        return take(self, data)

    config = letters_config(folder)
    with monkeypatch.context() as patch:
        patch.setattr(HashingFile, "write", full)
        with pytest.raises(BadInputError, match=r"run\.dir .*the disk is full: free some space"):
            run_loop(scripted_run(config))
    assert run_loop(scripted_run(config)) == ExitCode.DONE
    assert came_to(config) == calm


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A real one of a few hundred KiB."""
    path = tmp_path / "disk"
    path.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(path)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("file systems can't be mounted here")
    yield path
    subprocess.run(["umount", "-l", str(path)], check=True)


def test_a_real_disk_fills_and_is_made_larger(folder: Path, calm: object, small_disk: Path) -> None:
    config = letters_config(folder, run__dir=str(small_disk / "run"))
    ballast = small_disk / "ballast"
    ballast.write_bytes(b"x" * 150 * 1024)
    with pytest.raises(BadInputError, match=r"disk is full"):
        run_loop(scripted_run(config))
    subprocess.run(["mount", "-o", "remount,size=16m", str(small_disk)], check=True)
    assert run_loop(scripted_run(config)) == ExitCode.DONE
    assert came_to(config) == calm
    assert os.statvfs(small_disk).f_files
