"""The terminal, or the file that stands in for one."""

import os

from rich.console import Console

WIDTH = 120
"""Columns of a log or a pipe: rich would take 80, and fold the tables."""


def open_console(*, stderr: bool = False) -> Console:
    """Standard output (or error), wide enough for the tables where it isn't a terminal."""
    console = Console(stderr=stderr, highlight=False)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = WIDTH
    return console
