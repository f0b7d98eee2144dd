"""A candidate that forgets is held: a task that it could do, or the general set."""

import json
from pathlib import Path
from typing import Any

import pytest

from s2d_loop.clock import SystemClock
from s2d_loop.config import Config
from s2d_loop.doctor import examine
from s2d_loop.errors import ExitCode
from s2d_loop.ledger import Ledger
from s2d_loop.records import Dropped, General, Reply, Request, Weights, rows
from s2d_loop.report.console import open_console
from s2d_loop.report.page import render
from s2d_loop.report.status import print_status, status
from s2d_loop.report.view import RunView
from s2d_loop.store import LocalStore
from s2d_loop.train.job import TrainJob, TrainResult
from s2d_loop.weights import weights_digest
from tests.support.runs import finished
from tests.support.scripted import (
    ScriptedEngines,
    ScriptedModel,
    ScriptedTrainer,
    letters_config,
    words,
    write_questions,
)


class Talker(ScriptedModel):
    """It also talks of other things, and in other words the more it has forgotten."""

    async def __call__(self, request: Request) -> Reply:
        asked = request.messages[-1].content
        if request.read is None and asked.startswith("Tell me"):
            said = "the same as ever about " + asked if self.forgot < 0.5 else "letters letters letters"
            return Reply(said, num_tokens=len(said.split()), weights=self.weights.digest)
        return await super().__call__(request)


class Talkers(ScriptedEngines):
    def serve(self, weights: Weights) -> None:
        if self._model is None or self._model.weights != weights:
            self._model = Talker(weights)
            self.served.append(weights.digest)


class Forgetful(ScriptedTrainer):
    """The weights of some rounds have forgotten something: what their file says instead, by round."""

    def __init__(self, states: dict[int, dict[str, float]]) -> None:
        super().__init__()
        self._states = states

    def train(self, job: TrainJob) -> TrainResult:
        result = super().train(job)
        if state := self._states.get(len(self.jobs)):
            file = Path(job.out_dir) / "state.json"
            file.write_text(json.dumps(json.loads(file.read_text()) | state))
            object.__setattr__(result, "weights", Weights(job.out_dir, weights_digest(job.out_dir)))
        return result


def write(folder: Path, **changes: Any) -> Config:
    write_questions(folder / "stream.jsonl", words(1, 60))
    write_questions(folder / "heldout.jsonl", words(2, 100))
    talk = [json.dumps({"prompt": f"Tell me of {one} and {other}."}) for one, other in words(5, 80)]
    (folder / "general.jsonl").write_text("\n".join(talk) + "\n")
    # One of them is also fed to the task, and must not be claimed.
    stream = folder / "stream.jsonl"
    stream.write_text(talk[3] + "\n" + stream.read_text())
    config = letters_config(folder, run__inputs_per_iteration=15, **changes)
    tree = config.model_dump()
    tree["evaluate"]["general"] = {"type": "jsonl", "path": str(folder / "general.jsonl"), "limit": 70}
    return Config.model_validate(tree)


def opened(folder: Path) -> Ledger:
    return Ledger(LocalStore(str(folder / "run")), SystemClock())


@pytest.mark.parametrize(
    ("forgot", "said"),
    [(0.8, "on 70 general prompts the answers agree to 0%"), (0.45, "1.57 times as perplexing")],
)
def test_a_candidate_that_forgets_the_general_set_is_held_and_the_next_is_not(
    tmp_path: Path, forgot: float, said: str
) -> None:
    config = write(tmp_path, run__iterations=3, gate__margin=1.0)
    code = finished(config, engines=Talkers(), trainer=Forgetful({2: {"forgot": forgot}}))
    assert code == ExitCode.DONE
    ledger = opened(tmp_path)
    gates = [r.facts for r in ledger.stages("gate")]
    assert [facts["decision"] for facts in gates] == ["promote", "hold", "promote"]
    assert said in gates[1]["sentence"]
    assert [facts["retention"]["general"]["agreement"]["value"] for facts in gates] == [
        1.0,
        0.0 if forgot > 0.5 else 1.0,
        1.0,
    ]
    for record in ledger.stages("evaluate"):
        found = list(rows(ledger.tables(record, "general"), General))
        assert len(found) == record.facts["general"]["n"] == 70
    assert ledger.stages("evaluate")[0].facts["general"]["perplexity"] == pytest.approx(1.1052, abs=1e-4)
    dropped = [d for r in ledger.stages("intake") for d in rows(ledger.tables(r, "dropped"), Dropped)]
    assert [d.reason for d in dropped] == ["matches_general"]
    assert examine(str(tmp_path / "run")).findings == []


def test_a_task_that_is_lost_is_told_from_one_that_may_be(tmp_path: Path) -> None:
    config = write(tmp_path, run__iterations=4, gate__margin=0.3)
    lost = {2: {"skill": 0.9}, 3: {"skill": 0.65}, 4: {"skill": 0.3}}
    finished(config, engines=Talkers(), trainer=Forgetful(lost))
    gates = [r.facts for r in opened(tmp_path).stages("gate")]
    assert [facts["decision"] for facts in gates] == ["promote", "promote", "hold", "hold"]
    table = [facts["retention"]["tasks"]["letters"] for facts in gates]
    assert [(row["version"], row["state"]) for row in table[2:]] == [(2, "unclear"), (2, "lost")]
    assert table[3]["budget"] == 0.3
    assert gates[3]["sentence"].startswith("Held: what earlier weights could do is lost: letters -")
    view = RunView(record.to_json() for record in opened(tmp_path).live)
    assert status(view)["retention"] == gates[3]["retention"]
    with (console := open_console()).capture() as shown:
        print_status(console, view)
    assert "of version 2" in shown.get()
    page = render(view, [])
    assert "What was learned before" in page
    assert "On 70 general prompts the answers agree to 100.0 %" in page
