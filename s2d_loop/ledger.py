"""What happened, in order, durably: the only authority on a run's state.

The ledger is a sequence of small immutable records, `ledger/00000001.json` and on.  Each is published
by a conditional create and carries the digest of the one before it, so a run has one history.
A driver first appends a `lease` record.  Whoever appends next wins: a driver that finds its next
number taken by somebody else has lost its lease and can't commit any more.  No clock is involved.

A stage writes its tables under an attempt id of its own; they count from the moment a `stage` record
names them, with sizes and checksums.  Readers find files through records, never by listing.
"""

import contextlib
import hashlib
import json
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.parquet as pq

from s2d_loop.errors import LostLeaseError, S2DError
from s2d_loop.store import ExistsError, Store

FORMAT = 1
"""Version of the record format; a newer one is refused by its number."""


class Clock(Protocol):
    """Time, injected so that a whole run can be simulated."""

    def now(self) -> float:
        """Seconds since the epoch; for people to read, never to decide who holds a lease."""

    def monotonic(self) -> float: ...


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
    """A committed Parquet file; `table` names what it holds."""

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

    def to_json(self) -> dict[str, Any]:
        """The record as it is stored, without its checksum."""
        row = asdict(self)
        row["counts"]["in"] = row["counts"].pop("into")
        return row


class Attempt:
    """One try at a stage: its files have names that no other try uses."""

    def __init__(self, store: Store, iteration: int, stage: str) -> None:
        self.id = uuid.uuid4().hex[:12]
        self.iteration = iteration
        self.stage = stage
        self.files: list[File] = []
        self._store = store

    @property
    def folder(self) -> str:
        """Where this attempt writes, relative to the root."""
        return f"data/{self.iteration:05d}/{self.stage}-{self.id}"

    @contextlib.contextmanager
    def writer(self, name: str, schema: pa.Schema) -> Iterator["TableWriter"]:
        """One Parquet file of the attempt, written table by table."""
        path = f"{self.folder}/{name}.parquet"
        with self._store.writing(path) as file:
            with pq.ParquetWriter(file, schema, compression="zstd") as parquet:
                writer = TableWriter(parquet)
                yield writer
            self.files.append(File(name, path, writer.rows, file.size, file.sha256()))

    def write(self, name: str, table: pa.Table) -> None:
        """One Parquet file of the attempt, in one go."""
        with self.writer(name, table.schema) as writer:
            writer.write(table)

    def write_text(self, name: str, text: str) -> None:
        """A file for people beside the tables; nothing reads it back."""
        with self._store.writing(f"{self.folder}/{name}") as file:
            file.write(text.encode())


class TableWriter:
    """A Parquet file under way."""

    def __init__(self, parquet: pq.ParquetWriter) -> None:
        self._parquet = parquet
        self.rows = 0

    def write(self, table: pa.Table) -> None:
        self._parquet.write_table(table)
        self.rows += table.num_rows


