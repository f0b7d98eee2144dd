"""Judges a run from its history alone: the bytes in the store, what drivers were told, how they ended.

It shares nothing with the loop but the formats, and reads them by itself.  `violations` says what must
never be; `digest` what must be equal to an undisturbed run's.
"""

import hashlib
import itertools
import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from benchmarks.simulation.evidence import (
    Evidence,
    History,
    Stage,
    key_of,
    live,
    read_ledger,
    rows_of,
    stages_of,
)
from benchmarks.simulation.model import by

ROUND = ("intake", "probe", "triage", "generate", "curate", "pool", "train", "evaluate", "gate", "promote")
FLOW = ("intake", "triage", "generate", "curate", "pool")
"""The stages through which a round's inputs go, one after the other; a round may have no triage."""
DONE = (0, 3)
LOST_LEASE = 5
SERVING = ("rollback", "promote", "collapsed")
_UNEQUAL = ("tokens_per_second", "seconds")
"""Figures that depend on the clock."""


def violations(evidence: Evidence) -> list[str]:
    """What should not have happened, in words; nothing after a fault that explains the rest."""
    try:
        records = list(read_ledger(evidence.files))
        stages = stages_of(records)
        found = [
            *_acknowledged(records, evidence.history),
            *_exits(records, evidence),
            *_once_and_in_order(stages),
            *_counted(stages),
            *_files(records, stages, evidence.files),
        ]
        return found or [
            *_taken_once(stages, evidence),
            *_made_by_the_right_weights(records, evidence.files),
            *_trained_on_what_was_kept(stages, evidence),
        ]
    except (KeyError, ValueError, IndexError, StopIteration, RuntimeError, AssertionError) as error:
        return [f"the run can't be read: {type(error).__name__}: {error}"]


def digest(files: Mapping[str, bytes]) -> str:
    """Of all that must be equal whatever happened on the way: not times, attempts' names and nonces."""
    stages = stages_of(list(read_ledger(files)))
    attempts = re.compile("|".join(each["attempt"] for each in stages) or "-")
    hasher = hashlib.sha256()
    for each in stages:
        facts = {key: value for key, value in each["facts"].items() if key not in _UNEQUAL}
        tables = [(file["table"], file["rows"], file["sha256"]) for file in each["files"]]
        row = [each["iteration"], each["stage"], each["counts"], tables, facts]
        hasher.update(attempts.sub("*", json.dumps(row, sort_keys=True)).encode())
    return hasher.hexdigest()


def finished(files: Mapping[str, bytes]) -> bool:
    return any(record["kind"] == "finished" for record in read_ledger(files))


def _acknowledged(records: Sequence[Stage], history: History) -> Iterator[str]:
    """Whoever was told that a record is his was told the truth, and nobody else was."""
    there = {each["seq"]: each["nonce"] for each in records}
    owners: dict[int, set[str]] = {}
    for driver, seq, nonce in history.appended:
        if there.get(seq) != nonce:
            yield f"{driver} was told that record {seq} is committed, and it is lost"
        owners.setdefault(seq, set()).add(driver)
    for seq, names in owners.items():
        if len(names) > 1:
            yield f"record {seq} was given to {' and '.join(sorted(names))}"


def _exits(records: Sequence[Stage], evidence: Evidence) -> Iterator[str]:
    over = [each for each in records if each["kind"] == "finished"]
    if len(over) > 1:
        yield f"the run finished {len(over)} times"
    for each in evidence.exits:
        driver, status = each.driver, each.status
        if status in DONE and not each.finished:
            yield f"{driver} ended with status {status}, and the run wasn't finished"
        if status in DONE and over and (status == 3) != over[-1]["facts"]["held"]:
            yield f"{driver} ended with status {status}, the run with held={over[-1]['facts']['held']}"
        if status == LOST_LEASE:
            mine = [seq for name, seq, _ in evidence.history.appended if name == driver]
            if mine and max(mine) == len(records):
                yield f"{driver} lost its lease, and nobody took it"


