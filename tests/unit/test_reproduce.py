"""The paper's tables: rows are configurations, results stand beside the paper's, and every order is looked at."""

import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest

from s2d_loop.clock import SystemClock
from s2d_loop.config import Config
from s2d_loop.errors import BadInputError, S2DError
from s2d_loop.ledger import Ledger
from s2d_loop.records import Generation, HeldOut, Input, Message, Sample
from s2d_loop.reproduce import page
from s2d_loop.reproduce import seeds as across
from s2d_loop.reproduce.checking import ready
from s2d_loop.reproduce.command import Wanted, settings_of
from s2d_loop.reproduce.engines import SharedEngines
from s2d_loop.reproduce.measure import NOTHING, Result
from s2d_loop.reproduce.metrics import OTHER_ORDER, Figure, Measurement
from s2d_loop.reproduce.of_judge import JUDGE, TABLE_5
from s2d_loop.reproduce.of_rar import ABLATIONS, TABLE_1, TABLE_6
from s2d_loop.reproduce.orders import Outcome, compared, counted
from s2d_loop.reproduce.plan import configured, find_table, scaled
from s2d_loop.reproduce.table import START, Order, Row, Table
from s2d_loop.reproduce.table4 import check
from s2d_loop.reproduce.tables import TABLES
from s2d_loop.reproduce.trained import first_pairs
from s2d_loop.store import open_store
from s2d_loop.system2.few_shot import shots
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
    values = {
        "accuracy": {f"x{number}": float(number < right) for number in range(50)},
        "tokens": {f"x{number}": tokens for number in range(50)},
        "miss_match": {f"x{number}": float(number < 2) for number in range(50)},
    }
    return Result(columns, values)


@EVERY
def test_every_row_and_distillation_is_a_working_configuration_of_the_testbed(
    table: Table, tmp_path: Path
) -> None:
    wanted = Wanted(configs=CONFIGS, data=tmp_path / "none", out=tmp_path / "out")
    if table is TABLE_5:
        with pytest.raises(BadInputError, match="nothing to measure: mt_bench: there is no "):
            ready(table, settings_of(table, wanted, 0))
        return
    found = ready(table, settings_of(table, wanted, 0))
    asked = {row.key for rows in found.rows.values() for row in rows}
    assert asked == {
        row.key for row in table.rows if not row.thinking and row.system not in ("paper", "recorded")
    }
    for setting in found.settings:
        made = [setting.run(each) for each in found.distillations[setting.task]]
        assert len({config.run.dir for config in made}) == len(made)
        whats = {
            config.model_copy(update={"run": config.run.model_copy(update={"dir": ""})}).model_dump_json()
            for config in made
        }
        assert len(whats) == len(made), "two are the same"


def test_a_row_whose_options_fit_nothing_is_no_working_configuration(tmp_path: Path) -> None:
    bad = Row("System 2", "Nonsense", START, "system2", {}, ("method.options={nonsense: 3}",))
    table = replace(TABLE_6, rows=(*TABLE_6.rows, bad))
    with pytest.raises(BadInputError, match=r"System 2: Nonsense:\n +method\.options\.nonsense"):
        ready(table, settings_of(table, Wanted(configs=CONFIGS, out=tmp_path), 0))


@EVERY
def test_rows_measure_weights_that_exist_and_are_told_apart(table: Table) -> None:
    known = {START, *(each.name for each in table.distillations)}
    needed = {name for row in table.rows for name in row.needs_weights}
    assert needed == known, "a distillation that no row measures is a waste"
    assert len({row.key for row in table.rows}) == len(table.rows)
    names = {each.name for each in table.sets}
    thinking = {each.name for each in table.distillations if each.thinking}
    for row in table.rows:
        assert set(row.paper) <= names
        assert all(set(each) <= {*table.metrics} for each in row.paper.values())
        assert row.sets is None or set(row.sets) <= names
        assert row.thinking or not row.needs_weights & thinking
    assert set(table.plotted) <= set(table.metrics)
    for metric in table.plotted or table.metrics[:1]:
        assert metric.startswith(("accuracy", "agreement")), "what is plotted is in percent"


