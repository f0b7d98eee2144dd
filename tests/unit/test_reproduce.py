"""The paper's tables: every row is a configuration that works, and results stand beside the paper's."""

import inspect
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from s2d_loop.clock import SystemClock
from s2d_loop.config import Config
from s2d_loop.errors import BadInputError, S2DError, UnansweredError
from s2d_loop.ledger import Ledger
from s2d_loop.records import Generation, HeldOut, Input, Message, Sample, Weights
from s2d_loop.report.progress import SilentProgress
from s2d_loop.reproduce import measure as measuring
from s2d_loop.reproduce import page
from s2d_loop.reproduce import seeds as across
from s2d_loop.reproduce.engines import SharedEngines
from s2d_loop.reproduce.measure import Result
from s2d_loop.reproduce.metrics import OTHER_ORDER, Figure, Measurement
from s2d_loop.reproduce.plan import configured, find_table, scaled
from s2d_loop.reproduce.table4 import check
from s2d_loop.reproduce.tables import START, TABLE_1, TABLES, Table
from s2d_loop.store import open_store
from s2d_loop.system2.few_shot import shots
from s2d_loop.system2.registry import load_method
from s2d_loop.tasks.trivia_qa import reference
from tests.support.runs import finished
from tests.support.scripted import letters_config, words, write_questions

CONFIGS = Path(__file__).parents[2] / "configs"
EVERY = pytest.mark.parametrize("table", TABLES.values(), ids=lambda table: table.name)


def result(accuracy: float | None, tokens: float = 12.0, right: int = 25) -> Result:
    columns = {
        "accuracy": Figure(accuracy, 40.0, 60.0, 50),
        "tokens": Figure(tokens, None, None, 50),
        "miss_match": Figure(4.0, 1.0, 9.0, 50),
    }
    return Result(columns, {f"x{number}": number < right for number in range(50)})


@EVERY
@pytest.mark.parametrize("folder", ["paper", "testbed"])
def test_every_row_and_distillation_is_a_working_configuration(table: Table, folder: str) -> None:
    for task in table.tasks:
        path = CONFIGS / folder / f"{task}.yaml"
        if not path.exists():
            pytest.skip("no tiny model for this task yet")
        made = [configured(path, task, (), each.overrides) for each in (*table.distillations, *table.rows)]
        assert {name for config in made for name in config.tasks} == {task}
        for config in made:
            method, direct = config.tasks[task].method, config.tasks[task].system1_method
            for one in (method, direct):
                assert inspect.iscoroutinefunction(load_method(one.name))
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
    keys = {row.key for row in table.rows}
    for claim in table.claims:
        assert {claim.better, claim.worse} <= keys
        assert claim.task in table.tasks
    assert table.metrics[0].startswith(("accuracy", "agreement")), "the first column is plotted in percent"


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
    results = {task: {row.key: result(50.0) for row in TABLE_1.rows} for task in TABLE_1.tasks}
    last = TABLE_1.rows[-1].key
    results["last_letters"][last] = result(98.0, tokens=6.0, right=49)
    results["coin_flip"][last] = result(None)
    written = page.write(TABLE_1, results, {"model": "m<i>", "note": "A note."}, tmp_path)
    lines = (tmp_path / "table1.md").read_text().splitlines()
    (line,) = [each for each in lines if each.startswith(f"| {last} |")]
    assert line.split(" | ")[1:6] == ["98", "98.0 (40.0 to 60.0)", "25.5", "6.0", "0.5x"]
    assert " | 75.69 | - | 50.3 | " in line, "an answer without a reference has no accuracy"
    orders = page.compared(TABLE_1, results)
    assert [order.verdict for order in orders][:4] == ["holds", "not resolved", "not resolved", "holds"]
    assert orders[0].ours == "98.0 (40.0 to 60.0) against 50.0 (40.0 to 60.0)"
    assert orders[-1].verdict == "not measured"
    results["last_letters"]["System 2: 2-Step RaR"] = result(100.0, right=50)
    results["last_letters"][last] = result(10.0, right=5)
    assert page.compared(TABLE_1, results)[3].verdict == "reversed"
    text = written.read_text()
    assert "m&lt;i&gt;" in text
    assert "A note." in text
    assert text.count("<svg") == 2
    assert "<script" not in text


def said(x: str, *texts: str, tokens: int = 10) -> Generation:
    samples = tuple(Sample(text, True) for text in texts)
    asked = Input(x, "t", (Message("user", x),), x)
    return Generation(asked, "w", "p", samples, (), (), (), len(texts), tokens, 0, None)


def measurement(task: str, references: dict[str, tuple[str | None, str]], *rows: Generation) -> Measurement:
    config = configured(CONFIGS / "paper" / f"{task}.yaml", task, (), ())
    items = {
        row.input.id: HeldOut(replace(row.input, task=task), *references.get(row.input.id, (None, "")))
        for row in rows
    }
    named = [replace(row, input=replace(row.input, task=task)) for row in rows]
    return Measurement(config, task, "system1", items, named)