def _once_and_in_order(stages: Sequence[Stage]) -> Iterator[str]:
    twice = [key for key, count in Counter(map(key_of, stages)).items() if count > 1]
    if twice:
        yield f"committed more than once: {twice}"
    places = [
        (each["iteration"], 0 if each["iteration"] == 0 else ROUND.index(each["stage"])) for each in stages
    ]
    if places != sorted(places):
        yield f"out of order: {[key_of(each) for each in stages]}"


def _counted(stages: Sequence[Stage]) -> Iterator[str]:
    by_key = {key_of(each): each["counts"] for each in stages}
    for key, counts in by_key.items():
        if counts["in"] != counts["out"] + sum(counts["dropped"].values()):
            yield f"{key}: the counts don't add up: {counts}"
    for iteration in sorted({iteration for iteration, _ in by_key}):
        there = [stage for stage in FLOW if (iteration, stage) in by_key]
        for before, after in itertools.pairwise(there):
            gave, took = by_key[iteration, before]["out"], by_key[iteration, after]["in"]
            if gave != took:
                yield f"round {iteration}: {before} gave {gave}, {after} took {took}"


def _files(records: Sequence[Stage], stages: Sequence[Stage], files: Mapping[str, bytes]) -> Iterator[str]:
    """What was committed is there, unless a record let it go; what the next round starts from always is."""
    let_go = [path for each in records if each["kind"] == "swept" for path in each["facts"]["paths"]]
    for each in stages:
        for file in each["files"]:
            data = files.get(file["path"])
            if data is None and not any(f"{file['path']}/".startswith(f"{path}/") for path in let_go):
                yield f"{file['path']} was committed and is gone"
            if data is not None and hashlib.sha256(data).hexdigest() != file["sha256"]:
                yield f"{file['path']} was committed and is damaged"
    serving = _in_service(records)
    for each in stages:
        if key_of(each) == (serving, "train"):
            for file in each["files"]:
                if file["path"] not in files:
                    yield f"{file['path']} is in service and was let go"


def _in_service(records: Sequence[Stage]) -> int:
    """The round whose weights were promoted last, or come back to."""
    serving = 0
    for each in live(records):
        if each["kind"] in SERVING:
            serving = each["facts"]["version"]
        elif each["stage"] == "promote":
            serving = each["iteration"]
    return serving


def _taken_once(stages: Sequence[Stage], evidence: Evidence) -> Iterator[str]:
    """Rows are delivered one after the other, none skipped or repeated, each with the outcome it should have."""
    following: Counter[str] = Counter()
    seen: set[str] = set()
    cursors: dict[str, int] = {}
    for each in stages:
        if each["stage"] != "intake":
            continue
        for name, row, outcome in _delivered(each, evidence.files):
            if row != following[name]:
                yield f"round {each['iteration']}: took {name}#{row} where #{following[name]} comes next"
                return
            following[name] += 1
            wanted = _outcome(evidence.inputs[name].splitlines()[row], seen, evidence.heldout)
            if outcome != wanted:
                yield f"round {each['iteration']}: {name}#{row} is {outcome}, and should be {wanted}"
        for cursor in each["facts"]["cursors"].values():
            cursors |= {name: shard["row"] for name, shard in cursor["shards"].items()}
        if any(following[name] != row for name, row in cursors.items()):
            yield f"round {each['iteration']}: the cursors are at {cursors}, what was taken at {dict(following)}"
    if evidence.all_taken:
        for name, data in evidence.inputs.items():
            if (there := len(data.splitlines())) != following[name]:
                yield f"{name} has {there} rows, and {following[name]} were taken"


def _outcome(line: bytes, seen: set[str], heldout: Sequence[str]) -> str:
    try:
        prompt = json.loads(line)["prompt"]
    except ValueError:
        return "unreadable"
    if prompt in heldout:
        return "matches_heldout"
    if prompt in seen:
        return "duplicate"
    seen.add(prompt)
    return "taken"