class Ledger:
    """The records of a run, and the right to append to them."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self.store = store
        self._clock = clock
        self._head = ""
        self.records: list[Record] = []
        self.refresh()

    def refresh(self) -> None:
        """Read whatever was appended since.

        Raises:
            LedgerError: a record is damaged, out of order, or of a newer format.
        """
        while (data := self.store.read(_path(len(self.records) + 1))) is not None:
            self.records.append(_parse(data, len(self.records) + 1, self._head, self.store.root))
            self._head = hashlib.sha256(data).hexdigest()

    def stage(self, iteration: int, stage: str) -> Record | None:
        """The committed record of a stage, if there is one."""
        for record in reversed(self.records):
            if record.kind == "stage" and (record.iteration, record.stage) == (iteration, stage):
                return record
        return None

    def stages(self, stage: str) -> list[Record]:
        """All committed records of a stage, oldest first."""
        return [r for r in self.records if r.kind == "stage" and r.stage == stage]

    def last(self, kind: str) -> Record | None:
        """The newest record of a kind."""
        return next((r for r in reversed(self.records) if r.kind == kind), None)

    def take_lease(self) -> None:
        """Become this run's driver; another that still runs loses its lease by this."""
        self.append("lease")

    def check_lease(self) -> None:
        """Raises LostLeaseError when somebody else has appended: whatever this driver does is for nothing."""
        if self.store.read(_path(len(self.records) + 1)) is not None:
            raise self._lost_lease()

    def append(
        self,
        kind: str,
        *,
        attempt: Attempt | None = None,
        seconds: float = 0.0,
        counts: Counts | None = None,
        facts: Mapping[str, Any] | None = None,
    ) -> Record:
        """Publish one record.

        Raises:
            LostLeaseError: somebody else appended first.
        """
        counts = counts or Counts(0, 0)
        counts.check(attempt.stage if attempt else kind)
        record = Record(
            seq=len(self.records) + 1,
            kind=kind,
            iteration=attempt.iteration if attempt else 0,
            stage=attempt.stage if attempt else "",
            attempt=attempt.id if attempt else "",
            time=datetime.fromtimestamp(self._clock.now(), UTC).isoformat(timespec="seconds"),
            seconds=round(seconds, 3),
            counts=counts,
            files=tuple(attempt.files) if attempt else (),
            facts=json.loads(json.dumps(facts or {})),
            nonce=uuid.uuid4().hex,
            prev=self._head,
        )
        data = _render(record)
        try:
            self.store.create(_path(record.seq), data)
        except ExistsError:
            # An answer can get lost on the way: if what is there is ours, the create had won.
            if self.store.read(_path(record.seq)) != data:
                raise self._lost_lease() from None
        self.records.append(record)
        self._head = hashlib.sha256(data).hexdigest()
        return record

    def _lost_lease(self) -> LostLeaseError:
        return LostLeaseError(
            f"{self.store.root}: another driver took this run over; this one stops. "
            "Nothing is lost: whatever it had not committed is redone there."
        )

    def tables(self, record: Record, table: str) -> Iterator[pa.Table]:
        """The committed rows of one table of a stage, in order, in batches.

        Raises:
            LedgerError: a file is missing or its bytes changed since the commit.
        """
        for file in record.files:
            if file.table == table:
                self._check(file)
                with self.store.reading(file.path) as handle:
                    for batch in pq.ParquetFile(handle).iter_batches(batch_size=4096):
                        yield pa.Table.from_batches([batch])

    def read(self, record: Record, table: str, schema: pa.Schema) -> pa.Table:
        """The same as one table."""
        return pa.concat_tables([schema.empty_table(), *self.tables(record, table)])

    def _check(self, file: File) -> None:
        sha256 = hashlib.sha256()
        try:
            with self.store.reading(file.path) as handle:
                while chunk := handle.read(1 << 20):
                    sha256.update(chunk)
        except FileNotFoundError as error:
            raise LedgerError(f"{self.store.root}: {file.path} was committed and is missing") from error
        if sha256.hexdigest() != file.sha256:
            raise LedgerError(
                f"{self.store.root}: {file.path} is damaged: its bytes changed since the commit. "
                "Restore the file, or start a run in a new run.dir."
            )


def _path(seq: int) -> str:
    return f"ledger/{seq:08d}.json"


def _render(record: Record) -> bytes:
    body = json.dumps(record.to_json(), sort_keys=True)
    return json.dumps({"sha256": hashlib.sha256(body.encode()).hexdigest(), "record": body}).encode()


def _parse(data: bytes, seq: int, prev: str, root: str) -> Record:
    where = f"{root}/{_path(seq)}"
    try:
        envelope = json.loads(data)
        body = envelope["record"]
        intact = hashlib.sha256(body.encode()).hexdigest() == envelope["sha256"]
        row = json.loads(body)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise LedgerError(f"{where} is damaged ({error}); restore it from a copy of the run") from error
    if not intact:
        raise LedgerError(f"{where} is damaged: its checksum is wrong; restore it from a copy of the run")
    if row["format"] > FORMAT:
        raise LedgerError(
            f"{where} has format {row['format']}; this s2d reads up to {FORMAT}: use the newer one"
        )
    if (row["seq"], row["prev"]) != (seq, prev):
        raise LedgerError(f"{where} doesn't follow the record before it: the ledger was altered")
    row["counts"]["into"] = row["counts"].pop("in")
    row["counts"] = Counts(**row["counts"])
    row["files"] = tuple(File(**file) for file in row["files"])
    return Record(**row)
