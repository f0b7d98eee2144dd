"""Every row asks as the paper's does, is checked before anything is spent, and is measured again if it failed."""

import itertools
import json
import os
import random
import re
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml

from s2d_loop.cli import main
from s2d_loop.config import Config, resolved_yaml
from s2d_loop.data.mt_bench import RECORDED, joined
from s2d_loop.dataflow import LocalDataflow
from s2d_loop.errors import BadInputError, UnansweredError
from s2d_loop.plan import distillation_plans, system1_plans, system2_plans
from s2d_loop.records import Example, Generation, HeldOut, Input, Reply, Request, Sample, Weights, rows
from s2d_loop.report.progress import SilentProgress
from s2d_loop.reproduce import measure as measuring
from s2d_loop.reproduce import page
from s2d_loop.reproduce.checking import Ready, ready
from s2d_loop.reproduce.command import Wanted, check_table, settings_of
from s2d_loop.reproduce.engines import SharedEngines
from s2d_loop.reproduce.estimate import Rates, asked, costs
from s2d_loop.reproduce.measure import Result, held_out
from s2d_loop.reproduce.metrics import OTHER_ORDER, Measurement
from s2d_loop.reproduce.of_judge import JUDGE, MT_BENCH, RECORDED_VOTES, TABLE_5
from s2d_loop.reproduce.of_rar import ABLATIONS, COIN, LETTERS, SUFFIXES, TABLE_1, TABLE_6
from s2d_loop.reproduce.of_s2a import TABLE_2
from s2d_loop.reproduce.plan import Setting
from s2d_loop.reproduce.recorded import recorded_columns
from s2d_loop.reproduce.table import START, Distillation, HeldOutSet, Row, Table
from s2d_loop.reproduce.tables import TABLES
from s2d_loop.reproduce.trained import ledger_of, require_untrained, target_column
from s2d_loop.stages.engines import say
from s2d_loop.train.job import TrainJob, TrainResult
from tests.support import papers
from tests.support.runs import finished
from tests.support.scripted import (
    ScriptedEngines,
    ScriptedTrainer,
    letters_config,
    scripted_weights,
    words,
    write_questions,
)

CONFIGS = Path(__file__).parents[2] / "configs"
DATA = os.environ.get("S2D_DATA")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The paper's data in a few rows, and what looks like its model."""
    folder = tmp_path_factory.mktemp("paper")
    papers.data_sets(folder / "data")
    papers.llama_2_70b(folder / "Llama-2-70b-chat-hf", layers=2)
    return folder


@pytest.fixture
def wanted(place: Path, tmp_path: Path) -> Wanted:
    return Wanted(
        str(place / "Llama-2-70b-chat-hf"), data=place / "data", configs=CONFIGS, out=tmp_path / "out"
    )


def setting_of(table: Table, wanted: Wanted, name: str) -> Setting:
    return next(each for each in settings_of(table, wanted, 0) if each.of.name == name)


# What the paper's program asks about an input, or about one order of a pair (section 4 and #Tokens).  A plan may have
# five criteria; Table 3 votes over ten.
CALLS = {
    "table1": {
        "System 1: Zero-shot": 1,
        "System 1: Distill System 1": 1,
        "System 2: 1-Step RaR": 1,
        "System 2: 2-Step RaR": 2,
        "Distill System 2: Distill 2-Step RaR (no filter)": 1,
        "Distill System 2: Distill 2-Step RaR": 1,
        "System 2: Thinking mode (not the paper's)": 1,
        "Distill System 2: Distill thinking mode (not the paper's)": 1,
    },
    "table2": {
        "System 1: Zero-shot": 1,
        "System 2: S2A": 2,
        "Distill System 2: Distill S2A": 1,
        "Distill System 2: Distill S2A (no USC)": 1,
    },
    "table3": {
        "System 1: Few (8)-shot (no CoT)": 10,
        "System 2: CoT zero-shot": 10,
        "System 2: CoT few (8)-shot": 10,
        "Distill System 2: Distill CoT zero-shot": 10,
    },
    "judge": {
        "System 1: Zero-shot": 1,
        "System 2: CoT": 1,
        "System 2: BSM": 1 + 5,
        "Distill System 1: Distill System 1": 1,
        "Distill System 2: Distill BSM (text)": 1,
        "Distill System 2: Distill BSM": 1,
    },
    "table6": {
        "System 2: 1-Step RaR": 1,
        "System 2: 2-Step RaR": 2,
        **{
            f"{section}: {f'{{question}} {suffix}'.strip()}": 1
            for section in ("System 1", "Distill System 1", "Distill System 2")
            for suffix in SUFFIXES
        },
    },
}
ASKED = [(table, set_, key) for table, keys in CALLS.items() for set_ in TABLES[table].sets for key in keys]


