"""What there is to judge a run by, and how it is read: by the formats, with nothing of the loop's own code."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any

from benchmarks.simulation.tables import ParquetFile

Stage = Mapping[str, Any]
"""A record of the ledger, as it is stored."""


@dataclass
class History:
    """What drivers were told: `(driver, sequence number, nonce)` of every append that succeeded."""

    appended: list[tuple[str, int, str]] = field(default_factory=list)


@dataclass(frozen=True)
class Exit:
    """How a driver ended by itself, and whether the ledger said then that the run is finished."""

    driver: str
    status: int | None
    finished: bool


@dataclass(frozen=True)
class Evidence:
    """What there is to judge by; paths are relative to the run's root."""

    files: Mapping[str, bytes]
    history: History
    exits: Sequence[Exit]
    inputs: Mapping[str, bytes]
    """Files of the watched folder, as they are in the end."""
    heldout: Sequence[str]
    """Prompts that must never train."""
    all_taken: bool = False
    """Whether every row should have been taken by now."""


def read_ledger(files: Mapping[str, bytes]) -> Iterator[dict[str, Any]]:
    """The chain of records; ValueError where it is broken."""
    previous = ""
    names = sorted(path for path in files if path.startswith("ledger/") and path.endswith(".json"))
    names = [name for name in names if not name.startswith("ledger/.")]
    for number, name in enumerate(names, 1):
        if name != f"ledger/{number:08d}.json":
            raise ValueError(f"{name} where record {number} should be")
        envelope = json.loads(files[name])
        record = envelope["record"]
        if hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest() != envelope["sha256"]:
            raise ValueError(f"{name}: wrong checksum")
        if (record["seq"], record["prev"]) != (number, previous):
            raise ValueError(f"{name} doesn't follow the record before it")
        previous = hashlib.sha256(files[name]).hexdigest()
        yield record


def live(records: Sequence[Stage]) -> list[Stage]:
    """The records that count, oldest first."""
    void = {seq for each in records for seq in each["facts"].get("void", [])}
    return [each for each in records if each["seq"] not in void]


def stages_of(records: Sequence[Stage]) -> list[Stage]:
    return [each for each in live(records) if each["kind"] == "stage"]


def rows_of(stage: Stage, table: str, files: Mapping[str, bytes]) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for file in stage["files"]:
        if file["table"] == table and file["path"] in files:
            rows += ParquetFile(BytesIO(files[file["path"]])).read().to_pylist()
    return rows


def key_of(stage: Stage) -> tuple[int, str]:
    return stage["iteration"], stage["stage"]
