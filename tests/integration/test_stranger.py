"""A run directory from a stranger: nothing in it is executed, and no path in it leads out.

A stranger can forge every checksum (as `tests/support/tamper.py` does), so what protects here is what is
read and how, never that the ledger says so.
"""

import pickletools
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from s2d_loop.clock import SystemClock
from s2d_loop.doctor import examine
from s2d_loop.errors import S2DError
from s2d_loop.ledger import Ledger
from s2d_loop.loop import run_loop
from s2d_loop.retention import tidy
from s2d_loop.store import LocalStore
from tests.support.runs import finished
from tests.support.scripted import letters_config, scripted_run, words, write_questions
from tests.support.tamper import Row, find, records, write_ledger

OUTSIDE = [
    "../outside",
    "../../outside/x",
    "weights/..",
    "weights/../../outside",
    "/tmp",
    "data//x",
    "a\0b",
    ".",
]
OTHERS = ["ledger", "config.yaml", "ledger/00000001.json"]


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("stranger")
    write_questions(folder / "stream.jsonl", words(1, 16))
    write_questions(folder / "heldout.jsonl", words(2, 4))
    finished(letters_config(folder, run__inputs_per_iteration=8, traces__keep="all"))
    (folder / "outside").mkdir()
    (folder / "outside/precious").write_text("mine")
    return folder


@pytest.fixture
def folder(original: Path, tmp_path: Path) -> Path:
    shutil.copytree(original, tmp_path / "copy", symlinks=True)
    return tmp_path / "copy"


def is_pickle(data: bytes) -> bool:
    """Whether `pickle.loads` would run it."""
    try:
        return any(opcode.name == "STOP" for opcode, _, _ in pickletools.genops(data))
    except Exception:
        return False


def test_no_file_of_a_run_is_a_pickle_or_hides_one(original: Path) -> None:
    for path in (p for p in (original / "run").rglob("*") if p.is_file()):
        assert not zipfile.is_zipfile(path), path
        assert not is_pickle(path.read_bytes()), path
        assert path.suffix in {".json", ".parquet", ".yaml", ".md", ".html", ".safetensors"}, path


def test_this_test_knows_a_pickle_when_it_sees_one(tmp_path: Path) -> None:
    import pickle

    assert all(is_pickle(pickle.dumps({"x": [1]}, protocol=each)) for each in range(6))
    assert not is_pickle(b'{"x": 1}')


def file_path(stage: str, table: str) -> Callable[[list[Row], str], None]:
    def change(rows: list[Row], path: str) -> None:
        (file,) = [each for each in find(rows, stage, 1)["files"] if each["table"] == table]
        file["path"] = path

    return change


def weights_path(rows: list[Row], path: str) -> None:
    for stage in ("train", "promote"):
        record = find(rows, stage, 1)
        folder = record["facts"]["weights"]["path"]
        record["facts"]["weights"]["path"] = path
        for file in record["files"]:
            file["path"] = file["path"].replace(folder, path)


@pytest.mark.parametrize("path", OUTSIDE)
@pytest.mark.parametrize(
    "change",
    [
        file_path("evaluate", "scored"),
        file_path("intake", "inputs"),
        file_path("pool", "examples"),
        file_path("train", "weights"),
        weights_path,
    ],
    ids=["evaluate", "intake", "pool", "train", "weights"],
)
def test_no_path_of_a_record_is_followed_out_of_the_root(
    folder: Path, change: Callable[[list[Row], str], None], path: str
) -> None:
    """The second round reads all of these; the run stops with words, and what is outside stays as it is."""
    run = folder / "run"
    rows = [row for row in records(run) if row["iteration"] < 2 and row["kind"] != "finished"]
    change(rows, path)
    write_ledger(run, rows)
    before = {each: each.read_bytes() for each in (folder / "outside").rglob("*")}
    with pytest.raises(S2DError):
        run_loop(scripted_run(letters_config(folder, run__inputs_per_iteration=8)))
    assert {each: each.read_bytes() for each in (folder / "outside").rglob("*")} == before
    assert (run / "ledger").is_dir()
    assert examine(str(run)).findings


@pytest.mark.parametrize("path", [*OUTSIDE, *OTHERS])
def test_no_swept_record_removes_what_is_outside(folder: Path, path: str) -> None:
    run = folder / "run"
    rows = records(run)
    swept = {**rows[-1], "kind": "swept", "facts": {"paths": [path]}, "nonce": "0"}
    write_ledger(run, [*rows, swept])
    ledger = Ledger(LocalStore(str(run)), SystemClock())
    ledger.take_lease()
    with pytest.raises(S2DError):
        tidy(ledger, run / "weights")
    assert (folder / "outside/precious").read_text() == "mine"
    assert (run / "ledger/00000001.json").is_file()
    assert (run / "weights").is_dir()


@pytest.mark.parametrize("name", ["data", "weights", "ledger"])
def test_no_folder_that_is_a_link_is_written_through(folder: Path, name: str) -> None:
    run = folder / "run"
    shutil.move(run / name, folder / "outside" / name)
    (run / name).symlink_to(folder / "outside" / name)
    before = sorted((folder / "outside").rglob("*"))
    with pytest.raises(S2DError, match="symbolic link"):
        run_loop(scripted_run(letters_config(folder, run__inputs_per_iteration=8, run__iterations=3)))
    assert sorted((folder / "outside").rglob("*")) == before
