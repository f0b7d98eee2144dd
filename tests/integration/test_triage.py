"""System 2 where it is needed: the loop with triage, over a scripted model."""

import random
import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from s2d_loop.clock import SystemClock
from s2d_loop.config import Config
from s2d_loop.doctor import examine
from s2d_loop.errors import ExitCode, StoppedError
from s2d_loop.ledger import Ledger
from s2d_loop.loop import run_loop
from s2d_loop.operate.service import roll_back
from s2d_loop.operate.why import as_text, why
from s2d_loop.records import Example, Generation, Input, Reply, Request, Route, Weights, rows
from s2d_loop.report import charts, history
from s2d_loop.report.status import status
from s2d_loop.report.view import RunView
from s2d_loop.review.audit import sample
from s2d_loop.store import LocalStore
from s2d_loop.triage.routes import ANSWERED, AUDIT
from s2d_loop.triage.standing import standing
from tests.support.runs import begun
from tests.support.scripted import (
    _WORDS,
    ScriptedEngines,
    ScriptedModel,
    letters_config,
    scripted_run,
    words,
    write_questions,
)
from tests.support.tamper import Row, change_table

INPUTS = 80


def triaged_config(folder: Path, **changes: object) -> Config:
    rules = {"miss_rate": 0.1, "audit_share": 0.25}
    chosen = {"run__iterations": 6, "run__inputs_per_iteration": INPUTS, "gate__margin": 1.0}
    chosen |= {"triage": rules, **changes}
    tree = letters_config(folder, **{k: v for k, v in chosen.items() if "__" in k}).model_dump()
    return Config.model_validate({**tree, **{k: v for k, v in chosen.items() if "__" not in k}})


class NewNames(ScriptedModel):
    """Of names with a q in them, System 1 is sure of the same wrong answer."""

    async def __call__(self, request: Request) -> Reply:
        reply = await super().__call__(request)
        found = _WORDS.search(request.messages[-1].content)
        if found and "q" in found[1] and "Take" in request.messages[-1].content[:4]:
            return replace(reply, text='"zz"')
        return reply


class NewNamesEngines(ScriptedEngines):
    def serve(self, weights: Weights) -> None:
        super().serve(weights)
        self._model = NewNames(weights)


