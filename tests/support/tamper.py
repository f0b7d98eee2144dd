"""A forger's tools: change a finished run so that every checksum is right again.

What is left to find is then the broken promise itself, not the damage.
"""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

Row = dict[str, Any]


def records(run: Path) -> list[Row]:
    """The records as they are stored."""
    return [json.loads(path.read_text())["record"] for path in sorted(run.glob("ledger/*.json"))]


def write_ledger(run: Path, rows: list[Row]) -> None:
    """The records in this order, numbered, chained and with their checksums."""
    for path in run.glob("ledger/*.json"):
        path.unlink()
    head = ""
    for number, row in enumerate(rows, 1):
        row |= {"seq": number, "prev": head}
        data = canonical({"record": row, "sha256": hashlib.sha256(canonical(row)).hexdigest()})
        (run / f"ledger/{number:08d}.json").write_bytes(data)
        head = hashlib.sha256(data).hexdigest()


def canonical(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True).encode()


def change_record(run: Path, stage: str, change: Callable[[Row], None], iteration: int = 2) -> None:
    """Change a stage's record and forge the rest of the ledger after it."""
    rows = records(run)
    change(find(rows, stage, iteration))
    write_ledger(run, rows)


def change_table(
    run: Path, stage: str, name: str, change: Callable[[list[Row]], list[Row]], iteration: int = 2
) -> None:
    """Change the rows of a committed table, and its record with it (but not the record's counts)."""
    rows = records(run)
    (file,) = [f for f in find(rows, stage, iteration)["files"] if f["table"] == name]
    path = run / file["path"]
    old = pq.read_table(path)
    new = pa.Table.from_pylist(change(old.to_pylist()), schema=old.schema)
    pq.write_table(new, path)
    data = path.read_bytes()
    file |= {"rows": new.num_rows, "size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    write_ledger(run, rows)


def replace_file(run: Path, path: str, data: bytes, rows: int) -> None:
    """Put other bytes in place of a committed table, and forge every record that names it."""
    (run / path).write_bytes(data)
    said = {"rows": rows, "size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    ledger = records(run)
    for file in (file for row in ledger for file in row["files"] if file["path"] == path):
        file |= said
    write_ledger(run, ledger)


def write_labels(run: Path, rater: str, rows: list[Row]) -> None:
    """A rater's labels in this order, numbered, chained and with their checksums."""
    folder = run / "labels" / rater
    folder.mkdir(parents=True, exist_ok=True)
    head = ""
    for number, row in enumerate(rows, 1):
        row |= {"seq": number, "prev": head}
        data = canonical({"label": row, "sha256": hashlib.sha256(canonical(row)).hexdigest()})
        (folder / f"{number:08d}.json").write_bytes(data)
        head = hashlib.sha256(data).hexdigest()


def find(rows: list[Row], stage: str, iteration: int) -> Row:
    return next(r for r in rows if (r["stage"], r["iteration"]) == (stage, iteration))
