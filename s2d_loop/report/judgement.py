"""A run judged in one look: is it getting better, is it safe, what does it cost.

Each question has an answer in a few words and the lines that it rests on; a line's `rows` is the command that
shows the inputs behind its figure.  All is read from facts of the ledger, and whatever a run has no fact of is
either left out or said to be not measured: a page about a run in trouble is the one most needed.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from s2d_loop.report.cost import saved, spending
from s2d_loop.report.facts import State, fact, latest, points, table, tables
from s2d_loop.report.kept import retention_table
from s2d_loop.report.summary import quarantine
from s2d_loop.report.text import number, percent, times
from s2d_loop.report.view import RunView, TaskSummary

_WORST: tuple[State, ...] = ("bad", "watch", "good", "unknown")


@dataclass(frozen=True, slots=True)
class Line:
    """One thing to know; `state` is how it stands, for a mark beside it."""

    what: str
    figure: str
    state: State
    why: str = ""
    rows: str = ""


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to one of the three questions."""

    question: str
    short: str
    state: State
    lines: tuple[Line, ...]


def judgement(view: RunView) -> list[Answer]:
    """The three answers; none for a run that has not been evaluated yet."""
    if not any(view.measured(task) for task in view.tasks):
        return []
    return [_better(view), _safe(view), _cost(view)]


def _better(view: RunView) -> Answer:
    lines = tuple(_task(view, each) for each in view.summaries if each.system1_now)
    above = sum(line.state == "good" for line in lines)
    if any(line.state == "bad" for line in lines):
        below = [line.what for line in lines if line.state == "bad"]
        return Answer("Is it getting better?", f"No: {', '.join(below)} fell below the start", "bad", lines)
    if not view.promoted:
        short = "Not yet: nothing was promoted" if view.rounds else "Not yet: no round is through"
        return Answer("Is it getting better?", short, "watch", lines)
    short = f"{'Yes' if above else 'Not shown'}: {above} of {len(lines)} tasks above their start"
    return Answer("Is it getting better?", short, "good" if above else "watch", lines)


def _task(view: RunView, task: TaskSummary) -> Line:
    start, now, slow = task.system1_start, task.system1_now, task.system2_start
    figure = f"{percent(start.accuracy) if start else '-'} \u2192 {percent(now.accuracy) if now else '-'}"
    why = [] if slow is None else [f"System 2 {percent(slow.accuracy)} at the start"]
    gate = latest(view, "gate", "by_task")
    cell = table(table(gate.facts("gate"), "by_task"), task.task) if gate else {}
    if gate and fact(cell, "difference") is not None:
        p = fact(cell, "p")
        why.append(
            f"round {gate.number}: {gate.decision}, {points(cell)}" + ("" if p is None else f", p {p:.2g}")
        )
    state: State = "watch"
    if start and now and None not in (start.high, start.low, now.low, now.high):
        state = "good" if now.low > start.high else "bad" if now.high < start.low else "watch"  # type: ignore[operator]
    return Line(task.task, figure, state, "; ".join(why), f"s2d show RUN --heldout wrong --task {task.task}")


def _safe(view: RunView) -> Answer:
    lines = tuple(_checks(view))
    state: State = next((s for s in _WORST if any(line.state == s for line in lines)), "unknown")
    named = [line.what for line in lines if line.state == state]
    said: dict[State, str] = {
        "bad": f"No: {', '.join(named)}",
        "watch": f"Look at: {', '.join(named)}",
        "good": "Yes: nothing that is measured speaks against it",
        "unknown": "Not measured yet",
    }
    return Answer("Is it safe?", said[state], state, lines)


def _checks(view: RunView) -> Iterator[Line]:
    decided = [i for i in view.rounds if i.decision]
    if decided:
        last, recent = decided[-1], decided[-10:]
        held = sum(not each.promoted for each in recent)
        yield Line(
            "gate",
            f"{last.decision} in round {last.number}",
            "good" if last.promoted else "watch",
            f"{held} of the newest {len(recent)} candidates were not promoted. {last.sentence}",
            f"s2d show RUN --heldout lost --iteration {last.number}",
        )
    yield from _collapse(view)
    yield from _lost_system2(view)
    if kept := retention_table(view):
        worst = next(s for s in _WORST if any(row["state"] == s for row in kept))
        lost = [row["what"] for row in kept if row["state"] == worst]
        yield Line("forgetting", _kept(worst), worst, "" if worst == "good" else ", ".join(lost))
    yield from _canaries(view)
    if view.quarantined:
        yield Line("quarantine", ", ".join(view.quarantined), "watch", quarantine(view))
    if view.retired:
        told = " ".join(str(each.get("sentence") or "") for each in view.retired.values())
        yield Line("tasks that rest", f"{len(view.retired)}", "watch", told)
    yield from _references(view)


def _kept(state: State) -> str:
    return {
        "good": "kept",
        "watch": "measured over the budget",
        "bad": "lost",
        "unknown": "not shown either way",
    }[state]


