"""Samples of a run for `s2d show`: what was kept, what was dropped and why, one input in full.

Each function takes rows as they stream from the run and writes either tables for people or, with
`as_json`, one JSON object a line for other programs.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict
from itertools import islice
from typing import Any

from rich.table import Table
from rich.text import Text

from s2d_loop.records import KEPT, Call, Generation, Verdict, to_dict
from s2d_loop.report.console import Terminal
from s2d_loop.report.heldout import Change, Compared
from s2d_loop.report.text import one_line, percent
from s2d_loop.terminal import as_json as json_text


def show_samples(
    console: Terminal,
    verdicts: Iterable[Verdict],
    *,
    reason: str = KEPT,
    task: str | None = None,
    limit: int = 10,
    as_json: bool = False,
) -> int:
    """Up to `limit` inputs of one outcome; says how many it showed."""
    chosen = (v for v in verdicts if v.reason == reason and task in (None, v.input.task))
    rows = list(islice(chosen, limit))
    if as_json:
        _write(console, map(to_dict, rows))
        return len(rows)
    if not rows:
        console.print(f"No input {'of ' + task + ' ' if task else ''}has the outcome {reason}.")
        return 0
    table = Table(title=f"{reason}: {len(rows)} inputs", title_justify="left", pad_edge=False)
    table.add_column("input", overflow="fold", ratio=3)
    table.add_column("question", ratio=6)
    table.add_column("votes", ratio=4)
    table.add_column("share", justify="right", no_wrap=True)
    for row in rows:
        table.add_row(
            row.input.id,
            one_line(row.input.question),
            _votes(row),
            f"{percent(row.share, 0)} of {row.num_samples}",
        )
    console.print(table)
    return len(rows)


def show_heldout(
    console: Terminal,
    compared: Iterable[Compared],
    *,
    change: Change,
    task: str | None = None,
    limit: int = 10,
    as_json: bool = False,
) -> int:
    """Up to `limit` held-out inputs on which System 1 changed so; says how many it showed."""
    rows = list(islice((c for c in compared if c.is_of(change) and task in (None, c.task)), limit))
    if as_json:
        _write(console, map(asdict, rows))
        return len(rows)
    if not rows:
        console.print("No held-out input changed so." if change != "all" else "There are none.")
        return 0
    title = f"held-out inputs, {change}: {len(rows)}"
    table = Table(title=title, title_justify="left", pad_edge=False)
    for name, ratio in (("input", 3), ("question", 6), ("in service", 2), ("candidate", 2)):
        table.add_column(name, overflow="fold", ratio=ratio)
    table.add_column("held against", no_wrap=True)
    for row in rows:
        table.add_row(
            row.id,
            one_line(row.question),
            _marked(row.before, row.before_right),
            _marked(row.after, row.after_right),
            row.reference,
        )
    console.print(table)
    return len(rows)


def _marked(answer: str | None, right: bool | None) -> str:
    said = "unparsable" if answer is None else one_line(answer, 60)
    return said if right is None else f"{said} ({'right' if right else 'wrong'})"


def show_outcomes(console: Terminal, verdicts: Iterable[Verdict], *, as_json: bool = False) -> None:
    """How many inputs were kept and dropped, by task and reason."""
    counts: dict[str, Counter[str]] = {}
    for verdict in verdicts:
        counts.setdefault(verdict.input.task, Counter())[verdict.reason] += 1
    rows = [
        {"task": task, "reason": reason, "inputs": count, "share": count / sum(reasons.values())}
        for task, reasons in counts.items()
        for reason, count in sorted(reasons.items(), key=lambda item: (item[0] != KEPT, -item[1]))
    ]
    if as_json:
        _write(console, rows)
        return
    table = Table("task", "outcome", pad_edge=False)
    table.add_column("inputs", justify="right")
    table.add_column("share", justify="right")
    for row in rows:
        table.add_row(
            str(row["task"]),
            Text(KEPT, style="green") if row["reason"] == KEPT else str(row["reason"]),
            f"{row['inputs']:,}",
            percent(float(str(row["share"]))),
        )
    console.print(table)


def show_input(
    console: Terminal,
    input_id: str,
    verdicts: Iterable[Verdict],
    generations: Iterable[Generation],
    *,
    as_json: bool = False,
) -> bool:
    """Everything about one input: what was asked, voted and called; False when it isn't there."""
    verdict = next((v for v in verdicts if v.input.id == input_id), None)
    generation = next((g for g in generations if g.input.id == input_id), None)
    if as_json:
        found = {"verdict": to_dict(verdict), "generation": to_dict(generation)}
        _write(console, [found] if verdict or generation else [])
        return bool(verdict or generation)
    either = verdict or generation
    if either is None:
        console.print(f"No input {input_id} here.")
        return False
    console.print(f"{either.input.id}  ({either.input.task})", style="bold")
    for message in either.input.messages:
        _print_block(console, message.role, message.content)
    if verdict is not None:
        _print_verdict(console, verdict)
    if generation is not None:
        _print_generation(console, generation)
    return True


def _print_verdict(console: Terminal, verdict: Verdict) -> None:
    console.print(f"\nOutcome: {verdict.reason}", style="bold")
    if verdict.target is not None:
        _print_block(console, "target", verdict.target)
    table = Table("answer", pad_edge=False)
    table.add_column("votes", justify="right")
    table.add_column("share", justify="right")
    for vote in verdict.votes:
        style = "bold green" if vote.answer == verdict.answer else ""
        share = percent(vote.count / verdict.num_samples, 0) if verdict.num_samples else ""
        table.add_row(Text(one_line(vote.answer), style=style), str(vote.count), share)
    if verdict.unparsable:
        table.add_row(Text("unparsable", style="dim"), str(verdict.unparsable), "")
    console.print(table)
    if verdict.direct_agrees is not None:
        console.print(f"{percent(verdict.direct_agrees, 0)} of System 1's direct answers agree.")


def _print_generation(console: Terminal, generation: Generation) -> None:
    made = f"{generation.num_calls} calls, {generation.num_tokens:,} tokens"
    console.print(f"\n{generation.program}: {made}", style="bold")
    if generation.error:
        console.print(f"failed: {generation.error}", style="red")
    if not generation.calls:
        console.print("The calls' texts were not kept (traces.keep).", style="dim")
    print_calls(console, generation.calls)


def print_calls(console: Terminal, calls: Iterable[Call]) -> None:
    """Each call's step, size, prompt, thoughts and reply."""
    for call in calls:
        step = f"sample {call.sample}, {call.step} {call.index}"
        made = f"{call.num_tokens} tokens" + (", recorded" if call.recorded else "")
        console.print(f"\n{step} ({made})", style="yellow")
        _print_block(console, "prompt", call.prompt)
        if call.reasoning:
            _print_block(console, "thoughts", call.reasoning)
        _print_block(console, "reply", call.text)


def _print_block(console: Terminal, label: str, text: str) -> None:
    console.print(console.render_str(f"{label}: ", style="dim"), text, sep="")


def _votes(verdict: Verdict) -> str:
    shown = [f"{one_line(vote.answer, 24)} x{vote.count}" for vote in verdict.votes[:4]]
    more = len(verdict.votes) - 4
    return ", ".join([*shown, *([f"{more} more"] if more > 0 else [])])


def _write(console: Terminal, rows: Iterable[Any]) -> None:
    """JSON lines, unwrapped and in ASCII: a reader's parser gets what was meant."""
    for row in rows:
        console.print(json_text(row), soft_wrap=True)