def write_stream(folder: Path, rounds: int, drift: int | None = None) -> None:
    pairs = words(1, rounds * INPUTS)
    if drift is not None:
        pairs = [(f"q{a}", b) if i >= (drift - 1) * INPUTS else (a, b) for i, (a, b) in enumerate(pairs)]
    write_questions(folder / "stream.jsonl", pairs)
    write_questions(folder / "heldout.jsonl", words(2, 10))


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose stream changes in its fifth round."""
    folder = tmp_path_factory.mktemp("triage")
    write_stream(folder, 6, drift=5)
    assert run_loop(begun(triaged_config(folder), engines=NewNamesEngines())) == ExitCode.DONE
    return folder


@pytest.fixture(scope="module")
def ledger(original: Path) -> Ledger:
    return reread(original)


def reread(folder: Path) -> Ledger:
    return Ledger(LocalStore(str(folder / "run")), SystemClock())


def routes(ledger: Ledger, iteration: int) -> list[Route]:
    record = ledger.stage(iteration, "triage")
    assert record is not None
    return list(rows(ledger.tables(record, "routes"), Route))


def facts(ledger: Ledger, iteration: int, stage: str = "triage") -> dict[str, Any]:
    record = ledger.stage(iteration, stage)
    assert record is not None
    found: dict[str, Any] = record.facts["audit" if stage == "curate" else "by_task"]["letters"]
    return found


def test_system_2_calls_fall_by_half_as_system_1_learns(ledger: Ledger) -> None:
    calls = [r.facts["by_task"]["letters"]["calls"] / INPUTS for r in ledger.stages("generate")]
    assert ledger.stages("generate")[0].counts.out == INPUTS, "the first round has nothing to go by"
    assert calls[3] < calls[0] / 2, calls
    saved = facts(ledger, 4)["saved"]
    assert saved["inputs"] == facts(ledger, 4)["routes"]["skipped"]
    assert saved["calls"] == pytest.approx(saved["inputs"] * calls[0], rel=0.3)


def test_a_stream_that_changes_is_noticed_in_the_round_it_changes_in(ledger: Ledger) -> None:
    assert [facts(ledger, i, "curate")["drift"] for i in range(1, 6)] == [False] * 4 + [True]
    assert "the next round answers all of them" in facts(ledger, 5, "curate")["sentence"]
    assert facts(ledger, 4)["threshold"] is not None
    assert facts(ledger, 6)["drift"] == 5
    assert facts(ledger, 6)["threshold"] is None
    assert "since round 5's audit found too many misses" in facts(ledger, 6)["sentence"]
    generated = ledger.stage(6, "generate")
    assert generated is not None
    assert generated.counts.out == INPUTS


def test_people_label_a_sample_of_the_audit_share(ledger: Ledger) -> None:
    audited = {each.input_id for each in routes(ledger, 4) if each.route == AUDIT}
    assert sample(ledger, 4)
    assert sample(ledger, 4) <= audited


def test_nothing_is_lost_and_nothing_answered_twice(ledger: Ledger) -> None:
    for record in ledger.stages("triage"):
        claimed = ledger.stage(record.iteration, "intake")
        generated = ledger.stage(record.iteration, "generate")
        assert claimed
        assert generated
        record.counts.check("triage")
        assert claimed.counts.out == record.counts.into
        assert record.counts.out == generated.counts.into == generated.counts.out
        inputs = [x.id for x in rows(ledger.tables(claimed, "inputs"), Input)]
        sent = routes(ledger, record.iteration)
        assert [each.input_id for each in sent] == inputs
        made = [g.input.id for g in rows(ledger.tables(generated, "generations"), Generation)]
        assert made == [each.input_id for each in sent if each.route in ANSWERED]


def test_the_audit_share_is_the_same_whatever_system_1_says(ledger: Ledger) -> None:
    every = [each for i in range(1, 7) for each in routes(ledger, i)]
    assert 0.15 < sum(each.route == "audit" for each in every) / len(every) < 0.35
    sure = [each for each in every if each.score == 1.0]
    assert 0.1 < sum(each.route == "audit" for each in sure) / len(sure) < 0.4


def test_skipped_inputs_are_not_in_the_pool(ledger: Ledger) -> None:
    skipped = {each.input_id for i in range(1, 7) for each in routes(ledger, i) if each.route == "skipped"}
    pooled = {e.input_id for r in ledger.stages("pool") for e in rows(ledger.tables(r, "examples"), Example)}
    assert skipped
    assert not skipped & pooled


def test_signs_of_the_audit_share_stand_beside_those_of_all_that_was_generated(ledger: Ledger) -> None:
    audited = facts(ledger, 4, "curate")["signs"]
    assert audited["inputs"] == facts(ledger, 4)["routes"]["audit"]
    drawn = {each.input_id for each in routes(ledger, 4) if each.route == "audit"}
    verdicts = [v for v in history.verdicts(ledger, 4) if v.input.id in drawn]
    assert audited["kept"] == sum(v.kept for v in verdicts) > 0
    assert audited["tokens_per_input"] == pytest.approx(sum(v.num_tokens for v in verdicts) / len(verdicts))


def test_why_names_the_route(ledger: Ledger) -> None:
    (skipped,) = [each for each in routes(ledger, 4) if each.route == "skipped"][:1]
    (found,) = why(ledger, skipped.input_id)
    assert found["outcome"] == "not sent to System 2 by triage: skipped"
    assert any(line.startswith("  triage: skipped; ") for line in as_text(found))
    (audited,) = [each for each in routes(ledger, 4) if each.route == "audit"][:1]
    assert why(ledger, audited.input_id)[0]["outcome"].startswith(("kept", "dropped by curate"))


def test_status_and_page_know_the_stage(ledger: Ledger) -> None:
    view = RunView([record.to_json() for record in ledger.records])
    now = status(view)
    assert now["committed"][:3] == ["intake", "triage", "generate"]
    assert now["inputs"] == 6 * INPUTS == now["kept"] + sum(now["dropped"].values())
    assert now["dropped"]["skipped"] == sum(facts(ledger, i)["routes"].get("skipped", 0) for i in range(1, 7))
    assert view.next_step is None
    assert "triage" in dict(charts.stage_colors(view))
    to_triage = [record.to_json() for record in ledger.records if record.seq < triaged_at(ledger, 3)]
    assert RunView(to_triage).next_step == (3, "triage")


def triaged_at(ledger: Ledger, iteration: int) -> int:
    record = ledger.stage(iteration, "triage")
    assert record is not None
    return record.seq


def test_doctor_finds_a_clean_run_clean_and_a_forged_route(original: Path, tmp_path: Path) -> None:
    assert examine(str(original / "run")).findings == []
    shutil.copytree(original / "run", tmp_path / "run", symlinks=True)

    def send_on(table: list[Row]) -> list[Row]:
        forged = next(row for row in table if row["route"] == "skipped")
        return [{**row, "route": "system2"} if row is forged else row for row in table]

    change_table(tmp_path / "run", "triage", "routes", send_on, iteration=4)
    assert {each.what.split(", such as")[0] for _, each in examine(str(tmp_path / "run")).findings} == {
        "1 inputs have no row",
        "2 routes have another number of inputs than was counted",
    }


def test_after_a_rollback_other_versions_audits_do_not_count(original: Path, tmp_path: Path) -> None:
    shutil.copytree(original / "run", tmp_path / "run", symlinks=True)
    ledger = reread(tmp_path)
    roll_back(ledger, "1")
    config = triaged_config(original)
    assert config.triage is not None
    # Round 2 alone was triaged by version 1.
    assert standing(ledger, config, config.triage, "letters", 7).rounds == (2,)


def test_a_budget_goes_to_what_system_1_is_least_sure_of(tmp_path: Path) -> None:
    write_stream(tmp_path, 1)
    config = triaged_config(tmp_path, run__iterations=1, triage={"tokens": 2500, "audit_share": 0.1})
    run = scripted_run(config)
    run_loop(run)
    sent = routes(run.ledger, 1)
    count = Counter(each.route for each in sent)
    assert count["budget"]
    assert count["system2"]
    known = facts(run.ledger, 1)
    spent = (count["system2"] + count["audit"]) * known["system2_tokens_per_input"]
    assert spent <= 2500 < spent + known["system2_tokens_per_input"]
    highest = max(each.score or 0 for each in sent if each.route == "system2")
    assert all((each.score or 0) >= highest for each in sent if each.route == "budget")
    generated = run.ledger.stage(1, "generate")
    assert generated is not None
    assert generated.facts["by_task"]["letters"]["tokens"] <= 2500


def test_rounds_of_which_nothing_is_sent_on_are_counted_and_train_nothing(tmp_path: Path) -> None:
    write_stream(tmp_path, 1)
    changes = {"run__iterations": 2, "run__inputs_per_iteration": 10}
    run = scripted_run(triaged_config(tmp_path, triage={"tokens": 1, "audit_share": 1e-9}, **changes))
    assert run_loop(run) == ExitCode.DONE
    assert [r.counts.dropped for r in run.ledger.stages("triage")] == [{"budget": 10}] * 2
    assert [r.counts.into for r in run.ledger.stages("curate")] == [0, 0]
    assert facts(run.ledger, 2, "curate")["pairs"] == [[0, 0]] * 5
    assert run.ledger.stages("train") == []


def test_a_run_stopped_again_and_again_ends_as_one_that_was_not(tmp_path: Path) -> None:
    def config(name: str) -> Config:
        changes = {"run__dir": str(tmp_path / name), "run__iterations": 3, "run__inputs_per_iteration": 20}
        rules = {"miss_rate": 0.8, "audit_share": 0.3, "samples": 1, "window": 1}
        return triaged_config(tmp_path, triage=rules, **changes)

    write_stream(tmp_path, 2)
    calm = scripted_run(config("calm"))
    run_loop(calm)
    stops, rng = 0, random.Random(0)
    while True:
        left = rng.randrange(2, 12)

        def safe_point() -> None:
            nonlocal left
            left -= 1
            if left < 0:
                raise StoppedError("asked")

        try:
            run_loop(replace(scripted_run(config("run")), safe_point=safe_point))
            break
        except StoppedError:
            stops += 1
    assert stops > 5
    again = reread(tmp_path)
    assert any(record.counts.dropped for record in again.stages("triage"))
    assert _state(again) == _state(calm.ledger)


def _state(ledger: Ledger) -> object:
    stages = [(r.iteration, r.stage, r.counts) for r in ledger.records if r.kind == "stage"]
    audits = [r.facts["audit"] for r in ledger.stages("curate")]
    return stages, audits, [routes(ledger, r.iteration) for r in ledger.stages("triage")]


def test_without_the_section_there_is_no_such_stage(tmp_path: Path) -> None:
    write_stream(tmp_path, 1)
    run = scripted_run(letters_config(tmp_path, run__iterations=1, run__inputs_per_iteration=10))
    run_loop(run)
    assert run.ledger.stages("triage") == []
    assert all("audit" not in record.facts for record in run.ledger.stages("curate"))
