"""A measured table beside the paper's: Markdown, JSON, and a page with plots."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jinja2

from s2d_loop.evaluate.metrics import mcnemar
from s2d_loop.report.text import DASH, markdown_table, times
from s2d_loop.reproduce.measure import Result
from s2d_loop.reproduce.metrics import Figure
from s2d_loop.reproduce.tables import Row, Table

_LEVEL = 0.05

Results = Mapping[str, Mapping[str, Result]]
"""By task and by the row's key."""


def write(table: Table, results: Results, about: Mapping[str, str], folder: Path) -> Path:
    """Write `TABLE.json`, `TABLE.md` and `TABLE.html`; returns the page."""
    folder.mkdir(parents=True, exist_ok=True)
    body = {
        "table": table.name,
        **about,
        "rows": [_plain(row, table, results) for row in table.rows],
        "orders": [order._asdict() for order in compared(table, results)],
    }
    (folder / f"{table.name}.json").write_text(json.dumps(body, indent=2) + "\n")
    (folder / f"{table.name}.md").write_text(markdown(table, results, about))
    page = folder / f"{table.name}.html"
    page.write_text(html(table, results, about))
    return page


def ours(figure: Figure | None) -> str:
    """A figure as the paper writes it, with its 95 % interval if it has one."""
    if figure is None or figure.value is None:
        return DASH
    if figure.low is None or figure.high is None:
        return f"{figure.value:.1f}"
    return f"{figure.value:.1f} ({figure.low:.1f} to {figure.high:.1f})"


def cells(row: Row, table: Table, results: Results) -> list[str]:
    """The paper's figure and ours, for each task and column, and how many times the first row's tokens."""
    shown = []
    for task in table.tasks:
        measured = results[task][row.key].figures
        for metric in table.metrics:
            paper = row.paper.get(task, {}).get(metric)
            shown += [DASH if paper is None else f"{paper:g}", ours(measured.get(metric))]
        if "tokens" in table.metrics:
            shown.append(times(_token_ratio(row, table, results, task)))
    return shown


def heads(table: Table) -> list[str]:
    """The columns that `cells` fills."""
    made = []
    for task in table.tasks:
        for metric in table.metrics:
            made += [f"{task}: {words(metric)}, paper", f"{task}: {words(metric)}, ours"]
        if "tokens" in table.metrics:
            made.append(f"{task}: tokens against the first row, ours")
    return made


def words(metric: str) -> str:
    """A column's heading."""
    if metric.startswith("tokens"):
        return metric.replace("tokens", "tokens an answer")
    return metric.replace("miss_match", "no answer") + " %"


def markdown(table: Table, results: Results, about: Mapping[str, str]) -> str:
    """The table for a terminal or a repository."""
    lines = [["", *heads(table)], *([row.key, *cells(row, table, results)] for row in table.rows)]
    described = ", ".join(f"{name} {value}" for name, value in about.items() if name != "note")
    notes = "\n\n".join(filter(None, (table.note, about.get("note", ""))))
    rows = markdown_table(lines)
    orders = "\n".join(
        f"- {o.task}: {o.better} above {o.worse}: {o.verdict} here ({o.ours}, p = {o.p})"
        for o in compared(table, results)
    )
    return (
        f"# {table.title}\n\n{described}. 95 % Wilson intervals.\n\n{rows}\n\n"
        f"The paper's orders ({words(table.metrics[0])}):\n\n{orders}\n\n{notes}\n"
    )


class Order(NamedTuple):
    """An order that the paper reports, and what became of it here."""

    task: str
    better: str
    worse: str
    ours: str
    p: str
    verdict: str


