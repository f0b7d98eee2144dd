"""The oracles: what they count, on rows made up here, and that a figure that is off is an error."""

import json
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks import oracles
from benchmarks.oracles import Figure
from s2d_loop.evaluate.judges import agreement

DATA = os.environ.get("S2D_DATA")


def write(path: Path, rows: list[dict[str, Any]], *, as_list: bool = False) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(rows) if as_list else "".join(json.dumps(row) + "\n" for row in rows))


def found(figures: Iterator[Figure]) -> dict[str, str]:
    return {figure.what.strip(): figure.found for figure in figures}


def test_labels_are_recomputed_from_the_questions(tmp_path: Path) -> None:
    coin = "A coin is heads up. ann flips the coin. bo does not flip the coin.  Is the coin still heads up?"
    letters = 'Take the last letters of the words in "Ann Bo" and concatenate them.'
    coins = [{"question": coin, "answer": "no"}, {"question": coin, "answer": "yes"}]
    write(tmp_path / "rar" / "coin_val_gpt-4.json", coins, as_list=True)
    for name in ("last_letter_concatenation_gpt-4", "last_letter_concatenation4_gpt-4"):
        write(tmp_path / "rar" / f"{name}.json", [{"question": letters, "answer": "no"}], as_list=True)
    figures = list(oracles.rar(tmp_path))
    assert [figure.found for figure in figures] == ["1 / 2", "1 / 1", "1 / 1"]
    (named,) = figures[0].exceptions
    assert "coin_val_gpt-4.json#1" in named, "the row whose label is wrong is named"
    assert coin in named


def test_gpt4s_verdicts_are_read_in_the_order_in_which_a_pair_is_shown(tmp_path: Path) -> None:
    models = ("m1", "m2", "m3")
    write(tmp_path / "question.jsonl", [{"question_id": 81, "category": "writing", "turns": ["Why?"]}])
    for model in models:
        answer = {"question_id": 81, "model_id": model, "choices": [{"turns": [f"by {model}"]}]}
        write(tmp_path / "model_answer" / f"{model}.jsonl", [answer])

    def vote(judge: str, a: str, b: str, winner: str) -> dict[str, Any]:
        return {"judge": judge, "model_a": a, "model_b": b, "question_id": 81, "turn": 1, "winner": winner}

    said = [
        vote("gpt4_pair", "m2", "m1", "model_b"),
        vote("gpt4_pair", "m1", "m3", "model_a"),
        vote("gpt4_pair", "m3", "m2", "tie (inconsistent)"),
    ]
    experts = [
        vote("expert_1", "m1", "m2", "model_a"),  # agrees
        vote("expert_1", "m3", "m1", "model_a"),  # does not
        vote("expert_2", "m2", "m3", "model_a"),  # against a tie
        vote("author_1", "m1", "m2", "model_a"),
    ]
    write(tmp_path / "gpt4_pair_votes.jsonl", said)
    write(tmp_path / "human_votes.jsonl", experts)
    total = agreement(oracles.gpt4(tmp_path))
    assert (total.agreeing, total.votes, total.votes_decided) == (1, 3, 2)
    assert (total.inconsistent, total.pairs) == (1, 3)


def test_the_grader_is_tried_on_every_rows_own_names(tmp_path: Path) -> None:
    base = {"dataset": "trivia_qa", "question": "Who?", "incorrect_answer": "Bo Dee"}

    def row(aliases: list[str]) -> dict[str, Any]:
        prompt = [{"type": "human", "content": "Who?"}]
        return {
            "prompt": prompt,
            "base": base | {"answer": aliases},
            "metadata": {"prompt_template": "{question}"},
        }

    rows = [row(["Ann Lee", "A. Lee", "AL"]), row(["Ann Lee", "Bo Dee"])]
    write(tmp_path / "sycophancy_eval_answer" / "answer_test.jsonl", rows)
    counted = found(oracles.sycophancy(tmp_path))
    assert counted["SycophancyEval: rows of TriviaQA"] == "2"
    assert counted["rows that list the wrong answer among the right ones"] == "1"
    assert {counted[what] for what in counted if "scored" in what} == {"2 / 2"}


def test_a_figure_that_is_off_or_cannot_be_counted_is_an_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def sections(figure: Figure) -> None:
        monkeypatch.setattr(oracles, "SECTIONS", {"one": lambda _: iter([figure])})
        monkeypatch.setattr(sys, "argv", ["oracles", str(tmp_path)])
        oracles.main()

    with pytest.raises(SystemExit) as ended:
        sections(Figure("rows", "3", "3", tuple("abcdefg")))
    assert ended.value.code == 0
    out = capsys.readouterr().out
    assert "should be 3" in out
    assert "and 2 more" in out
    with pytest.raises(SystemExit) as ended:
        sections(Figure("rows", "2", "3"))
    assert ended.value.code == 1
    assert capsys.readouterr().out.startswith("OFF  rows")


def test_missing_files_are_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(sys, "argv", ["oracles", str(tmp_path)])
    with pytest.raises(SystemExit) as ended:
        oracles.main()
    assert ended.value.code == 1
    out = capsys.readouterr().out
    for name in (
        "gpt4_pair_votes.jsonl",
        "train.jsonl",
        "coin_val_gpt-4.json",
        "answer_test.jsonl",
        "testset-v1.json",
    ):
        assert name in out
    assert "0 of 6 figures" in out


@pytest.mark.skipif(DATA is None, reason="S2D_DATA doesn't name the folder of the public files")
@pytest.mark.parametrize("section", oracles.SECTIONS)
def test_every_figure_of_the_public_files_is_as_it_should_be(section: str) -> None:
    begun = time.process_time()
    off = [oracles.shown(figure) for figure in oracles.SECTIONS[section](Path(str(DATA))) if not figure.right]
    assert not off, "\n".join(off)
    assert time.process_time() - begun < 60
