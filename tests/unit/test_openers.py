"""The two openers of a run's root, the loop's and the doctor's: plain files below it, by no link, of bounded size."""

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from s2d_loop.doctor import root as doctors
from s2d_loop.object_store import ObjectStore
from s2d_loop.store import MOST_READ, LocalStore, StoreError
from tests.support.hostile import Peak, patient

Read = Callable[[str], bytes | None]


def opened(store: LocalStore, path: str) -> bytes:
    with store.reading(path) as file:
        return file.read(10)


def readers(root: Path) -> dict[str, Read]:
    store, local = LocalStore(str(root)), doctors.Local(str(root))
    return {
        "read": store.read,
        "reading": lambda path: opened(store, path),
        "the doctor's": lambda path: doctors.read(local, path),
    }


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "run/ledger").mkdir(parents=True)
    (tmp_path / "run/ledger/1").write_bytes(b"one")
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/1").write_bytes(b"secret")
    return tmp_path / "run"


def pipe(path: Path) -> None:
    os.mkfifo(path)


def bound(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(os.path.relpath(path))


def folder(path: Path) -> None:
    path.mkdir()


def link_out(path: Path) -> None:
    path.symlink_to(path.parents[2] / "outside/1")


def link_inside(path: Path) -> None:
    path.symlink_to("1")


def device(path: Path) -> None:
    path.symlink_to("/dev/zero")


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (pipe, "is a pipe"),
        (bound, "is a socket"),
        (folder, "is a folder"),
        (link_out, "is a symbolic link"),
        (link_inside, "is a symbolic link"),
        (device, "is a symbolic link"),
    ],
)
def test_anything_but_a_plain_file_is_named_by_what_it_is(
    root: Path, monkeypatch: pytest.MonkeyPatch, make: Callable[[Path], None], said: str
) -> None:
    monkeypatch.chdir(root)
    make(root / "ledger/x")
    for name, read in readers(root).items():
        assert read("ledger/1") == b"one", name
        with patient(5), pytest.raises((StoreError, doctors.RefusedError), match=f"ledger/x'? {said}"):
            read("ledger/x")


@pytest.mark.parametrize("make", [pipe, link_out, lambda path: path.symlink_to(path.parents[1] / "outside")])
def test_no_folder_on_the_way_is_anything_else(root: Path, make: Callable[[Path], None]) -> None:
    (root / "data").mkdir()
    make(root / "data/x")
    for read in readers(root).values():
        with patient(5), pytest.raises((StoreError, doctors.RefusedError), match=r"symbolic link|no folder"):
            read("data/x/1")


def test_a_link_that_is_put_there_between_two_looks_is_not_followed(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stat = os.stat

    def swapped(path: str, **options: object) -> os.stat_result:
        found = stat(path, **options)  # type: ignore[arg-type]
        if path == "1" and not (root / "ledger/1").is_symlink():
            (root / "ledger/1").unlink()
            (root / "ledger/1").symlink_to(root.parent / "outside/1")
        return found

    for name in readers(root):
        (root / "ledger/1").unlink()
        (root / "ledger/1").write_bytes(b"one")
        with monkeypatch.context() as patch:
            patch.setattr(os, "stat", swapped)
            with pytest.raises((StoreError, OSError)):
                readers(root)[name]("ledger/1")


def test_a_file_of_200_gib_of_nothing_is_refused_unread(root: Path) -> None:
    os.truncate(root / "ledger/1", 200 << 30)
    read = readers(root)
    peak = Peak()
    for name in ("read", "the doctor's"):
        with patient(5), pytest.raises((StoreError, doctors.RefusedError), match=r"ledger/1.* bytes"):
            read[name]("ledger/1")
    assert peak.bytes < 8 << 20
    assert read["reading"]("ledger/1") == b"one" + bytes(7)


def test_an_object_of_too_many_bytes_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    store = ObjectStore(f"memory://{tmp_path}")
    monkeypatch.setattr("s2d_loop.object_store.MOST_READ", 10)
    store.create("ledger/1", b"x" * 10)
    store.create("ledger/2", b"x" * 11)
    assert store.read("ledger/1") == b"x" * 10
    with pytest.raises(StoreError, match="ledger/2 has more than 10 bytes"):
        store.read("ledger/2")


def test_nothing_is_written_through_a_link_below_the_root(root: Path) -> None:
    store = LocalStore(str(root))
    (root / "data").symlink_to(root / "ledger")
    for write in (lambda: store.create("data/2", b"x"), lambda: store.writing("data/2").__enter__()):
        with pytest.raises(StoreError, match="data is a symbolic link"):
            write()
    for use in (store.remove, store.local_path, store.list):
        with pytest.raises(StoreError, match="data is a symbolic link"):
            use("data/1" if use != store.list else "data")
    assert [each.name for each in (root / "ledger").iterdir()] == ["1"]


def test_the_link_for_people_is_the_only_one_that_has_a_place(root: Path) -> None:
    store = LocalStore(str(root))
    for name in ("promoted", "other"):
        (root / name).symlink_to("ledger")
    assert store.local_path("promoted") == str(root / "promoted")
    for path in ("other", "promoted/1"):
        with pytest.raises(StoreError, match="symbolic link"):
            store.local_path(path)


def test_most_that_is_read_is_far_more_than_a_record(root: Path) -> None:
    assert doctors.MOST_READ == MOST_READ
    (root / "ledger/1").write_bytes(b"x" * (1 << 20))
    for name in ("read", "the doctor's"):
        assert len(readers(root)[name]("ledger/1") or b"") == 1 << 20
