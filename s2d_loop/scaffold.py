"""The files that a method or a task of one's own begins with (`s2d new`)."""

import keyword
import sys
from importlib import resources
from pathlib import Path
from typing import Literal

from s2d_loop.errors import BadInputError

Kind = Literal["method", "task"]

TEMPLATES = Path(str(resources.files("s2d_loop"))) / "templates"
_FILES: dict[Kind, dict[str, str]] = {
    "method": {
        "{}.py": "method.py.txt",
        "{}.txt": "method_prompt.txt",
        "test_{}.py": "method_test.py.txt",
    },
    "task": {"{}.py": "task.py.txt", "test_{}.py": "task_test.py.txt"},
}


def write_new(kind: Kind, name: str, folder: Path) -> list[Path]:
    """Write all of a kind's files, or none.

    Raises:
        BadInputError: the name can't be a module's, or a file is there already.
    """
    _check_name(name)
    texts = {
        folder / file.format(name): _named(kind, name, (TEMPLATES / template).read_text(encoding="utf-8"))
        for file, template in _FILES[kind].items()
    }
    there = [path.name for path in texts if path.exists()]
    if there:
        raise BadInputError(
            f"{', '.join(there)}: there already, and nothing is written over: take another name"
        )
    try:
        for path, text in texts.items():
            path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise BadInputError(f"{error.filename}: can't be written: {error.strerror}") from None
    return list(texts)


def path_of(kind: Kind, name: str) -> str:
    """How a configuration names what was written."""
    return f"{name}:{name if kind == 'method' else _class_name(name)}"


def _named(kind: Kind, name: str, template: str) -> str:
    return template.replace(f"my_{kind}", name).replace("MyTask", _class_name(name))


def _class_name(name: str) -> str:
    return "".join(part.capitalize() for part in name.split("_"))


def _check_name(name: str) -> None:
    if not (name.isascii() and name.isidentifier() and name == name.lower()) or keyword.iskeyword(name):
        raise BadInputError(
            f"{name!r} can't be a module's name: lower-case letters, digits and `_`, and no digit first"
        )
    if name in sys.stdlib_module_names or name == "s2d_loop":
        raise BadInputError(f"{name!r} would hide the module {name} that is there: take another name")
    if not name.strip("_"):
        raise BadInputError(f"{name!r} has no letters: take another name")
