"""A run directory from a stranger chooses no code: what its ledger names is imported by no command."""

import ast
import shutil
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

import s2d_loop
from s2d_loop.cli import app
from s2d_loop.config import resolved_yaml
from s2d_loop.errors import BadInputError, ExitCode
from s2d_loop.tasks.registry import TASKS, load_recorded_task
from tests.support.runs import finished
from tests.support.scripted import letters_config, words, write_questions
from tests.support.tamper import Row, records, write_ledger

LOADERS = {"from_pretrained", "from_config", "get_tokenizer"}
READING = [
    ["status", "RUN"],
    ["status", "RUN", "--json"],
    ["runs", "ABOVE"],
    ["runs", "RUN/.."],
    ["show", "RUN"],
    ["show", "RUN", "--heldout", "all"],
    ["why", "RUN", "anything"],
    ["lineage", "RUN"],
    ["doctor", "RUN"],
    ["report", "RUN"],
    ["review", "RUN", "--summary"],
]


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("code")
    write_questions(folder / "stream.jsonl", words(1, 16))
    write_questions(folder / "heldout.jsonl", words(2, 4), labels=False)
    finished(letters_config(folder, run__inputs_per_iteration=8))
    return folder


@pytest.fixture
def folder(original: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the run whose task is code that lies beside it, on the path as README recommends for one's own."""
    shutil.copytree(original, tmp_path / "copy", symlinks=True)
    run = tmp_path / "copy" / "run"
    (run / "evil_code.py").write_text(
        "from pathlib import Path\nPath('executed').touch()\nfrom s2d_loop.tasks.last_letters import LastLetters\n"
    )
    (run / "evil.yaml").write_text("name: evil\n")
    monkeypatch.chdir(run)
    monkeypatch.syspath_prepend(str(run))
    yield tmp_path / "copy"
    sys.modules.pop("evil_code", None)


def naming(run: Path, parser: str) -> None:
    rows: list[Row] = records(run)
    for row in rows:
        if row["kind"] == "run":
            row["facts"]["config"]["tasks"]["letters"]["parser"] = parser
            row["facts"]["config"]["tasks"]["letters"]["method"]["name"] = parser
    write_ledger(run, rows)


@pytest.mark.parametrize("parser", ["evil_code:LastLetters", "evil.yaml"])
@pytest.mark.parametrize("command", READING, ids=" ".join)
def test_no_command_that_reads_a_run_executes_what_it_names(
    folder: Path, command: list[str], parser: str
) -> None:
    run = folder / "run"
    naming(run, parser)
    said = CliRunner().invoke(
        app, [each.replace("RUN", str(run)).replace("ABOVE", str(run.parent)) for each in command]
    )
    assert not (run / "executed").exists()
    assert "evil_code" not in sys.modules
    assert said.exit_code in (ExitCode.DONE, ExitCode.FAILED, ExitCode.BAD_INPUT), said.output
    assert isinstance(said.exception, SystemExit | None | BadInputError), said.exception


def test_the_operators_own_configuration_may_name_it(folder: Path) -> None:
    run = folder / "run"
    naming(run, "evil_code:LastLetters")
    refused = CliRunner().invoke(app, ["review", str(run), "--summary"])
    assert "'evil_code:LastLetters', which is code or a file of its own" in str(refused.exception)
    assert "--config FILE" in str(refused.exception)
    own = letters_config(folder).model_dump()
    own["tasks"]["letters"]["parser"] = "evil_code:LastLetters"
    config = folder / "own.yaml"
    config.write_text(resolved_yaml(type(letters_config(folder)).model_validate(own)))
    said = CliRunner().invoke(app, ["review", str(run), "--summary", "--config", str(config)])
    assert said.exit_code == ExitCode.DONE, said.output
    assert (run / "executed").exists()


def test_the_projects_own_tasks_are_loaded_by_name() -> None:
    for name in TASKS:
        assert load_recorded_task(name, "").name == name
    for name in (*TASKS.values(), "tasks.yaml", "./x.yaml", "os:system", "", "nonsense"):
        with pytest.raises(BadInputError, match="nothing that a run directory names is executed: do this"):
            load_recorded_task(name, "do this")


def test_every_loader_is_told_to_run_no_code_of_a_model() -> None:
    """transformers would ask on the terminal whether to, where nothing is said."""
    root = Path(s2d_loop.__file__).parent
    untold = {
        f"{path.relative_to(root)}:{node.lineno}"
        for path in root.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call)
        and getattr(node.func, "attr", getattr(node.func, "id", "")) in LOADERS
        and ast.unparse(node.func)
        not in ("GenerationConfig.from_pretrained", "AutoModelForCausalLM.from_config")
        and not any(
            each.arg == "trust_remote_code"
            and isinstance(each.value, ast.Constant)
            and each.value.value is False
            for each in node.keywords
        )
    }
    assert not untold
