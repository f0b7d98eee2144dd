"""The architecture's promises that a reader should not have to check: who imports whom, and what costs."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "s2d_loop"

# Lower layers first; a module imports from its own layer and those before it only.
LAYERS = [
    {
        "arrow",
        "unpacked",
        "errors",
        "folders",
        "records",
        "recorded",
        "clock",
        "paths",
        "plugins",
        "scaffold",
        "terminal",
        "thoughts",
        "doctor",
    },
    {"config"},
    {"chat"},
    {"store", "object_store", "facts", "commits", "table_files", "ledger", "weights"},
    {"stop", "versions", "quarantine", "serving", "stacks", "logs", "labels"},
    {"watchdog"},
    {"system2", "tasks"},
    {"formats"},
    {"sources"},
    {"data", "replay"},
    {"curate", "retention"},
    {"plan"},
    {"generate"},
    {"dataflow", "engine", "known", "near"},
    {"intake", "pool"},
    {"train"},
    {"evaluate"},
    {"triage"},
    {"report"},
    {"review"},
    {"attend"},
    {"stages"},
    {"room"},
    {"loop"},
    {"rehearse"},
    {"preflight"},
    {"ray_session"},
    {"driver", "submit", "operate"},
    {"reproduce", "tryout"},
    {"cli", "testbed"},
]
RANK = {name: rank for rank, names in enumerate(LAYERS) for name in names}
PURE = (
    "system2",
    "tasks",
    "formats",
    "curate",
    "data",
    "arrow.py",
    "records.py",
    "recorded.py",
    "thoughts.py",
    "config",
    "intake.py",
    "known.py",
    "near.py",
    "pool.py",
    "triage",
    "plan.py",
    "generate.py",
    "loop.py",
)


def modules() -> list[Path]:
    return [path for path in PACKAGE.rglob("*.py") if path.name != "__init__.py" or path.parent != PACKAGE]


def imported(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("s2d_loop"):
            rest = node.module.split(".")[1:]
            found |= {rest[0]} if rest else {alias.name for alias in node.names}
    return found


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_go_down_the_layers_only(path: Path) -> None:
    own = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    upward = {name for name in imported(path) if RANK[name] > RANK[own]}
    assert not upward, f"{path.name} imports {upward} from above its own layer {own}"


def test_every_module_has_a_layer() -> None:
    assert {p.relative_to(PACKAGE).parts[0].removesuffix(".py") for p in modules()} <= set(RANK)


def test_what_checks_a_run_shares_no_code_with_what_makes_one() -> None:
    """The doctor reads the formats by itself: a mistake in the loop's code can't hide itself there.

    `unpacked` stands before both: it says what a Parquet file takes in memory, and nothing of a run.
    """
    allowed = {*sys.stdlib_module_names, "pyarrow", "fsspec"}
    own = ("s2d_loop.doctor", "s2d_loop.unpacked")
    for path in (PACKAGE / "doctor").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            foreign = [n for n in names if n.split(".")[0] not in allowed and not n.startswith(own)]
            assert not foreign, f"{path.name} imports {foreign}"


def test_the_pure_modules_import_neither_ray_nor_vllm_nor_torch() -> None:
    names = [
        ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__")
        for pure in PURE
        for path in sorted((PACKAGE / pure).rglob("*.py") if (PACKAGE / pure).is_dir() else [PACKAGE / pure])
        if path.name != "loop.py"
    ]
    code = f"import sys, {', '.join(names)}; print(sorted({{'ray', 'vllm', 'torch'}} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
