"""What reaches a terminal: it all goes through one door, where nothing is left that a terminal acts on."""

import ast
import io
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.progress import Progress, TextColumn
from rich.table import Table
from rich.text import Text

from s2d_loop.report.console import Terminal
from s2d_loop.terminal import as_json, echo, echo_json, last_words

PACKAGE = Path(__file__).parents[2] / "s2d_loop"
HOSTILE = "\x1b[2J\x1b]0;title\x07 \x9b31m \x7f \b\r \u202eright to left \u2028 \ud800 [bold]b[/bold] :bomb:"
SPELLED = "\\x1b[2J\\x1b]0;title\\x07 \\x9b31m \\x7f \\x08\\x0d \\u202eright to left \\u2028 \\ud800 [bold]b[/bold] :bomb:"

DOORS = {
    "terminal.py",  # lines and JSON
    "report/console.py",  # tables and progress
}
SCRIPTS = {
    # Run by hand to make what ships (`python -m s2d_loop.testbed...`): they print figures and paths of their own.
    "testbed/measure.py",
    "testbed/pretrain.py",
    "testbed/smollm2.py",
    "testbed/world.py",
    "testbed/worlds.py",
}
WAYS_OUT = {
    *(f"{module}.{name}" for module in ("typer", "click") for name in ("echo", "secho", "style", "echo_via_pager")),
    *(f"sys.{name}" for name in ("stdout", "stderr", "__stdout__", "__stderr__")),
    "logging.StreamHandler",
    "logging.basicConfig",
    "traceback.print_exc",
    "traceback.print_exception",
    "os.write",
}  # fmt: skip


def ways_out(source: str) -> Iterator[str]:
    """How a module's code could reach a terminal by itself."""
    for node in ast.walk(ast.parse(source)):
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Name)
            and node.func.id in ("print", "input")
        ):
            yield f"{node.func.id}()"
        if isinstance(node, ast.Attribute) and ast.unparse(node) in WAYS_OUT:
            yield ast.unparse(node)
        if (
            isinstance(node, ast.keyword)
            and node.arg in ("markup", "emoji")
            and ast.unparse(node.value) != "False"
        ):
            yield f"{node.arg}={ast.unparse(node.value)}"
        if isinstance(node, ast.Attribute) and node.attr in ("from_markup", "from_ansi"):
            yield node.attr
        if isinstance(node, ast.ImportFrom):
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            yield from names & WAYS_OUT
            yield from (
                each for each in names if each.startswith(("rich.console.", "rich.print", "rich.get_console"))
            )
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in ("rich", "rich.console", "click"))


def test_no_module_has_a_way_to_the_terminal_of_its_own() -> None:
    found = {
        name: sorted(set(ways))
        for path in PACKAGE.rglob("*.py")
        if (name := path.relative_to(PACKAGE).as_posix()) not in DOORS
        and (ways := list(ways_out(path.read_text())))
    }
    assert found.keys() <= SCRIPTS, found
    assert set(found) == SCRIPTS, "an exception that nobody needs any more"


@pytest.mark.parametrize(
    "code",
    [
        "print(1)",
        "import typer\ntyper.echo(1)",
        "import typer\nsubmit(config, typer.echo)",
        "from click import echo",
        "import sys\nsys.stdout.write('x')",
        "import sys\nshow(file=sys.stderr)",
        "from sys import stderr",
        "from rich.console import Console",
        "from rich import print",
        "console.print('x', markup=True)",
        "Text.from_markup('x')",
        "import logging\nlogging.basicConfig()",
        "import traceback\ntraceback.print_exc()",
    ],
)
def test_the_walk_knows_a_way_out_when_it_sees_one(code: str) -> None:
    assert list(ways_out(code))


def test_a_line_has_what_is_hidden_spelled_out(capsys: pytest.CaptureFixture[str]) -> None:
    echo(HOSTILE)
    echo(HOSTILE, err=True)
    echo("two\nlines\tand a tab")
    assert capsys.readouterr() == (f"{SPELLED}\ntwo\nlines\tand a tab\n", f"{SPELLED}\n")


def test_json_keeps_its_meaning_and_hides_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    echo_json({HOSTILE: [HOSTILE]})
    said = capsys.readouterr().out
    assert json.loads(said) == {HOSTILE: [HOSTILE]}
    assert said.isascii()
    assert said.rstrip("\n").isprintable()
    assert as_json({"a": 1}, indent=2) == '{\n  "a": 1\n}'


def shown(*, color: bool = False) -> Terminal:
    return Terminal(
        file=io.StringIO(), width=400, force_terminal=color, color_system="standard" if color else None
    )


def test_text_on_the_console_is_text() -> None:
    console = shown()
    table = Table(f"head {HOSTILE}", title=f"title {HOSTILE}")
    table.add_row(f"cell {HOSTILE}")
    console.print(f"line {HOSTILE}", style="bold")
    console.print(table)
    said = console.file.getvalue()  # type: ignore[attr-defined]
    for place in ("line", "title", "head", "cell"):
        assert f"{place} {SPELLED}" in said
    assert said.replace("\n", "").isprintable()


def test_style_is_what_the_caller_gives_and_nothing_else() -> None:
    """The project's own colours work; what a text brings along doesn't, whatever it was made into."""
    console = shown(color=True)
    table = Table("head")
    table.add_row(Text(HOSTILE, style="red"))
    console.print(table)
    with Progress(TextColumn("{task.description}", markup=False), console=console, transient=True) as bars:
        bars.add_task(f"bar {HOSTILE}", total=None)
    said = console.file.getvalue()  # type: ignore[attr-defined]
    assert "\x1b[31m\\x1b[2J\\x1b]0;title" in said
    assert "bar \\x1b[2J" in said
    for sequence in ("\x1b[2J\x1b", "\x1b]", "\x07", "\x9b", "\x7f", "\u202e", "\ud800"):
        assert sequence not in said


SCRIPT = """
import logging, threading, warnings
from s2d_loop.terminal import guard
guard()
guard()
hostile = "\\x1b]0;title\\x07\\u202e"
warnings.warn(hostile)
logging.getLogger("any").warning("%s", hostile, exc_info=ValueError(hostile))
thread = threading.Thread(target=lambda: int(hostile))
thread.start()
thread.join()
raise KeyError from ValueError(hostile)
"""


def test_last_words_are_spelled_out(capfd: pytest.CaptureFixture[str]) -> None:
    last_words(HOSTILE)
    assert capfd.readouterr().err == f"{SPELLED}\n"


def test_what_python_prints_unasked_is_spelled_out() -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert not [c for c in done.stderr if not c.isprintable() and c != "\n"], done.stderr
    # The warning, the log and its exception, the thread's error (quoted by Python itself), and the cause.
    assert done.stderr.count("\\x1b]0;title\\x07\\u202e") == 5, done.stderr
    assert "KeyError" in done.stderr


CRASH = """
from s2d_loop.cli import main, operating

def fail(run):
    raise LookupError(run)

operating.open_ledger = fail
main(["status", "\\x1b]0;title\\x07\\u202e"])
"""


def test_a_command_that_crashes_spells_out_what_it_crashed_over() -> None:
    done = subprocess.run([sys.executable, "-c", CRASH], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.endswith("LookupError: \\x1b]0;title\\x07\\u202e\n")
    assert done.stderr.replace("\n", "").isprintable()
