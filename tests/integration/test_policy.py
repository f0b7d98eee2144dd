"""A task that doesn't distil, beside one that does: what is retired, what is served, and what people read."""

import json
from collections import Counter
from pathlib import Path

import pytest

from s2d_loop.clock import SystemClock
from s2d_loop.config import Config
from s2d_loop.doctor import examine
from s2d_loop.ledger import Ledger
from s2d_loop.operate.service import roll_back
from s2d_loop.records import Reply, Request
from s2d_loop.report.status import status
from s2d_loop.report.view import RunView
from s2d_loop.store import LocalStore
from tests.support.runs import finished
from tests.support.scripted import ScriptedEngines, ScriptedModel, letters_config, words, write_questions

STUBBORN = "Without a word: "


class StubbornModel(ScriptedModel):
    """Some questions it only answers in two steps, whatever it was trained on."""

    async def __call__(self, request: Request) -> Reply:
        reply = await super().__call__(request)
        asked = request.messages[-1].content
        if asked.startswith(STUBBORN) and "rephrase the question" not in asked:
            return Reply('"zz"', num_tokens=4, weights=reply.weights)
        return reply


class StubbornEngines(ScriptedEngines):
    def serve(self, weights) -> None:  # type: ignore[no-untyped-def]
        if self._model is None or self._model.weights != weights:
            self._model = StubbornModel(weights)
            self.served.append(weights.digest)


def write(folder: Path) -> Config:
    """Nine rounds of the tasks `letters`, which distils, and `stubborn`, which doesn't."""
    for name, seed in (("letters", 1), ("stubborn", 3)):
        write_questions(folder / f"{name}.jsonl", words(seed, 90))
        write_questions(folder / f"{name}-heldout.jsonl", words(seed + 1, 60))
    for name in ("stubborn.jsonl", "stubborn-heldout.jsonl"):
        lines = [json.loads(line) for line in (folder / name).read_text().splitlines()]
        asked = [json.dumps({**line, "prompt": STUBBORN + line["prompt"]}) for line in lines]
        (folder / name).write_text("\n".join(asked) + "\n")
    config = letters_config(folder, run__iterations=9, run__inputs_per_iteration=10)
    tree = config.model_dump()
    task = tree["tasks"]["letters"]
    tree["tasks"] = {
        name: task | {"heldout": task["heldout"] | {"path": str(folder / f"{name}-heldout.jsonl")}}
        for name in ("letters", "stubborn")
    }
    source = tree["sources"][0]
    tree["sources"] = [
        source | {"task": name, "name": name, "path": str(folder / f"{name}.jsonl")}
        for name in ("letters", "stubborn")
    ]
    tree["gate"]["retire"] = {"after_rounds": 2, "closed": 0.2, "retry_every": 3}
    tree["gate"]["margin"] = 1.0
    tree["evaluate"] |= {"system2_samples": 5, "system2_every": 0}
    return Config.model_validate(tree)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("policy")
    finished(write(folder), engines=StubbornEngines())
    return folder / "run"


def opened(run: Path) -> Ledger:
    return Ledger(LocalStore(str(run)), SystemClock())


def test_the_task_that_never_improves_is_retired_and_trains_in_retries_only(run: Path) -> None:
    ledger = opened(run)
    retired = {r.iteration: [each["task"] for each in r.facts["retired"]] for r in ledger.stages("gate")}
    assert retired == {1: [], **{i: ["stubborn"] for i in range(2, 10)}}
    # Retired at the gate of round 2, tried again in rounds 5 and 8.
    pools = {r.iteration: r for r in ledger.stages("pool")}
    assert [i for i, r in pools.items() if r.facts["by_task"].get("stubborn")] == [1, 2, 5, 8]
    assert all(r.facts["by_task"]["letters"] for r in pools.values())
    for iteration, record in pools.items():
        curated = ledger.stage(iteration, "curate")
        assert curated is not None
        kept = curated.facts["by_task"]["stubborn"]["kept"]
        assert record.counts.dropped.get("retired", 0) == (0 if iteration in (1, 2, 5, 8) else kept)
    claimed = sum((Counter(r.facts["by_task"]) for r in ledger.stages("intake")), Counter[str]())
    assert claimed == {"letters": 90, "stubborn": 90}


def test_system_2_is_spared_the_inputs_of_a_retired_task_but_for_the_audit(run: Path) -> None:
    ledger = opened(run)
    asked = {
        r.iteration: r.facts["by_task"].get("stubborn", {}).get("inputs", 0)
        for r in ledger.stages("generate")
    }
    assert [asked[i] for i in (1, 2, 5, 8)] == [10, 10, 10, 10]
    resting = [i for i in asked if i not in (1, 2, 5, 8)]
    for iteration in resting:
        routed = ledger.stage(iteration, "triage")
        assert routed is not None
        assert routed.facts["by_task"]["stubborn"]["routes"].get("audit", 0) == asked[iteration]
        assert routed.counts.dropped["retired"] == 10 - asked[iteration]
    assert sum(asked[i] for i in resting) <= 15
    assert all(ledger.stage(i, "generate").facts["by_task"]["letters"]["inputs"] == 10 for i in asked)  # type: ignore[union-attr]


def test_the_other_task_goes_on_and_is_promoted(run: Path) -> None:
    ledger = opened(run)
    last = ledger.stages("evaluate")[-1].facts["by_task"]["letters"]["system1"]["accuracy"]
    assert last > 0.5
    assert len(ledger.stages("promote")) > 2


def test_the_weights_in_service_say_how_each_task_is_served(run: Path) -> None:
    served = json.loads((run / "serving" / f"{(run / 'promoted').resolve().name}.json").read_text())
    assert served["weights"] == f"weights/{(run / 'promoted').resolve().name}"
    stubborn = served["tasks"]["stubborn"]
    assert stubborn["serve"] == "system2"
    assert [each["votes"] for each in stubborn["system2"]] == [1, 2, 4, 5]
    assert stubborn["votes"] in (1, 2, 4, 5)
    promoted = opened(run).stages("promote")[-1]
    assert promoted.facts["policy"] == served["tasks"]
    start = json.loads((run / "serving/start.json").read_text())
    assert start["tasks"]["letters"]["serve"] == "system2"
    assert (start["version"], start["weights"]) == (0, None)


def test_people_and_programs_read_it_in_the_status(run: Path) -> None:
    ledger = opened(run)
    state = status(RunView(record.to_json() for record in ledger.live))
    assert state["in_service"] == ledger.stages("promote")[-1].iteration
    assert state["tasks"]["stubborn"]["serving"]["serve"] == "system2"
    assert "no longer distilled" in state["tasks"]["stubborn"]["retired"]["sentence"]
    assert state["tasks"]["letters"]["retired"] is None


def test_after_a_rollback_the_policy_is_that_of_the_version_come_back_to(run: Path) -> None:
    ledger = opened(run)
    roll_back(ledger, "5")
    folder = (run / "promoted").resolve().name
    assert folder.startswith("00005-")
    served = json.loads((run / "serving" / f"{folder}.json").read_text())
    assert served["version"] == 5
    state = status(RunView(record.to_json() for record in ledger.live))
    assert state["tasks"]["stubborn"]["serving"] == served["tasks"]["stubborn"]
    assert examine(str(run)).findings == []
