"""Numbers and text as the terminal and the page both write them."""

from collections.abc import Sequence

from s2d_loop.terminal import visible

DASH = "-"


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
