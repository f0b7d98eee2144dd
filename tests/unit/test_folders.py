"""The one place that removes folders: only the project's own names, and never through a link."""

import ast
from pathlib import Path

import pytest

import s2d_loop
from s2d_loop.folders import NotOursError, is_weights, make, remove

OWN = [
    "00001-00002-0123456789ab",
    "00001-00002-0123456789ab.partial-01234567",
    ".00001-00002-0123456789ab.0123456789ab",
    ".scratch-00001",
    ".scratch-00001-without-my.source_2",
    ".scratch-00001-without-~",
    "20261127-120000",
    "20261127-120000-12",
    ".gsm8k.partial-01234567",
    "model.old-01234567",
]
STRANGE = [
    *("weights", "x", "..", ".scratch", ".scratch-1", "00001", "00001-00002-0123456789AB"),
    *("x00001-00002-0123456789ab", "00001-00002-0123456789abc", "00001-00002-0123456789ab.partial-x"),
    *("20261127", "latest", ".partial-01234567", ".scratch-00001-without-a b", "00001-00002-0123456789ab\n"),
]


def filled(folder: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / "file").write_text("precious")
    return folder


@pytest.mark.parametrize("name", OWN)
def test_what_the_project_made_goes(tmp_path: Path, name: str) -> None:
    remove(filled(tmp_path / name))
    assert not list(tmp_path.iterdir())
    remove(tmp_path / name)


@pytest.mark.parametrize("name", STRANGE)
def test_nothing_of_another_name_goes(tmp_path: Path, name: str) -> None:
    filled(tmp_path / "base")
    folder = tmp_path / "base" / name
    (folder if name == ".." else filled(folder)).joinpath("file").write_text("precious")
    with pytest.raises(NotOursError, match="not removed"):
        remove(folder)
    assert (folder / "file").read_text() == "precious"


def test_a_link_or_a_file_in_its_place_is_left_and_named(tmp_path: Path) -> None:
    precious = filled(tmp_path / "precious")
    for name in OWN:
        (tmp_path / name).symlink_to(precious, target_is_directory=True)
        for change in (remove, make):
            with pytest.raises(NotOursError, match=f"{name}: it is a link"):
                change(tmp_path / name)
    file = tmp_path / ".scratch-00007"
    file.write_text("precious")
    for change in (remove, make):
        with pytest.raises(NotOursError, match="it is no folder"):
            change(file)
    assert file.read_text() == (precious / "file").read_text() == "precious"


def test_a_link_inside_goes_and_what_it_leads_to_stays(tmp_path: Path) -> None:
    precious = filled(tmp_path / "precious")
    (filled(tmp_path / OWN[0]) / "link").symlink_to(precious)
    remove(tmp_path / OWN[0])
    assert (precious / "file").exists()


def test_a_folder_is_made_for_its_user_alone_and_kept_if_it_is_there(tmp_path: Path) -> None:
    scratch = tmp_path / ".scratch-00001"
    make(scratch)
    assert scratch.stat().st_mode & 0o777 == 0o700
    (scratch / "file").write_text("x")
    make(scratch)
    assert (scratch / "file").exists()


def test_weights_are_named_by_round_and_attempt() -> None:
    assert [is_weights(name) for name in OWN] == [True] + [False] * (len(OWN) - 1)
    assert not any(map(is_weights, STRANGE))


def test_nothing_else_in_the_package_removes_folders() -> None:
    """Whoever needs to remove one asks this module, or a store, which keeps to its root."""
    allowed = {"folders.py", "store.py"}
    root = Path(s2d_loop.__file__).parent
    found = {
        f"{path.relative_to(root)}:{node.lineno}"
        for path in root.rglob("*.py")
        if path.relative_to(root).as_posix() not in allowed
        for node in ast.walk(ast.parse(path.read_text()))
        if (isinstance(node, ast.Attribute) and node.attr in ("rmtree", "removedirs", "rmdir"))
        or (isinstance(node, ast.alias) and node.name in ("rmtree", "removedirs", "rmdir"))
    }
    assert not found
