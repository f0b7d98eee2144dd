"""Limits on what a stranger's chat template may take: it is a program, if one that can reach nothing.

Processor time and memory are limited in a process's main thread, where `s2d check` and a run's start try a model's
template on the first rows; what has come through serves from other threads, under the engines' own time limits.
"""

import contextlib
import resource
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

SECONDS = 10.0
MEMORY = 1 << 30


class OverLimitError(Exception):
    """It took too long, or asked for too much memory."""


@contextlib.contextmanager
def limited(seconds: float = SECONDS, memory: int = MEMORY) -> Iterator[None]:
    """Raise OverLimitError in what takes more processor time, or so many bytes more than are in use.

    Nothing is limited in another thread than the main one, which alone can be interrupted.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    late: list[OverLimitError] = []

    def stop(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
        late.append(OverLimitError(f"it took more than {seconds:g} s of processor time"))
        raise late[0]

    before = signal.signal(signal.SIGVTALRM, stop)
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    most = _in_use() + memory
    resource.setrlimit(resource.RLIMIT_AS, (most if soft < 0 else min(soft, most), hard))
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
    try:
        yield
    except MemoryError as error:
        raise OverLimitError(f"it asked for more than {memory >> 20} MiB of memory") from error
    except Exception:
        if late:  # Jinja makes another error of one that comes from no line of its own
            raise late[0] from None
        raise
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
        signal.signal(signal.SIGVTALRM, before)


def _in_use() -> int:
    """Bytes of address space, as Linux counts them."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    return pages * resource.getpagesize()
