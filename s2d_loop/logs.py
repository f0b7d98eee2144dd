"""A run's own log: one JSON object a line, in a folder of this attempt's own.

`logs/latest/run.jsonl` is the driver's; what engines (`engine-*.log`), their manager (`manager.jsonl`) and
train workers (`train-rank-*.log`) say lies beside it.  A line's keys: time, level, run, iteration, stage, attempt, message, fields.
"""

import contextlib
import json
import logging
import sys
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any

from s2d_loop.terminal import echo

FILE = "run.jsonl"

log = logging.getLogger("s2d_loop")

_where: ContextVar[Mapping[str, Any]] = ContextVar("where", default=MappingProxyType({}))


def event(message: str, level: int = logging.INFO, /, **fields: Any) -> None:
    """A line of the log; nothing where no log is open."""
    log.log(level, message, extra={"fields": fields})


@contextlib.contextmanager
def at(**where: Any) -> Iterator[None]:
    """What is logged within carries these keys: iteration, stage, attempt."""
    token = _where.set({**_where.get(), **where})
    try:
        yield
    finally:
        _where.reset(token)


def where() -> Mapping[str, Any]:
    """The iteration, stage and attempt that the caller is in."""
    return _where.get()


class JsonLines(logging.Formatter):
    """A record of `logging` as one line of JSON, whoever logged it."""

    def __init__(self, run: str) -> None:
        super().__init__()
        self._run = run

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "run": self._run,
            "iteration": None,
            "stage": None,
            "attempt": None,
            **_where.get(),
            "message": record.getMessage(),
            "fields": getattr(record, "fields", {}),
        }
        if record.name != log.name:
            line["logger"] = record.name
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


class _File(logging.FileHandler):
    """A log that can't be written, on a full disk, says so once and leaves the run its own error."""

    _failed = False

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802, ARG002
        if not self._failed:
            self._failed = True
            echo(f"the log {self.baseFilename} can't be written: {sys.exc_info()[1]}", err=True)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            super().close()


def open_file(path: Path, run: str) -> logging.Handler:
    """Log this process's events, and other libraries' warnings, to `path`, until the handler is closed."""
    handler = _File(path, encoding="utf-8")
    handler.setFormatter(JsonLines(run))
    log.setLevel(logging.INFO)
    logging.getLogger().addHandler(handler)
    return handler


@contextlib.contextmanager
def to_file(path: Path, run: str) -> Iterator[None]:
    """The same within a context."""
    before = log.level
    handler = open_file(path, run)
    try:
        yield
    finally:
        logging.getLogger().removeHandler(handler)
        log.setLevel(before)
        handler.close()


def new_folder(base: Path) -> Path:
    """A folder for this attempt's logs under `base`, and `latest` pointing at it."""
    name = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
    # Two starts within a second are two attempts.
    for number in range(1000):
        folder = base / (f"{name}-{number}" if number else name)
        try:
            folder.mkdir(parents=True)
            break
        except FileExistsError:
            continue
    temporary = base / ".latest"
    with contextlib.suppress(OSError):  # a link is a comfort, and not every file system has them
        temporary.unlink(missing_ok=True)
        temporary.symlink_to(folder.name)
        temporary.replace(base / "latest")
    return folder
