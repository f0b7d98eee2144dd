"""The ledger: every record whole, in order, and of a format that is known here."""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from s2d_loop.doctor.findings import ALTERED, RESTORE, Check
from s2d_loop.doctor.root import RefusedError, Root, inside, read

FORMAT = 2
_NAME = re.compile(r"ledger/(\d{8})\.json")
_FIELDS: dict[str, type | tuple[type, ...]] = {
    "seq": int,
    "kind": str,
    "iteration": int,
    "stage": str,
    "attempt": str,
    "time": str,
    "seconds": (int, float),
    "counts": dict,
    "files": list,
    "facts": dict,
    "nonce": str,
    "prev": str,
    "format": int,
}


Shape = Any
"""The form of a fact: a type; a list of one form; the forms of some keys; or, in a tuple, that of every value."""

_WEIGHTS = {"path": str, "digest": str}
_STAGES: dict[str, dict[str, Shape]] = {
    "intake": {"cursors": (dict,)},
    "triage": {"weights": str},
    "generate": {"weights": str},
    "train": {"weights": _WEIGHTS, "start": str},
    "evaluate": {"weights": str},
    "gate": {"decision": str},
    "attribute": {"named": [str]},
    "promote": {"weights": _WEIGHTS},
}
_SERVING = {"void": [int], "digest": str, "version": int}
_KINDS: dict[str, dict[str, Shape]] = {
    "run": {"start": str},
    "forget": {"void": [int], "source": str},
    "rollback": _SERVING,
    "promote": _SERVING,
    "collapsed": _SERVING,
    "release": {"source": str},
    "swept": {"paths": [str]},
}
"""The facts that the checks rest on, by the kind of a record or by its stage."""
_MOST_VALUES = 1_000_000
"""Values of a record, which take a hundred times their bytes once they are read."""


@dataclass(frozen=True, slots=True)
class File:
    """A committed table."""

    table: str
    path: str
    rows: int
    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Entry:
    """A record of the ledger; `path` is its own file."""

    path: str
    seq: int
    kind: str
    iteration: int
    stage: str
    attempt: str
    into: int
    out: int
    dropped: Mapping[str, int]
    files: tuple[File, ...]
    facts: Mapping[str, Any]

    @property
    def where(self) -> str:
        """The record as a person names it."""
        return f"{self.stage} of round {self.iteration}" if self.stage else self.kind

    def tables(self, name: str) -> list[File]:
        return [file for file in self.files if file.table == name]


def read_ledger(root: Root, check: Check) -> list[Entry]:
    """The records up to the first that is damaged: what stands behind it can't be trusted."""
    entries: list[Entry] = []
    head = ""
    while True:
        path = record_path(len(entries) + 1)
        try:
            data = read(root, path)
            if data is None:
                break
            check.looked += 1
            entries.append(entry_of(path, data, len(entries) + 1, head))
        except DamagedError as damage:
            check.found(path, str(damage), damage.remedy)
            break
        except RefusedError as error:
            check.found(path, f"can't be read: {error}", RESTORE)
            break
        head = hashlib.sha256(data).hexdigest()
    if not entries and not check.findings:
        check.found(record_path(1), "is missing: there is no ledger", RESTORE)
    _behind(root, check, len(entries) + 1 + bool(check.findings))
    return entries


def record_path(seq: int) -> str:
    return f"ledger/{seq:08d}.json"


class DamagedError(Exception):
    """What is wrong with a record, and what to do about it."""

    def __init__(self, what: str, remedy: str = RESTORE) -> None:
        super().__init__(what)
        self.remedy = remedy


def _behind(root: Root, check: Check, following: int) -> None:
    """Records that stand behind a gap, which a reader would never see."""
    beyond = []
    for path, _ in root.files():
        name = _NAME.fullmatch(path)
        if name and int(name[1]) >= following:
            beyond.append(path)
    if beyond:
        missing = record_path(following - 1 if check.findings else following)
        what = "is missing or damaged" if check.findings else "is missing"
        check.found(beyond[0], f"{len(beyond)} records stand behind {missing}, which {what}", RESTORE)


