"""Staying with a job: its log, and what it returned."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from typing import Protocol

from s2d_loop.errors import ExitCode, S2DError
from s2d_loop.submit.cluster import Info, UnreachableError, last_line

Echo = Callable[[str], None]

# How long a cluster may not answer.
PATIENCE_S = 300.0
# A log that says nothing for so long may be a connection that broke without a word.
SILENCE_S = 60.0
_POLL_S = 1.0
_ENDED = ("SUCCEEDED", "FAILED", "STOPPED")


class Source(Protocol):
    """The part of a cluster that is needed to follow a job."""

    def info(self, job_id: str) -> Info: ...

    def log(self, job_id: str) -> AsyncIterator[str]: ...


def follow(
    cluster: Source,
    job_id: str,
    echo: Echo,
    *,
    patience_s: float = PATIENCE_S,
    silence_s: float = SILENCE_S,
    poll_s: float = _POLL_S,
) -> ExitCode:
    """Show the job's log until it has ended; the run's own exit code, where Ray has it.

    Raises:
        S2DError: the cluster has not answered for `patience_s`.
    """
    import aiohttp

    tail = _Tail(cluster, job_id, echo)
    answered = time.monotonic()
    while True:
        try:
            # A connection that breaks is no news: whether the job goes on, the cluster is asked next.
            with contextlib.suppress(OSError, RuntimeError, aiohttp.ClientError):
                asyncio.run(tail.read(silence_s))
            info = cluster.info(job_id)
        except UnreachableError as error:
            if time.monotonic() - answered > patience_s:
                raise S2DError(
                    f"lost sight of job {job_id} {patience_s:g} s ago: {error}\nThe job may go on. The same "
                    "command follows it again, or where it is lost, submits the run anew: it goes on from "
                    "what was committed."
                ) from error
        else:
            answered = time.monotonic()
            if info.status in _ENDED:
                tail.flush()
                return outcome(info, echo)
        time.sleep(poll_s)


class _Tail:
    """A log that grows; every connection reads it from its beginning."""

    def __init__(self, cluster: Source, job_id: str, echo: Echo) -> None:
        self._cluster = cluster
        self._job_id = job_id
        self._echo = echo
        self._shown = 0
        self._rest = ""

    async def read(self, silence_s: float) -> None:
        """Show what is new, until the log ends or has been silent for long."""
        seen = 0
        chunks = aiter(self._cluster.log(self._job_id))
        while True:
            try:
                chunk = await asyncio.wait_for(anext(chunks), silence_s)
            except (StopAsyncIteration, TimeoutError):
                return
            new = chunk[max(0, self._shown - seen) :]
            seen += len(chunk)
            self._shown = max(self._shown, seen)
            *lines, self._rest = (self._rest + new).split("\n")
            for line in lines:
                self._echo(line)

    def flush(self) -> None:
        """Show a last line that doesn't end."""
        if self._rest:
            self._echo(self._rest)
            self._rest = ""


def outcome(info: Info, echo: Echo) -> ExitCode:
    """What a job that ended returned; its status alone can be wrong either way."""
    if info.status == "SUCCEEDED":
        return ExitCode.DONE
    if info.status == "STOPPED":
        echo(f"Job {info.id} was stopped; the same command goes on from what was committed.")
        return ExitCode.INTERRUPTED
    code = info.exit_code
    if code is None:
        # A control plane that lost sight of a job calls it failed, while its driver may live on.
        echo(
            f"Ray lists job {info.id} as failed, without an exit code: {last_line(info.message)}\n"
            "Submitting again is safe: the newer driver takes the run over, whatever became of the older."
        )
        return ExitCode.FAILED
    if code in set(ExitCode):
        return ExitCode(code)
    how = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
    echo(f"The job {how}; the same command goes on from what was committed.")
    return ExitCode.FAILED
