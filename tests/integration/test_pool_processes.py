"""An engine's processes end with it, however it ends."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from s2d_loop.engine import processes

# Stands for an actor whose engine core has a worker of its own; both ignore a polite request.
ACTOR = """
import subprocess, sys, time
from s2d_loop.engine import processes
processes.guard_descendants()
stubborn = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
core = stubborn + "import subprocess, sys; p = subprocess.Popen([sys.executable, '-c', sys.argv[1]]); "
core += "print(p.pid, flush=True); time.sleep(600)"
p = subprocess.Popen([sys.executable, "-c", core, stubborn + "time.sleep(600)"])
print(p.pid, flush=True)
time.sleep(600)
"""


def test_the_group_ends_when_its_actor_is_killed() -> None:
    actor = subprocess.Popen([sys.executable, "-c", ACTOR], stdout=subprocess.PIPE, text=True)
    assert actor.stdout is not None
    started = [int(actor.stdout.readline()) for _ in range(2)]
    try:
        assert all(psutil.pid_exists(pid) for pid in started)
        actor.send_signal(signal.SIGKILL)
        actor.wait()
        end = time.monotonic() + 15
        while any(psutil.pid_exists(pid) for pid in started):
            assert time.monotonic() < end, "the actor's processes outlived it by 15 s"
            time.sleep(0.1)
    finally:
        for process in (psutil.Process(pid) for pid in started if psutil.pid_exists(pid)):
            process.kill()


@pytest.mark.parametrize(
    ("log", "causes"),
    [
        (
            "(EngineCore) ERROR ValueError: no room for KV\n  raise RuntimeError(\n"
            "RuntimeError: Engine core initialization failed. See root cause above.\n",
            "ValueError: no room for KV",
        ),
        ("OSError: a\nOSError: a\nKeyError: b\nTypeError: c\n", "OSError: a | KeyError: b"),
        ("all is well\n", ""),
    ],
)
def test_a_log_s_root_cause_is_its_first_named_error(tmp_path: Path, log: str, causes: str) -> None:
    (tmp_path / "log").write_text(log)
    assert processes.causes(tmp_path / "log") == causes
    assert processes.causes(tmp_path / "no log") == ""