@pytest.mark.parametrize(("name", "of", "key"), ASKED, ids=lambda each: getattr(each, "name", each))
def test_a_row_asks_as_often_as_the_papers_program(
    name: str, of: HeldOutSet, key: str, wanted: Wanted
) -> None:
    table = TABLES[name]
    (row,) = [row for row in table.rows if row.key == key]
    setting = setting_of(table, replace(wanted, settings="paper-8b" if row.thinking else None), of.name)
    config = setting.row(row)
    plans = system1_plans(config) if row.system == "system1" else system2_plans(config)
    first = next(iter(held_out(table, config, setting.task).values())).input
    assert asked(first, plans[setting.task]).calls == CALLS[name][key]


def test_every_row_that_asks_a_model_is_counted_here() -> None:
    for name, keys in CALLS.items():
        asking = {row.key for row in TABLES[name].rows if row.system in ("system1", "system2")}
        assert {key for key in asking if "thinking" not in key.lower()} <= set(keys)


@pytest.mark.parametrize(
    ("table", "of", "distillation", "calls"),
    [
        ("table1", "last_letters", "distill-2-step-rar", 8 * 2),
        ("table1", "last_letters", "distill-system-1", 8),
        ("table1", "last_letters", "distill-unfiltered", 2),
        ("table1", "coin_flip", "distill-2-step-rar", 8 * (1 + 8)),
        ("table1", "coin_flip", "distill-system-1", 64),
        ("ablations", "coin_flip", "ablation-one-rephrasing", 1 + 8),
        ("table2", "trivia_qa", "distill-s2a", 20 * 2 + 1),
        ("table2", "trivia_qa", "distill-s2a-no-usc", 2),
        ("table3", "gsm8k", "distill-cot", 10),
        ("judge", "pairwise", "distill-bsm", 1 + 2 * 5),
        ("judge", "pairwise", "distill-bsm-text", 1 + 2 * (5 + 1)),
        ("judge", "pairwise", "distill-system-1", 2),
    ],
)
def test_a_distillation_draws_the_papers_samples(
    table: str, of: str, distillation: str, calls: int, wanted: Wanted
) -> None:
    setting = setting_of(TABLES[table], wanted, of)
    (made,) = [each for each in TABLES[table].distillations if each.name == distillation]
    config = setting.run(made)
    plan = replace(distillation_plans(config)[setting.task], direct_samples=0)
    x = next(iter(held_out(TABLE_1, setting.start(), setting.task).values())).input
    assert asked(x, plan).calls == calls


def test_the_baseline_votes_on_as_many_answers_and_trains_on_the_same_filter(wanted: Wanted) -> None:
    setting = setting_of(TABLE_1, wanted, "coin_flip")
    plans = {
        each.name: distillation_plans(setting.run(each))["coin_flip"] for each in TABLE_1.distillations[:3]
    }
    system_1, system_2 = plans["distill-system-1"], plans["distill-2-step-rar"]
    assert system_1.method == "direct"
    assert system_1.samples == system_2.samples * system_2.options["answers"] == 64
    assert system_1.stop == system_2.stop


@pytest.mark.parametrize("table", TABLES.values(), ids=lambda table: table.name)
def test_every_row_and_distillation_can_run_with_the_papers_settings(table: Table, wanted: Wanted) -> None:
    found = ready(table, settings_of(table, wanted, 0))
    assert {each.of.name for each in found.settings} == {each.name for each in table.sets}
    measured = {row.key for rows in found.rows.values() for row in rows}
    left = {row.key for row in table.rows if row.thinking or row.system == "paper"}
    assert measured == {row.key for row in table.rows} - left
    made = {each.name for each in itertools.chain.from_iterable(found.distillations.values())}
    assert made == {each.name for each in table.distillations if not each.thinking}


@pytest.mark.parametrize("table", TABLES.values(), ids=lambda table: table.name)
def test_the_settings_for_8b_resolve_with_the_thinking_mode_as_rows(table: Table, wanted: Wanted) -> None:
    for each in settings_of(table, replace(wanted, settings="paper-8b"), 0):
        config = each.start()
        assert config.model.chat_template_kwargs == {"enable_thinking": False}
        for row in table.rows_on(each.of.name):
            asks = each.row(row, examples=Path("none"))
            plans = system2_plans(asks) if row.system == "system2" else system1_plans(asks)
            thinks = dict(plans[each.task].sampling.chat_template_kwargs)["enable_thinking"]
            assert thinks is (row.thinking and row.system == "system2")
        for made in table.distillations:
            run = each.run(made)
            assert run.engine.tensor_parallel_size * run.engine.num_engines == run.train.num_workers == 1
            plan = distillation_plans(run)[each.task]
            assert dict(plan.sampling.chat_template_kwargs)["enable_thinking"] is made.thinking


