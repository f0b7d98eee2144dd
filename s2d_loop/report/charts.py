"""The page's charts, as Vega-Lite specifications with their data inside.

Colours are CSS variables of the page (`var(--s1)`), which an SVG takes as they are: one chart then
serves light, dark and print, and System 1 has the same colour in a chart as in the text.  A run may
have hundreds of iterations, so every series is thinned to what a panel can show (`thin`).
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from s2d_loop.report.cost import Spending, spending
from s2d_loop.report.view import STAGES, Measured, RunView, Score

Row = dict[str, Any]
Spec = dict[str, Any]

MOST_POINTS = 120
"""More points than this on one line no longer show as points."""
MOST_BARS = 60
"""More bars than this in one panel are thinner than the gaps between them."""
MARKED_POINTS = 24
"""Up to here every measurement has its own mark and its own error bar; beyond, a line and a band."""
SPACED_BARS = 24
"""Up to here bars stand apart; beyond, they touch."""
SMALL, MIDDLE, LARGE = 130, 180, 220
LABEL_HEIGHT = 15.5
"""In pixels, as are the charts' heights."""

SYSTEMS = {"system1": ("System 1", "var(--s1)"), "system2": ("System 2", "var(--s2)")}
NUM_TASK_COLORS = 6
STAGE_COLORS = {name: f"var(--t{number})" for number, name in enumerate(("heldout", *STAGES))}
MOST_REASONS = 5
OTHER = "other reasons"

SIGNS: dict[str, tuple[str, str, bool]] = {
    "agreement": ("System 1 agrees with System 2", "share of its answers equal to the vote", True),
    "self_agreement": ("System 2 agrees with itself", "mean share of the winning answer", True),
    "already": ("Already known to System 1", "share of kept inputs with nothing to learn", True),
    "top_answer_share": ("Commonest answer", "its share of all winning answers", True),
    "entropy": ("Entropy of System 2's answers", "bits, mean over inputs", False),
    "distinct_answers": ("Distinct answers", "different winning answers of a round", False),
    "kept_share": ("Kept", "share of the inputs that System 2 answered", True),
    "unparsable_share": ("Unparsable", "share of System 2's samples", True),
}
"""Each sign's title, what it measures, and whether it is a share."""


def thin(rows: Sequence[Row], limit: int, *, keep_start: bool = True) -> tuple[list[Row], int]:
    """At most about `limit` rows: means of so many neighbours, and how many that is.

    A mean keeps a long run's level and trend honest, where picking every k-th row would hide dips.
    The first row stays as it is, because it is the start that everything is compared with (not so
    in bars, which would then be unequal).  Each row says which iterations it covers.
    """
    width = math.ceil(len(rows) / limit) or 1
    alone = 1 if keep_start and width > 1 else 0
    groups = [rows[:alone], *(rows[n : n + width] for n in range(alone, len(rows), width))]
    return [_mean(group) for group in groups if group], width


def accuracy(view: RunView, task: str) -> tuple[Spec, int]:
    """System 1 and System 2 by iteration with 95 % intervals; a hollow point was not promoted."""
    return _systems(view, task, lambda score: score.accuracy, log=False)


def tokens(view: RunView, task: str) -> tuple[Spec, int]:
    """Generated tokens an answer, on a log scale: the two systems differ by factors."""
    return _systems(view, task, lambda score: score.tokens or None, log=True)


def reasons(view: RunView) -> list[tuple[str, str]]:
    """The outcomes that bars are split into, bottom first, each with its colour."""
    common = list(view.dropped)[:MOST_REASONS]
    names = ["kept", *common, *([OTHER] if len(view.dropped) > MOST_REASONS else [])]
    return [(name, f"var(--r{number})") for number, name in enumerate(names)]


def outcomes(view: RunView, task: str) -> tuple[Spec, int]:
    """Inputs of each iteration, kept and dropped by reason."""
    colors = dict(reasons(view))
    table = []
    for number, signs in view.signs(task):
        row: Row = {"iteration": number, "kept": signs.kept, **dict.fromkeys(list(colors)[1:], 0)}
        for reason, count in signs.dropped.items():
            row[reason if reason in colors else OTHER] += count
        table.append(row)
    table, width = thin(table, MOST_BARS, keep_start=False)
    return _bars(table, colors, "inputs", ",.0f"), width