def _record(data: bytes) -> dict[str, Any]:
    """The record in its envelope: byte for byte what writing it again would give."""
    if sum(map(data.count, (b",", b"[", b"{"))) > _MOST_VALUES:
        raise DamagedError(f"holds more than {_MOST_VALUES:,} values, which no record of a run does", ALTERED)
    try:
        envelope = json.loads(data)
        record = envelope["record"]
        number = 1 if isinstance(record, str) else record["format"]
        intact = hashlib.sha256(canonical(record)).hexdigest() == envelope["sha256"]
        same = canonical({"record": record, "sha256": envelope["sha256"]}) == data
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise DamagedError(f"is damaged: it isn't a record ({type(error).__name__})") from error
    if type(number) is int and number < FORMAT:
        raise DamagedError(
            f"has format {number}, which is older than the {FORMAT} that is known here",
            "check the run with the version that wrote it",
        )
    if not intact:
        raise DamagedError("is damaged: its checksum is wrong")
    if number != FORMAT:
        raise DamagedError(
            f"has format {number}, which is newer than the {FORMAT} that is known here",
            "check the run with the version that wrote it",
        )
    if not same:
        raise DamagedError("is damaged: its bytes aren't those that were written")
    return dict(record)


def canonical(value: Any) -> bytes:
    """The one way in which a value is written."""
    return json.dumps(value, sort_keys=True).encode()


def entry_of(path: str, data: bytes, seq: int, prev: str) -> Entry:
    """The record in a file's bytes, which must be number `seq` and follow `prev`; DamagedError otherwise."""
    record = _record(data)
    wrong = [
        name
        for name, kind in _FIELDS.items()
        if not isinstance(record.get(name), kind) or isinstance(record[name], bool)
    ]
    if wrong:
        raise DamagedError(f"isn't a record: {', '.join(wrong)} missing or of another type", ALTERED)
    if (record["seq"], record["prev"]) != (seq, prev):
        raise DamagedError("doesn't follow the record before it", ALTERED)
    try:
        counts = record["counts"]
        files = tuple(File(**{name: each[name] for name in File.__slots__}) for each in record["files"])
        for file in files:
            if not all(isinstance(text, str) for text in (file.table, file.path, file.sha256)):
                raise TypeError("a file without a name")
            inside(file.path)
        numbers = [counts["in"], counts["out"], *counts["dropped"].values()]
        numbers += [n for file in files for n in (file.rows, file.size)]
        if any(type(n) is not int or n < 0 for n in numbers):
            raise ValueError("a count that is no count")
        wanted = (
            _STAGES.get(record["stage"], {}) if record["kind"] == "stage" else _KINDS.get(record["kind"], {})
        )
        for name, shape in wanted.items():
            if not _fits(record["facts"].get(name), shape):
                raise ValueError(f"facts.{name} is missing or of another form")
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DamagedError(f"holds what no record of a run holds: {str(error)[:200]}", ALTERED) from error
    return Entry(
        path=path,
        into=counts["in"],
        out=counts["out"],
        dropped=counts["dropped"],
        files=files,
        facts=record["facts"],
        **{name: record[name] for name in ("seq", "kind", "iteration", "stage", "attempt")},
    )


def _fits(value: Any, shape: Shape) -> bool:
    if isinstance(shape, list):
        return isinstance(value, list) and all(_fits(each, shape[0]) for each in value)
    if isinstance(shape, tuple):
        return isinstance(value, dict) and all(_fits(each, shape[0]) for each in value.values())
    if isinstance(shape, dict):
        return isinstance(value, dict) and all(_fits(value.get(name), each) for name, each in shape.items())
    return type(value) is shape
