"""Where everything stands when nothing moves: threads and processes of the driver, in files and in words."""

import contextlib
import faulthandler
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil

STACKS_S = 10.0
_MAX_STACKS = 16
_HALTED = (psutil.STATUS_STOPPED, psutil.STATUS_TRACING_STOP, psutil.STATUS_DISK_SLEEP)


def dump(folder: Path) -> Path:
    """Write the driver's stacks, a table of the processes under it, and the stacks of the Python ones."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "driver.txt").open("w") as file:
        faulthandler.dump_traceback(file, all_threads=True)
    children = psutil.Process().children(recursive=True)
    (folder / "processes.txt").write_text("".join(f"{_line(child)}\n" for child in children))
    # It comes with Ray; where it may not look (ptrace) its file says so.
    py_spy = shutil.which("py-spy") or shutil.which("py-spy", path=str(Path(sys.executable).parent))
    if py_spy is not None:
        until = time.monotonic() + 3 * STACKS_S
        for child in [each for each in children if _runs_our_code(each)][:_MAX_STACKS]:
            if time.monotonic() < until:
                _spy(py_spy, child.pid, folder / f"{child.pid}.txt")
    return folder


def halted_processes() -> list[str]:
    """Processes under this one that are stopped, or stuck in the kernel, in words."""
    said = []
    for child in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            if (status := child.status()) in _HALTED:
                said.append(f"process {child.pid} ({_title(child)}) is in state {status!r}")
    return said


def main_thread_at() -> str:
    """Where the main thread is, by the innermost line of this package."""
    frame = sys._current_frames().get(threading.main_thread().ident or 0)
    package = Path(__file__).parent
    while frame is not None:
        file = Path(frame.f_code.co_filename)
        if file.is_relative_to(package):
            return f"{file.relative_to(package.parent)}:{frame.f_lineno} ({frame.f_code.co_name})"
        frame = frame.f_back
    return "code outside of this package"


def _spy(py_spy: str, pid: int, out: Path) -> None:
    # Not blocking: that neither stops a process that is only slow, nor waits for one that is stopped.
    command = [py_spy, "dump", "--nonblocking", "--pid", str(pid)]
    with contextlib.suppress(OSError, subprocess.SubprocessError), out.open("w") as file:
        subprocess.run(command, stdout=file, stderr=subprocess.STDOUT, timeout=STACKS_S, check=False)


def _runs_our_code(process: psutil.Process) -> bool:
    """Actors, tasks and what vLLM starts; not Ray's own services."""
    try:
        title = _title(process)
    except psutil.Error:
        return False
    return title.startswith(("ray::", "VLLM")) and "Agent" not in title and "IDLE" not in title


def _title(process: psutil.Process) -> str:
    return (" ".join(process.cmdline()).strip() or process.name())[:60]


def _line(process: psutil.Process) -> str:
    try:
        cpu = process.cpu_times()
        return f"{process.pid} {process.status()} cpu {cpu.user + cpu.system:.1f} s {_title(process)}"
    except psutil.Error as error:
        return f"{process.pid} {type(error).__name__}"