def compared(table: Table, results: Results) -> list[Order]:
    """Whether each order that the paper reports holds here, by McNemar's exact test on the same inputs."""
    orders = []
    for claim in table.claims:
        better, worse = (results[claim.task][key] for key in (claim.better, claim.worse))
        shared = [number for number in better.right if number in worse.right]
        p = mcnemar([better.right[n] for n in shared], [worse.right[n] for n in shared]).p
        metric = table.metrics[0]
        high, low = better.figures.get(metric), worse.figures.get(metric)
        if high is None or low is None or high.value is None or low.value is None:
            verdict = "not measured"
        elif p >= _LEVEL:
            verdict = "not resolved"
        else:
            verdict = "holds" if high.value > low.value else "reversed"
        said = f"{ours(high)} against {ours(low)}"
        orders.append(Order(claim.task, claim.better, claim.worse, said, f"{p:.2g}", verdict))
    return orders


def html(table: Table, results: Results, about: Mapping[str, str]) -> str:
    """One self-contained page."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("s2d_loop.reproduce", "."),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
    )
    return environment.get_template("page.html.j2").render(
        table=table,
        about={name: value for name, value in about.items() if name != "note"},
        notes=[note for note in (table.note, about.get("note", "")) if note],
        words=words,
        ratio="tokens" in table.metrics,
        orders=compared(table, results),
        rows=[(row, cells(row, table, results)) for row in table.rows],
        plots=[(task, _plot(table, results, task)) for task in table.tasks],
    )


def _plot(table: Table, results: Results, task: str) -> str:
    """The first column by row, the paper's as a hollow mark and ours with its interval, as SVG."""
    import vl_convert

    metric = table.metrics[0]
    rows = []
    for row in table.rows:
        figure = results[task][row.key].figures.get(metric)
        if figure is None or figure.value is None:
            continue
        shown = figure._asdict() | {"row": row.key, "paper": row.paper.get(task, {}).get(metric)}
        rows.append(shown)
    y = {"field": "row", "type": "nominal", "sort": None, "title": None, "axis": {"labelLimit": 640}}
    x = {"type": "quantitative", "scale": {"domain": [0, 100]}, "title": words(metric)}
    spec = {
        "$schema": "https://vega.github.io/schema/vega-lite/v6.json",
        "data": {"values": rows},
        "width": 420,
        # A reader's font may be wider than the one that the labels were laid out with.
        "padding": {"left": 60, "right": 12, "top": 6, "bottom": 6},
        "height": {"step": 24},
        "layer": [
            {
                "mark": {"type": "rule", "strokeWidth": 2, "color": "#0072b2"},
                "encoding": {"y": y, "x": {**x, "field": "low"}, "x2": {"field": "high"}},
            },
            {
                "mark": {"type": "point", "filled": True, "size": 70, "color": "#0072b2"},
                "encoding": {"y": y, "x": {**x, "field": "value"}},
            },
            {
                "transform": [{"filter": "datum.paper !== null"}],
                "mark": {
                    "type": "point",
                    "filled": False,
                    "size": 80,
                    "shape": "diamond",
                    "color": "#d55e00",
                },
                "encoding": {"y": y, "x": {**x, "field": "paper"}},
            },
        ],
        "config": {"font": "system-ui, sans-serif", "view": {"stroke": None}, "axis": {"grid": True}},
    }
    drawn: str = vl_convert.vegalite_to_svg(spec)
    return drawn


def _token_ratio(row: Row, table: Table, results: Results, task: str) -> float | None:
    """How many times the tokens of the table's first row."""
    first, own = (results[task][each.key].figures.get("tokens") for each in (table.rows[0], row))
    if first is None or own is None or own.value is None or not first.value:
        return None
    return own.value / first.value


def _plain(row: Row, table: Table, results: Results) -> dict[str, Any]:
    return {
        "section": row.section,
        "name": row.name,
        "weights": row.weights,
        "system": row.system,
        "paper": {task: dict(figures) for task, figures in row.paper.items()},
        "ours": {
            task: {name: figure._asdict() for name, figure in results[task][row.key].figures.items()}
            for task in table.tasks
        },
    }
