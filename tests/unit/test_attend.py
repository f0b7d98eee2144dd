"""A run's log, and the watchdog that ends a run which hangs."""

import json
import logging
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from s2d_loop import logs
from s2d_loop.attend import attended
from s2d_loop.clock import SystemClock
from s2d_loop.config import RunConfig
from s2d_loop.errors import EngineError, ExitCode, StalledError
from s2d_loop.ledger import Ledger
from s2d_loop.report.progress import SilentProgress
from s2d_loop.store import LocalStore


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    ledger = Ledger(LocalStore(str(tmp_path / "myrun")), SystemClock())
    ledger.take_lease()
    return ledger


def lines(folder: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (folder / "latest" / logs.FILE).read_text().splitlines()]


def fails(ledger: Ledger, base: Path) -> None:
    with attended(RunConfig(dir="x"), ledger, SystemClock(), SilentProgress(), base) as run:
        with logs.at(iteration=3, stage="generate", attempt="abc"), run.progress.stage(3, "generate", 9):
            logging.getLogger("some.library").warning('said "%s"', "a\nb")
            logging.getLogger("some.library").info("not this")
        raise EngineError("no engine left")


def test_a_run_logs_json_lines_that_say_where_they_come_from(ledger: Ledger, tmp_path: Path) -> None:
    before = logging.getLogger().handlers[:]
    with pytest.raises(EngineError):
        fails(ledger, tmp_path)
    assert logging.getLogger().handlers == before
    started, library, ended = lines(tmp_path)
    place = {"run": "myrun", "iteration": 3, "stage": "generate", "attempt": "abc"}
    assert started.items() >= (place | {"level": "info", "message": "generate started"}).items()
    assert started["fields"] == {"total": 9}
    assert library.items() >= (place | {"level": "warning", "message": 'said "a\nb"'}).items()
    assert library["logger"] == "some.library"
    assert ended["fields"] == {"error": "EngineError", "exit_code": 1}
    assert ended["message"] == "no engine left"


def log_on_a_full_disk() -> None:
    with logs.to_file(Path("/dev/full"), "myrun"):
        for _ in range(3):
            logs.event("hello")
        raise EngineError("no engine left")


def test_a_log_on_a_full_disk_leaves_the_run_its_own_error(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(EngineError, match="no engine left"):
        log_on_a_full_disk()
    said = capsys.readouterr().err
    assert said.count("the log /dev/full can't be written: [Errno 28]") == 1
    assert "Traceback" not in said


def test_every_attempt_has_a_folder_and_latest_is_the_newest(tmp_path: Path) -> None:
    folders = [logs.new_folder(tmp_path) for _ in range(3)]
    assert len(set(folders)) == 3
    assert (tmp_path / "latest").resolve() == folders[-1]


def test_a_run_that_hangs_ends_with_the_cause_a_record_and_stacks(ledger: Ledger, tmp_path: Path) -> None:
    stopped = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])

    def hangs() -> None:
        config = RunConfig(dir="x", no_progress_s=0.4)
        with attended(config, ledger, SystemClock(), SilentProgress(), tmp_path) as run:
            run.describe.append(lambda: ["engine 0.1 does not answer"])
            with (
                logs.at(iteration=2, stage="generate", attempt="abc"),
                run.progress.stage(2, "generate", 9) as s,
            ):
                for _ in range(4):
                    time.sleep(0.2)
                    s.advance(1)
                    run.safe_point()
                psutil.Process(stopped.pid).suspend()
                time.sleep(30)

    began = time.monotonic()
    try:
        with pytest.raises(StalledError) as raised:
            hangs()
    finally:
        stopped.kill()
        stopped.wait()
    assert raised.value.exit_code == ExitCode.FAILED
    assert time.monotonic() - began < 10
    for part in ("no progress for 0.4 s", "round 2 generate: 4/9 rows", "engine 0.1 does not answer"):
        assert part in str(raised.value)
    assert f"process {stopped.pid}" in str(raised.value)
    record = ledger.last("stalled")
    assert record is not None
    assert record.facts.items() >= {"iteration": 2, "stage": "generate", "attempt": "abc"}.items()
    folder = Path(record.facts["stacks"])
    assert "test_attend.py" in (folder / "driver.txt").read_text()
    assert f"{stopped.pid} stopped" in (folder / "processes.txt").read_text()


def test_progress_however_slow_is_not_taken_for_a_hang(ledger: Ledger, tmp_path: Path) -> None:
    # Longer than the limit in all; a single step is a sixth of it, which a loaded machine may stretch.
    config = RunConfig(dir="x", no_progress_s=1.5)
    with attended(config, ledger, SystemClock(), SilentProgress(), tmp_path) as run:
        for _ in range(8):
            time.sleep(0.25)
            run.safe_point()
    assert ledger.last("stalled") is None
