"""Runs a table: its distillations one after another, then every row, all on one set of engines.

Both can be stopped anywhere.  A distillation is a run and resumes as one; a row's answers are kept in
a file of their own and not measured again.
"""

import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from s2d_loop.clock import SystemClock
from s2d_loop.config import Config
from s2d_loop.driver import measure
from s2d_loop.driver import run as run_loop
from s2d_loop.errors import BadInputError, UnansweredError
from s2d_loop.ledger import Ledger
from s2d_loop.preflight import check
from s2d_loop.records import HeldOut, Weights, digest
from s2d_loop.report.progress import Progress
from s2d_loop.reproduce.engines import SharedEngines
from s2d_loop.reproduce.metrics import OTHER_ORDER, Figure, Measurement
from s2d_loop.reproduce.plan import configured
from s2d_loop.reproduce.tables import START, Row, Table
from s2d_loop.sources import read_heldout
from s2d_loop.tasks.registry import load_task
from s2d_loop.weights import fetch

if TYPE_CHECKING:
    from s2d_loop.engine.ray_engines import RayEngines

_EXAMPLES = 64


@dataclass(frozen=True, slots=True)
class Setting:
    """Where one task of a table is configured, and where its rows and its runs go.

    Tables have runs in common (Table 6's are two of Table 1's): `runs` is for all of them.
    """

    task: str
    path: Path
    overrides: tuple[str, ...]
    rows: Path
    runs: Path

    def config(self, *changes: str, examples: Path | None = None) -> Config:
        return configured(self.path, self.task, self.overrides, changes, examples)


@dataclass(frozen=True, slots=True)
class Result:
    """A row's columns, and which inputs it was right on; empty where it could not be measured."""

    figures: Mapping[str, Figure]
    right: Mapping[str, bool]


def reproduce(table: Table, setting: Setting, shared: SharedEngines, progress: Progress) -> dict[str, Result]:
    """Every row's result for one task of a table, by the row's key.

    Raises:
        BadInputError: the configuration or the data can't work.
        S2DError: a run failed.
    """
    weights = {START: check(setting.config()).start}
    for each in table.distillations:
        progress.note(f"{table.name}, {setting.task}: {each.name}")
        config = setting.config(f"/run.dir={setting.runs / each.name}", *each.overrides)
        run_loop(config, progress, shared.open)
        if trained := _trained(config, progress):
            weights[each.name] = trained
        else:
            progress.note(f"{each.name}: nothing was kept to train on; its rows stay empty.")
    measurable = [row for row in table.rows if {row.weights, row.shots_of or START} <= weights.keys()]
    missing = [row for row in measurable if not _file(setting, row).exists()]
    if missing:
        with shared.open(setting.config()) as engines:
            _measure(table, missing, weights, setting, engines, progress)
    return {
        row.key: _read(_file(setting, row)) if row in measurable else Result({}, {}) for row in table.rows
    }


def _measure(
    table: Table,
    rows: Sequence[Row],
    weights: Mapping[str, Weights],
    setting: Setting,
    engines: "RayEngines",
    progress: Progress,
) -> None:
    if not engines.started:
        progress.note("Starting the engines; this takes about a minute, once.")
    progress.run_started(setting.task, 0)
    # By weights, so that each is loaded once.
    for row in sorted(rows, key=lambda row: list(weights).index(row.weights)):
        progress.note(row.key)
        engines.serve(weights[row.weights])
        config = setting.config(*row.overrides, examples=_shots(setting, row) if row.shots_of else None)
        items = _items(table, config, setting.task)
        try:
            said = measure(engines, config, items, row.system, progress)
        except UnansweredError as error:
            # Such as eight examples in a context of 512 tokens: this row has no figure, others do.
            progress.note(f"{row.key}: not measured: {error}")
            _write(_file(setting, row), json.dumps({"row": row.key, "problem": str(error)}, indent=2))
            continue
        made = Measurement(config, setting.task, row.system, items, said)
        kept = {
            "row": row.key,
            "weights": asdict(weights[row.weights]),
            "figures": made.columns(table.kind),
            "right": made.right(table.kind),
        }
        _write(_file(setting, row), json.dumps(kept, indent=2))


def _items(table: Table, config: Config, task: str) -> dict[str, HeldOut]:
    """The held-out inputs; a judge sees each pair in both orders."""
    items = {each.input.id: each for each in read_heldout(config.tasks[task].heldout, task)}
    if table.kind != "judge":
        return items
    swap = load_task(config.tasks[task].parser, ("swap",)).perturbations["swap"].twin
    both = dict(items)
    for number, each in items.items():
        twin = swap(each.input)
        if twin is None:
            raise BadInputError(f"{config.tasks[task].heldout.path}: {number} is no pair that can be swapped")
        both[number + OTHER_ORDER] = HeldOut(replace(twin, id=number + OTHER_ORDER), None, each.category)
    return both


def _trained(config: Config, progress: Progress) -> Weights | None:
    """What a finished run trained last, promoted or not: a table shows failures too."""
    checked = check(config)
    ledger = Ledger(checked.store, SystemClock())
    trained = ledger.stages("train")
    if not trained:
        return None
    return fetch(ledger, trained[-1], checked.weights_dir, set(), progress.note)


def _shots(setting: Setting, row: Row) -> Path:
    checked = check(setting.config(f"/run.dir={setting.runs / row.shots_of}"))
    file = setting.rows / f"{row.shots_of}.examples.jsonl"
    _write(file, first_pairs(Ledger(checked.store, SystemClock())))
    return file


def first_pairs(ledger: Ledger) -> str:
    """The pairs that a run kept first, as JSON lines: more of them than a row shows."""
    made = itertools.chain.from_iterable(ledger.tables(r, "examples") for r in ledger.stages("pool"))
    pairs = pa.concat_tables(made).select(["prompt", "completion"]).slice(0, _EXAMPLES)
    return "".join(json.dumps(pair) + "\n" for pair in pairs.to_pylist())


def _file(setting: Setting, row: Row) -> Path:
    return setting.rows / f"{digest(row.key)[:12]}.json"


def _read(file: Path) -> Result:
    kept = json.loads(file.read_text())
    if "problem" in kept:
        return Result({}, {})
    return Result({name: Figure(*values) for name, values in kept["figures"].items()}, kept["right"])


def _write(file: Path, text: str) -> None:
    """Whole or not at all."""
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_suffix(".partial")
    partial.write_text(text)
    partial.replace(file)