@EVERY
def test_every_two_rows_that_the_paper_tells_apart_are_an_order(table: Table) -> None:
    orders = table.orders()
    assert len(set(orders)) == len(orders)
    rows = {row.key: row for row in table.rows}
    for each in table.sets:
        for metric in table.metrics:
            told = [row for row in table.rows if metric in row.paper.get(each.name, {})]
            for one, other in combinations(told, 2):
                first, second = (row.paper[each.name][metric] for row in (one, other))
                found = [
                    o
                    for o in orders
                    if {o.above, o.below} == {one.key, other.key} and o[:2] == (each.name, metric)
                ]
                assert [o.above for o in found] == (
                    [] if first == second else [one.key if first > second else other.key]
                )
    for order in table.stated:
        assert order in orders
        above, below = (rows[key].paper.get(order.set, {}).get(order.metric) for key in order[2:])
        if above is not None and below is not None:
            assert above > below, "what the text says of two rows is what its figures say"


def test_the_orders_that_fail_on_the_tiny_models_are_among_them() -> None:
    for of in ("last_letters", "coin_flip"):
        order = Order(of, "accuracy", "System 2: 1-Step RaR", "System 1: Zero-shot")
        assert order in TABLE_1.stated
    assert Order("pairwise", "agreement", "System 2: CoT", "System 1: Zero-shot") in JUDGE.stated
    unsaid = Order(
        "coin_flip",
        "accuracy",
        "Distilled, one round: unique plurality",
        "Distilled, one round: one rephrasing, eight answers (footnote 1)",
    )
    assert unsaid in ABLATIONS.orders(), "footnote 1 has no figure"


def test_figures_of_the_papers_text_stand_in_its_tables() -> None:
    def paper(table: Table, of: str, key: str) -> Any:
        (row,) = [row for row in table.rows if row.key == key]
        return row.paper[of]

    gpt4 = "System 2: CoT (GPT-4, from its published votes)"
    assert paper(JUDGE, "mt_bench", gpt4) == {"agreement": 73.8, "inconsistent": 16.2, "tokens": 548.8}
    assert paper(JUDGE, "mt_bench", "Distill System 2: Distill BSM")["agreement"] == 72.4
    assert paper(
        TABLES["table3"], "gsm8k", "Targets: what it trains on: ten votes on training questions"
    ) == {"accuracy, k=10": 56.81}
    # The votes of each category (as the public file has them) make Table 5 the judge table's figures.
    votes = {
        "writing": 130,
        "roleplay": 163,
        "reasoning": 99,
        "math": 120,
        "coding": 126,
        "extraction": 114,
        "stem": 147,
        "humanities": 149,
    }
    for key, mean in ((gpt4, 73.8), ("System 2: CoT", 58.9), ("Distill System 2: Distill BSM", 72.4)):
        row = paper(TABLE_5, "mt_bench", key)
        found = sum(row[f"agreement, {name}"] * number for name, number in votes.items()) / sum(
            votes.values()
        )
        assert found == pytest.approx(mean, abs=0.06)


def test_scale_takes_a_part_and_needs_a_limit(tmp_path: Path) -> None:
    path = CONFIGS / "testbed" / "coin_flip.yaml"
    assert scaled(path, 1.0) == []
    config = configured(path, "coin_flip", scaled(path, 0.1), ())
    assert (config.run.inputs_per_iteration, config.tasks["coin_flip"].heldout.limit) == (30, 50)
    endless = tmp_path / "coin_flip.yaml"
    endless.write_text(path.read_text().replace(", limit: 500", ""))
    with pytest.raises(BadInputError, match=r"tasks\.coin_flip\.heldout needs a limit"):
        scaled(endless, 0.1)
    wanted = Wanted("m", scale=0.1, configs=CONFIGS)
    _, mt_bench = settings_of(JUDGE, wanted, 0)
    assert mt_bench.row(JUDGE.rows[1]).tasks["pairwise"].heldout.limit == 120


def test_what_isnt_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match=r"no table 'table9' \(there are: table1"):
        find_table("table9")
    with pytest.raises(BadInputError, match="run this in a checkout"):
        configured(tmp_path / "nothing.yaml", "nothing", (), ())


