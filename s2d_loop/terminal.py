"""The one door to the terminal: every command prints through here, or through the console built on it.

Model text, names of files, and records of a run that a stranger made reach a terminal.  An escape sequence
among them must not move the cursor or change the title of somebody's window, and a direction override must
not turn a sentence around.  So no caller has to think of it: `echo` and `echo_json` print lines,
`report.console` prints tables and progress, and `guard` covers what Python itself writes to standard error.
"""

import json
import logging
import os
import sys
import threading
import traceback
import unicodedata
import warnings
from types import TracebackType
from typing import Any

_HIDDEN = {"Cc", "Cf", "Cs", "Co", "Zl", "Zp"}
_format_warning = warnings.formatwarning


def visible(text: str, limit: int | None = None) -> str:
    """`text` with control and direction characters spelled out, cut to `limit` characters."""
    if limit is not None and len(text) > limit:
        rest = len(text) - limit
        return f"{visible(text[:limit])} ... ({rest:,} more characters)"
    if text.isprintable():
        return text
    return "".join(c if c in "\n\t" or unicodedata.category(c) not in _HIDDEN else _spelled(c) for c in text)


def echo(text: object = "", *, err: bool = False) -> None:
    """Print a line, to standard error if `err`."""
    print(visible(str(text)), file=sys.stderr if err else sys.stdout, flush=True)


def echo_json(value: Any, *, indent: int | None = None) -> None:
    """Print a value as JSON; in ASCII, so that what is hidden is escaped and a parser gets what was meant."""
    print(as_json(value, indent=indent), flush=True)


def as_json(value: Any, *, indent: int | None = None) -> str:
    """A value as JSON without any control character: `json` leaves one of ASCII's, DEL, as it is."""
    return json.dumps(value, indent=indent).replace("\x7f", "\\u007f")


def last_words(text: str) -> None:
    """Write a line to standard error past every lock, from a process that hangs and ends itself next."""
    os.write(2, f"{visible(text)}\n".encode())


def guard() -> None:
    """Spell out what this process prints without asking: tracebacks, warnings, and logs without a handler."""
    sys.excepthook = _print_traceback
    threading.excepthook = lambda args: _print_traceback(args.exc_type, args.exc_value, args.exc_traceback)
    warnings.formatwarning = lambda *args, **named: visible(_format_warning(*args, **named))
    if logging.lastResort is not None:
        logging.lastResort.setFormatter(_Visible())


class _Visible(logging.Formatter):
    """A record of `logging` as a person may see it."""

    def format(self, record: logging.LogRecord) -> str:
        return visible(super().format(record))


def _print_traceback(
    kind: type[BaseException], error: BaseException | None, trace: TracebackType | None
) -> None:
    echo("".join(traceback.format_exception(kind, error, trace)).rstrip("\n"), err=True)


def _spelled(char: str) -> str:
    code = ord(char)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