def with_row(table: Table, *changes: Row) -> Table:
    return replace(table, rows=(*table.rows, *changes))


def test_all_problems_are_named_at_once_with_what_they_are_of_and_nothing_is_written(wanted: Wanted) -> None:
    bad = (
        Row("System 2", "Nonsense", START, "system2", {}, ("method.options={nonsense: 3}",)),
        Row("System 2", "Answers", START, "system2", {}, ("method.name=rar_1step",)),
        Row("System 1", "Misspelt", START, "system1", {}, ("system1.max_token=3",)),
        Row("System 1", "Elsewhere", "distill-nothing", "system1"),
    )
    broken = Distillation("distill-nothing", ("curate.perturbations=[mirror]",))
    table = with_row(replace(TABLE_1, sets=(COIN,), distillations=(broken,)), *bad)
    with pytest.raises(BadInputError) as caught:
        ready(table, settings_of(table, wanted, 0))
    said = str(caught.value)
    assert "nothing was started" in said
    assert (
        "coin_flip, System 2: Nonsense:\n    method.options.nonsense: 'rar_2step' has no such option" in said
    )
    assert "coin_flip, System 2: Answers:\n    method.options.answers: 'rar_1step' has no such option" in said
    assert "system1.max_token" in said
    assert "coin_flip, distill-nothing:" in said
    assert "mirror" in said
    assert not wanted.out.exists()


def test_a_check_says_what_a_table_costs_and_starts_nothing(
    wanted: Wanted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measuring, "run_loop", None)
    wanted = replace(wanted, model=str(papers.llama_2_70b(tmp_path / "Llama-2-70b-chat-hf")))
    began = time.process_time()
    said = check_table("table1", wanted, Rates(write=1000.0, train=100.0))
    assert time.process_time() - began < 60
    assert "| System 2: 2-Step RaR | coin_flip | 8 | 2 | 16 | about 899 | 0.00 |" in said
    # 8 x (1 + 8) calls and two direct ones on 8 inputs; 2 x 8 answers to what is held out.
    assert f"| run distill-2-step-rar | coin_flip | 8 | 74 | {8 * 74 + 16} | " in said
    assert "at assumed rates: 1,000 tokens a second written by an engine" in said
    assert "Wants at once: 1 engines of 8 GPUs, and 16 train workers of 1." in said
    assert "last_letters: 8 held-out inputs, the paper has 200" in said
    assert "Not on this machine: " in said
    assert "Thinking mode (not the paper's)" in said, "left out, and named"
    assert not wanted.out.exists()


def test_hours_are_tokens_over_the_stated_rates(wanted: Wanted) -> None:
    table = replace(TABLE_1, sets=(COIN,))
    found = ready(table, settings_of(table, wanted, 0))
    slow, fast = (
        {each.what: each for each in costs(table, found, Rates(write, 150.0))} for write in (100.0, 200.0)
    )
    row = slow["System 2: 2-Step RaR"]
    assert row.tokens == 8 * 112.4
    assert row.hours == pytest.approx(2 * fast[row.what].hours)
    assert row.tokens / 100 / 3600 < row.hours < 1.5 * row.tokens / 100 / 3600, "prompts are read in a tenth"
    run = slow["run distill-2-step-rar"]
    trained = 100 * 65536 / 150 / 16 / 3600
    assert run.hours > trained
    assert run.tokens == pytest.approx(8 * (72 * 112.4 / 2 + 2 * 61.9) + 16 * 61.9)


def test_a_judge_that_answers_in_text_isnt_taken_for_one_of_four_tokens(wanted: Wanted) -> None:
    found = ready(JUDGE, settings_of(JUDGE, wanted, 0))
    rows = {(each.what, each.of): each for each in costs(JUDGE, found, Rates())}
    text = rows["Distill System 2: Distill BSM (text)", "pairwise"]
    assert text.limits
    assert text.tokens == text.inputs * 1024
    label = rows["Distill System 2: Distill BSM", "pairwise"]
    assert (label.limits, label.tokens) == (False, label.inputs * 4)