def test_a_table_shows_the_papers_figures_and_ours(tmp_path: Path) -> None:
    results = {each.name: {row.key: result(50.0) for row in TABLE_1.rows} for each in TABLE_1.sets}
    last = "Distill System 2: Distill 2-Step RaR"
    results["last_letters"][last] = result(98.0, tokens=6.0, right=49)
    results["coin_flip"][last] = result(None)
    written = page.write(TABLE_1, results, {"model": "m<i>"}, tmp_path, ["A note."])
    lines = (tmp_path / "table1.md").read_text().splitlines()
    (line,) = [each for each in lines if each.startswith(f"| {last} |")]
    assert line.split(" | ")[1:6] == ["98", "98.00 (40.0 to 60.0; n 50)", "25.5", "6.0", "0.5x"]
    assert " | 75.69 | - | 50.3 | " in line, "an answer without a reference has no accuracy"
    text = written.read_text()
    assert "m&lt;i&gt;" in text
    assert "A note." in text
    assert text.count("<svg") == 2
    assert "<script" not in text
    rendered = re.sub(r"\s+", " ", (tmp_path / "table1.md").read_text())
    assert counted(compared(TABLE_1, results)) in rendered
    assert counted(compared(TABLE_1, results)) in text


def outcome(results: dict[str, dict[str, Result]], *order: str) -> Outcome:
    (found,) = [each for each in compared(TABLE_1, results) if each[:4] == order]
    return found


def test_an_order_holds_is_reversed_or_is_not_resolved() -> None:
    above, below = "Distill System 2: Distill 2-Step RaR", "System 2: 2-Step RaR"
    order = ("last_letters", "accuracy", above, below)

    def say(high: Result, low: Result) -> str:
        results = {each.name: {row.key: result(50.0) for row in TABLE_1.rows} for each in TABLE_1.sets}
        results["last_letters"] |= {above: high, below: low}
        return outcome(results, *order).verdict

    assert say(result(98.0, right=49), result(50.0)) == "holds"
    assert say(result(10.0, right=5), result(100.0, right=50)) == "reversed"
    assert say(result(54.0, right=27), result(50.0)) == "not resolved"
    assert say(result(None), result(50.0)) == "not measured"
    assert say(NOTHING, result(50.0)) == "not measured"
    # A mean against which most inputs speak shows nothing.
    odd = replace(result(98.0), values={**result(0.0).values, "accuracy": {f"x{n}": 0.0 for n in range(50)}})
    assert say(odd, result(50.0)) == "not resolved"


def test_orders_are_of_every_column_and_higher_need_not_be_better() -> None:
    results = {each.name: {row.key: result(50.0) for row in TABLE_1.rows} for each in TABLE_1.sets}
    above, below = "System 2: 2-Step RaR", "Distill System 2: Distill 2-Step RaR"
    results["last_letters"][above] = result(50.0, tokens=40.0)
    found = outcome(results, "last_letters", "tokens", above, below)
    assert (found.verdict, found.high, found.low, found.stated) == ("holds", 40.0, 12.0, True)
    every = compared(TABLE_1, results)
    counts = {
        each: sum(o.verdict == each for o in every)
        for each in ("holds", "reversed", "not resolved", "not measured")
    }
    assert sum(counts.values()) == len(every) == 15 + 10 + 10 + 10
    assert counted(every) == (
        f"of {len(every)} orders {counts['holds']} hold, {counts['reversed']} reversed, "
        f"{counts['not resolved']} not resolved, {counts['not measured']} not measured"
    )
    # Whatever doesn't hold is listed, stated or not.
    listed = page.markdown(TABLE_1, results, {})
    for each in every:
        if each.verdict != "holds":
            assert page.line(each) in listed


