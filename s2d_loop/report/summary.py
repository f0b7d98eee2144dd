"""A run in one look: a sentence a task, and the table that ends a run in the terminal."""

from rich.table import Table

from s2d_loop.report.text import DASH, interval, number, percent, times
from s2d_loop.report.view import RunView, Score, TaskSummary

SYSTEM1, SYSTEM2 = "cyan", "yellow"
"""The terminal's nearest colours to those of the page."""

_AGAINST = {
    "above": "above System 2's {two} at the start",
    "below": "below System 2's {two} at the start",
    "level": "level with System 2's {two} at the start (their 95 % intervals meet)",
}


def sentence(summary: TaskSummary) -> str:
    """What a task came to, in words that claim no more than the intervals allow."""
    start, now, slow = summary.system1_start, summary.system1_now, summary.system2_start
    if now is None or now.accuracy is None:
        return "Not evaluated yet."
    said = f"System 1 answers {percent(now.accuracy)} correctly"
    if summary.reference != "labels":
        said = f"System 1 answers {percent(now.accuracy)} as System 2's vote does"
    if start is not None and start is not now:
        said += f", {percent(start.accuracy)} at the start"
    if summary.against_system2 and slow:
        said += "; " + _AGAINST[summary.against_system2].format(two=percent(slow.accuracy))
    if summary.token_ratio:
        said += f", {tokens_phrase(summary.token_ratio)}"
    return said + "."


def tokens_phrase(ratio: float) -> str:
    if ratio >= 1:
        return f"with {times(ratio)} fewer tokens an answer"
    return f"with {times(1 / ratio)} more tokens an answer"


def summary_table(view: RunView) -> Table:
    """Per task: both systems at the start and now, and what an answer costs."""
    table = Table(title=_title(view), title_justify="left", title_style="bold", pad_edge=False)
    table.add_column("task")
    for system, style in (("System 1", SYSTEM1), ("System 2", SYSTEM2)):
        for when in ("start", "now"):
            table.add_column(f"{system}\n{when}", justify="right", style=style)
    table.add_column("tokens\nSystem 1", justify="right", style=SYSTEM1)
    table.add_column("tokens\nSystem 2", justify="right", style=SYSTEM2)
    table.add_column("ratio", justify="right")
    for each in view.summaries:
        scores = (each.system1_start, each.system1_now, each.system2_start, each.system2_now)
        table.add_row(
            each.task,
            *(_scored(score) for score in scores),
            number(each.system1_now.tokens) if each.system1_now else DASH,
            number(each.system2_start.tokens) if each.system2_start else DASH,
            times(each.token_ratio),
        )
    return table


def _title(view: RunView) -> str:
    done = len([i for i in view.rounds if i.decision])
    return f"{view.name}: {done} iteration{'' if done == 1 else 's'}, {len(view.promoted)} promoted"


def quarantine(view: RunView) -> str:
    """Which sources no longer train, and what to do; empty where all do."""
    if not view.quarantined:
        return ""
    named = ", ".join(f"{name} (round {number})" for name, number in view.quarantined.items())
    return (
        f"Under quarantine, because a hold was traced to it: {named}. Its rows no longer train; look at them, "
        "then `s2d forget` it, or lift this with `s2d release`."
    )


def _scored(score: Score | None) -> str:
    if score is None:
        return DASH
    return "\n".join(filter(None, (percent(score.accuracy), interval(score.low, score.high))))
