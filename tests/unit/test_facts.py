"""What a record holds is checked once, as it is read: the file, the key, what is there and what is wanted."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from s2d_loop import commits
from s2d_loop.clock import SystemClock
from s2d_loop.commits import LedgerError, parse
from s2d_loop.facts import problem
from s2d_loop.labels import LabelError, answer_digest, read_labels
from s2d_loop.ledger import Counts, Ledger
from s2d_loop.store import LocalStore
from tests.support.tamper import records, write_labels, write_ledger

ROW: dict[str, Any] = {
    "seq": 1,
    "kind": "stage",
    "iteration": 1,
    "stage": "train",
    "attempt": "00001-0123456789ab",
    "time": "",
    "seconds": 1.5,
    "counts": {"in": 1, "out": 1, "dropped": {}},
    "files": [{"table": "weights", "path": "weights/x/a", "rows": 0, "size": 1, "sha256": ""}],
    "facts": {
        "weights": {"path": "weights/x", "digest": "d"},
        "start": "s",
        "start_version": 0,
        "losses": [0.5, float("nan")],
        "said": {"anything": [None]},
    },
    "nonce": "0",
    "prev": "",
    "format": 2,
}


def changed(path: str, value: object) -> dict[str, Any]:
    row = copy.deepcopy(ROW)
    *outer, last = path.split(".")
    holder: Any = row
    for key in outer:
        holder = holder[int(key) if isinstance(holder, list) else key]
    if value is KeyError:
        del holder[last]
    else:
        holder[last] = value
    return row


def nested(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


def test_a_record_of_a_loop_has_no_problem() -> None:
    assert problem(ROW) is None


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ("facts.weights", KeyError, "lacks facts.weights"),
        ("facts.weights.path", 3, "has 3 as facts.weights.path, and a valid string is wanted"),
        ("facts.start_version", "0", "has '0' as facts.start_version, and a valid integer is wanted"),
        ("facts.start_version", True, "has True as facts.start_version, and a valid integer is wanted"),
        ("facts.losses", ["x"], "has 'x' as facts.losses.0, and a valid number is wanted"),
        ("facts", [], "has [] as facts, and a valid dictionary is wanted"),
        ("iteration", -1, "has -1 as iteration"),
        ("iteration", 10**12, "as iteration"),
        ("seconds", float("nan"), "has nan as seconds"),
        ("counts", {"in": 1, "out": 1}, "lacks counts.dropped"),
        ("counts.dropped", {"x": 1.5}, "has 1.5 as counts.dropped.x"),
        ("files.0.path", "../x", "'../x' is not a path inside of a run's root"),
        ("files.0.path", "weights/\ud800", "is not a path inside of a run's root"),
        ("files.0.path", "weights/" + "x" * 300, "is not a path inside of a run's root"),
        ("files.0.size", None, "has None as files.0.size"),
        ("kind", "guess", "is of a kind that no record has: 'guess train'"),
        ("stage", "guess", "is of a kind that no record has: 'stage guess'"),
        ("kind", "swept", "is of a kind that no record has: 'swept train'"),
        ("facts.said", 10**400, "holds a number of 403 digits, which no figure is"),
        ("facts.said", float("inf"), "holds the number inf, which no figure is"),
        ("facts.said", nested(60), "holds values in more than 50 others"),
    ],
)
def test_what_no_record_holds_is_named_by_its_key(path: str, value: object, said: str) -> None:
    found = problem(changed(path, value))
    assert found is not None
    assert said in found
    assert len(found) < 300


@pytest.mark.parametrize(
    ("stage", "facts", "said"),
    [
        ("pool", {"training_rounds": [[1]]}, "facts.training_rounds.0"),
        ("gate", {"decision": "perhaps"}, "'promote', 'hold' or 'ask' is wanted"),
        ("gate", {"by_task": {"t": {"low": None}}}, "facts.by_task.t.low"),
        ("curate", {"by_task": {"t": {"entropy": "high"}}}, "facts.by_task.t.entropy"),
        ("evaluate", {"by_task": {"t": {"system1": {"tokens": -1}}}}, "facts.by_task.t.system1.tokens"),
        ("intake", {"cursors": {"s": []}}, "facts.cursors.s"),
        ("attribute", {"named": "s"}, "facts.named"),
    ],
)
def test_each_stage_has_the_facts_that_its_readers_rest_on(
    stage: str, facts: dict[str, Any], said: str
) -> None:
    whole: dict[str, dict[str, Any]] = {
        "pool": {"new": 0, "training": 0, "training_by_source": {}, "training_rounds": []},
        "gate": {"decision": "hold", "sentence": ""},
        "curate": {"by_task": {"t": {"entropy": None, "dropped": {"tie": 1}}}},
        "evaluate": {"weights": "w", "by_task": {"t": {"system1": None}}},
        "intake": {"cursors": {}, "sources": {}, "exhausted": []},
        "attribute": {"named": []},
    }
    row = {**ROW, "stage": stage, "files": []}
    assert problem({**row, "facts": whole[stage]}) is None
    assert said in (problem({**row, "facts": whole[stage] | facts}) or "")
    for name in whole[stage] if stage != "curate" else ():
        missing = {key: value for key, value in whole[stage].items() if key != name}
        assert name == "by_task" or problem({**row, "facts": missing}) == f"lacks facts.{name}"


def test_a_record_that_is_refused_is_named_with_its_file(tmp_path: Path) -> None:
    ledger = Ledger(LocalStore(str(tmp_path)), SystemClock())
    ledger.take_lease()
    ledger.append("stopped", facts={"why": "asked", "last": ""})
    rows = records(tmp_path)
    rows[1]["facts"] = {"why": ["asked"]}
    write_ledger(tmp_path, rows)
    with pytest.raises(
        LedgerError, match=r"ledger/00000002\.json has \['asked'\] as facts\.why, and .* altered"
    ):
        Ledger(LocalStore(str(tmp_path)), SystemClock())


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"[" * 100_000, "damaged"),
        (b'{"record": ' + b'{"a":' * 500 + b"1" + b"}" * 500 + b', "sha256": ""}', "damaged|checksum"),
        (b"[" + b"0," * 1_000_001 + b"0]", "is too large"),
        (b" " * (65 << 20), "is too large"),
    ],
    ids=["deep", "nested", "many", "long"],
)
def test_a_record_that_would_take_far_more_than_its_bytes_is_refused(data: bytes, said: str) -> None:
    with pytest.raises(LedgerError, match=said):
        parse(data, 1, "", "here")


def test_a_record_that_could_not_be_read_again_is_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commits, "MOST_VALUES", 1000)
    ledger = Ledger(LocalStore(str(tmp_path)), SystemClock())
    ledger.take_lease()
    with pytest.raises(LedgerError, match="is too large"):
        ledger.append("swept", facts={"paths": [""] * 1001})
    assert len(Ledger(LocalStore(str(tmp_path)), SystemClock()).records) == 1


TAKEN: dict[str, Any] = {"cursors": {}, "sources": {}, "exhausted": []}


def test_a_stage_that_rests_on_what_is_not_there_is_refused(tmp_path: Path) -> None:
    ledger = Ledger(LocalStore(str(tmp_path)), SystemClock())
    ledger.take_lease()
    ledger.append("stage", attempt=ledger.attempt(1, "intake"), counts=Counts(0, 0), facts=TAKEN)
    made = {"version": 0, "weights": "w"}
    ledger.append("stage", attempt=ledger.attempt(1, "generate"), counts=Counts(0, 0), facts=made)
    assert len(Ledger(ledger.store, SystemClock()).records) == 3
    rows = records(tmp_path)
    del rows[1]
    write_ledger(tmp_path, rows)
    with pytest.raises(
        LedgerError, match=r"00000002\.json is the generate of round 1, and there is no intake"
    ):
        Ledger(ledger.store, SystemClock())


@pytest.mark.parametrize("last", [2, 10**7])
def test_rounds_that_a_pool_drew_from_are_there(tmp_path: Path, last: int) -> None:
    """Readers go through them one by one: a stranger can name ten million."""
    ledger = Ledger(LocalStore(str(tmp_path)), SystemClock())
    ledger.take_lease()
    facts: dict[str, dict[str, Any]] = {
        "intake": TAKEN,
        "generate": {"version": 0, "weights": "w"},
        "curate": {},
        "pool": {"new": 0, "training": 0, "training_by_source": {}, "training_rounds": [[1, last]]},
    }
    for stage, each in facts.items():
        ledger.append("stage", attempt=ledger.attempt(1, stage), counts=Counts(0, 0), facts=each)
    with pytest.raises(LedgerError, match=f"the pool of round 1, and there is no round {last}"):
        Ledger(ledger.store, SystemClock())


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("said", "perhaps", "said: "),
        ("said", ["right"], "said: "),
        ("input_id", {}, "input_id: "),
        ("shown", [1], "shown.0: |shown: "),
        ("said", "right", "says what no label says"),
        ("format", 7, "has format 7"),
    ],
)
def test_a_label_that_no_rater_gave_is_named(tmp_path: Path, key: str, value: object, said: str) -> None:
    store = LocalStore(str(tmp_path))
    labels = read_labels(store)
    labels.append("ada", input_id="s:f#0", task="t", said="none", shown=[answer_digest("a")], time="")
    path = tmp_path / "labels/ada/00000001.json"
    row = json.loads(path.read_bytes())["label"]
    write_labels(tmp_path, "ada", [row])
    assert read_labels(store).raters == ["ada"]
    write_labels(tmp_path, "ada", [row | {key: value}])
    with pytest.raises(LabelError, match=f"00000001.json.*({said})"):
        read_labels(store)
