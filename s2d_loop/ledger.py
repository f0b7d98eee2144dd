"""What happened, in order, durably: the only authority on a run's state.

The ledger is a sequence of small immutable records, `ledger/00000001.json` and on.  Each is published
by a conditional create and carries the digest of the one before it, so a run has one history.
A driver first appends a `lease` record.  Whoever appends next wins: a driver that finds its next
number taken by somebody else has lost its lease and can't commit any more.  No clock is involved.

A record is never altered, but an operator's `forget` or `rollback` can make earlier ones void: they stay
as history and no longer count.  `stage`, `stages`, `last` and `live` see only what counts.

A stage writes its tables under an attempt id of its own; they count from the moment a `stage` record
names them, with sizes and checksums.  Readers find files through records, never by listing.  What is
removed again is first named in a `swept` record, so that what is lost can be told from what was let go.
"""

import contextlib
import hashlib
import io
import json
import uuid
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import IO, Any, Protocol

import pyarrow as pa
import pyarrow.parquet as pq

from s2d_loop import table_files
from s2d_loop.arrow import completed, schema
from s2d_loop.commits import (
    FORMAT,
    VOIDING,
    Counts,
    File,
    Kind,
    LedgerError,
    Record,
    check_size,
    digest_of,
    folder_of,
    parse,
    path_of,
    render,
)
from s2d_loop.errors import LostLeaseError
from s2d_loop.store import ExistsError, Store, shortened
from s2d_loop.table_files import ROWS_PER_GROUP, TableError, TableWriter

__all__ = [
    "FORMAT",
    "ROWS_PER_GROUP",
    "Attempt",
    "Clock",
    "Counts",
    "File",
    "Ledger",
    "LedgerError",
    "Record",
]

_BEFORE = {
    "probe": "intake",
    "triage": "intake",
    "generate": "intake",
    "curate": "generate",
    "pool": "curate",
    "train": "pool",
    "gate": "evaluate",
    "attribute": "gate",
    "promote": "gate",
}
"""What a stage can't be without, in what counts."""


class Clock(Protocol):
    """Time, injected so that a whole run can be simulated."""

    def now(self) -> float:
        """Seconds since the epoch; for people to read, never to decide who holds a lease."""

    def monotonic(self) -> float: ...

    def sleep(self, seconds: float) -> None: ...


class Attempt:
    """One try at a stage: its files have names that no other try uses.

    The id begins with the number of the driver's lease: whatever has an earlier one and no record is
    left over.
    """

    def __init__(self, store: Store, iteration: int, stage: str, lease: int = 0) -> None:
        self.id = f"{lease:05d}-{uuid.uuid4().hex[:12]}"
        self.iteration = iteration
        self.stage = stage
        self.files: list[File] = []
        self._store = store

    @property
    def folder(self) -> str:
        """Where this attempt writes, relative to the root."""
        return folder_of(self.iteration, self.stage, self.id)

    @contextlib.contextmanager
    def writer(self, name: str, schema: pa.Schema) -> Iterator["TableWriter"]:
        """One Parquet file of the attempt, written table by table."""
        path = f"{self.folder}/{name}.parquet"
        with self._store.writing(path) as file:
            with pq.ParquetWriter(file, schema, compression="zstd") as parquet:
                writer = TableWriter(parquet)
                yield writer
                writer.flush()
            self.files.append(File(name, path, writer.rows, file.size, file.sha256()))

    def write(self, name: str, table: pa.Table) -> None:
        """One Parquet file of the attempt, in one go."""
        with self.writer(name, table.schema) as writer:
            writer.write(table)

    def write_text(self, name: str, text: str) -> None:
        """A file for people beside the tables; nothing reads it back."""
        with self._store.writing(f"{self.folder}/{name}") as file:
            file.write(text.encode())


