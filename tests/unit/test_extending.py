"""docs/extending.md, exactly as printed: its files are written out and run."""

import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
from collections import Counter
from pathlib import Path

import pytest

from s2d_loop.config import load
from s2d_loop.generate import generate
from s2d_loop.plan import distillation_plans
from s2d_loop.preflight import check
from s2d_loop.records import Reply, Request
from s2d_loop.sources import open_source

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs/extending.md").read_text()
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", TEXT, re.DOTALL | re.MULTILINE)
# In the format of the public file, of the test's own making.
RAR = [
    {
        "question": "A coin is heads up. ada flips the coin.  Is the coin still heads up?",
        "answer": "no",
        "refined_question": "Ada turns a coin over that showed heads. Does it show heads now?",
    },
    {
        "question": "A coin is heads up. bo does not flip the coin.  Is the coin still heads up?",
        "answer": "yes",
        "refined_question": "Bo leaves a coin alone that showed heads. Does it show heads now?",
    },
]


def files() -> dict[str, str]:
    named = (text.split("\n", 1) for kind, text in BLOCKS if kind != "sh")
    return {first.removeprefix("# "): rest for first, rest in named}


@pytest.fixture
def printed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that holds the page's files, with what the page says of PYTHONPATH done."""
    for name, text in files().items():
        (tmp_path / name).write_text(text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), str(ROOT)]))
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    for name in files():
        sys.modules.pop(name.removesuffix(".py"), None)


def run(*command: str, stdin: str | None = None) -> str:
    done = subprocess.run(
        [sys.executable, *command], input=stdin, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_every_block_is_a_file_or_commands() -> None:
    for kind, text in BLOCKS:
        first = text.split("\n", 1)[0]
        assert kind == "sh" or re.fullmatch(r"# [\w.]+\.\w+", first), first


@pytest.mark.parametrize(("name", "limit"), [("ask_twice.py", 40), ("larger.py", 60)])
def test_the_examples_are_short(name: str, limit: int) -> None:
    assert len(files()[name].splitlines()) < limit


def test_the_printed_tests_pass(printed: Path) -> None:
    tests = sorted(str(path) for path in printed.glob("test_*.py"))
    assert len(tests) == 2
    assert "3 passed" in run("-m", "pytest", "-q", "-p", "no:cacheprovider", *tests)


def test_the_printed_commands_run(printed: Path) -> None:
    commands = [line for kind, text in BLOCKS if kind == "sh" for line in text.splitlines()]
    shown = [run("-m", "s2d_loop.cli", *shlex.split(line)[1:]) for line in commands]
    assert len(shown) == 2
    assert "ask_twice:ask_twice: 3 calls" in shown[0]
    assert "read as '4'" in shown[0]
    assert "ask_twice:ask_twice x 4" in shown[1]
    assert not (printed / "runs").exists()


def test_the_entry_points_name_what_is_printed(printed: Path) -> None:
    groups = tomllib.loads(files()["pyproject.toml"])["project"]["entry-points"]
    assert set(groups) == {"s2d_loop.methods", "s2d_loop.tasks"}
    for path in (path for group in groups.values() for path in group.values()):
        module, _, name = path.partition(":")
        assert hasattr(__import__(module), name)


async def test_the_printed_converter_drives_the_second_step(printed: Path) -> None:
    (printed / "coin_val_gpt-4.json").write_text(json.dumps(RAR))
    (printed / "gpt4.jsonl").write_text(run("rar_recording.py", stdin=json.dumps(RAR)))
    config = load("gpt4.yaml")
    check(config)
    plan = distillation_plans(config)["coin_flip"]
    asked: Counter[str] = Counter()

    async def local(request: Request) -> Reply:
        asked[request.messages[-1].content] += 1
        return Reply("No.", num_tokens=2, weights="w")

    for x, row in zip(open_source(config.sources[0]).read(None, 10).inputs, RAR, strict=True):
        made = await generate(x, plan, local)
        assert made.error is None
        assert len(made.samples) == 8
        assert made.weights == "w"
        assert asked[f"{row['refined_question']} Answer the Yes or No question."] == 8
        assert asked[row["question"]] == 2, "System 1's own samples, beside"
    assert asked.total() == 20


@pytest.mark.skipif("S2D_DATA" not in os.environ, reason="S2D_DATA names no folder of public data")
def test_every_public_coin_question_has_its_rephrasing(printed: Path) -> None:
    text = (Path(os.environ["S2D_DATA"]) / "rar/coin_val_gpt-4.json").read_text()
    (printed / "coin_val_gpt-4.json").write_text(text)
    (printed / "gpt4.jsonl").write_text(run("rar_recording.py", stdin=text))
    config = load("gpt4.yaml")
    recorded = distillation_plans(config)["coin_flip"].recorded
    assert recorded is not None
    inputs = open_source(config.sources[0]).read(None, 1000).inputs
    assert len(inputs) == len(json.loads(text))
    assert all(("rephrase", x.content_hash, 0, 0) in recorded.records for x in inputs)
