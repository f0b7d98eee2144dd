"""The whole loop in one process over scripted engines and a scripted trainer."""

import json
import re
import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from s2d_loop import stages
from s2d_loop.clock import SystemClock
from s2d_loop.config import Config, CurateConfig
from s2d_loop.doctor import examine
from s2d_loop.driver import begin, same_config
from s2d_loop.errors import BadInputError, EngineError, ExitCode, LostLeaseError, RequestError, StoppedError
from s2d_loop.ledger import Ledger, LedgerError
from s2d_loop.loop import commit, run_loop
from s2d_loop.preflight import Checked
from s2d_loop.records import Example, Input, Near, Request, Verdict, rows
from s2d_loop.report import history
from s2d_loop.store import LocalStore
from tests.support.scripted import (
    ScriptedEngines,
    ScriptedTrainer,
    letters_config,
    question,
    scripted_run,
    words,
    write_questions,
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_questions(tmp_path / "stream.jsonl", words(1, 70))
    write_questions(tmp_path / "heldout.jsonl", words(2, 40))
    return tmp_path


def examples(ledger: Ledger) -> list[Example]:
    return [e for r in ledger.stages("pool") for e in rows(ledger.tables(r, "examples"), Example)]


def demanding(config: Config, min_share: float) -> Config:
    strict = config.tasks["letters"].model_copy(update={"curate": CurateConfig(min_share=min_share)})
    return config.model_copy(update={"tasks": {"letters": strict}})


def reread(folder: Path) -> Ledger:
    return Ledger(LocalStore(str(folder / "run")), SystemClock())


def test_it_goes_round_and_system_1_gets_better(folder: Path) -> None:
    config = letters_config(folder, run__iterations=3)
    assert run_loop(scripted_run(config)) == ExitCode.DONE
    ledger = reread(folder)
    order = [(r.iteration, r.stage) for r in ledger.records if r.kind == "stage"]
    one_round = ["generate", "curate", "pool", "train", "evaluate", "gate", "promote"]
    assert order[:4] == [(0, "heldout"), (0, "evaluate"), (1, "intake"), (1, "probe")]
    assert [stage for i, stage in order if i == 2] == ["intake", *one_round]
    accuracy = [r.facts["by_task"]["letters"]["system1"]["accuracy"] for r in ledger.stages("evaluate")]
    assert accuracy[-1] > accuracy[0] + 0.3


def test_the_calls_of_system_2_train_beside_its_answers(folder: Path) -> None:
    trainer = ScriptedTrainer()
    config = letters_config(folder, pool__system2_share=0.5)
    run_loop(scripted_run(config, trainer=trainer))
    ledger = reread(folder)
    verdicts = [v for r in ledger.stages("curate") for v in rows(ledger.tables(r, "verdicts"), Verdict)]
    kept = {v.input.id: v for v in verdicts if v.kept}
    pooled = examples(ledger)
    calls = [e for e in pooled if e.step]
    assert Counter(e.step for e in calls) == {"rephrase": len(kept), "respond": len(kept)}
    assert all(e.answer == kept[e.input_id].answer for e in calls)
    assert [e.completion[0].content for e in calls if e.step == "respond"] == [
        v.target for v in kept.values()
    ]
    for record, job in zip(ledger.stages("pool"), trainer.jobs, strict=True):
        trained = list(rows(ledger.tables(record, "training"), Example))
        assert sum(bool(e.step) for e in trained) == record.facts["system2_calls"] == len(trained) // 2
        assert record.facts["training_by_task"] == {"letters": len(trained) // 2}
        assert set(job.template_arguments) == {"letters", "letters/*"}
        assert job.origin is not None
    new = [r.facts["by_task"]["letters"] for r in ledger.stages("pool")]
    assert sum(new) == len(kept), "a task's new rows are its answers"
    assert not examine(str(folder / "run")).findings


def test_inputs_that_spell_control_tokens_are_counted_by_source(folder: Path) -> None:
    pairs = words(7, 3)
    rows = [question(pair) for pair in pairs]
    rows[1] = rows[1].replace("Take", "<|im_end|>Take")
    rows[2] = rows[2].replace("Take", "</s><|im_end|>Take")
    (folder / "stream.jsonl").write_text("".join(json.dumps({"prompt": each}) + "\n" for each in rows))
    control = re.compile(r"<\|im_end\|>|</s>")
    config = letters_config(folder, run__iterations=1, generate__probe_inputs=0)
    run_loop(replace(scripted_run(config), control=control))
    (record,) = reread(folder).stages("intake")
    assert record.facts["control_tokens"] == {"stream": 2}
    assert record.counts.out == 3, "they are inputs like any other"


def test_without_system_2_in_evaluation_references_decide(folder: Path) -> None:
    config = letters_config(folder, evaluate__system2_every=None)
    assert run_loop(scripted_run(config)) == ExitCode.DONE
    for record in reread(folder).stages("evaluate"):
        assert record.facts["by_task"]["letters"]["system2"] is None
        assert record.facts["by_task"]["letters"]["system1"]["accuracy"] is not None


def test_every_stage_hands_on_what_it_did_not_drop(folder: Path) -> None:
    (folder / "stream.jsonl").open("a").write('not json\n{"prompt": ""}\n')
    repeated = (folder / "stream.jsonl").read_text().splitlines()[0]
    heldout = (folder / "heldout.jsonl").read_text().splitlines()[0]
    (folder / "stream.jsonl").open("a").write(f"{repeated}\n{heldout}\n")
    run_loop(scripted_run(letters_config(folder, run__iterations=5)))
    ledger = reread(folder)
    for record in ledger.records:
        record.counts.check(record.stage)
    dropped = [dict(r.counts.dropped) for r in ledger.stages("intake")]
    assert {reason: sum(d.get(reason, 0) for d in dropped) for d in dropped for reason in d} == {
        "unreadable": 2,
        "duplicate": 1,
        "matches_heldout": 1,
    }
    for iteration in range(1, 4):
        at = {name: ledger.stage(iteration, name) for name in ("intake", "generate", "curate", "pool")}
        counts = {name: record.counts for name, record in at.items() if record}
        assert counts["intake"].out == counts["generate"].into == counts["generate"].out
        assert counts["generate"].out == counts["curate"].into
        assert counts["curate"].out == counts["pool"].into
    inputs = [x.id for r in ledger.stages("intake") for x in rows(ledger.tables(r, "inputs"), Input)]
    verdicts = [v.input.id for v in history.verdicts(ledger)]
    assert sorted(inputs) == sorted(verdicts) == sorted(set(inputs))
    assert len(inputs) == 70


def test_near_duplicates_are_dropped_over_the_rounds_and_counted(folder: Path) -> None:
    """Thirty questions, then the same with a word more."""
    asked = [json.loads(line)["prompt"] for line in (folder / "stream.jsonl").open()][:30]
    lines = [json.dumps({"prompt": each + end}) for end in ("", " Thanks.") for each in asked]
    (folder / "stream.jsonl").write_text("\n".join(lines) + "\n")
    config = letters_config(folder, run__inputs_per_iteration=20, intake__near_duplicates={"threshold": 0.75})
    run = scripted_run(config)
    commit(run, 0, "heldout", stages.heldout)
    found: Counter[str] = Counter()
    for number in (1, 2, 3):
        claimed = commit(run, number, "intake", stages.intake)
        assert run.ledger.read(claimed, "near", Near).num_rows == claimed.counts.out
        found += Counter({"claimed": claimed.counts.out, **claimed.counts.dropped})
    assert found == {"claimed": 30, "near_duplicate": 30}


def test_no_evaluation_row_is_in_any_pool(folder: Path) -> None:
    """Though the source holds all of them, twice."""
    held, stream = (folder / f"{name}.jsonl" for name in ("heldout", "stream"))
    stream.write_text(held.read_text() + stream.read_text() + held.read_text())
    run_loop(scripted_run(letters_config(folder, run__iterations=6)))
    ledger = reread(folder)
    assert sum(r.counts.dropped.get("matches_heldout", 0) for r in ledger.stages("intake")) == 80
    evaluated = {json.loads(line)["prompt"] for line in held.read_text().splitlines()}
    trained = {turn.content for each in examples(ledger) for turn in each.prompt}
    assert trained
    assert not trained & evaluated


def test_labels_cannot_leak(tmp_path: Path) -> None:
    """The same run with the label column taken out of the source, or filled with lies."""
    pools = []
    for name in ("labelled", "bare", "lies"):
        folder = tmp_path / name
        folder.mkdir()
        write_questions(folder / "stream.jsonl", words(1, 70), labels=name != "bare")
        if name == "lies":
            lines = [json.loads(line) | {"answer": "zz"} for line in (folder / "stream.jsonl").open()]
            (folder / "stream.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        write_questions(folder / "heldout.jsonl", words(2, 40))
        run_loop(scripted_run(letters_config(folder)))
        pools.append([(e.id, e.input_id, e.completion, e.share) for e in examples(reread(folder))])
    assert pools[0] == pools[1] == pools[2]
    assert pools[0]


def test_a_finished_run_does_nothing_again(folder: Path) -> None:
    config = letters_config(folder)
    run_loop(scripted_run(config))
    before = [r for r in reread(folder).records if r.kind == "stage"]
    engines, trainer = ScriptedEngines(), ScriptedTrainer()
    assert run_loop(scripted_run(config, engines=engines, trainer=trainer)) == ExitCode.DONE
    assert [r for r in reread(folder).records if r.kind == "stage"] == before
    assert engines.served == []
    assert trainer.jobs == []


class _Crash(BaseException):
    """As sudden as a kill: nothing in the loop may catch it."""


@pytest.mark.parametrize("write", range(1, 26))
def test_a_crash_at_any_write_changes_nothing_in_the_end(
    folder: Path, write: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Die at the n-th storage operation, before or after it took effect; the rerun ends the same."""
    config = letters_config(folder)
    undisturbed = scripted_run(
        config.model_copy(update={"run": config.run.model_copy(update={"dir": str(folder / "calm")})})
    )
    run_loop(undisturbed)

    store = LocalStore(config.run.dir)
    done = 0
    create, writing = store.create, store.writing

    def count() -> None:
        nonlocal done
        done += 1
        if done == write:
            raise _Crash

    def crashing_create(path: str, data: bytes) -> None:
        if write % 2:
            create(path, data)
        count()
        if not write % 2:
            create(path, data)

    def crashing_writing(path: str):  # type: ignore[no-untyped-def]
        count()
        return writing(path)

    monkeypatch.setattr(store, "create", crashing_create)
    monkeypatch.setattr(store, "writing", crashing_writing)
    with pytest.raises(_Crash):
        run_loop(scripted_run(config, store=store))
    assert run_loop(scripted_run(config)) == ExitCode.DONE
    calm = Ledger(undisturbed.ledger.store, SystemClock())
    assert _state(reread(folder)) == _state(calm)


def _state(ledger: Ledger) -> object:
    """What a run came to, without times and attempt ids."""
    stages = [(r.iteration, r.stage, r.counts) for r in ledger.records if r.kind == "stage"]
    decisions = [r.facts["sentence"] for r in ledger.stages("gate")]
    return stages, [(e.id, e.completion, e.weights) for e in examples(ledger)], decisions


def test_a_second_driver_takes_over_and_the_first_stops(folder: Path) -> None:
    config = letters_config(folder)
    second: list[object] = []

    def intrude(request: Request) -> None:
        if len(second) == 0:
            second.append(None)
            second.append(Ledger(LocalStore(config.run.dir), SystemClock()))
            second[1].take_lease()  # type: ignore[attr-defined]

    with pytest.raises(LostLeaseError) as raised:
        run_loop(scripted_run(config, engines=ScriptedEngines(intrude)))
    assert raised.value.exit_code == ExitCode.LOST_LEASE
    assert run_loop(scripted_run(config)) == ExitCode.DONE
    assert len(list(history.verdicts(reread(folder)))) == 60


def test_an_outage_stops_the_run_and_the_rerun_goes_on(folder: Path) -> None:
    calls = 0

    def fail_later(request: Request) -> None:
        nonlocal calls
        calls += 1
        if calls > 500:
            raise EngineError("no engine is left")

    config = letters_config(folder)
    with pytest.raises(EngineError, match="no engine is left"):
        run_loop(scripted_run(config, engines=ScriptedEngines(fail_later)))
    assert run_loop(scripted_run(config)) == ExitCode.DONE


def test_a_round_of_nothing_but_poison_costs_itself(folder: Path) -> None:
    poison = [" ".join(pair) for pair in words(1, 70)[30:60]]

    def die(request: Request) -> None:
        if any(each in request.messages[-1].content for each in poison):
            raise RequestError("the engine died on it")

    config = letters_config(folder, run__iterations=3)
    assert run_loop(scripted_run(config, engines=ScriptedEngines(die))) == ExitCode.DONE
    curated = [record.counts for record in reread(folder).stages("curate")]
    assert curated[1].dropped == {"generation_failed": 30}
    assert curated[2].out > 0


def test_the_first_pass_stops_a_run_that_keeps_nothing(folder: Path) -> None:
    config = letters_config(folder, generate__min_kept_share=0.5, generate__probe_inputs=20)
    config = demanding(config, 1.0)
    with pytest.raises(BadInputError, match="kept less than") as raised:
        run_loop(scripted_run(config))
    assert "low_share" in str(raised.value)
    assert reread(folder).stage(1, "generate") is None


def test_the_gate_holds_worse_weights_and_the_next_round_starts_from_the_promoted(folder: Path) -> None:
    class Forgetting(ScriptedTrainer):
        def train(self, job):  # type: ignore[no-untyped-def]
            from tests.support.scripted import scripted_weights

            result = super().train(job)
            if len(self.jobs) == 2:
                shutil.rmtree(job.out_dir)
                worse = scripted_weights(Path(job.out_dir), 0.0)
                object.__setattr__(result, "weights", worse)
            return result

    trainer = Forgetting()
    config = letters_config(folder, run__iterations=3, run__inputs_per_iteration=20, gate__margin=0.3)
    run_loop(scripted_run(config, trainer=trainer))
    decisions = [r.facts["decision"] for r in reread(folder).stages("gate")]
    assert decisions == ["promote", "hold", "promote"]
    assert trainer.jobs[2].start == trainer.jobs[1].start != trainer.jobs[0].start


def test_a_run_that_was_moved_goes_on_and_its_links_with_it(folder: Path) -> None:
    def stop(request: Request) -> None:
        if (folder / "run/promoted").exists():
            raise EngineError("no engine is left")

    config = letters_config(folder)
    with pytest.raises(EngineError):
        run_loop(scripted_run(config, engines=ScriptedEngines(stop)))
    (folder / "run").rename(folder / "elsewhere")
    config = letters_config(folder, run__dir=str(folder / "elsewhere"))
    assert run_loop(scripted_run(config)) == ExitCode.DONE
    promoted = Ledger(LocalStore(config.run.dir), SystemClock()).stages("promote")[-1]
    assert (folder / "elsewhere/promoted").resolve() == folder / "elsewhere" / promoted.facts["weights"][
        "path"
    ]


@pytest.mark.parametrize("iteration", [1, 2])
def test_damaged_weights_are_named_before_anything_is_asked_of_them(folder: Path, iteration: int) -> None:
    """Whichever round's weights they are: they answer nothing, and nothing starts from them."""
    config = letters_config(folder)
    run_loop(scripted_run(config))
    (trained,) = [r for r in reread(folder).stages("train") if r.iteration == iteration]
    file = folder / "run" / trained.files[0].path
    file.write_text(file.read_text() + " ")
    for later in (folder / "run/ledger").glob("*.json"):
        if int(later.stem) > trained.seq:
            later.unlink()
    engines, trainer = ScriptedEngines(), ScriptedTrainer()
    with pytest.raises(LedgerError, match=r"weights/0000.*state\.json changed"):
        run_loop(scripted_run(config, engines=engines, trainer=trainer))
    assert trained.facts["weights"]["digest"] not in engines.served
    assert trainer.jobs == []


def test_traces_are_kept_for_the_rejected_only(folder: Path) -> None:
    run_loop(scripted_run(demanding(letters_config(folder), 0.7)))
    shown = list(history.examples(reread(folder)))
    assert {bool(s.generation and s.generation.calls) for s in shown if s.verdict.kept} == {False}
    rejected = [s for s in shown if not s.verdict.kept]
    assert rejected
    assert all(s.generation and s.generation.calls for s in rejected)


def test_curation_is_the_same_when_it_is_done_again(folder: Path) -> None:
    """`curate` is pure: over the committed generations it gives the committed verdicts."""
    from s2d_loop.stages.curate import curate_table

    config = letters_config(folder)
    run_loop(scripted_run(config))
    ledger = reread(folder)
    generated, curated = ledger.stages("generate")[0], ledger.stages("curate")[0]
    again = [
        v for t in ledger.tables(generated, "generations") for v in rows(curate_table(t, config), Verdict)
    ]
    assert again == list(rows(ledger.tables(curated, "verdicts"), Verdict))


def test_a_changed_setting_is_refused_by_name_and_a_new_one_with_its_default_is_none(folder: Path) -> None:
    config = letters_config(folder)
    run = scripted_run(config)
    checked = Checked(run.ledger.store, run.start, run.sources, {})
    ledger = begin(config, checked)
    same_config(ledger, config, checked)
    # Limits may change: they are what a person tries when something hangs.
    same_config(ledger, letters_config(folder, engine__call_timeout_s=9.0, train__max_failures=0), checked)
    with pytest.raises(BadInputError, match=r"run\.iterations: 2 -> 9"):
        same_config(ledger, letters_config(folder, run__iterations=9), checked)
    # As an older version of the project wrote it.
    (begun,) = [record for record in ledger.records if record.kind == "run"]
    del begun.facts["config"]["generate"]["recorded"]
    same_config(ledger, config, checked)
    begun.facts["config"]["generate"]["gone"] = 1
    with pytest.raises(BadInputError, match=r"generate\.gone"):
        same_config(ledger, config, checked)


def test_a_run_stops_at_any_safe_point_and_ends_the_same(folder: Path) -> None:
    """Stopped at the first, the second, ... of its safe points, again and again, until it is done."""
    config = letters_config(folder, generate__rows_in_flight=4)
    calm = scripted_run(
        config.model_copy(update={"run": config.run.model_copy(update={"dir": str(folder / "calm")})})
    )
    run_loop(calm)
    stops = 0
    while True:
        left = stops % 5

        def safe_point() -> None:
            nonlocal left
            left -= 1
            if left < 0:
                raise StoppedError("asked")

        try:
            assert run_loop(replace(scripted_run(config), safe_point=safe_point)) == ExitCode.DONE
            break
        except StoppedError:
            stops += 1
            assert stops < 100
    assert stops > 10
    assert _state(reread(folder)) == _state(calm.ledger)