def _delivered(intake: Stage, files: Mapping[str, bytes]) -> Iterator[tuple[str, int, str]]:
    """The rows of a round in the order in which they came: file, row, outcome."""
    others: dict[int, tuple[str, int, str]] = {}
    for row in rows_of(intake, "rejects", files):
        others[row["place"]] = (row["file"], row["row"], "unreadable")
    for row in rows_of(intake, "dropped", files):
        others[row["place"]] = (*_origin(row["input"]["id"]), row["reason"])
    taken = iter(rows_of(intake, "inputs", files))
    for place in range(intake["counts"]["in"]):
        yield others.pop(place) if place in others else (*_origin(next(taken)["id"]), "taken")
    assert not others, f"rows beyond what was delivered: {others}"


def _origin(input_id: str) -> tuple[str, int]:
    name, _, row = input_id.removeprefix("stream:").rpartition("#")
    return name, int(row)


def _made_by_the_right_weights(records: Sequence[Stage], files: Mapping[str, bytes]) -> Iterator[str]:
    """What every answer says about who gave it, against who should have."""
    start = next((each["facts"]["weights"] for each in records if key_of(each) == (0, "evaluate")), None)
    promoted = start
    trained: dict[int, str] = {}
    for each in live(records):
        if each["kind"] in SERVING:
            promoted = each["facts"]["digest"] or start
        if each["kind"] != "stage":
            continue
        iteration, stage = key_of(each)
        wanted = promoted
        if stage == "train":
            trained[iteration] = each["facts"]["weights"]["digest"]
            if each["facts"]["start"] != promoted:
                yield f"round {iteration}: training started from {each['facts']['start']}, not {promoted}"
        elif stage == "promote":
            promoted = each["facts"]["weights"]["digest"]
            if promoted != trained.get(iteration):
                yield f"round {iteration}: promoted {promoted}, trained {trained.get(iteration)}"
        elif stage == "evaluate":
            wanted = trained[iteration] if iteration else promoted
            said = [row["text"] for row in rows_of(each, "scored", files)]
        elif stage == "generate":
            rows = [row for row in rows_of(each, "generations", files) if not row["error"]]
            said = [sample["text"] for row in rows for sample in row["samples"]]
        if stage in ("evaluate", "generate"):
            strangers = [text for text in said if by(str(wanted)) not in text]
            if strangers:
                yield f"round {iteration}: {stage} should be {by(str(wanted))}, and holds {strangers[0]!r}"


def _trained_on_what_was_kept(stages: Sequence[Stage], evidence: Evidence) -> Iterator[str]:
    kept: set[str] = set()
    pooled: set[str] = set()
    unknown = False  # retention has let verdicts go
    for each in stages:
        if each["stage"] == "curate":
            verdicts = list(rows_of(each, "verdicts", evidence.files))
            unknown = unknown or not verdicts
            kept |= {row["input"]["id"] for row in verdicts if row["reason"] == "kept"}
        if each["stage"] == "pool":
            new = list(rows_of(each, "examples", evidence.files))
            training = list(rows_of(each, "training", evidence.files))
            if again := pooled & {row["id"] for row in new}:
                yield f"round {each['iteration']}: in the pool already: {again}"
            pooled |= {row["id"] for row in new}
            for row in training:
                if (row["input_id"] not in kept and not unknown) or row["id"] not in pooled:
                    yield f"round {each['iteration']} trains on {row['id']}, which was not kept"
                if row["prompt"][-1]["content"] in evidence.heldout:
                    yield f"round {each['iteration']} trains on a held-out input"
        if each["stage"] == "train" and training and each["counts"]["in"] != len(training):
            yield f"round {each['iteration']}: trained on {each['counts']['in']} rows of {len(training)}"