def test_how_far_three_endings_differ_is_an_order_of_table_6() -> None:
    def spread(of_1: tuple[float, ...], of_2: tuple[float | None, ...]) -> list[str]:
        results = {"coin_flip": {row.key: result(50.0) for row in TABLE_6.rows}}
        for section, figures in (("System 1", of_1), ("Distill System 1", of_1), ("Distill System 2", of_2)):
            rows = [row for row in TABLE_6.rows if row.section == section]
            results["coin_flip"] |= {row.key: result(f) for row, f in zip(rows, figures, strict=True)}
        return [each.verdict for each in compared(TABLE_6, results) if "spread" in each.above]

    assert spread((56.1, 66.8, 52.9), (75.7, 78.9, 74.5)) == ["holds", "holds"]
    assert spread((56.1, 56.8, 56.9), (75.7, 78.9, 74.5)) == ["reversed", "reversed"]
    assert spread((56.1, 66.8, 52.9), (75.7, None, 74.5)) == ["not measured", "not measured"]


def said(x: str, *texts: str, tokens: int = 10) -> Generation:
    samples = tuple(Sample(text, True) for text in texts)
    asked = Input(x, "t", (Message("user", x),), x)
    return Generation(asked, "w", "p", samples, (), (), (), len(texts), tokens, 0, None)


def figures(m: Measurement, kind: Any) -> dict[str, Figure]:
    return {name: column.figure for name, column in m.columns(kind).items()}


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
    found = figures(measurement("coin_flip", dict.fromkeys("abc", ("yes", "")), *rows), "answers")
    assert found["accuracy"].value == pytest.approx(100 / 3)
    assert found["miss_match"].value == pytest.approx(100 / 3)
    assert found["tokens"].value == pytest.approx(40 / 3)
    assert found["accuracy"].n == 3


def test_accuracy_at_k_votes_on_the_first_k_samples_and_counts_their_tokens() -> None:
    wrong_first = ["Final answer: 3", *["Final answer: 7"] * 9]
    row = said("a", *wrong_first, tokens=100)
    found = figures(measurement("gsm8k", {"a": ("7", "")}, row), "votes")
    assert [found[f"accuracy, k={k}"].value for k in (1, 5, 10)] == [0.0, 100.0, 100.0]
    assert [found[f"tokens, k={k}"].value for k in (1, 5, 10)] == [10, 50, 100]
    once = figures(measurement("gsm8k", {"a": ("7", "")}, said("a", "Final answer: 7")), "votes")
    assert (once["accuracy, k=1"].value, once["accuracy, k=5"].value) == (100.0, None)


def test_a_judge_agrees_only_where_both_orders_say_the_same() -> None:
    rows = []
    for number, (first, swapped) in enumerate([("A", "B"), ("A", "A"), ("C", "C"), ("B", "A")]):
        rows += [said(f"p{number}", f"[[{first}]]"), said(f"p{number}{OTHER_ORDER}", f"[[{swapped}]]")]
    references = {f"p{number}": ("A", "writing" if number else "math") for number in range(4)}
    found = figures(measurement("pairwise", references, *rows), "judge")
    assert found["agreement"].value == 25.0, "an inconsistent judge, or a tie, agrees with nobody"
    assert found["inconsistent"].value == 25.0
    assert found["agreement, math"].value == 100.0
    assert found["agreement, writing"].value == 0.0
    assert found["tokens"].value == 10, "of one order"
    assert found["tokens, both orders"].value == 20
    columns = measurement("pairwise", references, *rows).columns("judge")
    assert columns["agreement"].values == {"p0": 1, "p1": 0, "p2": 0, "p3": 0}
    assert columns["inconsistent"].values == {"p0": 0, "p1": 1, "p2": 0, "p3": 0}


def test_a_judge_is_counted_by_single_votes_and_over_all_pairs() -> None:
    rows = []
    for number, (first, swapped) in enumerate([("A", "B"), ("A", "A"), ("B", "A")]):
        rows += [said(f"p{number}", f"[[{first}]]"), said(f"p{number}{OTHER_ORDER}", f"[[{swapped}]]")]
    references = {"p0": ("A A B C", ""), "p1": (None, ""), "p2": ("C", "")}
    found = figures(measurement("pairwise", references, *rows), "judge")
    assert (found["agreement"].n, found["agreement"].value) == (3, pytest.approx(200 / 3))
    assert (found["inconsistent"].n, found["inconsistent"].value) == (3, pytest.approx(100 / 3))
    assert (found["inconsistent, voted pairs"].n, found["inconsistent, voted pairs"].value) == (1, 0.0)


