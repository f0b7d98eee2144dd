"""What a person can get wrong: one message that says what to do, exit code 2, no traceback, nothing written."""

import contextlib
import io
import json
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from s2d_loop.cli import main

ROOT = Path(__file__).parents[2]
QUICKSTART = str(ROOT / "configs/quickstart.yaml")


@pytest.fixture(autouse=True)
def _no_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)


@dataclass(frozen=True)
class Done:
    returncode: int
    stdout: str
    stderr: str


def s2d(*args: str, cwd: Path) -> Done:
    """The command in this process, where what it imports is imported once for all tests."""
    out, err = io.StringIO(), io.StringIO()
    with (
        contextlib.chdir(cwd),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        pytest.raises(SystemExit) as ended,
    ):
        main(list(args))
    return Done(int(ended.value.code or 0), out.getvalue(), err.getvalue())


def refused(tmp_path: Path, *overrides: str, config: str = QUICKSTART, says: list[str]) -> None:
    done = s2d("run", config, f"run.dir={tmp_path / 'run'}", *overrides, cwd=tmp_path)
    assert done.returncode == 2, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    for text in says:
        assert text in done.stderr
    assert not (tmp_path / "run").exists(), "something was half-written"


def test_a_misspelt_key(tmp_path: Path) -> None:
    text = Path(QUICKSTART).read_text().replace("learning_rate", "learningrate")
    config = tmp_path / "mine.yaml"
    config.write_text(text)
    line = next(n for n, each in enumerate(text.splitlines(), 1) if "learningrate" in each)
    refused(
        tmp_path, config=str(config), says=[f"mine.yaml:{line}", "train.learningrate", "train.learning_rate"]
    )


def test_a_wrong_type_and_everything_else_at_once(tmp_path: Path) -> None:
    says = ["train.steps", "ten", "engine.tp", "engine.tensor_parallel_size", "run.iterations"]
    refused(tmp_path, "train.steps=ten", "engine.tp=2", "run.iterations=0", says=says)


def test_a_model_that_is_not_there(tmp_path: Path) -> None:
    refused(tmp_path, "model.path=./nowhere", says=["model.path", "nowhere"])


def test_a_source_that_is_not_there(tmp_path: Path) -> None:
    refused(tmp_path, "sources.0.path=nowhere.jsonl", says=["nowhere.jsonl"])


def test_a_source_without_a_readable_row(tmp_path: Path) -> None:
    (tmp_path / "bad.jsonl").write_text('not json\n{"prompt": 3}\n')
    refused(tmp_path, f"sources.0.path={tmp_path / 'bad.jsonl'}", says=["bad.jsonl"])


def test_an_unknown_method_and_parser(tmp_path: Path) -> None:
    overrides = ["tasks.last_letters.method.name=rar_two_step", "tasks.coin_flip.parser=coinflip"]
    refused(tmp_path, *overrides, says=["rar_2step", "coin_flip"])


def test_more_engines_than_the_machine_has(tmp_path: Path) -> None:
    says = ["tensor_parallel_size", "wanted", "available"]
    refused(tmp_path, "engine.tensor_parallel_size=4", "engine.num_engines=64", says=says)


def test_too_little_room(tmp_path: Path) -> None:
    refused(tmp_path, "run.min_free_gb=1000000", says=["GiB free", "run.min_free_gb"])


def test_a_run_dir_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = s2d("run", QUICKSTART, f"run.dir={tmp_path / 'file' / 'run'}", cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    assert "run.dir" in done.stderr


@pytest.fixture
def small_disk(tmp_path: Path):  # type: ignore[no-untyped-def]
    """A file system of 128 KiB, where the machine lets us make one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=128k", "tmpfs", str(folder)], capture_output=True
    )
    if mount.returncode:
        pytest.skip("needs the right to mount a file system")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_disk_that_fills_up(small_disk: Path, tmp_path: Path) -> None:
    with contextlib.suppress(OSError), (small_disk / "fill").open("wb") as file:
        file.write(b"x" * 200_000)
    done = s2d("run", QUICKSTART, f"run.dir={small_disk / 'run'}", "run.min_free_gb=0", cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    assert "disk is full" in done.stderr


def test_a_changed_configuration_stops_and_shows_the_difference(tmp_path: Path) -> None:
    from s2d_loop.config import load
    from s2d_loop.driver import begin
    from s2d_loop.preflight import check

    config = load(QUICKSTART, [f"run.dir={tmp_path / 'run'}"])
    begin(config, check(config))
    before = sorted(tmp_path.rglob("*"))
    done = s2d("run", QUICKSTART, f"run.dir={tmp_path / 'run'}", "train.steps=7", cwd=tmp_path)
    assert done.returncode == 2
    assert f"train.steps: {config.train.steps} -> 7" in done.stderr
    assert sorted(tmp_path.rglob("*")) == before


def test_check_starts_nothing_and_says_what_is_needed(tmp_path: Path) -> None:
    done = s2d("check", QUICKSTART, f"run.dir={tmp_path / 'run'}", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    for text in ("rar_2step x 8", "500 held-out", "CPUs", "ZeRO 0"):
        assert text in done.stdout
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", ["status", "show", "report"])
def test_a_directory_without_a_run(tmp_path: Path, command: str) -> None:
    done = s2d(command, str(tmp_path), cwd=tmp_path)
    assert done.returncode == 2
    assert "no run here" in done.stderr


def test_help_answers_at_once(tmp_path: Path) -> None:
    """Heavy imports happen when needed: what `--help` imports is counted, since seconds vary."""
    code = "import sys, s2d_loop.cli; print([m for m in ('ray','torch','vllm','datasets','pyarrow') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    began = time.monotonic()
    done = subprocess.run([sys.executable, "-m", "s2d_loop.cli", "--help"], cwd=tmp_path, capture_output=True)
    assert done.returncode == 0
    assert time.monotonic() - began < 10
    assert json.loads((ROOT / "s2d_loop/schema.json").read_text())["type"] == "object"
