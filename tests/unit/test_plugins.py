"""Names of installed packages: found by entry points, after the project's own, and never guessed."""

import sys
from pathlib import Path

import pytest

from s2d_loop import plugins
from s2d_loop.errors import BadInputError
from s2d_loop.formats.registry import load_format
from s2d_loop.system2.registry import load_method
from s2d_loop.tasks.registry import load_task

MODULE = """\
from s2d_loop.tasks.open import Open
from s2d_loop.formats.gsm8k import Gsm8k
async def shout(x, llm): return x.question.upper()
class Mine(Open): name = "mine"
class Rows(Gsm8k): pass
"""


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):  # type: ignore[no-untyped-def]
    """Installs a package with entry points, as pip would leave it, for one test."""
    (tmp_path / "s2d_test_installed.py").write_text(MODULE)
    monkeypatch.syspath_prepend(str(tmp_path))

    def install(package: str, **groups: str) -> None:
        info = tmp_path / f"{package}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
        lines = [f"[s2d_loop.{group}]\n{entries}\n" for group, entries in groups.items()]
        (info / "entry_points.txt").write_text("\n".join(lines))
        plugins.installed.cache_clear()

    yield install
    plugins.installed.cache_clear()
    sys.modules.pop("s2d_test_installed", None)


def said(name: str) -> str:
    with pytest.raises(BadInputError) as caught:
        load_method(name)
    return str(caught.value)


def test_methods_tasks_and_formats_by_name(install) -> None:  # type: ignore[no-untyped-def]
    install(
        "a",
        methods="shout = s2d_test_installed:shout [extra]",
        tasks="mine = s2d_test_installed:Mine",
        formats="rows = s2d_test_installed:Rows",
    )
    assert load_method("shout", {}).__name__ == "shout"
    assert load_task("mine").name == "mine"
    assert load_format("rows").columns == ("question",)


def test_an_unknown_name_lists_the_installed_ones_too(install) -> None:  # type: ignore[no-untyped-def]
    install("a", methods="shout = s2d_test_installed:shout")
    assert "did you mean 'shout'?" in said("shoot")
    assert "direct," in said("shoot")
    assert "shout; your own is package.module:name" in said("shoot")


def test_the_projects_own_names_come_first(install) -> None:  # type: ignore[no-untyped-def]
    install("a", methods="direct = s2d_test_installed:shout")
    assert load_method("direct").__module__ == "s2d_loop.system2.direct"


def test_a_name_that_two_packages_claim_is_refused(install) -> None:  # type: ignore[no-untyped-def]
    install("a", methods="shout = s2d_test_installed:shout")
    install("b", methods="shout = s2d_test_other:shout")
    text = said("shout")
    assert "s2d_test_installed:shout and for s2d_test_other:shout" in text
    assert "write the one that you mean" in text


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("s2d_test_installed:shoot", "method 'shout' (s2d_test_installed:shoot): s2d_test_installed has no"),
        ("s2d_no_such_module:x", "importing s2d_no_such_module failed"),
        ("s2d_test_installed", "which is no package.module:name"),
    ],
)
def test_an_entry_point_that_is_wrong(install, path: str, words: str) -> None:  # type: ignore[no-untyped-def]
    install("a", methods=f"shout = {path}")
    assert words in said("shout")