def times(view: RunView) -> tuple[Spec, int, str]:
    """Each iteration's time by stage, and the unit that suits the longest."""
    colors = dict(stage_colors(view))
    table = []
    for iteration in view.rounds:
        row: Row = {"iteration": iteration.number, **dict.fromkeys(colors, 0.0)}
        for stage in iteration.stages.values():
            row[stage.name] = stage.seconds
        table.append(row)
    table, width = thin(table, MOST_BARS, keep_start=False)
    longest = max((sum(row[name] for name in colors) for row in table), default=0.0)
    units = (("hours", 3600.0), ("minutes", 60.0), ("seconds", 1.0))
    unit, size = next((each for each in units if longest > 3 * each[1]), units[-1])
    scaled = [{**row, **{name: row[name] / size for name in colors}} for row in table]
    return _bars(scaled, colors, unit, ",.2~f"), width, unit


def stage_colors(view: RunView) -> list[tuple[str, str]]:
    return [(name, STAGE_COLORS.get(name, "var(--line)")) for name in view.seconds_by_stage]


def task_colors(view: RunView) -> list[tuple[str, str]]:
    return [(task, f"var(--c{n % NUM_TASK_COLORS + 1})") for n, task in enumerate(view.tasks)]


def sign(view: RunView, name: str) -> tuple[Spec, int] | None:
    """One sign of collapse, a line a task; None where nothing was measured."""
    title, _, share = SIGNS[name]
    series = {task: [(n, getattr(signs, name)) for n, signs in view.signs(task)] for task in view.tasks}
    return _by_task(view, series, title, share=share)


def spent(view: RunView, value: Callable[[Spending], float]) -> tuple[Spec, int] | None:
    """What System 2 cost for each claimed input, a line a task; None where nothing was counted."""
    series = {
        task: [(i.number, value(s)) for i in view.rounds if (s := spending(i, task)) is not None]
        for task in view.tasks
    }
    return _by_task(view, series, "an input", share=False)


def _by_task(
    view: RunView, series: Mapping[str, Sequence[tuple[int, float | None]]], title: str, *, share: bool
) -> tuple[Spec, int] | None:
    alt = _altair()
    colors = dict(task_colors(view))
    table, width = [], 1
    for task, found in series.items():
        known = [{"iteration": n, "value": value, "task": task} for n, value in found if value is not None]
        thinned, width_here = thin(known, MOST_POINTS)
        width = max(width, width_here)
        table += thinned
    if not table:
        return None
    top = 1.0 if share else max(0.1, 1.08 * max(row["value"] for row in table))
    scale = alt.Scale(domain=[0, top])
    y = alt.Y("value:Q", title=None, scale=scale, axis=_axis(share))
    color = alt.Color(
        "task:N", legend=None, scale=alt.Scale(domain=list(colors), range=list(colors.values()))
    )
    base = alt.Chart(alt.Data(values=table)).encode(x=_x(table), y=y, color=color)
    tip = [
        alt.Tooltip("task:N"),
        alt.Tooltip("iteration:Q"),
        alt.Tooltip("value:Q", format=".1%" if share else ",.2f", title=title),
    ]
    line = base.mark_line(point=len(table) <= MARKED_POINTS * len(colors)).encode(tooltip=tip)
    ends = _spread(_last_of(table, "task"), (0.0, top), SMALL, log=False)
    labels = [{**row, "label": _percent(row["value"]) if share else _short(row["value"])} for row in ends]
    return _finish(alt.layer(line, _labels(alt, labels, _x(table), scale, color)), height=SMALL), width


def _systems(
    view: RunView, task: str, value: Callable[[Score], float | None], *, log: bool
) -> tuple[Spec, int]:
    alt = _altair()
    promoted = {0, *view.promoted}
    table: list[Row] = []
    width = 1
    for attribute, (label, ink) in SYSTEMS.items():
        thinned, width_here = thin(_series(view.measured(task), attribute, value), MOST_POINTS)
        width = max(width, width_here)
        for row in thinned:
            filled = attribute == "system2" or row["iteration"] in promoted
            row |= {"system": label, "fill": ink if filled else "var(--page)"}
        table += thinned
    few = len({row["iteration"] for row in table}) <= MARKED_POINTS
    low, high = _token_range(table) if log else (0.0, 1.0)
    scale = alt.Scale(type="log", domain=[low, high]) if log else alt.Scale(domain=[low, high])
    y = alt.Y(
        "value:Q",
        title=None,
        scale=scale,
        axis=alt.Axis(values=_ticks(low, high), format=",~r") if log else _axis(True),
    )
    color = _system_color(alt)
    tip = [
        alt.Tooltip("system:N", title="answered by"),
        alt.Tooltip("iteration:Q"),
        alt.Tooltip("value:Q", format=",.1f" if log else ".1%", title="tokens" if log else "accuracy"),
    ]
    if not log:
        tip += [alt.Tooltip("low:Q", format=".1%"), alt.Tooltip("high:Q", format=".1%"), alt.Tooltip("n:Q")]
    base = alt.Chart(alt.Data(values=table)).encode(x=_x(table), color=color)
    layers = []
    start = next((row for row in table if row["system"] == "System 2"), None)
    if start and not log:
        rule = alt.Chart(alt.Data(values=[start])).mark_rule(strokeDash=[3, 4], opacity=0.75)
        layers.append(rule.encode(y=y, color=color))
    if not log:
        spread = base.mark_rule(strokeWidth=1.5, opacity=0.55) if few else base.mark_area(opacity=0.16)
        layers.append(spread.encode(y=alt.Y("low:Q", title=None), y2="high:Q"))
        if not few:
            layers.append(_rug(alt, [*view.held, *view.asked], table, scale))
    layers.append(base.mark_line().encode(y=y, tooltip=tip))
    if few:
        points = base.mark_point(size=46, filled=False, strokeWidth=2, opacity=1)
        layers.append(points.encode(y=y, fill=alt.Fill("fill:N", scale=None), tooltip=tip))
    ends = _spread(_last_of(table, "system"), (low, high), LARGE, log=log)
    labels = [
        {**row, "label": f"{row['system']}: {_tokens(row['value']) if log else _percent(row['value'])}"}
        for row in ends
    ]
    layers.append(_labels(alt, labels, _x(table), scale, color))
    return _finish(alt.layer(*layers), height=LARGE, right=44), width


