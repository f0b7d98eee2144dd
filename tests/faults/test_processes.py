"""Real driver processes over scripted parts: a few of `benchmarks.faults`' cases, and a race."""

import contextlib
from collections.abc import Iterator

import pytest

from benchmarks.faults.bench import Bench
from benchmarks.faults.cases import Case, cases
from benchmarks.faults.compare import differences, state
from benchmarks.faults.process import Driver
from s2d_loop.doctor.examine import examine
from s2d_loop.errors import ExitCode

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    with Bench(tmp_path_factory.mktemp("faults")) as bench:
        yield bench


@pytest.mark.parametrize(
    ("stage", "fault"), [("generate", "driver paused"), ("train", "SIGTERM"), ("pool", "driver killed")]
)
def test_a_disturbed_run_ends_with_the_bytes_of_an_undisturbed_one(
    bench: Bench, stage: str, fault: str
) -> None:
    bench.run(Case("scripted", 2, stage, fault))


def test_of_two_drivers_on_one_root_one_wins_and_the_other_leaves_with_its_own_code(bench: Bench) -> None:
    wanted = bench.undisturbed("scripted")
    root = bench.folder / "race" / "run"
    both: list[Driver] = [bench.start("scripted", root) for _ in range(2)]
    with contextlib.ExitStack() as stack:
        for each in both:
            stack.callback(each.end)
        codes = sorted(each.finish() for each in both)
    assert codes == [ExitCode.DONE, ExitCode.LOST_LEASE], [each.said for each in both]
    (loser,) = [each for each in both if each.process.returncode == ExitCode.LOST_LEASE]
    assert "another driver took this run over; this one stops" in loser.said
    assert differences(state(root), wanted) == []
    assert examine(str(root)).findings == []


def test_the_matrix_is_whole() -> None:
    matrix = cases()
    assert len(matrix) == len(set(matrix)) >= 60
    assert sum(case.kind == "real" for case in matrix) >= 12
    for fault in ("driver killed", "driver paused", "disk full", "SIGTERM"):
        assert len({(c.iteration, c.stage) for c in matrix if c.fault == fault and c.kind != "real"}) == 11
