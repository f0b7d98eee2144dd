"""A stranger's run before every command that only reads: what each says, and what it touches meanwhile.

A command may end well, or with a message and an exit code.  It may not end with anything else, take longer than
`PATIENCE_S` of processor time, write into the run, or read a byte outside of it.
"""

import contextlib
import os
import signal
import stat
import sys
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import pyarrow as pa
from typer.testing import CliRunner

from s2d_loop.cli import app
from s2d_loop.errors import S2DError

PATIENCE_S = 10
"""Of processor time.  Ten times as much of the clock's, so that a busy machine is no hang."""

_CHANGES = {
    "os.chmod": 1,
    "os.link": 2,
    "os.mkdir": 1,
    "os.remove": 1,
    "os.rename": 2,
    "os.rmdir": 1,
    "os.symlink": 2,
    "os.truncate": 1,
    "os.utime": 1,
    "shutil.rmtree": 1,
}
"""Audit events that change something, and how many paths their arguments begin with."""
_NEVER = (
    "os.exec",
    "os.fork",
    "os.posix_spawn",
    "os.system",
    "pickle.find_class",
    "socket.connect",
    "subprocess.Popen",
)
_OURS = tuple(
    os.path.realpath(each)
    for each in {
        *sysconfig.get_paths().values(),
        sys.prefix,
        sys.base_prefix,
        *(each for each in sys.path if each),
        str(Path(__file__).parents[2]),
        "/proc/self",
        "/proc/meminfo",
        "/proc/cpuinfo",
        "/sys/fs/cgroup",
        "/sys/devices/system",
        "/dev/null",
        "/dev/urandom",
        "/etc/localtime",
        "/usr/share",
        "/usr/lib",
        "/etc/mime.types",
    }
)
"""What Python and its packages read of their own."""


class HungError(BaseException):
    """A command took too long; no `except Exception` hides it."""


def commands(run: Path, out: Path) -> dict[str, list[str]]:
    """Every command that only reads, by a name; what one writes goes to `out`."""
    name = str(run)
    return {
        "status": ["status", name, "--exit-status"],
        "status --json": ["status", name, "--json"],
        "runs": ["runs", str(run.parent)],
        "show": ["show", name],
        "show --reason": ["show", name, "--reason", "kept"],
        "show --heldout": ["show", name, "--heldout", "all"],
        "show --id": ["show", name, "--id", "stream:stream.jsonl#0"],
        "why": ["why", name, "stream:stream.jsonl#0"],
        "lineage": ["lineage", name, "promoted", "--rows"],
        "review --summary": ["review", name, "--summary"],
        "doctor": ["doctor", name],
        "doctor --json": ["doctor", name, "--json"],
        "report": ["report", name, "--out", str(out / "report.html")],
    }


@dataclass
class Touched:
    """What audit events tell of a command."""

    run: str
    out: str
    wrong: list[str] = field(default_factory=list)

    def see(self, event: str, args: tuple[Any, ...]) -> None:
        if event in _NEVER:
            self.wrong.append(f"{event} {args[:2]}")
        elif event in _CHANGES:
            self.wrong += [f"{event} {path}" for path in args[: _CHANGES[event]] if self._is_run(path)]
        elif event == "open" and isinstance(args[0], str | bytes):
            self._opened(os.fsdecode(args[0]), args[2])

    def _opened(self, path: str, flags: int) -> None:
        if "/" not in path and flags & os.O_NOFOLLOW:
            return  # name by name below the root
        real = os.path.realpath(path)
        writes = flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
        if self._is_run(real) and (writes or not self._is_run(path)):
            self.wrong.append(f"opened {path} to write, or by another name")
        if not any(_is_under(real, each) for each in (self.run, self.out, *_OURS)):
            self.wrong.append(f"opened {real}")

    def _is_run(self, path: object) -> bool:
        return _is_under(os.fsdecode(path) if isinstance(path, str | bytes | os.PathLike) else "", self.run)


def _is_under(path: str, folder: str) -> bool:
    return path == folder or path.startswith(f"{folder}/")


_watching: list[Touched] = []
_hooked = False


@contextlib.contextmanager
def watched(run: Path, out: Path) -> Iterator[Touched]:
    """What is touched within; a hook can't be taken away, so there is one for all."""
    global _hooked
    if not _hooked:
        _hooked = True
        sys.addaudithook(lambda event, args: _watching[-1].see(event, args) if _watching else None)
    touched = Touched(os.path.realpath(run), os.path.realpath(out))
    _watching.append(touched)
    try:
        yield touched
    finally:
        _watching.pop()


@contextlib.contextmanager
def patient(seconds: float = PATIENCE_S) -> Iterator[None]:
    """Raises HungError after so much processor time, or ten times as much on the clock."""

    def ring(number: int, frame: FrameType | None) -> None:
        raise HungError

    timers = {
        signal.SIGPROF: (signal.ITIMER_PROF, seconds),
        signal.SIGALRM: (signal.ITIMER_REAL, 10 * seconds),
    }
    before = {number: signal.signal(number, ring) for number in timers}
    for timer, limit in timers.values():
        signal.setitimer(timer, limit)
    try:
        yield
    finally:
        for number, (timer, _) in timers.items():
            signal.setitimer(timer, 0)
            signal.signal(number, before[number])


class Peak:
    """How much more memory this process has taken, at the most, since it was made."""

    def __init__(self) -> None:
        pa.default_memory_pool().release_unused()
        Path("/proc/self/clear_refs").write_text("5")  # forgets the peak until now
        self._before = _status("VmRSS")

    @property
    def bytes(self) -> int:
        return _status("VmHWM") - self._before


def _status(name: str) -> int:
    (line,) = (x for x in Path("/proc/self/status").read_text().splitlines() if x.startswith(f"{name}:"))
    return int(line.split()[1]) << 10


def complaints(run: Path, out: Path, chosen: list[str] | None = None) -> list[str]:
    """What is wrong with how the commands take a run: nothing, if it holds what this module says."""
    found = []
    for name, args in commands(run, out).items():
        if chosen is not None and name not in chosen:
            continue
        with watched(run, out) as touched:
            try:
                with patient():
                    result = CliRunner().invoke(app, args, catch_exceptions=False)
                    del result
            except HungError:
                found.append(f"{name}: hangs")
            except S2DError:
                pass
            except Exception as error:
                found.append(f"{name}: {_told(error)}")
        found += [f"{name}: {each}" for each in touched.wrong]
    return found


def _told(error: BaseException) -> str:
    """An error and where it came from."""
    trace = error.__traceback__
    where = []
    while trace is not None:
        code = trace.tb_frame.f_code
        if "s2d_loop" in code.co_filename:
            where.append(f"{Path(code.co_filename).name}:{trace.tb_lineno}")
        trace = trace.tb_next
    return f"{type(error).__name__}: {str(error)[:120]} ({' '.join(where[-4:])})"


def snapshot(run: Path) -> dict[str, tuple[int, int, int]]:
    """Everything in a run, by its kind, size and time of change."""
    found = {}
    for path in sorted(run.rglob("*")):
        about = path.lstat()
        found[str(path.relative_to(run))] = (stat.S_IFMT(about.st_mode), about.st_size, about.st_mtime_ns)
    return found
