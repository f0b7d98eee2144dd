"""A table's runs and rows as configurations."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from s2d_loop.config import Config, load
from s2d_loop.errors import BadInputError
from s2d_loop.reproduce.tables import TABLES, Table


def find_table(name: str) -> Table:
    """The table of this name.

    Raises:
        BadInputError: there is none.
    """
    if name not in TABLES:
        raise BadInputError(f"no table {name!r} (there are: {', '.join(TABLES)})")
    return TABLES[name]


def scaled(path: Path, scale: float) -> list[str]:
    """Overrides that take `scale` of a configuration's inputs, held-out inputs and training steps.

    Raises:
        BadInputError: a held-out set without a limit, of which no part can be taken.
    """
    if scale == 1:
        return []
    plain: Mapping[str, Any] = yaml.safe_load(existing(path).read_text())
    overrides = [
        f"run.inputs_per_iteration={_part(plain['run']['inputs_per_iteration'], scale)}",
        f"train.steps={_part(plain['train']['steps'], scale)}",
    ]
    for name, task in plain["tasks"].items():
        if "limit" not in task["heldout"]:
            raise BadInputError(f"{path}: tasks.{name}.heldout needs a limit for --scale to take a part of")
        overrides.append(f"tasks.{name}.heldout.limit={_part(task['heldout']['limit'], scale)}")
    return overrides


def configured(
    path: Path, task: str, overrides: Sequence[str], changes: Sequence[str], examples: Path | None = None
) -> Config:
    """The task's configuration with a row's or a distillation's changes.

    Args:
        examples: what `EXAMPLES` in a change stands for; the file that trains, as in Table 3, unless given.
    """
    plain = load(str(existing(path)), overrides)
    changes = [each.replace("EXAMPLES", str(examples or plain.sources[0].path)) for each in changes]
    spelled = [each[1:] if each.startswith("/") else f"tasks.{task}.{each}" for each in changes]
    return load(str(path), [*overrides, *spelled])


def existing(path: Path) -> Path:
    """The path of a configuration that is there; BadInputError otherwise."""
    if not path.is_file():
        raise BadInputError(
            f"no configuration {path}: run this in a checkout, or name its folder with --configs"
        )
    return path


def _part(number: int, scale: float) -> int:
    return max(1, round(number * scale))