def _collapse(view: RunView) -> Iterator[Line]:
    gate = latest(view, "gate", "collapse")
    if gate:
        found = table(gate.facts("gate"), "collapse")
        signs = [task for task, row in tables(found, "by_task").items() if row.get("shows")]
        stops = bool(found.get("stop"))
        said = str(found.get("sentence") or "")
        figure = "stopped" if stops else f"signs in {', '.join(signs)}" if signs else "no signs"
        yield Line("collapse", figure, "bad" if stops else "watch" if signs else "good", said)
    for task in view.tasks:
        signs_of = view.signs(task)
        if len(signs_of) < 2:
            continue
        (_, first), (newest, now) = signs_of[0], signs_of[-1]
        told = [
            f"{name} {show(before)} \u2192 {show(after)}"
            for name, show, before, after in (
                ("entropy", _two, first.entropy, now.entropy),
                ("commonest answer", percent, first.top_answer_share, now.top_answer_share),
                ("unparsable", percent, first.unparsable_share, now.unparsable_share),
            )
            if before is not None and after is not None
        ]
        yield Line(
            f"{task}: agreement of the systems",
            f"{percent(first.agreement)} \u2192 {percent(now.agreement)}",
            "unknown",
            "; ".join(told),
            f"s2d show RUN --task {task} --iteration {newest} --reason kept",
        )


def _lost_system2(view: RunView) -> Iterator[Line]:
    """Tasks whose System 2 the training cost: it may be what teaches next, and what serves in System 1's place."""
    for each in view.summaries:
        start, now = each.system2_start, each.system2_now
        if start and now and start.low is not None and now.high is not None and now.high < start.low:
            yield Line(
                f"{each.task}: System 2 of the trained weights",
                f"{percent(start.accuracy)} \u2192 {percent(now.accuracy)}",
                "watch",
                "Training on direct answers cost it; generate.teacher: start keeps it from teaching.",
            )


def _canaries(view: RunView) -> Iterator[Line]:
    gate = latest(view, "gate", "canaries")
    for name, row in tables(gate.facts("gate"), "canaries").items() if gate else ():
        held = row.get("decision") == "hold"
        figure = f"{number(fact(row, 'bad'), 0)} of {number(fact(row, 'n'), 0)} bad"
        yield Line(
            f"canaries {name}",
            figure,
            "bad" if held else "good",
            f"{number(fact(row, 'start'), 0)} by the starting weights",
        )


def _references(view: RunView) -> Iterator[Line]:
    """What the figures rest on: votes have errors, and a loop learns these."""
    newest = next((i for i in reversed(view.iterations) if "evaluate" in i.stages), None)
    if newest is None:
        return
    total: dict[str, int] = {}
    for row in tables(newest.facts("evaluate"), "by_task").values():
        for source, count in table(row, "references").items():
            total[source] = total.get(source, 0) + (count if isinstance(count, int) else 0)
    if every := sum(total.values()):
        votes = total.get("vote", 0)
        figure = f"{percent(1 - (votes + total.get('none', 0)) / every, 0)} labelled"
        why = f"{number(total.get('labels', 0))} inputs with labels of their own, {number(total.get('review', 0))} labelled by people, {number(votes)} held against System 2's vote"
        yield Line(
            "references", figure, "good" if votes < every else "watch", why, "s2d review RUN --rater NAME"
        )
    for task, found in table(newest.facts("evaluate"), "audited").items():
        row = found[0] if isinstance(found, list) and found and isinstance(found[0], Mapping) else {}
        if n := fact(row, "n"):
            figure = f"System 1 {percent(fact(row, 'system1'))}, System 2 {percent(fact(row, 'system2'))}"
            yield Line(
                f"{task}: people's audit", figure, "unknown", f"{n:,.0f} inputs of round {row.get('round')}"
            )


def _cost(view: RunView) -> Answer:
    lines: list[Line] = []
    changes: list[float] = []
    for task in view.tasks:
        spent = [(i, s) for i in view.rounds if (s := spending(i, task)) is not None]
        if not spent:
            continue
        (first, before), (newest, now) = spent[0], spent[-1]
        change = now.calls / before.calls if before.calls else None
        changes += [] if change is None else [change]
        figure = f"{number(before.calls)} \u2192 {number(now.calls)} calls an input"
        why = f"System 2 tokens {number(before.tokens)} \u2192 {number(now.tokens)}, from round {first.number} to {newest.number}"
        lines.append(
            Line(
                task,
                figure,
                "unknown",
                why,
                f"s2d show RUN --task {task} --iteration {newest.number} --reason kept",
            )
        )
    kept = saved(view)
    if kept.triage_calls or kept.triage_tokens:
        lines.append(
            Line(
                "saved by triage",
                f"{number(kept.triage_calls)} calls",
                "good",
                f"{number(kept.triage_tokens)} tokens, by System 2's mean",
            )
        )
    if kept.planned and kept.planned > kept.samples:
        share = percent(1 - kept.samples / kept.planned)
        lines.append(
            Line(
                "saved by votes that end early",
                f"{share} of samples",
                "good",
                f"{number(kept.samples)} of {number(kept.planned)} were drawn",
            )
        )
    ratios = [r for s in view.summaries if (r := s.token_ratio) is not None]
    served = "" if not ratios else f"an answer of System 1 takes {_range(ratios)} fewer tokens"
    if changes:
        mean = sum(changes) / len(changes)
        short = f"System 2 is asked {percent(abs(1 - mean), 0)} {'less' if mean <= 1 else 'more'} an input than at first"
        short = "System 2 is asked as often as at first" if abs(1 - mean) < 0.005 else short
        short = f"{short}; {served}" if served else short
    else:
        short = served or "Not measured yet"
    state: State = "unknown" if not changes else "good" if sum(changes) <= len(changes) else "watch"
    return Answer("What does it cost?", short[:1].upper() + short[1:], state, tuple(lines))


def _range(ratios: list[float]) -> str:
    low, high = min(ratios), max(ratios)
    return times(low) if times(low) == times(high) else f"{times(low)} to {times(high)}"


def _two(value: float | None) -> str:
    return number(value, 2)
