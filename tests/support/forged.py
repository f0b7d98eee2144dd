"""A finished run as a stranger would hand it over: files that are none, and records and tables that no loop wrote.

Every checksum fits, as `tamper` sees to it.  What is left is what readers make of it.
"""

import json
import os
import random
import shutil
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tests.support import bombs
from tests.support.runs import finished
from tests.support.scripted import letters_config, words, write_questions
from tests.support.tamper import Row, records, replace_file, write_labels, write_ledger

SPARSE = 200 << 30
GIB = 1 << 30


def make_run(folder: Path) -> Path:
    """Two rounds with every table that a plain run has, and labels of two raters."""
    from s2d_loop.labels import read_labels
    from s2d_loop.store import LocalStore

    write_questions(folder / "stream.jsonl", words(1, 24))
    lines = (folder / "stream.jsonl").read_text().splitlines()
    (folder / "stream.jsonl").write_text("\n".join([*lines[:8], "not json", lines[0], *lines[8:]]) + "\n")
    write_questions(folder / "heldout.jsonl", words(2, 6), labels=False)
    finished(letters_config(folder, run__inputs_per_iteration=8, traces__keep="all"))
    labels = read_labels(LocalStore(str(folder / "run")))
    for rater in ("ada", "bob"):
        for row in range(2):
            labels.append(
                rater, input_id=f"stream:stream.jsonl#{row}", task="letters", said="unsure", time=""
            )
    return folder / "run"


def copy_of(run: Path, folder: Path) -> Path:
    """A copy at `folder/runs/run`, a folder for what commands write, and something precious outside of it."""
    copy = folder / "runs/run"
    shutil.copytree(run, copy, symlinks=True)
    (folder / "out").mkdir()
    (folder / "outside").mkdir()
    (folder / "outside/precious").write_text("mine")
    return copy


def one_of_each(run: Path) -> dict[str, str]:
    """A file of each kind that commands read, by the kind: records by kind and stage, tables by name, labels."""
    found = {}
    for row in records(run):
        found[f"record {row['kind']} {row['stage']}".rstrip()] = f"ledger/{row['seq']:08d}.json"
        for file in row["files"]:
            found[f"table {file['table']}"] = file["path"]
    return found | {"label": "labels/ada/00000001.json", "label behind": "labels/bob/00000002.json"}


