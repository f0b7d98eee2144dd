"""Programs by name, and what is said of names and options that can't work."""

import subprocess
import sys
from pathlib import Path

import pytest

from s2d_loop.errors import BadInputError
from s2d_loop.system2.registry import METHODS, load_method


def said(name: str, options: dict[str, object] | None = None) -> str:
    with pytest.raises(BadInputError) as caught:
        load_method(name, options)
    return str(caught.value)


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A user's module, importable for one test."""
    (tmp_path / "s2d_test_programs.py").write_text(
        "from __future__ import annotations\n"
        "from typing import TYPE_CHECKING, Any\n"
        "if TYPE_CHECKING:\n"
        "    from s2d_loop.records import Input\n"
        "async def shout(x: Input, llm, *, times: int, **more): return x.question.upper()\n"
        "async def lonely(x): return 'x'\n"
        "def sync(x, llm): return 'x'\n"
    )
    (tmp_path / "s2d_test_broken.py").write_text("raise RuntimeError('no licence')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield "s2d_test_programs"
    sys.modules.pop("s2d_test_programs", None)


def test_every_registered_program_loads():
    for name in METHODS:
        assert load_method(name).__name__ == name


def test_options_that_fit():
    assert load_method("rar_2step", {"answers": 8, "prompt": "coin_flip"})
    assert load_method("rar_2step", {"prompt": None})


def test_an_unknown_name_gets_the_nearest_and_the_list():
    text = said("rar_2steps")
    assert "did you mean 'rar_2step'?" in text
    assert "direct, rar_1step, rar_2step" in text


@pytest.mark.parametrize("name", ["", ":", "a:", ":b", "no colon"])
def test_a_name_that_is_no_path(name: str):
    assert "package.module:name" in said(name)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"answer": 8}, "method.options.answer: 'rar_2step' has no such option, did you mean 'answers'?"),
        ({"x": 1}, "has no such option"),
        ({"llm": 1}, "has no such option"),
        (
            {"answers": "8"},
            "method.options.answers: '8' doesn't fit 'rar_2step': Input should be a valid int",
        ),
        ({"answers": 0}, "greater than or equal to 1"),
        ({"answers": True}, "valid integer"),
        ({"prompt": "coins"}, "'default', 'last_letters' or 'coin_flip'"),
    ],
)
def test_options_that_do_not_fit(options: dict[str, object], words: str):
    assert words in said("rar_2step", options)


def test_a_program_without_options_says_so():
    assert "(it has: none)" in said("direct", {"answers": 2})


async def test_a_program_of_ones_own(mine: str):
    assert load_method(f"{mine}:shout", {"times": 2, "anything": 1})
    assert "method.options.times" in said(f"{mine}:shout", {})


def test_what_is_wrong_with_ones_own(mine: str):
    assert "is not an async function" in said(f"{mine}:sync")
    assert "must take the input and the llm" in said(f"{mine}:lonely", {})
    assert "has no 'shoud', did you mean 'shout'?" in said(f"{mine}:shoud")
    assert "RuntimeError: no licence" in said("s2d_test_broken:program")
    assert "ModuleNotFoundError" in said("s2d_no_such_module:program")


def test_programs_tasks_and_curation_need_no_engine():
    """They must stay testable in milliseconds and reusable anywhere (DESIGN.md)."""
    code = (
        "import sys, s2d_loop.curate.signs, s2d_loop.evaluate.metrics\n"
        "from s2d_loop.system2.registry import METHODS, load_method\n"
        "from s2d_loop.tasks.registry import TASKS, load_task\n"
        "[load_method(m) for m in METHODS]; [load_task(t) for t in TASKS]\n"
        "print({'ray', 'vllm', 'torch', 'transformers', 'deepspeed'} & set(sys.modules))\n"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "set()"
