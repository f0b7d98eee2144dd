"""The console of tables and progress: standard output or error, or the file that stands in for one."""

import os
from collections.abc import Iterable
from typing import Any

from rich.console import Console
from rich.segment import Segment
from rich.text import Text

from s2d_loop.terminal import visible

WIDTH = 120
"""Columns of a log or a pipe: rich would take 80, and fold the tables."""


class Terminal(Console):
    """rich's console, on which text is text: no markup, no emoji codes, and every hidden character spelled out.

    Style is what a caller gives (`style=`, `Text`).  Plain `str` is spelled out before it is measured, so pass
    strangers' text as that: whatever else there is, is spelled out as it is written.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(markup=False, emoji=False, highlight=False, **options)

    def render_str(self, text: str, **options: Any) -> Text:
        return super().render_str(visible(text), **options)

    def _render_buffer(self, buffer: Iterable[Segment]) -> str:
        # What moves the cursor, for a live line, is marked as such by rich and never made of text.
        return super()._render_buffer(
            each if each.control else Segment(visible(each.text), each.style) for each in buffer
        )


def open_console(*, stderr: bool = False) -> Terminal:
    """Standard output (or error), wide enough for the tables where it isn't a terminal."""
    console = Terminal(stderr=stderr)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = WIDTH
    return console
