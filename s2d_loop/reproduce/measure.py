"""Runs a table: a task's distillations one after another, then every row on each of its sets, all on one set of engines.

All of it can be stopped anywhere.  A distillation is a run and resumes as one; a row's figures are kept in a file that
is named by everything they depend on, so that tables share rows and nothing is measured twice.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal, cast

from s2d_loop.config import Config
from s2d_loop.driver import measure
from s2d_loop.driver import run as run_loop
from s2d_loop.errors import BadInputError, UnansweredError
from s2d_loop.preflight import check
from s2d_loop.records import HeldOut, Weights, content_hash, digest
from s2d_loop.report.progress import Progress
from s2d_loop.reproduce.checking import Ready
from s2d_loop.reproduce.engines import SharedEngines
from s2d_loop.reproduce.metrics import OTHER_ORDER, Columns, Figure, Measurement
from s2d_loop.reproduce.of_judge import RECORDED_VOTES
from s2d_loop.reproduce.plan import Setting
from s2d_loop.reproduce.recorded import recorded_columns
from s2d_loop.reproduce.table import START, Row, Table
from s2d_loop.reproduce.trained import first_pairs, last_trained, ledger_of, require_untrained, target_column
from s2d_loop.sources import read_heldout
from s2d_loop.tasks.registry import load_task


@dataclass(frozen=True, slots=True)
class Result:
    """A row's columns, and what each input added to them; empty where it could not be measured, for a `problem`."""

    figures: Mapping[str, Figure]
    values: Mapping[str, Mapping[str, float]]
    problem: str = ""


NOTHING = Result({}, {})
Results = dict[str, dict[str, Result]]
"""By set and by the row's key."""


def reproduce(table: Table, ready: Ready, shared: SharedEngines, progress: Progress) -> Results:
    """Every row's result on every set that is there.

    Raises:
        BadInputError: the machine, the configuration or the data can't work.
        S2DError: a run failed.
    """
    found: Results = {each.name: {row.key: NOTHING for row in table.rows} for each in table.sets}
    for task in table.tasks:
        settings = [each for each in ready.settings if each.task == task]
        if not settings:
            continue
        weights = _distilled(table, ready, settings[0], shared, progress)
        for setting in settings:
            rows = ready.rows[setting.of.name]
            found[setting.of.name] |= _Rows(table, setting, weights, shared, progress).results(rows)
    return found


def _distilled(
    table: Table, ready: Ready, setting: Setting, shared: SharedEngines, progress: Progress
) -> dict[str, Weights]:
    """The weights that a task's rows are measured on, by distillation."""
    weights = {START: check(setting.start()).start}
    for each in ready.distillations[setting.task]:
        progress.note(f"{table.name}, {setting.task}: {each.name}")
        config = setting.run(each)
        run_loop(config, progress, shared.open)
        if trained := last_trained(config, progress.note):
            weights[each.name] = trained
        else:
            progress.note(f"{each.name}: nothing was kept to train on; its rows stay empty.")
    return weights


class _Rows:
    """The rows of one set."""

    def __init__(
        self,
        table: Table,
        setting: Setting,
        weights: Mapping[str, Weights],
        shared: SharedEngines,
        progress: Progress,
    ) -> None:
        self._table, self._setting, self._weights = table, setting, weights
        self._shared, self._progress = shared, progress

    def results(self, rows: Sequence[Row]) -> dict[str, Result]:
        """Those that are not on file are measured, by weights, so that each is loaded once."""
        found = {}
        for row in rows:
            if missing := row.needs_weights - self._weights.keys():
                found[row.key] = Result({}, {}, f"{', '.join(sorted(missing))}: nothing was kept to train on")
        able = [row for row in rows if row.key not in found]
        if able:
            self._progress.run_started(self._setting.of.name, 0)
        for row in sorted(able, key=lambda row: list(self._weights).index(row.weights)):
            try:
                found[row.key] = self._result(row)
            except UnansweredError as error:
                # Such as eight examples in a context of 512 tokens: this row has no figure, others do.  It isn't
                # kept, so the same command tries it again.
                self._progress.note(f"{row.key}: not measured: {error}")
                found[row.key] = Result({}, {}, str(error))
        return found

    def _result(self, row: Row) -> Result:
        setting, weights = self._setting, self._weights[row.weights]
        config = setting.row(row, examples=self._shots(row) if row.shots_of else None)
        items = held_out(self._table, config, setting.task)
        if row.system == "recorded":
            votes = setting.data / RECORDED_VOTES
            return _result(recorded_columns(config, setting.task, items, votes))
        if row.system == "targets":
            (metric,) = row.paper[setting.of.name]
            kept = ledger_of(setting.run(row.weights))
            return _result({metric: target_column(config, setting.task, kept)})
        if row.weights != START:
            require_untrained(row.weights, ledger_of(setting.run(row.weights)), items)
        file = setting.rows / f"{self._depends_on(row, config, weights, items)}.json"
        if not file.exists():
            self._progress.note(f"{setting.of.name}, {row.key}")
            result = _result(self._asked(row, config, weights, items))
            about = {"set": setting.of.name, "row": row.key, "weights": asdict(weights)}
            write(file, json.dumps(about | {"figures": result.figures, "values": result.values}))
        return _read(file)

    def _asked(self, row: Row, config: Config, weights: Weights, items: dict[str, HeldOut]) -> Columns:
        task, system = self._setting.task, cast(Literal["system1", "system2"], row.system)
        with self._shared.open(config) as engines:
            if not engines.started:
                self._progress.note("Starting the engines; this takes about a minute, once.")
            engines.serve(weights)
            said = measure(engines, config, items, system, self._progress)
        return Measurement(config, task, system, items, said).columns(self._table.kind)

    def _depends_on(self, row: Row, config: Config, weights: Weights, items: Mapping[str, HeldOut]) -> str:
        """A name for all that the figures follow from."""
        task = config.tasks[self._setting.task]
        return digest(
            self._table.kind,
            row.system,
            weights.digest,
            task.model_dump_json(exclude={"heldout"}),
            config.evaluate.model_dump_json(),
            config.model.model_dump_json(exclude={"path"}),
            str(config.engine.max_model_len),
            str(config.run.seed),
            self._shots(row).read_text() if row.shots_of else "",
            *(
                f"{number} {each.input.content_hash} {each.category} {each.reference}"
                for number, each in items.items()
            ),
        )

    def _shots(self, row: Row) -> Path:
        file = self._setting.rows / f"{row.shots_of}.examples.jsonl"
        write(file, first_pairs(ledger_of(self._setting.run(row.shots_of))))
        return file


def held_out(table: Table, config: Config, task: str) -> dict[str, HeldOut]:
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
        other = replace(twin, id=number + OTHER_ORDER, content_hash=content_hash(twin.messages))
        both[other.id] = HeldOut(other, None, each.category)
    return both


def _result(columns: Columns) -> Result:
    figures = {name: column.figure for name, column in columns.items()}
    return Result(figures, {name: column.values for name, column in columns.items()})


def _read(file: Path) -> Result:
    kept: dict[str, Any] = json.loads(file.read_text())
    return Result({name: Figure(*values) for name, values in kept["figures"].items()}, kept["values"])


def write(file: Path, text: str) -> None:
    """Whole or not at all."""
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_suffix(".partial")
    partial.write_text(text)
    partial.replace(file)