def _rug(alt: Any, held: Iterable[int], table: Sequence[Row], scale: Any) -> Any:
    """Short ticks at the foot of a long run's chart, one for each iteration that was held back."""
    rows = [{"iteration": number, "foot": 0.0, "head": 0.035} for number in held]
    chart = alt.Chart(alt.Data(values=rows)).mark_rule(color="var(--muted)", strokeWidth=1)
    return chart.encode(x=_x(table), y=alt.Y("foot:Q", title=None, scale=scale), y2="head:Q")


def _series(
    measured: Iterable[Measured], attribute: str, value: Callable[[Score], float | None]
) -> list[Row]:
    rows = []
    for each in measured:
        score: Score | None = getattr(each, attribute)
        if score is not None and (shown := value(score)) is not None:
            rows.append(
                {
                    "iteration": each.iteration,
                    "value": shown,
                    "low": shown if score.low is None else score.low,
                    "high": shown if score.high is None else score.high,
                    "n": score.n or 0,
                }
            )
    return rows


def _bars(table: list[Row], colors: Mapping[str, str], title: str, number: str) -> Spec:
    """Stacked bars with their edges worked out here, so that a bar of many iterations is as wide."""
    alt = _altair()
    spaced = len(table) <= SPACED_BARS
    half = 0.36 if spaced else 0.5
    rows = []
    for row in table:
        bottom = 0.0
        edges = {"left": row["first"] - half, "right": row["last"] + half}
        for name in (name for name in colors if row[name]):
            top = bottom + row[name]
            part = {"what": name, "value": row[name], "bottom": bottom, "top": top}
            rows.append({"iteration": row["iteration"], **edges, **part})
            bottom = top
    color = alt.Color(
        "what:N", legend=None, scale=alt.Scale(domain=list(colors), range=list(colors.values()))
    )
    first, last = (table[0]["first"], table[-1]["last"]) if table else (0, 1)
    x = alt.X(
        "left:Q",
        title="iteration",
        scale=alt.Scale(domain=[first - 0.6, last + 0.6], nice=False),
        axis=_iteration_axis(first, last),
    )
    chart = alt.Chart(alt.Data(values=rows)).mark_rect(
        stroke="var(--page)" if spaced else None, strokeWidth=0.5
    )
    tip = [
        alt.Tooltip("what:N", title=" "),
        alt.Tooltip("iteration:Q", format=".0f"),
        alt.Tooltip("value:Q", format=number, title=title),
    ]
    y = alt.Y("bottom:Q", title=None, axis=alt.Axis(format=",~r", tickCount=5))
    return _finish(chart.encode(x=x, x2="right:Q", y=y, y2="top:Q", color=color, tooltip=tip), height=MIDDLE)


def _labels(alt: Any, rows: list[Row], x: Any, scale: Any, color: Any) -> Any:
    """The name or value at a line's end, in the line's colour, instead of a legend."""
    chart = alt.Chart(alt.Data(values=rows)).mark_text(
        align="left", dx=9, fontSize=11.5, fontWeight=600, clip=False, baseline="middle"
    )
    return chart.encode(x=x, y=alt.Y("label_y:Q", title=None, scale=scale), text="label:N", color=color)


