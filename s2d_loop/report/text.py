"""Numbers and text as the terminal and the page both write them.

Model text reaches a terminal here, so `visible` is the one place that makes it harmless: an escape
sequence in an answer must not move the cursor or change the title of somebody's window.
"""

import unicodedata
from collections.abc import Sequence

DASH = "-"

_HIDDEN = {"Cc", "Cf", "Cs", "Co", "Zl", "Zp"}


def visible(text: str, limit: int | None = None) -> str:
    """`text` with control and direction characters spelled out, cut to `limit` characters."""
    if limit is not None and len(text) > limit:
        rest = len(text) - limit
        return f"{visible(text[:limit])} ... ({rest:,} more characters)"
    return "".join(c if c in "\n\t" or unicodedata.category(c) not in _HIDDEN else _spelled(c) for c in text)


def one_line(text: str, limit: int = 100) -> str:
    """`text` on one line of at most `limit` characters, for a cell of a table."""
    line = visible(" ".join(text.split()))
    return line if len(line) <= limit else line[: limit - 3].rstrip() + "..."


def markdown_table(lines: Sequence[Sequence[str]]) -> str:
    """Cells as a Markdown table; the first line is its head."""
    head, *rest = lines
    return "\n".join(f"| {' | '.join(line)} |" for line in (head, ["---"] * len(head), *rest))


def percent(value: float | None, digits: int = 1) -> str:
    return DASH if value is None else f"{100 * value:.{digits}f} %"


def interval(low: float | None, high: float | None) -> str:
    """A 95 % interval in percent, without the sign that its centre already carries."""
    return "" if low is None or high is None else f"{100 * low:.1f} to {100 * high:.1f}"


def number(value: float | None, digits: int = 1) -> str:
    """A count in full, a measure with few digits."""
    if value is None:
        return DASH
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:,.{digits}f}"


def times(ratio: float | None) -> str:
    """How many times as much: two digits are all that such a ratio can bear."""
    if ratio is None:
        return DASH
    return f"{ratio:,.0f}x" if ratio >= 10 else f"{ratio:.1f}x"


def duration(seconds: float | None) -> str:
    """Seconds as people say them: `8.2 s`, `3 min 20 s`, `5 h 12 min`, `2 d 4 h`."""
    if seconds is None:
        return DASH
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, seconds_left = divmod(round(seconds), 60)
    hours, minutes_left = divmod(minutes, 60)
    days, hours_left = divmod(hours, 24)
    parts = [(days, "d"), (hours_left, "h"), (minutes_left, "min"), (seconds_left, "s")]
    first = next(i for i, (count, _) in enumerate(parts) if count)
    return " ".join(f"{count} {unit}" for count, unit in parts[first : first + 2] if count)


def _spelled(char: str) -> str:
    code = ord(char)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
