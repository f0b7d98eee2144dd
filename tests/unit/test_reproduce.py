"""The paper's tables: every row is a configuration that works, and results stand beside the paper's."""

from pathlib import Path
from typing import Any

import pytest

from s2d_loop.errors import BadInputError
from s2d_loop.reproduce import page
from s2d_loop.reproduce.plan import configured, find_table, scaled
from s2d_loop.reproduce.tables import START, TABLE_1, TABLES, Table

CONFIGS = Path(__file__).parents[2] / "configs"
EVERY = pytest.mark.parametrize("table", TABLES.values(), ids=lambda table: table.name)


def figures(accuracy: float | None, tokens: float = 12.0) -> dict[str, Any]:
    return {
        "accuracy": accuracy,
        "low": 0.4,
        "high": 0.6,
        "n": 50,
        "answers": 50,
        "tokens": tokens,
        "unparsable": 2,
    }


@EVERY
def test_every_row_and_distillation_is_a_working_configuration(table: Table) -> None:
    for task in table.tasks:
        path = CONFIGS / "testbed" / f"{task}.yaml"
        made = [configured(path, task, (), each.overrides) for each in (*table.distillations, *table.rows)]
        assert {name for config in made for name in config.tasks} == {task}
        distilled = made[: len(table.distillations)]
        assert len({config.model_dump_json() for config in distilled}) == len(distilled), "two are the same"


@EVERY
def test_rows_measure_weights_that_exist_and_are_told_apart(table: Table) -> None:
    known = {START, *(each.name for each in table.distillations)}
    assert {row.weights for row in table.rows} == known, "a distillation that no row measures is a waste"
    assert len({row.key for row in table.rows}) == len(table.rows)
    for row in table.rows:
        assert set(row.paper) <= set(table.tasks)
        assert all(set(each) <= {*table.metrics} for each in row.paper.values())


def test_scale_takes_a_part_and_needs_a_limit(tmp_path: Path) -> None:
    path = CONFIGS / "testbed" / "coin_flip.yaml"
    assert scaled(path, 1.0) == []
    config = configured(path, "coin_flip", scaled(path, 0.1), ())
    assert (config.run.inputs_per_iteration, config.tasks["coin_flip"].heldout.limit) == (30, 50)
    endless = tmp_path / "coin_flip.yaml"
    endless.write_text(path.read_text().replace(", limit: 500", ""))
    with pytest.raises(BadInputError, match=r"tasks\.coin_flip\.heldout needs a limit"):
        scaled(endless, 0.1)


def test_what_isnt_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match=r"no table 'table9' \(there are: table1"):
        find_table("table9")
    with pytest.raises(BadInputError, match="run this in a checkout"):
        configured(tmp_path / "nothing.yaml", "nothing", (), ())


def test_a_table_shows_the_papers_figures_and_ours(tmp_path: Path) -> None:
    results = {task: {row.key: figures(0.5) for row in TABLE_1.rows} for task in TABLE_1.tasks}
    last = TABLE_1.rows[-1].key
    results["last_letters"][last] = figures(0.98, tokens=6.0)
    results["coin_flip"][last] = figures(None)
    written = page.write(TABLE_1, results, {"model": "m<i>", "note": "A note."}, tmp_path)
    lines = (tmp_path / "table1.md").read_text().splitlines()
    (line,) = [each for each in lines if each.startswith(f"| {last} |")]
    assert line.split(" | ")[1:6] == ["98", "98.0 (40.0 to 60.0)", "25.5", "6.0", "0.5x"]
    assert " | 75.69 | - | 50.3 | " in line, "an answer without a reference has no accuracy"
    text = written.read_text()
    assert "m&lt;i&gt;" in text
    assert "A note." in text
    assert text.count("<svg") == 2
    assert "<script" not in text