def test_a_heading_counts_all_of_its_pairs_too_and_tokens_are_those_of_each_order() -> None:
    rows = []
    for number, (first, swapped) in enumerate([("A", "B"), ("A", "A"), ("B", "A")]):
        rows += [
            said(f"p{number}", f"[[{first}]]"),
            said(f"p{number}{OTHER_ORDER}", f"[[{swapped}]]", tokens=30),
        ]
    references = {"p0": ("A", "math"), "p1": (None, "math"), "p2": ("C", "math")}
    found = figures(measurement("pairwise", references, *rows), "judge")
    assert (found["agreement, math"].n, found["agreement, math"].value) == (1, 100.0)
    assert (found["inconsistent, math"].n, found["inconsistent, math"].value) == (3, pytest.approx(100 / 3))
    assert (found["tokens"].value, found["tokens, both orders"].value) == (20, 40)


def test_biased_and_unbiased_inputs_are_apart() -> None:
    right = reference(["Paris"], "Lyon")
    measured = measurement(
        "trivia_qa",
        {"a": (right, "biased"), "b": (right, "unbiased")},
        said("a", "It is Lyon."),
        said("b", "It is Paris."),
    )
    found = figures(measured, "biased")
    assert found["accuracy, biased"].value == 0.0
    assert found["accuracy, unbiased"].value == 100.0


def test_the_papers_training_settings_are_those_of_its_configurations(tmp_path: Path) -> None:
    assert "| BSM | OASST2 | 600 | 600 | 131,000 | 131,072 |" in check(CONFIGS)
    shutil.copytree(CONFIGS / "paper", tmp_path / "paper")
    changed = tmp_path / "paper" / "gsm8k.yaml"
    changed.write_text(changed.read_text().replace("steps: 5000", "steps: 500"))
    with pytest.raises(S2DError, match=r"gsm8k\.yaml: train\.steps is not the paper's"):
        check(tmp_path)


def test_kept_pairs_of_a_run_become_examples_in_the_context(tmp_path: Path) -> None:
    write_questions(tmp_path / "stream.jsonl", words(1, 60))
    write_questions(tmp_path / "heldout.jsonl", words(2, 10))
    config = letters_config(tmp_path)
    finished(config)
    file = tmp_path / "examples.jsonl"
    file.write_text(first_pairs(Ledger(open_store(config.run.dir), SystemClock())))
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
    last = "Distill System 2: Distill 2-Step RaR"

    def one(accuracy: float | None, right: int, seed: str) -> Path:
        results = {each.name: {row.key: result(50.0) for row in TABLE_1.rows} for each in TABLE_1.sets}
        results["last_letters"][last] = result(accuracy, right=right)
        about = {"model": "m", "settings": "testbed", "scale": "1", "seed": seed}
        return page.write(TABLE_1, results, about, tmp_path / seed).with_suffix(".json")

    files = [one(98.0, 49, "0"), one(91.0, 46, "1"), one(52.0, 26, "2")]
    text = across.markdown(TABLE_1, across.read(files))
    (line,) = [each for each in text.splitlines() if each.startswith(f"| {last} |")]
    assert line.split(" | ")[1:5] == ["98", "80.3 (52.0 to 98.0)", "25.5", "12.0"]
    assert "seeds 0, 1, 2: mean (least to most)" in text
    assert "above System 2: 2-Step RaR: holds in 2 of 3, not resolved in 1 of 3" in text
    # Not stated by the text, and told apart in no seed: a failure is listed all the same.
    assert "System 2: 1-Step RaR above System 2: 2-Step RaR: not resolved in 3 of 3" in text
    assert "0 of 45 hold in every seed" in text
    missing = across.markdown(TABLE_1, across.read([files[0], one(None, 0, "3")]))
    (line,) = [each for each in missing.splitlines() if each.startswith(f"| {last} |")]
    assert line.split(" | ")[2] == "-", "no mean of the seeds that happened to have a figure"