def test_answers_are_right_wrong_or_missing() -> None:
    rows = (said("a", "Yes."), said("b", "No.", tokens=20), said("c", "Heads."))
    found = measurement("coin_flip", dict.fromkeys("abc", ("yes", "")), *rows).columns("answers")
    assert found["accuracy"].value == pytest.approx(100 / 3)
    assert found["miss_match"].value == pytest.approx(100 / 3)
    assert found["tokens"].value == pytest.approx(40 / 3)
    assert found["accuracy"].n == 3


def test_accuracy_at_k_votes_on_the_first_k_samples_and_counts_their_tokens() -> None:
    wrong_first = ["Final answer: 3", *["Final answer: 7"] * 9]
    row = said("a", *wrong_first, tokens=100)
    found = measurement("gsm8k", {"a": ("7", "")}, row).columns("votes")
    assert [found[f"accuracy, k={k}"].value for k in (1, 5, 10)] == [0.0, 100.0, 100.0]
    assert [found[f"tokens, k={k}"].value for k in (1, 5, 10)] == [10, 50, 100]
    once = measurement("gsm8k", {"a": ("7", "")}, said("a", "Final answer: 7")).columns("votes")
    assert (once["accuracy, k=1"].value, once["accuracy, k=5"].value) == (100.0, None)


def test_a_judge_agrees_only_where_both_orders_say_the_same() -> None:
    rows = []
    for number, (first, swapped) in enumerate([("A", "B"), ("A", "A"), ("C", "C"), ("B", "A")]):
        rows += [said(f"p{number}", f"[[{first}]]"), said(f"p{number}{OTHER_ORDER}", f"[[{swapped}]]")]
    references = {f"p{number}": ("A", "writing" if number else "math") for number in range(4)}
    found = measurement("pairwise", references, *rows).columns("judge")
    assert found["agreement"].value == 25.0, "an inconsistent judge, or a tie, agrees with nobody"
    assert found["inconsistent"].value == 25.0
    assert found["agreement, math"].value == 100.0
    assert found["agreement, writing"].value == 0.0
    assert found["tokens"].value == 10, "of one order"
    judge = measurement("pairwise", references, *rows)
    assert judge.right("judge") == {"p0": True, "p1": False, "p2": False, "p3": False}


def test_biased_and_unbiased_inputs_are_apart() -> None:
    right = reference(["Paris"], "Lyon")
    found = measurement(
        "trivia_qa",
        {"a": (right, "biased"), "b": (right, "unbiased")},
        said("a", "It is Lyon."),
        said("b", "It is Paris."),
    ).columns("biased")
    assert found["accuracy, biased"].value == 0.0
    assert found["accuracy, unbiased"].value == 100.0


def test_the_papers_training_settings_are_those_of_its_configurations(tmp_path: Path) -> None:
    assert "| BSM | OASST2 | 600 | 600 | 131,000 | 131,072 |" in check(CONFIGS)
    shutil.copytree(CONFIGS / "paper", tmp_path / "paper")
    changed = tmp_path / "paper" / "gsm8k.yaml"
    changed.write_text(changed.read_text().replace("steps: 5000", "steps: 500"))
    with pytest.raises(S2DError, match=r"gsm8k\.yaml: train\.steps is not the paper's"):
        check(tmp_path)


class Engines:
    """Says yes to everything on weights that were trained, and nothing useful before."""

    def __init__(self) -> None:
        self.served: list[str] = []
        self.started = True

    def serve(self, weights: Weights) -> None:
        self.served.append(weights.digest)