class Ledger:
    """The records of a run, and the right to append to them."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self.store = store
        self.records: list[Record] = []
        """Everything that ever happened, what is void included."""
        self.lease = 0
        """The number of the lease that was taken here; 0 while none was."""
        self._clock = clock
        self._head = ""
        self._void: set[int] = set()
        self._stages: dict[tuple[int, str], Record] = {}
        self._swept: set[str] = set()
        self._sound: set[str] = set()
        self.refresh()
        self._find_gap()

    def refresh(self) -> None:
        """Read whatever was appended since.

        Raises:
            LedgerError: a record is damaged, out of order, or of another format, or rests on what isn't there.
        """
        known = len(self.records)
        while (data := self.store.read(path := path_of(len(self.records) + 1))) is not None:
            where = f"{self.store.root}/{path}"
            self._add(parse(data, len(self.records) + 1, self._head, where), data)
        self._check_stages(self.records[known:])

    @property
    def live(self) -> list[Record]:
        """The records that count, oldest first."""
        return [r for r in self.records if r.seq not in self._void]

    def stage(self, iteration: int, stage: str) -> Record | None:
        """The committed record of a stage, if there is one."""
        return self._stages.get((iteration, stage))

    def stages(self, stage: str) -> list[Record]:
        """All committed records of a stage, oldest first."""
        return [r for r in self._stages.values() if r.stage == stage]

    def last(self, kind: Kind) -> Record | None:
        """The newest record of a kind."""
        return next((r for r in reversed(self.live) if r.kind == kind), None)

    def swept(self, path: str) -> bool:
        """Whether a file or folder was removed on purpose, by itself or with a folder above it."""
        parts = path.split("/")
        return any("/".join(parts[:end]) in self._swept for end in range(1, len(parts) + 1))

    def holds(self, record: Record, table: str) -> bool:
        """Whether a table of a stage was committed and not swept since."""
        return any(file.table == table and not self.swept(file.path) for file in record.files)

    def attempt(self, iteration: int, stage: str) -> Attempt:
        """A new try at a stage, under this driver's lease."""
        return Attempt(self.store, iteration, stage, self.lease)

    def take_lease(self) -> None:
        """Become this run's driver; another that still runs loses its lease by this."""
        self.lease = self.append("lease").seq

    def check_lease(self) -> None:
        """Raises LostLeaseError when somebody else has appended: whatever this driver does is for nothing."""
        if self.store.read(path_of(len(self.records) + 1)) is not None:
            raise self._lost_lease()

    def append(
        self,
        kind: Kind,
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
        data = render(record)
        check_size(data, f"{self.store.root}/{path_of(record.seq)}")
        try:
            self.store.create(path_of(record.seq), data)
        except ExistsError:
            # An answer can get lost on the way: if what is there is ours, the create had won.
            if self.store.read(path_of(record.seq)) != data:
                raise self._lost_lease() from None
        self._add(record, data)
        return record

    def _lost_lease(self) -> LostLeaseError:
        return LostLeaseError(
            f"{self.store.root}: another driver took this run over; this one stops. "
            "Nothing is lost: whatever it had not committed is redone there."
        )

    def tables(self, record: Record, table: str, columns: Sequence[str] | None = None) -> Iterator[pa.Table]:
        """The committed rows of one table of a stage, in order, a row group at a time.

        Args:
            columns: all that is read of them; `a.b` is field b of column a.

        Raises:
            LedgerError: a file is missing, its bytes changed since the commit, or it isn't this table.
        """
        for file in record.files:
            if file.table == table:
                self._check(file)
                with self._opened(file) as handle, self._told(file):
                    yield from table_files.groups(handle, table, columns)

    def read(self, record: Record, table: str, of: type) -> pa.Table:
        """The same as one table of a carrier's rows."""
        found = (completed(each, of) for each in self.tables(record, table))
        return pa.concat_tables([schema(of).empty_table(), *found])

    def _check(self, file: File) -> None:
        """Compare a table with its record, once in a process: committed files never change."""
        if file.path in self._sound:
            return
        with self._opened(file) as handle, self._told(file):
            if not _unchanged(handle, file):
                raise LedgerError(
                    f"{self.store.root}: {file.path} is damaged: its bytes changed since the commit. "
                    "Restore the file, or start a run in a new run.dir."
                )
            table_files.check(handle, file.rows)
        self._sound.add(file.path)

    @contextlib.contextmanager
    def _told(self, file: File) -> Iterator[None]:
        try:
            yield
        except TableError as error:
            raise LedgerError(
                f"{self.store.root}: {file.path} {shortened(str(error), 300)}: "
                "the run was altered; go back to a copy of it"
            ) from error

    @contextlib.contextmanager
    def _opened(self, file: File) -> Iterator[IO[bytes]]:
        if self.swept(file.path):
            raise LedgerError(f"{self.store.root}: {file.path} is no longer kept: it was swept")
        try:
            with self.store.reading(file.path) as handle:
                yield handle
        except FileNotFoundError as error:
            raise LedgerError(f"{self.store.root}: {file.path} was committed and is missing") from error

    def _add(self, record: Record, data: bytes) -> None:
        self.records.append(record)
        self._head = digest_of(data)
        if record.kind in VOIDING:
            self._void.update(record.facts["void"])
            self._stages = {at: r for at, r in self._stages.items() if r.seq not in self._void}
        elif record.kind == "stage":
            self._stages[record.iteration, record.stage] = record
        elif record.kind == "swept":
            self._swept.update(record.facts["paths"])

    def _check_stages(self, added: Sequence[Record]) -> None:
        """Raises LedgerError for a stage that counts without the one that it read."""
        voided = any(record.kind in VOIDING for record in added)
        first_new = added[0].seq if added and not voided else 0
        stages = self._stages.items() if added else ()
        for (iteration, stage), record in stages:
            if record.seq < first_new:
                continue
            before = _BEFORE.get(stage, "heldout" if iteration == 0 else "train")
            if stage not in ("heldout", "intake") and (iteration, before) not in self._stages:
                raise self._without(record, f"{before} of round {iteration}")
            for first, last in record.facts["training_rounds"] if stage == "pool" else ():
                if last > iteration:
                    raise self._without(record, f"round {last}")
                for each in range(first, last + 1):
                    if (each, "generate") not in self._stages:
                        raise self._without(record, f"generate of round {each}")
            if stage == "curate":
                made, judged = (
                    self._stages[iteration, "generate"].rows("generations"),
                    record.rows("verdicts"),
                )
                if made != judged:
                    raise self._without(record, f"generations of its {judged} verdicts, but {made},")

    def _without(self, record: Record, what: str) -> LedgerError:
        return LedgerError(
            f"{self.store.root}/{path_of(record.seq)} is the {record.stage} of round {record.iteration}, and there "
            f"is no {what} before it: the run was altered; go back to a copy of it"
        )

    def _find_gap(self) -> None:
        """Raises LedgerError where records lie behind a missing one: appending would fork the history."""
        names = [name for name in self.store.list("ledger") if name[:1].isdigit()]
        while names and path_of(len(self.records)) < f"ledger/{max(names)}":
            before = len(self.records)
            self.refresh()
            if len(self.records) == before:
                raise LedgerError(
                    f"{self.store.root}/{path_of(before + 1)} is missing, and {max(names)} is there: "
                    "restore it from a copy of the run"
                )


def _unchanged(handle: IO[bytes], file: File) -> bool:
    """Whether a file is the committed one; where its size differs nothing is read, however large it is."""
    if handle.seek(0, io.SEEK_END) != file.size:
        return False
    handle.seek(0)
    sha256 = hashlib.sha256()
    while chunk := handle.read(1 << 20):
        sha256.update(chunk)
    return sha256.hexdigest() == file.sha256
