"""What a ledger is made of: its records, and their bytes.

`ledger` appends and reads them; whoever checks a run from outside needs nothing but this module.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from s2d_loop.errors import S2DError
from s2d_loop.facts import MOST_VALUES, problem
from s2d_loop.store import MOST_READ, shortened

FORMAT = 2
"""Version of the record format; another one is refused by its number."""

Kind = Literal[
    "run",
    "lease",
    "stage",
    "checkpoint",
    "trial",
    "finished",
    "forget",
    "rollback",
    "release",
    "promote",
    "collapsed",
    "swept",
    "stopped",
    "stalled",
]
"""`run` holds the configuration, `lease` begins a driver, `stage` commits a stage's tables, `checkpoint`
names one of a training under way by its digest, `trial` commits what was measured of weights that stage
`attribute` trained without one source, `finished` ends a run.  `forget`, `rollback` and `promote` are an
operator's, `collapsed` is the stop rule's; their `void` lists the numbers of the records that no longer count.
`release` is an operator's too: it lifts a quarantine.  `swept` names the `paths` that are removed after it.
`stopped` and `stalled` say
why a driver left.
"""
SERVING = ("rollback", "promote", "collapsed")
"""Kinds of records that put a version in service from a round on, beside the stage `promote`."""
VOIDING = ("forget", *SERVING)
"""Kinds of records that make earlier ones void."""


class LedgerError(S2DError):
    """A record or a committed file is damaged or missing."""


@dataclass(frozen=True, slots=True)
class Counts:
    """A stage's balance: what went in came out or was dropped for a reason."""

    into: int
    out: int
    dropped: Mapping[str, int] = field(default_factory=dict)

    def check(self, stage: str) -> None:
        """Raises AssertionError when rows vanished or appeared."""
        assert self.into == self.out + sum(self.dropped.values()), f"{stage}: the counts don't add up: {self}"


@dataclass(frozen=True, slots=True)
class File:
    """A committed file: a Parquet table, named by `table`, or (`weights`, no rows) a file of a model directory."""

    table: str
    path: str
    rows: int
    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Record:
    """One entry of the ledger.  `facts` are a stage's figures, as plain JSON."""

    seq: int
    kind: str
    iteration: int
    stage: str
    attempt: str
    time: str
    seconds: float
    counts: Counts
    files: tuple[File, ...]
    facts: Mapping[str, Any]
    nonce: str
    prev: str
    format: int = FORMAT

    @property
    def folder(self) -> str:
        """Where its attempt wrote, relative to the root."""
        return folder_of(self.iteration, self.stage, self.attempt)

    def rows(self, table: str) -> int:
        """How many rows of a table it commits."""
        return sum(file.rows for file in self.files if file.table == table)

    def to_json(self) -> dict[str, Any]:
        """The record as it is stored, without its checksum."""
        row = asdict(self)
        row["counts"]["in"] = row["counts"].pop("into")
        return row


def folder_of(iteration: int, stage: str, attempt: str) -> str:
    """Where an attempt writes, relative to the root."""
    return f"data/{iteration:05d}/{stage}-{attempt}"


def path_of(seq: int) -> str:
    """Where a record is published, relative to the root."""
    return f"ledger/{seq:08d}.json"


def digest_of(data: bytes) -> str:
    """A record's digest, which the next one carries."""
    return hashlib.sha256(data).hexdigest()


def render(record: Record) -> bytes:
    """The bytes of a record.  They are canonical: nothing else reads back as the same record."""
    row = record.to_json()
    return _canonical({"record": row, "sha256": digest_of(_canonical(row))})


def parse(data: bytes, seq: int, prev: str, where: str) -> Record:
    """The record that `render` gave `data` for, which must be number `seq` and follow `prev`.

    Raises:
        LedgerError: it is damaged, in another place, of another format, or holds what no record of a run holds.
    """
    check_size(data, where)
    try:
        envelope = json.loads(data)
        row = envelope["record"]
        intact = envelope["sha256"] == digest_of(_canonical(row))
        number = 1 if isinstance(row, str) else row["format"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise _damaged(where, shortened(str(error))) from error
    if number == 1:
        raise LedgerError(
            f"{where} has format 1, which this s2d no longer reads: start a run in a new run.dir, "
            "or go on with the version that began this one"
        )
    if not intact:
        raise _damaged(where, "its checksum is wrong")
    if number != FORMAT:
        number = shortened(str(number))
        raise LedgerError(f"{where} has format {number}; this s2d reads {FORMAT}: use the one that wrote it")
    if wrong := problem(row):
        raise LedgerError(f"{where} {wrong}: the run was altered; go back to a copy of it")
    try:
        record = _record(row)
        canonical = render(record) == data
    except TypeError as error:
        raise _damaged(where, shortened(str(error))) from error
    if not canonical:
        raise _damaged(where, "its bytes are not those that were written")
    if (record.seq, record.prev) != (seq, prev):
        raise LedgerError(f"{where} doesn't follow the record before it: the ledger was altered")
    return record


def check_size(data: bytes, where: str) -> None:
    """Raises LedgerError for a record that is too large to be read, so also to be written."""
    values = sum(map(data.count, (b",", b"[", b"{")))
    if len(data) > MOST_READ or values > MOST_VALUES:
        raise LedgerError(
            f"{where} is too large: {len(data)} bytes and {values} values or more, and a record has at most "
            f"{MOST_READ} and {MOST_VALUES}"
        )


def _record(row: Mapping[str, Any]) -> Record:
    counts = dict(row["counts"])
    counts["into"] = counts.pop("in")
    files = tuple(File(**file) for file in row["files"])
    return Record(**{**row, "counts": Counts(**counts), "files": files})


def _canonical(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True).encode()


def _damaged(where: str, how: str) -> LedgerError:
    return LedgerError(f"{where} is damaged ({how}); restore it from a copy of the run")
