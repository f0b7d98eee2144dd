"""Sees to it that an engine's processes end with the engine, however it ends.

vLLM starts an engine core, and one worker for each rank, as processes of their own.  Ray knows only
the actor; when that is killed the others live on and keep their memory.  So `actor.py` moves itself
into a process group of its own before it starts vLLM, and keeps a pipe open to a small watchdog
outside the group.  The pipe closes when the actor is gone, even by `kill -9`, and the watchdog then
kills the whole group.
"""

import os
import signal
import subprocess
import time
from pathlib import Path

import psutil

# Reads until the actor's end of the pipe is closed, then kills the group; `$0` is the group's id.
_WATCHDOG = 'while read -r _; do :; done; kill -KILL -- "-$0"'


def guard_descendants() -> int:
    """Give this process a group of its own and a watchdog; the group's id.

    The pipe's write end stays open for as long as this process lives; Python closes it in children.
    """
    if os.getpgrp() != os.getpid():
        os.setpgid(0, 0)
    group = os.getpgrp()
    read_end, _write_end = os.pipe()
    subprocess.Popen(
        ["/bin/sh", "-c", _WATCHDOG, str(group)],
        stdin=read_end,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    os.close(read_end)
    return group


def members(group: int) -> list[psutil.Process]:
    """The processes of a group, this one excepted."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.pid != os.getpid() and os.getpgid(process.pid) == group:
                found.append(process)
        except (ProcessLookupError, psutil.NoSuchProcess):
            continue
    return found


def end_members(group: int, grace_s: float = 5.0) -> list[int]:
    """End every other process of the group, gently first; the ids of those that had to be killed."""
    stubborn = []
    for sign, wait_s in ((signal.SIGTERM, grace_s), (signal.SIGKILL, grace_s)):
        alive = members(group)
        for process in alive:
            try:
                process.send_signal(sign)
            except psutil.NoSuchProcess:
                continue
        if sign == signal.SIGKILL:
            stubborn = [process.pid for process in alive]
        psutil.wait_procs(alive, timeout=wait_s)
    return stubborn


def redirect_output(path: Path) -> None:
    """Send this process's output, and that of every process it starts, to a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    for stream in (1, 2):
        os.dup2(file, stream)
    os.close(file)


def last_lines(path: Path, marks: tuple[str, ...] = ("Error", "error"), limit: int = 3) -> str:
    """The last lines of a log that look like a cause."""
    try:
        lines = path.read_text(errors="replace").splitlines()
    except OSError:
        return ""
    causes = [line.strip() for line in lines if any(mark in line for mark in marks)]
    return " | ".join(line[-300:] for line in causes[-limit:])


def wait_gone(pids: list[int], limit_s: float) -> list[int]:
    """Those of `pids` still alive after at most `limit_s`."""
    deadline = time.monotonic() + limit_s
    alive = [pid for pid in pids if psutil.pid_exists(pid)]
    while alive and time.monotonic() < deadline:
        time.sleep(0.1)
        alive = [pid for pid in alive if psutil.pid_exists(pid)]
    return alive
