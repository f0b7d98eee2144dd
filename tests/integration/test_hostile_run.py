"""A stranger's run before every command that only reads: no traceback, no hang, nothing of outside, no memory.

`tests/support/hostile.py` says what is watched.  `benchmarks/hostile.py` goes through far more.
"""

import random
from pathlib import Path

import pytest
from typer.testing import CliRunner

from s2d_loop.cli import app
from s2d_loop.doctor import examine
from tests.support.forged import KINDS, bomb, copy_of, make_run, mutate, one_of_each
from tests.support.hostile import Peak, commands, complaints, snapshot

MOST_MEMORY = 256 << 20


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_run(tmp_path_factory.mktemp("hostile"))


@pytest.fixture
def run(original: Path, tmp_path: Path) -> Path:
    return copy_of(original, tmp_path)


def found(run: Path, *, page: bool = False) -> list[str]:
    """What is wrong with how commands take a run; `report` takes as long as all the others."""
    out = run.parent.parent / "out"
    before = snapshot(run)
    peak = Peak()
    wrong = complaints(run, out, [name for name in commands(run, out) if page or name != "report"])
    if peak.bytes > MOST_MEMORY:
        wrong.append(f"takes {peak.bytes >> 20} MiB")
    assert snapshot(run) == before, "a command that reads has written"
    assert (run.parent.parent / "outside/precious").read_text() == "mine"
    return wrong


def test_an_honest_run_is_read_by_every_command(run: Path) -> None:
    assert found(run, page=True) == []
    for name, args in commands(run, run.parent.parent / "out").items():
        result = CliRunner().invoke(app, args)
        assert result.exit_code == 0, f"{name}: {result.output}"


def test_this_test_knows_what_is_wrong_when_it_sees_it(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from s2d_loop import ledger

    def reads_outside(*_: object) -> None:
        (run.parent.parent / "outside/precious").read_text()
        (run / "left").write_text("")
        (run / "left").unlink()
        raise KeyError("facts")

    monkeypatch.setattr(ledger, "parse", reads_outside)
    wrong = "; ".join(complaints(run, run.parent.parent / "out", ["status"]))
    for each in ("KeyError: 'facts'", "outside/precious", "left to write", "os.remove"):
        assert each in wrong


CASES = [
    ("record run", "pipe"),
    ("record lease", "unix_socket"),
    ("record stage heldout", "folder"),
    ("record stage intake", "link_out"),
    ("record stage probe", "link_to_zero"),
    ("record stage generate", "folder_behind_a_link"),
    ("record stage curate", "empty"),
    ("record stage pool", "cut"),
    ("record stage train", "sparse"),
    ("record stage evaluate", "pipe"),
    ("record stage gate", "sparse"),
    ("record finished", "pipe"),
    ("table heldout", "pipe"),
    ("table inputs", "link_to_zero"),
    ("table dropped", "folder"),
    ("table rejects", "link_out"),
    ("table generations", "sparse"),
    ("table traces", "unix_socket"),
    ("table verdicts", "folder_behind_a_link"),
    ("table examples", "cut"),
    ("table training", "empty"),
    ("table scored", "pipe"),
    ("table weights", "link_out"),
    ("label", "pipe"),
    ("label behind", "sparse"),
]


@pytest.mark.parametrize(("kind", "how"), CASES, ids=lambda each: each.replace(" ", "-"))
def test_what_stands_in_a_file_s_place_is_named_not_followed_nor_waited_for(
    run: Path, kind: str, how: str
) -> None:
    path = one_of_each(run)[kind]
    KINDS[how](run / path, run.parent.parent / "outside")
    assert found(run) == []
    names = {each.file for _, each in examine(str(run)).findings}
    assert names & {path, path.rpartition("/")[0]}, f"the doctor says nothing of {path}: {names}"


def test_each_kind_of_file_and_each_kind_of_thing_is_in_a_case(run: Path) -> None:
    kinds, hows = ({case[n] for case in CASES} for n in (0, 1))
    assert set(one_of_each(run)) - kinds <= {"record stage promote", "record swept"}
    assert hows == set(KINDS)


@pytest.mark.parametrize(
    ("table", "name"),
    [
        *(
            (name, "fitting")
            for name in ("heldout", "inputs", "generations", "verdicts", "scored", "training", "examples")
        ),
        ("heldout", "many_items"),
        ("generations", "large_page"),
    ],
)
def test_a_table_that_would_take_gigabytes_is_refused_by_every_reader(
    run: Path, table: str, name: str
) -> None:
    path = one_of_each(run)[f"table {table}"]
    bomb(run, path, name)
    assert found(run) == []
    assert path in {each.file for _, each in examine(str(run)).findings}


@pytest.mark.parametrize("seed", range(8))
def test_a_forged_run_costs_no_reader_more_than_a_message(run: Path, seed: int) -> None:
    how = mutate(run, random.Random(seed))
    assert found(run, page=seed == 0) == [], how