def pipe(path: Path, outside: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def unix_socket(path: Path, outside: Path) -> None:
    path.unlink()
    before = Path.cwd()
    os.chdir(path.parent)  # its name may be longer than a socket's can
    try:
        with socket.socket(socket.AF_UNIX) as one:
            one.bind(path.name)
    finally:
        os.chdir(before)


def folder(path: Path, outside: Path) -> None:
    path.unlink()
    path.mkdir()


def link_out(path: Path, outside: Path) -> None:
    """What it leads to is what was there: only that it is a link tells."""
    shutil.move(path, outside / path.name)
    path.symlink_to(outside / path.name)


def link_to_zero(path: Path, outside: Path) -> None:
    path.unlink()
    path.symlink_to("/dev/zero")


def folder_behind_a_link(path: Path, outside: Path) -> None:
    shutil.move(path.parent, outside / path.parent.name)
    path.parent.symlink_to(outside / path.parent.name)


def empty(path: Path, outside: Path) -> None:
    path.write_bytes(b"")


def cut(path: Path, outside: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def sparse(path: Path, outside: Path) -> None:
    os.truncate(path, SPARSE)


KINDS: dict[str, Callable[[Path, Path], None]] = {
    each.__name__: each
    for each in (pipe, unix_socket, folder, link_out, link_to_zero, folder_behind_a_link, empty, cut, sparse)
}
"""What can stand in a file's place; each takes the file, and a folder outside of the run."""


BOMBS = (*bombs.BOMBS, "fitting")


def bomb(run: Path, path: str, name: str) -> None:
    """Put a file that asks for a gigabyte in place of a table, with a record that fits."""
    if name == "fitting":
        _fitting_bomb(run, path)
        return
    data = bombs.BOMBS[name](GIB)
    replace_file(run, path, data, {"large_page": 4, "announced_page": 4, "repeated_text": 1024}.get(name, 1))


def _fitting_bomb(run: Path, path: str) -> None:
    """The table's own columns; one text of a megabyte is that of each of a thousand rows."""
    table = pq.read_table(run / path)
    table = table.take(pa.array([0] * 1024))
    name = next(field.name for field in table.schema if field.type == pa.string())
    texts = pa.DictionaryArray.from_arrays(pa.array([0] * 1024, pa.int32()), ["x" * (GIB >> 10)])
    at = table.schema.get_field_index(name)
    table = table.set_column(at, pa.field(name, texts.type, nullable=False), texts)
    _put(run, path, table, store_schema=False, dictionary_pagesize_limit=GIB)


# Mutations


VALUES: tuple[Any, ...] = (
    None,
    True,
    -1,
    0,
    3,
    10**6,
    2**63,
    10**400,
    0.5,
    -1e308,
    float("nan"),
    float("inf"),
    "",
    "letters",
    "kept",
    "promote",
    "hold",
    "../../outside/precious",
    "/etc/passwd",
    "\x1b[2J\u202e\ud800",
    "a\0b",
    "x" * 5000,
    [],
    [[]],
    [1, 2],
    ["x", None],
    [[1, 10**9]],
    list(range(50)),
    {},
    {"": None},
    {"letters": {"low": None}},
    {"path": "..", "digest": 3},
)


def mutate(run: Path, rng: random.Random) -> str:
    """Change a run in one to three ways; says how."""
    said = []
    changes = [rng.choice(_CHANGES) for _ in range(rng.choice((1, 1, 2, 3)))]
    # What is no file any more can't be changed further.
    last = [_file] if _file in changes else []
    for change in [*(each for each in changes if each is not _file), *last]:
        try:
            said.append(f"{change.__name__} {change(run, rng)}")
        except Exception as error:
            # An earlier change left nothing that this one can be made to.
            said.append(f"{change.__name__} couldn't: {type(error).__name__}")
    return "; ".join(said)


def _fact(run: Path, rng: random.Random) -> str:
    """Another value, or none, somewhere in a record."""
    rows = records(run)
    row = rng.choice(rows)
    places = list(_places(row["facts"] if rng.random() < 0.8 else row))
    holder, key = rng.choice(places or [(row["facts"], "x")])
    action = rng.choice(("set", "set", "set", "delete", "nest"))
    value = rng.choice(VALUES)
    if action == "delete":
        del holder[key]
    elif action == "nest":
        for _ in range(rng.choice((3, 60, 300))):
            value = {"x": value} if rng.random() < 0.5 else [value]
        holder[key] = value
    else:
        holder[key] = value
    write_ledger(run, rows)
    return f"{row.get('kind')} {row.get('stage')} {action} {key!r} {str(value)[:40]!r}"


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every holder in a value, with each of its keys."""
    keys = list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for key in keys:
        yield value, key
        yield from _places(value[key])


def _record(run: Path, rng: random.Random) -> str:
    """A record of another kind, stage, round or folder."""
    rows = records(run)
    row = rng.choice(rows)
    key = rng.choice(("kind", "stage", "iteration", "attempt", "files", "counts", "time", "seconds", "facts"))
    row[key] = rng.choice((rng.choice(rows)[key], rng.choice(VALUES)))
    write_ledger(run, rows)
    return f"{row['seq']} {key} {str(row[key])[:40]!r}"


def _order(run: Path, rng: random.Random) -> str:
    """Records lost, twice, in another order, void or swept."""
    rows = records(run)
    action = rng.choice(("lose", "twice", "swap", "void", "swept", "cut"))
    at = rng.randrange(len(rows))
    numbers = rng.sample(range(1, len(rows) + 3), min(len(rows), 5))
    if action == "lose":
        del rows[at]
    elif action == "twice":
        rows.insert(rng.randrange(len(rows)), json.loads(json.dumps(rows[at])))
    elif action == "swap":
        other = rng.randrange(len(rows))
        rows[at], rows[other] = rows[other], rows[at]
    elif action == "cut":
        rows = rows[: at + 1]
    elif action == "void":
        kind = rng.choice(("rollback", "promote", "collapsed"))
        facts = {
            "void": numbers,
            "version": rng.randrange(4),
            "digest": "",
            "from": 1,
            "sentence": "",
            "round": 1,
        }
        rows.append({**rows[-1], "kind": kind, "stage": "", "files": [], "facts": facts})
    else:
        paths = [file["path"] for row in rng.sample(rows, min(3, len(rows))) for file in row["files"]]
        rows.append({**rows[-1], "kind": "swept", "stage": "", "files": [], "facts": {"paths": paths}})
    write_ledger(run, rows)
    return f"{action} {at}"


def _table(run: Path, rng: random.Random) -> tuple[str, pa.Table]:
    paths = [
        file["path"] for row in records(run) for file in row["files"] if file["path"].endswith(".parquet")
    ]
    path = rng.choice(paths)
    return path, pq.read_table(run / path)


def _put(run: Path, path: str, table: pa.Table, **options: Any) -> None:
    out = pa.BufferOutputStream()
    pq.write_table(table, out, **options)
    replace_file(run, path, out.getvalue().to_pybytes(), table.num_rows)


def _cell(run: Path, rng: random.Random) -> str:
    """Another value of the same type somewhere in a row, or rows lost or twice."""
    path, table = _table(run, rng)
    rows = table.to_pylist()
    action = rng.choice(("set", "set", "set", "lose", "twice", "many"))
    if action == "set":
        holder, key = rng.choice([place for row in rows for place in _places(row)])
        same = [value for value in VALUES if type(value) is type(holder[key])]
        holder[key] = rng.choice([value for value in same if value not in (2**63, 10**400)] or [holder[key]])
        if isinstance(holder[key], str):
            holder[key] = holder[key].encode(errors="replace").decode()
        if isinstance(holder[key], list):
            holder[key] = []
    elif action == "lose":
        del rows[rng.randrange(len(rows))]
    else:
        rows += [rows[0]] * (1 if action == "twice" else 3000)
    _put(run, path, pa.Table.from_pylist(rows, schema=table.schema))
    return f"{path.rpartition('/')[2]} {action}"


def _columns(run: Path, rng: random.Random) -> str:
    """Columns lost, of another type, with nulls, or of text that is none."""
    path, table = _table(run, rng)
    at = rng.randrange(table.num_columns)
    name = table.schema.names[at]
    action = rng.choice(("lose", "null", "integers", "bytes", "dictionary", "rename", "deep"))
    if action == "lose":
        table = table.drop_columns([name])
    elif action == "rename":
        table = table.rename_columns([each + "x" * (n == at) for n, each in enumerate(table.schema.names)])
    else:
        count = table.num_rows
        column = {
            "null": pa.nulls(count, table.schema.field(at).type),
            "integers": pa.array([rng.choice((-1, 0, 2**62))] * count, pa.int64()),
            "bytes": pa.array([b"\xff\x00\x1b"] * count, pa.binary()),
            "dictionary": pa.array(["x"] * count).dictionary_encode(),
            "deep": pa.array([[[["x"]]]] * count),
        }[action]
        table = table.set_column(at, name, column)
    _put(run, path, table)
    return f"{path.rpartition('/')[2]} {action} {name}"


def _bytes(run: Path, rng: random.Random) -> str:
    """Bytes of a table turned or cut, or a bomb in its place; the record fits all the same."""
    path, table = _table(run, rng)
    data = bytearray((run / path).read_bytes())
    action = rng.choice(("turn", "turn", "turn", "footer", "cut", "bomb", "groups"))
    if action == "bomb":
        bomb(run, path, name := rng.choice(BOMBS))
        return f"{path.rpartition('/')[2]} {name}"
    if action == "groups":
        _put(run, path, table, row_group_size=rng.choice((1, 2, 5)))
        return f"{path.rpartition('/')[2]} in small groups"
    if action == "cut":
        data = data[: rng.randrange(len(data))]
    for _ in range(rng.choice((1, 3, 20)) if data else 0):
        first = max(0, len(data) - 3000) if action == "footer" else 0
        data[rng.randrange(first, len(data))] ^= 1 << rng.randrange(8)
    replace_file(run, path, bytes(data), table.num_rows)
    return f"{path.rpartition('/')[2]} {action}"


def _label(run: Path, rng: random.Random) -> str:
    """Another value somewhere in a rater's labels."""
    rater = rng.choice(("ada", "bob", "eve"))
    files = sorted((run / "labels" / rater).glob("*.json")) or sorted((run / "labels/ada").glob("*.json"))
    rows: list[Row] = [json.loads(path.read_text())["label"] for path in files]
    row = rng.choice(rows)
    key = rng.choice(list(row))
    row[key] = rng.choice(VALUES)
    write_labels(run, rater, rows)
    return f"{rater} {key} {str(row[key])[:40]!r}"


def _file(run: Path, rng: random.Random) -> str:
    """Something else in the place of a file."""
    kind, path = rng.choice(list(one_of_each(run).items()))
    how = rng.choice(list(KINDS))
    KINDS[how](run / path, run.parent.parent / "outside")
    return f"{kind} {how}"


_CHANGES = (_fact, _fact, _fact, _record, _order, _cell, _cell, _columns, _bytes, _label, _file)
