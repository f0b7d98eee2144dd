"""A table's runs and rows as configurations.

From the file up: where the data lie, the model and the seed, the scale, what a person gave as `key=value`, then what
the set, the distillation or the row changes.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from string import Template
from typing import Any

import yaml

from s2d_loop.config import Config, load
from s2d_loop.errors import BadInputError
from s2d_loop.reproduce.table import Distillation, HeldOutSet, Row, Table
from s2d_loop.reproduce.tables import TABLES

DATA = Path("data")
"""Where the configurations look for their files, unless --data names another folder."""
_TEST, _VALIDATION = "test.jsonl", "validation.jsonl"


@dataclass(frozen=True, slots=True)
class Setting:
    """Where one set of a table is configured, and where its rows and its task's runs go.

    Tables have runs and rows in common (Table 6's are Table 1's): `rows` and `runs` are for all of them.
    `overrides` are for everything of the task, `measured` only for what rows are measured on.
    """

    of: HeldOutSet
    path: Path
    overrides: tuple[str, ...]
    rows: Path
    runs: Path
    data: Path = DATA
    measured: tuple[str, ...] = ()

    @property
    def task(self) -> str:
        return self.of.task

    def start(self) -> Config:
        """The task as configured."""
        return self._config(f"/run.dir={self.runs / 'start'}")

    def run(self, each: Distillation | str) -> Config:
        """A distillation's run; by its name, only where it is kept."""
        name, overrides = (each, ()) if isinstance(each, str) else (each.name, each.overrides)
        return self._config(f"/run.dir={self.runs / name}", *overrides)

    def row(self, row: Row, examples: Path | None = None) -> Config:
        """What a row is measured with.

        Args:
            examples: what `$EXAMPLES` in its changes stands for; the file that trains, as in Table 3, unless given.
        """
        changes = (f"/run.dir={self.runs / 'start'}", *self.of.changes, *self.measured, *row.overrides)
        return self._config(*changes, examples=examples)

    def _config(self, *changes: str, examples: Path | None = None) -> Config:
        return configured(self.path, self.task, self.overrides, changes, examples=examples, data=self.data)


def find_table(name: str) -> Table:
    """The table of this name.

    Raises:
        BadInputError: there is none.
    """
    if name not in TABLES:
        raise BadInputError(f"no table {name!r} (there are: {', '.join([*TABLES, 'table4'])})")
    return TABLES[name]


def located(path: Path, data: Path) -> Iterator[str]:
    """Overrides that look for the configuration's files under `data` in place of `data/`."""
    if data == DATA:
        return
    plain = _plain(path)
    for number, source in enumerate(plain["sources"]):
        yield from _moved(f"sources.{number}.path", source["path"], data)
    for name, task in plain["tasks"].items():
        yield from _moved(f"tasks.{name}.heldout.path", task["heldout"]["path"], data)


def _moved(key: str, path: str, data: Path) -> Iterator[str]:
    if Path(path).is_relative_to(DATA):
        yield f"{key}={data / Path(path).relative_to(DATA)}"


def scaled(path: Path, scale: float) -> list[str]:
    """Overrides that take `scale` of a configuration's inputs, held-out inputs and training steps.

    Raises:
        BadInputError: a held-out set without a limit, of which no part can be taken.
    """
    if scale == 1:
        return []
    plain = _plain(path)
    overrides = [
        f"run.inputs_per_iteration={_part(plain['run']['inputs_per_iteration'], scale)}",
        f"train.steps={_part(plain['train']['steps'], scale)}",
    ]
    for name, task in plain["tasks"].items():
        if "limit" not in task["heldout"]:
            raise BadInputError(f"{path}: tasks.{name}.heldout needs a limit for --scale to take a part of")
        overrides.append(f"tasks.{name}.heldout.limit={_part(task['heldout']['limit'], scale)}")
    return overrides


def meant_for(task: str, tasks: Sequence[str], given: Sequence[str]) -> list[str]:
    """A person's overrides without those of a table's other tasks.

    Raises:
        BadInputError: one is of a task that the table doesn't have.
    """
    kept = []
    for each in given:
        section, _, rest = each.partition(".")
        other = rest.partition(".")[0] if section == "tasks" else task
        if other not in tasks:
            raise BadInputError(
                f"override {each!r}: the table has no task {other!r} (it has: {', '.join(tasks)})"
            )
        if other == task:
            kept.append(each)
    return kept


def measured_on(
    of: HeldOutSet, path: Path, overrides: Sequence[str], *, validation: bool, scale: float
) -> tuple[str, ...]:
    """What rows are measured on in place of the test set, and how much of it.

    Raises:
        BadInputError: there is no validation set.
    """
    changes = []
    if validation:
        test = Path(load(str(existing(path)), overrides).tasks[of.task].heldout.path)
        if of.needs or test.name != _TEST or not test.with_name(_VALIDATION).is_file():
            raise BadInputError(
                f"--validation: there is no {test.with_name(_VALIDATION)}: {of.name} has no validation set (the paper's "
                "last letters and coin flip have one)"
            )
        # All of it: the paper's coin flip has more to validate than to test.
        changes += [f"heldout.path={test.with_name(_VALIDATION)}", "heldout.limit=null"]
    if scale != 1 and (validation or of.needs):
        changes.append(f"heldout.limit={_part(of.size, scale)}")
    return tuple(changes)


def configured(
    path: Path,
    task: str,
    overrides: Sequence[str],
    changes: Sequence[str],
    *,
    examples: Path | None = None,
    data: Path = DATA,
) -> Config:
    """The task's configuration with a set's, a row's or a distillation's changes.

    In a change `$EXAMPLES` stands for `examples`, `$VOTES` for the answers that the task's System 2 votes on, `$LONGEST`
    for the tokens that its replies may have, `$HALF` for half of a round's inputs, and `$DATA` for the data folder.

    Raises:
        BadInputError: it doesn't make a configuration; every problem is named.
    """
    plain = load(str(existing(path)), overrides)
    method = plain.tasks[task].method
    names = {
        "EXAMPLES": examples or plain.sources[0].path,
        "VOTES": method.samples * method.options.get("answers", 1),
        "LONGEST": method.sampling.max_tokens,
        "HALF": -(-plain.run.inputs_per_iteration // 2),
        "DATA": data,
    }
    filled = [Template(each).substitute(names) for each in changes]
    spelled = [each[1:] if each.startswith("/") else f"tasks.{task}.{each}" for each in filled]
    return load(str(path), [*overrides, *spelled])


def existing(path: Path) -> Path:
    """The path of a configuration that is there; BadInputError otherwise."""
    if not path.is_file():
        raise BadInputError(
            f"no configuration {path}: run this in a checkout, or name its folder with --configs"
        )
    return path


def _plain(path: Path) -> Mapping[str, Any]:
    plain: Mapping[str, Any] = yaml.safe_load(existing(path).read_text())
    return plain


def _part(number: int, scale: float) -> int:
    return max(1, round(number * scale))
