"""Inspect logs of a run: every answer with its score, and the traces that were kept."""

import sys
from pathlib import Path

import pytest

from s2d_loop.errors import BadInputError
from s2d_loop.ledger import Ledger
from s2d_loop.loop import run_loop
from s2d_loop.report import inspect_logs
from tests.support.scripted import letters_config, scripted_run, words, write_questions


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    write_questions(tmp_path / "stream.jsonl", words(1, 30))
    write_questions(tmp_path / "heldout.jsonl", words(2, 10))
    run = scripted_run(letters_config(tmp_path, run__iterations=1, traces__keep="all"))
    run_loop(run)
    return run.ledger


def test_without_the_extra_it_says_what_to_install(
    ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "inspect_ai.log", None)
    with pytest.raises(BadInputError, match=r"pip install 's2d-loop\[inspect\]'"):
        inspect_logs.write(ledger, tmp_path / "logs")
    assert not (tmp_path / "logs").exists()


def test_every_answer_and_every_kept_trace_is_in_a_log(ledger: Ledger, tmp_path: Path) -> None:
    log = pytest.importorskip("inspect_ai.log")
    paths = inspect_logs.write(ledger, tmp_path / "logs")
    read = {path.stem: log.read_eval_log(str(path)) for path in paths}
    evaluations = [f"{n:05d}-letters-system{s}" for n in (0, 1) for s in (2, 1)]
    assert sorted(read) == sorted([*evaluations, "00001-traces"])
    for name in evaluations:
        iteration = ledger.stage(int(name[:5]), "evaluate")
        assert iteration is not None
        figures = iteration.facts["by_task"]["letters"][name.rpartition("-")[2]]
        (score,) = read[name].results.scores
        assert score.metrics["accuracy"].value == figures["accuracy"]
        samples = read[name].samples
        assert len(samples) == 10
        assert all(sample.target and sample.output.completion for sample in samples)
        right = sum(sample.scores["s2d_loop"].value == "C" for sample in samples)
        assert right == round(figures["accuracy"] * 10)
    generated = ledger.stage(1, "generate")
    assert generated is not None
    traces = read["00001-traces"].samples
    assert len(traces) == generated.counts.out
    assert all(message.text for sample in traces for message in sample.messages)
