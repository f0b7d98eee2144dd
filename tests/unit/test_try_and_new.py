"""`s2d new` and `s2d try`: what they write, what they print, and what they say of mistakes."""

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from s2d_loop.config import Config
from s2d_loop.errors import BadInputError
from s2d_loop.records import Reply, Request, Weights
from s2d_loop.report.progress import Progress, SilentProgress
from s2d_loop.scaffold import TEMPLATES, path_of, write_new
from s2d_loop.system2.registry import load_method
from s2d_loop.tasks.registry import load_task
from s2d_loop.tryout import try_method

ROOT = Path(__file__).parents[2]
QUICKSTART = str(ROOT / "configs/quickstart.yaml")


def s2d(*args: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(cwd), str(ROOT)])}
    command = [sys.executable, "-m", "s2d_loop.cli", *args]
    return subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, timeout=60)


@pytest.fixture
def written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    write_new("method", "think_hard", tmp_path)
    write_new("task", "capital_city", tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    for name in ("think_hard", "capital_city"):
        sys.modules.pop(name, None)


def test_what_is_written_works(written: Path) -> None:
    assert load_method(path_of("method", "think_hard"), {}).__name__ == "think_hard"
    assert load_task(path_of("task", "capital_city"), ["politely"]).name == "capital_city"
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    tests = [str(path) for path in written.glob("test_*.py")]
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *tests]
    done = subprocess.run(command, cwd=written, env=env, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


def test_what_is_written_is_short_and_bears_its_name(written: Path) -> None:
    names = {
        "think_hard.py",
        "think_hard.txt",
        "test_think_hard.py",
        "capital_city.py",
        "test_capital_city.py",
    }
    assert {path.name for path in written.glob("*.*")} == names
    assert len((written / "think_hard.py").read_text().splitlines()) < 40
    assert len((written / "capital_city.py").read_text().splitlines()) < 60
    for path in written.glob("*.*"):
        assert not any(left in path.read_text() for left in ("my_method", "my_task", "MyTask"))


def test_nothing_is_written_over(tmp_path: Path) -> None:
    (tmp_path / "test_mine.py").write_text("precious")
    with pytest.raises(BadInputError, match=r"test_mine\.py: there already"):
        write_new("task", "mine", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["test_mine.py"]
    assert (tmp_path / "test_mine.py").read_text() == "precious"


@pytest.mark.parametrize(
    "name", ["", "My", "a-b", "1st", "a/b", "../a", "class", "json", "s2d_loop", "_", "é"]
)
def test_a_name_that_no_module_can_have(tmp_path: Path, name: str) -> None:
    with pytest.raises(BadInputError):
        write_new("method", name, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_every_template_is_used(tmp_path: Path) -> None:
    used = [*write_new("method", "one", tmp_path), *write_new("task", "two", tmp_path)]
    assert len(list(TEMPLATES.iterdir())) == len(used) + 1, "and try.yaml"


class FakeEngines:
    """Answers every call with its step's place in the conversation."""

    def __init__(self) -> None:
        self.weights: Weights | None = None
        self.config: Config | None = None
        self.requests: list[Request] = []
        self.closed = 0

    @contextlib.contextmanager
    def __call__(self, config: Config, progress: Progress) -> Iterator["FakeEngines"]:
        self.config = config
        yield self

    def serve(self, weights: Weights) -> None:
        self.weights = weights

    def client_factory(self):  # type: ignore[no-untyped-def]
        return lambda: self

    async def call(self, request: Request) -> Reply:
        self.requests.append(request)
        return Reply("Yes.", num_tokens=2, weights="w")

    async def close(self) -> None:
        self.closed += 1


def test_without_a_configuration_the_model_that_ships_answers() -> None:
    engines = FakeEngines()
    tried = try_method("rar_2step", "Is it?", SilentProgress(), engines=engines)
    assert [call.step for call in tried.calls] == ["rephrase", "respond"]
    assert tried.calls[0].prompt.startswith("Is it?\n")
    assert (tried.answers, tried.error) == (("yes",), None)
    assert engines.weights is not None
    assert engines.weights.path.endswith("testbed/model")
    assert engines.closed == 1


def test_a_configurations_task_gives_options_sampling_and_parser() -> None:
    engines = FakeEngines()
    overrides = ["tasks.last_letters.method.options.answers=3"]
    tried = try_method(
        "rar_2step", "Is it?", SilentProgress(), config_path=QUICKSTART, overrides=overrides, engines=engines
    )
    assert len(tried.samples) == 3
    assert {request.sampling.temperature for request in engines.requests} == {0.8}
    assert "separate these 2 words" in tried.calls[0].prompt, (
        "the first task with this method is last_letters"
    )
    coin = try_method(
        "rar_2step", "Is it?", SilentProgress(), config_path=QUICKSTART, task="coin_flip", engines=engines
    )
    assert coin.calls[1].prompt.endswith("Answer the Yes or No question.")
    other = try_method("direct", "Is it?", SilentProgress(), config_path=QUICKSTART, engines=engines)
    assert [call.prompt for call in other.calls] == ["Is it?"]


def test_a_program_that_fails_shows_the_calls_before(written: Path) -> None:
    (written / "broken.py").write_text(
        "async def broken(x, llm):\n    await llm(x.messages, step='draft')\n    return 1 / 0\n"
    )
    tried = try_method("broken:broken", "Is it?", SilentProgress(), engines=FakeEngines())
    assert [call.step for call in tried.calls] == ["draft"]
    assert tried.error == "ZeroDivisionError: division by zero"


@pytest.mark.parametrize(
    ("method", "keys", "said"),
    [
        ("rar_2steps", {}, "did you mean 'rar_2step'?"),
        ("direct", {"task": "coin"}, "--task: no task 'coin'"),
        ("direct", {"model": "./nowhere"}, "model.path: there is no directory"),
        ("direct", {"config_path": "nowhere.yaml"}, "nowhere.yaml: no such file"),
        ("direct", {"recorded": "nowhere.jsonl"}, "nowhere.jsonl can't be read"),
    ],
)
def test_a_wrong_name_starts_nothing(method: str, keys: dict[str, str], said: str) -> None:
    engines = FakeEngines()
    with pytest.raises(BadInputError) as caught:
        try_method(method, "Is it?", SilentProgress(), engines=engines, **keys)
    assert said in str(caught.value)
    assert engines.config is None


def test_the_commands_and_their_exit_codes(tmp_path: Path) -> None:
    done = s2d("new", "method", "think_hard", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "think_hard:think_hard" in done.stdout
    assert s2d("new", "method", "think_hard", cwd=tmp_path).returncode == 2
    calls = [
        {"step": "draft", "text": "\x1b[31mSix", "num_tokens": 3},
        {"step": "answer", "text": "7", "num_tokens": 1},
    ]
    lines = [{"program": "think_hard:think_hard", "input": "3 + 4?", **call} for call in calls]
    (tmp_path / "r.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    try_it = ("try", "think_hard:think_hard", "--recorded", "r.jsonl")
    done = s2d(*try_it, "--input", "3 + 4?", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    for text in ("draft 0 (3 tokens, recorded)", "Six", "A first draft", "2 calls, 4 tokens", "read as '7'"):
        assert text in done.stdout
    assert "\x1b" not in done.stdout, "a reply may not move the cursor"
    other = s2d(*try_it, "--input", "3 + 5?", cwd=tmp_path)
    assert other.returncode == 1
    assert "was not recorded" in other.stdout
    wrong = s2d("try", "think_hardly", "--input", "?", "--recorded", "r.jsonl", cwd=tmp_path)
    assert wrong.returncode == 2
    assert "no method 'think_hardly'" in wrong.stderr


@pytest.mark.parametrize(
    "args", [("new", "thing", "x"), ("try", "direct"), ("show", ".", "--limit", "0"), ("nope",)]
)
def test_a_command_that_is_used_wrongly(tmp_path: Path, args: tuple[str, ...]) -> None:
    done = s2d(*args, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith("s2d: ")
    assert "Traceback" not in done.stderr
