"""Where a run stands, for `s2d status`: from its ledger alone, so it works while the run goes on."""

from collections.abc import Mapping
from typing import Any

from rich.text import Text

from s2d_loop.report.console import Terminal
from s2d_loop.report.feeds import feeds, sentence
from s2d_loop.report.summary import summary_table
from s2d_loop.report.text import duration, interval, percent
from s2d_loop.report.view import RunView, Score, TaskSummary


def status(view: RunView) -> dict[str, Any]:
    """The run's state as plain values: what `--json` prints."""
    last, step = view.last, view.next_step
    latest = view.iterations[-1] if view.iterations else None
    return {
        "run": view.name,
        "iteration": latest.number if latest else None,
        "iterations": view.planned,
        "committed": list(latest.stages) if latest else [],
        "last_commit": None
        if last is None
        else {
            "iteration": last.iteration,
            "stage": last.name,
            "time": last.time,
            "seconds": last.seconds,
            "in": last.rows_in,
            "out": last.rows_out,
            "dropped": dict(last.dropped),
        },
        "next": None if step is None else {"iteration": step[0], "stage": step[1]},
        "finished": view.finished,
        "promoted": view.promoted,
        "held": view.held,
        "asked": view.asked,
        "collapse": view.collapse,
        "inputs": sum(s.inputs for i in view.iterations for s in i.signs.values()),
        "kept": sum(s.kept for i in view.iterations for s in i.signs.values()),
        "dropped": dict(view.dropped),
        "sources": feeds(view),
        "quarantined": view.quarantined,
        "seconds_by_stage": view.seconds_by_stage,
        "in_service": view.in_service,
        "retention": view.retention,
        "tasks": {
            each.task: {
                **_task(each),
                "serving": view.policy.get(each.task),
                "retired": view.retired.get(each.task),
            }
            for each in view.summaries
        },
    }


def print_status(console: Terminal, view: RunView) -> None:
    """The same for people."""
    state = status(view)
    console.print(state["run"], style="bold")
    for label, said in _sentences(state):
        console.print(Text(f"{label:<12}", style="dim"), said, sep="")
    if any(each.system1_now for each in view.summaries):
        console.print()
        console.print(summary_table(view))


def _sentences(state: dict[str, Any]) -> list[tuple[str, str]]:
    last, step = state["last_commit"], state["next"]
    if last is None:
        return [
            ("state", "nothing is committed yet"),
            ("next", f"{step['stage']} of iteration {step['iteration']}"),
        ]
    said = [
        (
            "iteration",
            f"{state['iteration']}" + (f" of {state['iterations']}" if state["iterations"] else ""),
        ),
        ("committed", ", ".join(state["committed"])),
        (
            "last commit",
            f"{last['stage']} of iteration {last['iteration']}, {last['time']}, {duration(last['seconds'])}",
        ),
        ("its rows", f"{last['in']:,} in = {last['out']:,} out" + _dropped(last["dropped"])),
        ("all inputs", f"{state['inputs']:,} in = {state['kept']:,} kept" + _dropped(state["dropped"])),
        *(("source", f"{name}: {sentence(feed)}") for name, feed in state["sources"].items()),
        *(("quarantine", f"{name}, traced in round {n}") for name, n in state["quarantined"].items()),
        ("gate", f"{len(state['promoted'])} promoted, {len(state['held'])} held" + _asked(state["asked"])),
        *(("kept", _kept(task, row)) for task, row in (state["retention"].get("tasks") or {}).items()),
        *(("retired", each["retired"]["sentence"]) for each in state["tasks"].values() if each["retired"]),
        *(
            ("serve", f"{task}: {each['serving']['sentence']}")
            for task, each in state["tasks"].items()
            if each["serving"]
        ),
    ]
    if state["collapse"]:
        return [*said, ("stopped", state["collapse"])]
    next_step = (
        f"{step['stage']} of iteration {step['iteration']}" if step else "nothing, the run is complete"
    )
    return [*said, ("next", next_step)]


def _asked(rounds: list[int]) -> str:
    return (
        f", {len(rounds)} for a person to decide (`s2d promote`), the newest of round {rounds[-1]}"
        if rounds
        else ""
    )


def _kept(task: str, row: Mapping[str, Any]) -> str:
    """A row of the retention table."""
    found = row["difference"]
    return (
        f"{task}: {percent(row['candidate'])} beside {percent(row['best'])} of version {row['version']}, "
        f"{interval(found['low'], found['high'])} points: {row['state']}"
    )


def _dropped(reasons: dict[str, int]) -> str:
    return "".join(f" + {count:,} {reason}" for reason, count in reasons.items() if count)


def _task(each: TaskSummary) -> dict[str, Any]:
    return {
        "reference": each.reference,
        "system1_start": _score(each.system1_start),
        "system1_now": _score(each.system1_now),
        "system2_start": _score(each.system2_start),
        "system2_now": _score(each.system2_now),
        "token_ratio": each.token_ratio,
    }


def _score(score: Score | None) -> dict[str, Any] | None:
    if score is None:
        return None
    return {name: getattr(score, name) for name in ("accuracy", "low", "high", "n", "tokens", "unparsable")}