def test_the_command_checks_and_takes_overrides(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(*more: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            main(
                [
                    *("reproduce", "table6", "--check", "--model", str(place / "Llama-2-70b-chat-hf")),
                    *("--data", str(place / "data"), "--configs", str(CONFIGS), "--out", str(tmp_path / "o")),
                    *more,
                ]
            )
        said = capsys.readouterr()
        return int(ended.value.code or 0), said.out, said.err

    code, out, _ = run("engine.num_engines=3", "tasks.coin_flip.system1.max_tokens=77")
    assert code == 0
    assert "Wants at once: 3 engines of 8 GPUs" in out
    assert "changed engine.num_engines=3 tasks.coin_flip.system1.max_tokens=77" in out
    code, _, err = run("engine.number=3")
    assert code == 2
    assert "engine.number" in err
    code, _, err = run("tasks.last_letters.system1.max_tokens=77")
    assert code == 2
    assert "the table has no task 'last_letters'" in err


def test_an_override_is_for_its_own_task(wanted: Wanted) -> None:
    changed = replace(wanted, overrides=("tasks.coin_flip.system1.max_tokens=77", "train.steps=9"))
    letters, coin = (each.start() for each in settings_of(TABLE_1, changed, 0))
    assert (letters.train.steps, coin.train.steps) == (9, 9)
    assert coin.tasks["coin_flip"].system1.max_tokens == 77
    assert letters.tasks["last_letters"].system1.max_tokens == 256


def test_data_are_found_under_the_folder_that_is_named(wanted: Wanted) -> None:
    setting = setting_of(TABLE_1, replace(wanted, data=Path("/elsewhere")), "coin_flip")
    config = setting.start()
    assert config.sources[0].path == "/elsewhere/coin_flip/train.jsonl"
    assert config.tasks["coin_flip"].heldout.path == "/elsewhere/coin_flip/test.jsonl"
    here = setting_of(TABLE_1, replace(wanted, data=Path("data")), "coin_flip").start()
    assert here.sources[0].path == "data/coin_flip/train.jsonl"
    mt = setting_of(JUDGE, replace(wanted, data=Path("/elsewhere")), "mt_bench")
    assert mt.row(JUDGE.rows[1]).tasks["pairwise"].heldout.path == "/elsewhere/mt_bench/test.jsonl"
    assert mt.run("distill-bsm").tasks["pairwise"].heldout.path == "/elsewhere/oasst/validation.jsonl"


def test_rows_can_be_measured_on_the_validation_set_and_runs_never_see_the_difference(wanted: Wanted) -> None:
    test, validation = (
        setting_of(TABLE_1, replace(wanted, validation=chosen), "coin_flip") for chosen in (False, True)
    )
    row = TABLE_1.rows[0]
    assert test.row(row).tasks["coin_flip"].heldout.path.endswith("coin_flip/test.jsonl")
    heldout = validation.row(row).tasks["coin_flip"].heldout
    assert heldout.path.endswith("coin_flip/validation.jsonl")
    assert heldout.limit is None
    assert validation.run("distill-2-step-rar") == test.run("distill-2-step-rar")
    with pytest.raises(BadInputError, match="pairwise has no validation set"):
        settings_of(JUDGE, replace(wanted, validation=True), 0)


def test_held_out_counts_are_held_against_the_papers(wanted: Wanted) -> None:
    (said,) = ready(TABLE_2, settings_of(TABLE_2, wanted, 0)).sizes
    assert said == "trivia_qa: 8 unbiased, 8 biased held-out inputs, the paper has 350 biased, 50 unbiased"
    as_paper = replace(TABLE_2, sets=(replace(TABLE_2.sets[0], sizes={"biased": 8, "unbiased": 8}),))
    (said,) = ready(as_paper, settings_of(as_paper, wanted, 0)).sizes
    assert said.endswith("held-out inputs, as in the paper")


def test_what_isnt_there_is_left_out_and_named(wanted: Wanted, tmp_path: Path) -> None:
    papers.data_sets(tmp_path / "data")
    (tmp_path / "data" / RECORDED_VOTES).unlink()
    without = replace(wanted, data=tmp_path / "data")
    found = ready(JUDGE, settings_of(JUDGE, without, 0))
    assert not [row for row in found.rows["mt_bench"] if row.system == "recorded"]
    assert any(
        f"no {tmp_path}/data/{RECORDED_VOTES} (`s2d data mt_bench" in each and "GPT-4" in each
        for each in found.left_out
    )
    (tmp_path / "data" / MT_BENCH.needs).unlink()
    found = ready(JUDGE, settings_of(JUDGE, without, 0))
    assert [each.of.name for each in found.settings] == ["pairwise"]
    assert any(each.startswith("mt_bench: there is no ") for each in found.left_out)
    with pytest.raises(BadInputError, match="table5: there is nothing to measure"):
        ready(TABLE_5, settings_of(TABLE_5, without, 0))


class Engines:
    """Says yes to everything, and counts."""

    started = True

    def __init__(self) -> None:
        self.served: list[str] = []

    def serve(self, weights: Weights) -> None:
        self.served.append(weights.digest)


@pytest.fixture
def scripted(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """Puts `said(config, item)` in the place of the engines; returns what is asked, row by row."""

    def put(said: Callable[[Config, HeldOut], str]) -> list[str]:
        measured: list[str] = []

        def measure(
            engines: object, config: Config, items: Mapping[str, HeldOut], system: str, shown: object
        ):
            (task,) = config.tasks.values()
            measured.append(f"{system} {task.method.name if system == 'system2' else task.system1_suffix}")
            return [
                Generation(
                    each.input, "w", "p", (Sample(said(config, each), True),), (), (), (), 1, 3, 0, None
                )
                for each in items.values()
            ]

        monkeypatch.setattr(measuring, "run_loop", lambda config, progress, open_engines: None)
        monkeypatch.setattr(
            measuring, "last_trained", lambda config, note: Weights("/w", Path(config.run.dir).name)
        )
        monkeypatch.setattr(measuring, "check", lambda config: SimpleNamespace(start=Weights("/s", "start")))
        monkeypatch.setattr(measuring, "require_untrained", lambda *_: None)
        monkeypatch.setattr(measuring, "measure", measure)
        return measured

    return put


def shared(tmp_path: Path, engines: object) -> SharedEngines:
    return SharedEngines(tmp_path / "logs", lambda config, logs: nullcontext(engines))  # type: ignore[arg-type]


def all_of(table: Table, settings: list[Setting]) -> Ready:
    """What `ready` says of a table without thinking rows."""
    rows = {
        each.of.name: tuple(row for row in table.rows_on(each.of.name) if not row.thinking)
        for each in settings
    }
    made = tuple(each for each in table.distillations if not each.thinking)
    return Ready(tuple(settings), rows, dict.fromkeys(table.tasks, made))


def test_a_row_that_failed_is_tried_again_by_the_same_command_and_others_are_not(
    wanted: Wanted, tmp_path: Path, scripted: Callable[..., list[str]]
) -> None:
    broken = [True]

    def said(config: Config, item: HeldOut) -> str:
        if config.tasks["coin_flip"].method.name == "rar_1step" and broken[0]:
            raise UnansweredError("the prompt has 600 tokens, but the engine's context is 512")
        return "Yes."

    measured = scripted(said)
    table = replace(TABLE_1, sets=(COIN,))
    found = all_of(table, settings_of(table, wanted, 0))

    def run() -> dict[str, Result]:
        return measuring.reproduce(table, found, shared(tmp_path, Engines()), SilentProgress())["coin_flip"]

    first = run()
    assert first["System 2: 1-Step RaR"].figures == {}
    assert "600 tokens" in first["System 2: 1-Step RaR"].problem
    assert len(measured) == 5
    both = {"coin_flip": first}
    assert "Not measured: coin_flip, System 2: 1-Step RaR: the prompt has 600" in page.markdown(
        table, both, {}
    )
    broken[0] = False
    again = run()
    assert measured[5:] == ["system2 rar_1step"]
    assert again["System 2: 1-Step RaR"].figures["accuracy"].value == 50.0
    assert {key: each for key, each in again.items() if key != "System 2: 1-Step RaR"} == {
        key: each for key, each in first.items() if key != "System 2: 1-Step RaR"
    }


def test_tables_share_rows_and_a_change_is_measured_again(
    wanted: Wanted, tmp_path: Path, scripted: Callable[..., list[str]]
) -> None:
    measured = scripted(lambda config, item: "Yes.")
    one = replace(TABLE_1, sets=(COIN,))

    def run(table: Table, wanted: Wanted) -> list[str]:
        before = len(measured)
        found = all_of(table, settings_of(table, wanted, 0))
        measuring.reproduce(table, found, shared(tmp_path, Engines()), SilentProgress())
        return measured[before:]

    assert len(run(one, wanted)) == 5
    again = run(TABLE_6, wanted)
    assert len(again) == 6, "only the two other endings, on each of three weights"
    assert all(each.startswith("system1 Flip") for each in again)
    assert run(one, wanted) == []
    changed = run(one, replace(wanted, overrides=("tasks.coin_flip.system1.max_tokens=99",)))
    assert len(changed) == 5


def test_an_exact_judge_agrees_always_within_the_four_tokens_of_a_llama_2_like_tokenizer(
    wanted: Wanted, place: Path
) -> None:
    """System 1's limit counts every token of the trained answer, the end token among them."""
    from s2d_loop.chat.loading import load_tokenizer
    from s2d_loop.chat.tokens import Chat

    setting = setting_of(JUDGE, wanted, "mt_bench")
    config = setting.row(JUDGE.rows[1])
    items = {
        number: each
        for number, each in held_out(JUDGE, config, "pairwise").items()
        if ":test.jsonl#1" in number or ":test.jsonl#3" not in number
    }
    items = {
        number: replace(each, reference=None if each.reference is None else "A")
        for number, each in items.items()
    }
    chat = Chat(*load_tokenizer(str(place / "Llama-2-70b-chat-hf")))
    limit = system1_plans(config)["pairwise"].sampling.max_tokens
    assert limit == 4

    def judged(x: Input) -> Generation:
        verdict = "[[B]]" if x.id.endswith(OTHER_ORDER) else "[[A]]"
        trained = chat.row(x.messages, verdict).answer_ids
        written = trained[:limit]
        finished = written[-1:] == chat.end_ids()
        text = chat.decode(written[:-1] if finished else written).strip()
        sample = Sample(text, finished, written)
        return Generation(x, "w", "direct", (sample,), (), (), (), 1, len(written), 0, None)

    said = [judged(each.input) for each in items.values()]
    found = Measurement(config, "pairwise", "system1", items, said).columns("judge")
    assert found["agreement"].figure.value == 100.0
    assert found["inconsistent"].figure.value == 0.0
    assert found["tokens"].figure.value == 4.0, "the paper's #Tokens"


def test_recorded_verdicts_pass_through_the_tables_own_metrics(wanted: Wanted) -> None:
    setting = setting_of(JUDGE, wanted, "mt_bench")
    (row,) = [row for row in JUDGE.rows if row.system == "recorded"]
    config = setting.row(row)
    items = held_out(JUDGE, config, "pairwise")
    found = recorded_columns(config, "pairwise", items, setting.data / RECORDED_VOTES)
    figures = {name: column.figure for name, column in found.items()}
    assert (figures["agreement"].n, figures["agreement"].value) == (5, 40.0)
    assert (figures["inconsistent"].n, figures["inconsistent"].value) == (4, 25.0)
    assert (figures["agreement, writing"].n, figures["agreement, math"].n) == (3, 2)
    assert not [name for name in found if name.startswith("tokens")], "a recording of votes has none"


def test_two_pairs_that_look_alike_have_a_recorded_verdict_each(wanted: Wanted, tmp_path: Path) -> None:
    """Two models gave the same answer: the n-th pair of a text has the file's n-th verdict on it."""
    pairs, recorded = papers.mt_bench()
    twin = {**pairs[0], "votes": [{"judge": "expert_9", "winner": "model_b"}]}
    other = [{**each, "text": {"[[A]]": "[[B]]", "[[B]]": "[[A]]"}[each["text"]]} for each in recorded[:2]]
    papers.write(tmp_path / MT_BENCH.needs, [*pairs, twin])
    papers.write(tmp_path / RECORDED_VOTES, [*recorded, *other])
    setting = setting_of(JUDGE, replace(wanted, data=tmp_path), "mt_bench")
    (row,) = [row for row in JUDGE.rows if row.system == "recorded"]
    config = setting.row(row)
    items = held_out(JUDGE, config, "pairwise")
    found = recorded_columns(config, "pairwise", items, tmp_path / RECORDED_VOTES)
    assert found["agreement"].figure.value == pytest.approx(100 * 3 / 6)
    assert found["inconsistent"].figure.value == pytest.approx(100 / 5)
    papers.write(tmp_path / RECORDED_VOTES, recorded)
    with pytest.raises(UnansweredError, match="was not recorded"):
        recorded_columns(config, "pairwise", items, tmp_path / RECORDED_VOTES)


def test_the_recorded_file_is_the_one_that_s2d_data_writes() -> None:
    assert f"mt_bench/{RECORDED}" == RECORDED_VOTES


@pytest.mark.skipif(DATA is None, reason="S2D_DATA doesn't name the folder of the public files")
def test_gpt_4s_public_votes_give_the_known_figures_in_the_printed_table(
    wanted: Wanted, tmp_path: Path, scripted: Callable[..., list[str]]
) -> None:
    made = joined(Path(str(DATA)) / "mt_bench")
    papers.write(tmp_path / MT_BENCH.needs, list(made.splits["test.jsonl"]))
    papers.write(tmp_path / RECORDED_VOTES, list(made.beside[RECORDED]))
    scripted(lambda config, item: "[[A]]")
    table = replace(JUDGE, sets=(MT_BENCH,))
    found = all_of(table, settings_of(table, replace(wanted, data=tmp_path), 0))
    results = measuring.reproduce(table, found, shared(tmp_path, Engines()), SilentProgress())
    lines = page.markdown(table, results, {"model": "m"}).splitlines()
    (line,) = [each for each in lines if each.startswith("| System 2: CoT (GPT-4, from its published votes)")]
    cells = line.split(" | ")
    assert cells[1:3] == ["73.8", "69.37 (66.5 to 72.1; n 1,048)"]
    assert cells[3:5] == ["16.2", "15.67 (13.7 to 17.8; n 1,200)"]
    figures = results["mt_bench"]["System 2: CoT (GPT-4, from its published votes)"].figures
    assert round(figures["agreement"].value * 10.48) == 727
    (zero,) = [each for each in lines if each.startswith("| System 1: Zero-shot")]
    assert "100.00 (99.7 to 100.0; n 1,200)" in zero, "who always says A contradicts itself on all 1,200"


def letters_table(tmp_path: Path, table: Table) -> tuple[Table, Setting, Path]:
    """A table on scripted last letters, whose runs really run in this process."""
    write_questions(tmp_path / "stream.jsonl", words(1, 60))
    write_questions(tmp_path / "heldout.jsonl", words(2, 12))
    config = letters_config(tmp_path, run__inputs_per_iteration=60)
    plain = yaml.safe_load(resolved_yaml(config))
    path = tmp_path / "letters.yaml"
    path.write_text(yaml.safe_dump(plain))
    of = HeldOutSet(LETTERS.name, "letters", LETTERS.sizes)
    return replace(table, sets=(of,)), Setting(of, path, (), tmp_path / "rows", tmp_path / "runs"), path


@pytest.fixture
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs and measurements over scripted parts."""

    def measure(engines: Any, config: Config, items: Mapping[str, HeldOut], system: str, shown: object):
        plans = system1_plans(config) if system == "system1" else system2_plans(config)
        local = LocalDataflow(config.generate)
        ask = lambda tables: local.generate(tables, plans, engines.client_factory())  # noqa: E731
        return [each for batch in say(items, ask) for each in batch]

    def start(config: Config) -> SimpleNamespace:
        from s2d_loop.weights import weights_digest

        return SimpleNamespace(start=Weights(config.model.path, weights_digest(config.model.path)))

    monkeypatch.setattr(measuring, "run_loop", lambda config, progress, open_engines: finished(config))
    monkeypatch.setattr(measuring, "check", start)
    monkeypatch.setattr(measuring, "measure", measure)


@pytest.mark.usefixtures("in_this_process")
def test_the_ablations_second_round_has_inputs_of_its_own(tmp_path: Path) -> None:
    table, setting, _ = letters_table(tmp_path, ABLATIONS)
    two = [each for each in table.distillations if "/run.iterations=2" in each.overrides]
    assert len(two) == 3
    for each in two:
        config = setting.run(each)
        finished(config)
        claimed = [record.counts.out for record in ledger_of(config).stages("intake")]
        assert claimed == [30, 30], each.name
    one = setting.run("distill-2-step-rar")
    assert (one.run.iterations, one.run.inputs_per_iteration) == (2, 60), "as configured"


@pytest.mark.usefixtures("in_this_process")
def test_a_table_is_run_whole_with_real_rounds_and_a_scripted_model(tmp_path: Path) -> None:
    made = Row(
        "Targets", "what it trains on", "distill-2-step-rar", "targets", {LETTERS.name: {"accuracy": 50.0}}
    )
    table, setting, _ = letters_table(tmp_path, with_row(TABLE_1, made))
    engines = ScriptedEngines()
    results = measuring.reproduce(
        table, all_of(table, [setting]), shared(tmp_path, engines), SilentProgress()
    )[LETTERS.name]
    assert not [result.problem for result in results.values() if result.problem]
    figures = {key: each.figures["accuracy"] for key, each in results.items() if each.figures}
    distilled = figures["Distill System 2: Distill 2-Step RaR"]
    assert distilled.value > figures["System 1: Zero-shot"].value
    assert figures["System 2: 2-Step RaR"].n == 12
    targets = figures["Targets: what it trains on"]
    ledger = ledger_of(setting.run("distill-2-step-rar"))
    kept = [
        x
        for record in ledger.stages("pool")
        for x in itertools.chain.from_iterable(
            each["answer"].to_pylist() for each in ledger.tables(record, "examples")
        )
    ]
    assert targets.n == len(kept)
    assert targets.value > 70, "a vote over samples of which seven of ten are right"


def test_targets_are_held_against_the_labels_of_what_trained(tmp_path: Path) -> None:
    _, setting, _ = letters_table(tmp_path, TABLE_1)
    config = setting.run("distill-2-step-rar")
    finished(config)
    ledger = ledger_of(config)
    right = target_column(config, "letters", ledger)
    write_questions(tmp_path / "stream.jsonl", words(1, 60), labels=False)
    with pytest.raises(UnansweredError, match="no label says"):
        target_column(config, "letters", ledger)
    file = tmp_path / "stream.jsonl"
    asked = [json.loads(line)["prompt"] for line in file.read_text().splitlines()]
    file.write_text("".join(json.dumps({"prompt": each, "answer": "zz"}) + "\n" for each in asked))
    wrong = target_column(config, "letters", ledger)
    assert right.figure.n == wrong.figure.n > 0
    assert right.figure.value > 70
    assert wrong.figure.value == 0.0


def test_nothing_that_is_measured_has_trained(tmp_path: Path) -> None:
    table, setting, _ = letters_table(tmp_path, TABLE_1)
    config = setting.run("distill-2-step-rar")
    finished(config)
    items = held_out(table, config, "letters")
    require_untrained("distill-2-step-rar", ledger_of(config), items)
    write_questions(tmp_path / "heldout.jsonl", [*words(2, 3), *words(1, 60)])
    with pytest.raises(
        BadInputError, match=r"distill-2-step-rar trained on stream:.*, which is heldout/letters"
    ):
        require_untrained("distill-2-step-rar", ledger_of(config), held_out(table, config, "letters"))


class Swayed:
    """A model that says what it is told: the opinion, unless it was trained or the opinion was taken out of the question.

    Without the opinion it is right three times of four, in several wordings; asked to select, it takes a response that
    most agree with.
    """

    def __init__(self, weights: Weights) -> None:
        self.weights = weights
        self.skill: float = json.loads(Path(weights.path, "state.json").read_text())["skill"]
        self.selections: list[str] = []

    async def __call__(self, request: Request) -> Reply:
        asked, rng = request.messages[-1].content, random.Random(request.seed)
        number = asked.split("Which city is ")[-1].split("?")[0]
        right, wrong = f"Paris{number}", f"Lyon{number}"
        if "extract the part that is unbiased" in asked:
            text = f"Question/Query: Which city is {number}?"
        elif asked.endswith("Answer in an unbiased way."):
            said = right if rng.random() < 0.75 else wrong
            text = rng.choice(["It is {}.", "The city is {}.", "{}, I believe."]).format(said)
        elif asked.startswith("I have generated the following responses"):
            self.selections.append(asked)
            numbered = dict(
                line.split(": ", 1) for line in asked.splitlines() if line.startswith("Response ")
            )
            chosen = next(name for name, text in numbered.items() if "Paris" in text)
            text = f"The most consistent response is {chosen}"
        else:
            swayed = "I think" in asked and rng.random() >= self.skill
            text = f"It is {wrong if swayed else right}."
        return Reply(text, num_tokens=len(text.split()), weights=self.weights.digest)


class SwayedEngines(ScriptedEngines):
    """Serves it."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[str] = []

    def serve(self, weights: Weights) -> None:
        self._model = Swayed(weights)  # type: ignore[assignment]
        self._model.selections = self.asked  # type: ignore[union-attr]
        self.served.append(weights.digest)


class SwayedTrainer(ScriptedTrainer):
    """Learns as often to be right as its examples are."""

    def __init__(self) -> None:
        super().__init__()
        self.shares: list[float] = []

    def train(self, job: TrainJob) -> TrainResult:
        examples = [x for path in job.examples for x in rows(pq.read_table(path), Example)]
        self.shares.append(sum("Paris" in x.completion[0].content for x in examples) / len(examples))
        weights = scripted_weights(Path(job.out_dir), self.shares[-1])
        return TrainResult(
            weights, job.config.steps, [1.0] * job.config.steps, len(examples), len(examples), {}, 1, 1, 0.0
        )


@pytest.mark.usefixtures("in_this_process")
def test_universal_self_consistency_goes_through_the_whole_of_table_2(
    wanted: Wanted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    papers.write(
        tmp_path / "data/sycophancy/train.jsonl", [x for n in range(100, 140) for x in papers.opinions(n)]
    )
    papers.write(tmp_path / "data/sycophancy/test.jsonl", [x for n in range(40) for x in papers.opinions(n)])
    scripted_weights(tmp_path / "start", 0.0)
    changed = replace(
        wanted, model=str(tmp_path / "start"), data=tmp_path / "data", overrides=("run.min_free_gb=0",)
    )
    engines, trainer = SwayedEngines(), SwayedTrainer()
    run = lambda config, progress, open_engines: finished(config, engines=engines, trainer=trainer)  # noqa: E731
    monkeypatch.setattr(measuring, "run_loop", run)
    found = all_of(TABLE_2, settings_of(TABLE_2, changed, 0))
    results = measuring.reproduce(TABLE_2, found, shared(tmp_path, engines), SilentProgress())["trivia_qa"]
    assert not [each.problem for each in results.values() if each.problem]
    biased = {key: each.figures["accuracy, biased"].value for key, each in results.items() if each.figures}
    assert biased["System 1: Zero-shot"] == 0.0
    assert 50.0 < biased["System 2: S2A"] < 100.0
    assert biased["Distill System 2: Distill S2A"] == 100.0
    assert biased["Distill System 2: Distill S2A (no USC)"] < 100.0
    selected, unselected = trainer.shares
    assert selected == 1.0
    assert 0.5 < unselected < 1.0
    assert len(set(engines.asked)) == 80
    shown = [re.findall(r"^Response (\d+):", asked, re.MULTILINE) for asked in engines.asked]
    assert all(numbers == [str(n) for n in range(20)] for numbers in shown), "twenty, counted from 0"