def _spread(ends: Iterable[Row], domain: tuple[float, float], height: int, *, log: bool) -> list[Row]:
    """Where the labels stand: at the right edge, moved apart where they would cover one another."""
    rows = sorted(ends, key=lambda row: row["value"])
    edge = max((row["iteration"] for row in rows), default=0)
    low, high = (math.log(bound) if log else bound for bound in domain)
    gap = LABEL_HEIGHT / height * (high - low)
    places = [math.log(row["value"]) if log else row["value"] for row in rows]
    for n in range(1, len(places)):
        places[n] = max(places[n], places[n - 1] + gap)
    ceiling = high + gap / 2
    for n in reversed(range(len(places))):
        places[n] = min(places[n], ceiling)
        ceiling = places[n] - gap
    return [
        {**row, "iteration": edge, "label_y": math.exp(at) if log else at}
        for row, at in zip(rows, places, strict=True)
    ]


def _percent(value: float) -> str:
    return f"{100 * value:.0f} %"


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.2f}"


def _tokens(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 else f"{value:.1f}"


def _last_of(table: Iterable[Row], key: str) -> Iterable[Row]:
    return {row[key]: row for row in table}.values()


def _mean(group: Sequence[Row]) -> Row:
    """The group's mean in every number, at its middle iteration; other values are the first row's."""
    mean = dict(group[0])
    for name, value in group[0].items():
        if isinstance(value, int | float):
            mean[name] = sum(row[name] for row in group) / len(group)
    first, last = group[0]["iteration"], group[-1]["iteration"]
    return {**mean, "iteration": group[len(group) // 2]["iteration"], "first": first, "last": last}


def _token_range(table: Iterable[Row]) -> tuple[float, float]:
    """Whole steps of 1, 2, 5 around the values, with at least one power of ten between them."""
    values = [row["value"] for row in table] or [1.0]
    steps = [m * 10.0**e for e in range(-1, 8) for m in (1, 2, 5)]
    low = max((s for s in steps if s <= min(values)), default=steps[0])
    high = min((s for s in steps if s >= 1.15 * max(values)), default=steps[-1])
    return low, max(high, 10 * low)


def _ticks(low: float, high: float) -> list[float]:
    """1, 2, 5 steps while they are few, else powers of ten."""
    fine = [m * 10.0**e for e in range(-1, 8) for m in (1, 2, 5) if low <= m * 10.0**e <= high]
    return fine if len(fine) <= 7 else [s for s in fine if math.log10(s).is_integer()]


def _x(table: Sequence[Row]) -> Any:
    alt = _altair()
    first, last = (
        min((r["iteration"] for r in table), default=0),
        max((r["iteration"] for r in table), default=1),
    )
    last = max(last, first + 1)
    room = 0.03 * (last - first)
    return alt.X(
        "iteration:Q",
        title="iteration",
        scale=alt.Scale(domain=[first - room, last + room], nice=False),
        axis=_iteration_axis(first, last),
    )


def _iteration_axis(first: float, last: float) -> Any:
    """Ticks on whole iterations only."""
    step = next(s for e in range(8) for m in (1, 2, 5) if (s := m * 10**e) * 8 >= last - first)
    start = math.ceil(first / step) * step
    return _altair().Axis(values=list(range(start, math.floor(last) + 1, step)), format="d", grid=False)


def _axis(share: bool) -> Any:
    alt = _altair()
    return alt.Axis(format=".0%", values=[0, 0.25, 0.5, 0.75, 1]) if share else alt.Axis(tickCount=4)


def _system_color(alt: Any) -> Any:
    names, colors = zip(*SYSTEMS.values(), strict=True)
    return alt.Color("system:N", legend=None, scale=alt.Scale(domain=list(names), range=list(colors)))


def _finish(chart: Any, *, height: int, right: int = 4) -> Spec:
    """Size, fonts and quiet axes; `right` is room for labels longer than Vega reckons with."""
    text = {
        "labelColor": "var(--muted)",
        "titleColor": "var(--muted)",
        "labelFontSize": 11,
        "titleFontSize": 11,
    }
    axis = {"domainColor": "var(--line)", "tickColor": "var(--line)", "gridColor": "var(--grid)"}
    spec: Spec = (
        chart.properties(
            width="container",
            height=height,
            padding={"left": 4, "right": right, "top": 8, "bottom": 4},
            background="transparent",
            autosize=_altair().AutoSizeParams(type="fit-x", contains="padding"),
        )
        .configure(font="inherit")
        .configure_view(stroke=None)
        .configure_axis(**text, **axis, titleFontWeight="normal", labelPadding=5, tickSize=4)
        .configure_axisY(domain=False, ticks=False)
        .configure_line(strokeWidth=2, strokeJoin="round")
        .configure_point(size=24, filled=True, opacity=1)
        .to_dict()
    )
    return spec


def _altair() -> Any:
    """Imported here because only a page needs it, and it takes longer to load than all the rest."""
    import altair

    return altair
