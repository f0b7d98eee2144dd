"""Sees to it that an engine's processes end with the engine, however it ends.

vLLM starts an engine core, and one worker for each rank, as processes of their own.  Ray knows only
the actor; when that is killed the others live on and keep their memory.  So `actor.py` moves itself
into a process group of its own before it starts vLLM, and keeps a pipe open to a small watchdog
outside the group.  The pipe closes when the actor is gone, even by `kill -9`, and the watchdog then
kills the whole group.
"""

import contextlib
import os
import re
import signal
import subprocess
from pathlib import Path

import psutil

# Reads until the actor's end of the pipe is closed, then ends the group; `$0` is the group's id.  In
# the background, because Ray kills the children of an actor that ends, and would kill its watchdog.
# The pause lets Python's resource tracker, which outlives a TERM, remove the others' shared memory.
_WATCHDOG = """
exec 3<&0
{ while read -r _ <&3; do :; done; kill -s TERM -- "-$0"; sleep 2; kill -s KILL -- "-$0"; } &
"""
_TRACKER = "multiprocessing.resource_tracker"
_ERROR = re.compile(r"\b[A-Z]\w*(?:Error|Exception): \S.*")
# What vLLM's front end says when the core has failed for another reason.
_FOLLOW_UPS = ("RuntimeError: Engine core init", "EngineDeadError", "EngineGenerateError")


def guard_descendants() -> int:
    """Give this process a group of its own and a watchdog; the group's id.

    The pipe's write end stays open for as long as this process lives; Python closes it in children.
    """
    if os.getpgrp() != os.getpid():
        os.setpgid(0, 0)
    group = os.getpgrp()
    read_end, _write_end = os.pipe()
    subprocess.run(
        ["/bin/sh", "-c", _WATCHDOG, str(group)],
        stdin=read_end,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        check=True,
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


def end_members(group: int, grace_s: float = 1.5) -> list[int]:
    """End the group's other processes, gently first; the ids of those that had to be killed.

    The resource tracker stays: it goes with this process, after it has cleaned up.
    """
    alive = [process for process in members(group) if not _is_tracker(process)]
    for process in alive:
        _signal(process, signal.SIGTERM)
    _, stubborn = psutil.wait_procs(alive, timeout=grace_s)
    for process in stubborn:
        _signal(process, signal.SIGKILL)
    psutil.wait_procs(stubborn, timeout=grace_s)
    return [process.pid for process in stubborn]


def _is_tracker(process: psutil.Process) -> bool:
    try:
        return any(_TRACKER in part for part in process.cmdline())
    except psutil.NoSuchProcess:
        return False


def _signal(process: psutil.Process, sign: int) -> None:
    with contextlib.suppress(psutil.NoSuchProcess):
        process.send_signal(sign)


def redirect_output(path: Path) -> None:
    """Send this process's output, and that of every process it starts, to a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    for stream in (1, 2):
        os.dup2(file, stream)
    os.close(file)


def causes(path: Path, limit: int = 2) -> str:
    """The first errors that a log names: the root is above what followed from it."""
    try:
        text = path.read_text(errors="replace")
    except OSError:
        return ""
    named = (found.group().strip() for found in _ERROR.finditer(text))
    own = [error for error in dict.fromkeys(named) if not error.startswith(_FOLLOW_UPS)]
    return " | ".join(error[:300] for error in own[:limit])