def test_a_table_is_measured_row_by_row_and_never_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engines = Engines()
    asked: list[str] = []

    def measure(served: Engines, config: Config, items: Mapping[str, HeldOut], system: str, shown: object):
        asked.append(system)
        if config.tasks["coin_flip"].method.name == "rar_1step":
            raise UnansweredError("the prompt has 600 tokens, but the engine's context is 512")
        text = "Yes." if served.served[-1] != "start" else "Heads."
        return [
            Generation(
                item.input, served.served[-1], "direct", (Sample(text, True),), (), (), (), 1, 3, 0, None
            )
            for item in items.values()
        ]

    def trained(config: Config, progress: object) -> Weights | None:
        name = Path(config.run.dir).name
        return None if name == "distill-system-1" else Weights(f"/{name}", name)

    monkeypatch.setattr(measuring, "run_loop", lambda config, progress, open_engines: None)
    monkeypatch.setattr(measuring, "_trained", trained)
    monkeypatch.setattr(measuring, "check", lambda config: SimpleNamespace(start=Weights("/start", "start")))
    monkeypatch.setattr(measuring, "measure", measure)
    path = CONFIGS / "testbed" / "coin_flip.yaml"
    setting = measuring.Setting(
        "coin_flip",
        path,
        ("tasks.coin_flip.heldout.limit=20", f"run.dir={tmp_path}/start"),
        tmp_path / "rows",
        tmp_path / "runs",
    )
    shared = SharedEngines(tmp_path / "logs", lambda config, logs: nullcontext(engines))
    found = measuring.reproduce(TABLE_1, setting, shared, SilentProgress())
    assert engines.served == ["start"] * 3 + ["distill-unfiltered", "distill-2-step-rar"]
    assert asked == ["system1", "system2", "system2", "system1", "system1"]
    assert found["System 1: Zero-shot"].figures["miss_match"].value == 100.0
    assert found["System 1: Distill System 1"] == Result({}, {}), "its filter kept nothing"
    assert found["System 2: 1-Step RaR"] == Result({}, {}), "it doesn't fit the context"
    last = found[TABLE_1.rows[-1].key]
    assert last.figures["accuracy"].n == len(last.right) == 20
    assert last.figures["accuracy"].value == pytest.approx(100 * sum(last.right.values()) / 20)
    assert measuring.reproduce(TABLE_1, setting, shared, SilentProgress()) == found
    assert len(asked) == 5, "nothing is measured again"
    both = dict.fromkeys(TABLE_1.tasks, found)
    assert page.compared(TABLE_1, both)[2].verdict == "not measured"
    assert "not measured" in page.write(TABLE_1, both, {"model": "m"}, tmp_path / "out").read_text()


def test_kept_pairs_of_a_run_become_examples_in_the_context(tmp_path: Path) -> None:
    write_questions(tmp_path / "stream.jsonl", words(1, 60))
    write_questions(tmp_path / "heldout.jsonl", words(2, 10))
    config = letters_config(tmp_path)
    finished(config)
    file = tmp_path / "examples.jsonl"
    file.write_text(measuring.first_pairs(Ledger(open_store(config.run.dir), SystemClock())))
    first = shots(str(file), 8)
    assert len({shot.question for shot in first}) == 8
    assert all(shot.question.startswith("Take the last letters") for shot in first)
    assert all(shot.reasoned is None and shot.reply.startswith('"') for shot in first)


def test_a_tables_runs_share_engines_where_one_set_suits_them(tmp_path: Path) -> None:
    events: list[str] = []

    @contextmanager
    def opened(config: Config, logs: Path) -> Iterator[Any]:
        number = len(events)
        events.append(f"start {number}")
        yield number
        events.append(f"end {number}")

    letters, coin = (configured(CONFIGS / "testbed" / f"{task}.yaml", task, (), ()) for task in TABLE_1.tasks)
    longer = configured(
        CONFIGS / "testbed" / "coin_flip.yaml", "coin_flip", ("engine.max_model_len=256",), ()
    )
    with SharedEngines(tmp_path / "logs", opened) as shared:
        assert events == [], "they start when something needs them"
        for config in (letters, coin, letters):
            with shared.open(config) as engines:
                assert engines == 0
        assert events == ["start 0"]
        with shared.open(longer):
            assert events == ["start 0", "end 0", "start 2"], "two sets at once may not fit"
    assert events[-1] == "end 2"


def test_seeds_are_shown_as_means_and_ranges(tmp_path: Path) -> None:
    def one(accuracy: float | None, right: int, seed: str) -> Path:
        results = {task: {row.key: result(50.0) for row in TABLE_1.rows} for task in TABLE_1.tasks}
        results["last_letters"][TABLE_1.rows[-1].key] = result(accuracy, right=right)
        about = {"model": "m", "settings": "testbed", "scale": "1", "seed": seed}
        return page.write(TABLE_1, results, about, tmp_path / seed).with_suffix(".json")

    files = [one(98.0, 49, "0"), one(91.0, 46, "1"), one(52.0, 26, "2")]
    text = across.markdown(TABLE_1, across.read(files))
    (line,) = [each for each in text.splitlines() if each.startswith(f"| {TABLE_1.rows[-1].key} |")]
    assert line.split(" | ")[1:5] == ["98", "80.3 (52.0 to 98.0)", "25.5", "12.0"]
    assert "seeds 0, 1, 2: mean (least to most)" in text
    assert "above System 2: 2-Step RaR: holds in 2 of 3, not resolved in 1 of 3" in text
    missing = across.markdown(TABLE_1, across.read([files[0], one(None, 0, "3")]))
    (line,) = [each for each in missing.splitlines() if each.startswith(f"| {TABLE_1.rows[-1].key} |")]
    assert line.split(" | ")[2] == "-", "no mean of the seeds that happened to have a figure"
