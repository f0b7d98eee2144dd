"""A measured table beside the paper's: Markdown, JSON, and a page with plots."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2

from s2d_loop.report.text import DASH, times
from s2d_loop.reproduce.tables import Row, Table

Results = Mapping[str, Mapping[str, Mapping[str, Any]]]
"""Figures by task and by the row's key."""

WORDS = {
    "accuracy": "accuracy, %",
    "miss_match": "neither yes nor no, %",
    "tokens": "tokens an answer",
}


def write(table: Table, results: Results, about: Mapping[str, str], folder: Path) -> Path:
    """Write `TABLE.json`, `TABLE.md` and `TABLE.html`; returns the page."""
    folder.mkdir(parents=True, exist_ok=True)
    body = {"table": table.name, **about, "rows": [_plain(row, table, results) for row in table.rows]}
    (folder / f"{table.name}.json").write_text(json.dumps(body, indent=2) + "\n")
    (folder / f"{table.name}.md").write_text(markdown(table, results, about))
    page = folder / f"{table.name}.html"
    page.write_text(html(table, results, about))
    return page


def ours(figures: Mapping[str, Any], metric: str) -> tuple[float | None, str]:
    """A metric of a row as the paper writes it, and with its 95 % interval."""
    if metric == "tokens":
        value = figures["tokens"]
        return value, DASH if value is None else f"{value:.1f}"
    if metric == "miss_match":
        value = 100 * figures["unparsable"] / figures["answers"]
        return value, f"{value:.1f}"
    if figures["accuracy"] is None:
        return None, DASH
    value = 100 * figures["accuracy"]
    return value, f"{value:.1f} ({100 * figures['low']:.1f} to {100 * figures['high']:.1f})"


def cells(row: Row, table: Table, results: Results) -> list[str]:
    """The paper's figure and ours, for each task and metric."""
    shown = []
    for task in table.tasks:
        for metric in table.metrics:
            paper = row.paper.get(task, {}).get(metric)
            shown += [DASH if paper is None else f"{paper:g}", ours(results[task][row.key], metric)[1]]
        if "tokens" in table.metrics:
            shown.append(times(_token_ratio(row, table, results, task)))
    return shown


def heads(table: Table) -> list[str]:
    """The columns that `cells` fills."""
    made = []
    for task in table.tasks:
        for metric in table.metrics:
            made += [f"{task}: {WORDS[metric]}, paper", f"{task}: {WORDS[metric]}, ours"]
        if "tokens" in table.metrics:
            made.append(f"{task}: tokens against {table.rows[0].name}, ours")
    return made


def markdown(table: Table, results: Results, about: Mapping[str, str]) -> str:
    """The table for a terminal or a repository."""
    lines = [["", *heads(table)], ["---"] * (1 + len(heads(table)))]
    lines += [[row.key, *cells(row, table, results)] for row in table.rows]
    described = ", ".join(f"{name} {value}" for name, value in about.items() if name != "note")
    notes = "\n\n".join(filter(None, (table.note, about.get("note", ""))))
    rows = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return f"# {table.title}\n\n{described}. 95 % Wilson intervals.\n\n{rows}\n\n{notes}\n"


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
        words=WORDS,
        ratio="tokens" in table.metrics,
        rows=[(row, cells(row, table, results)) for row in table.rows],
        plots=[(task, _plot(table, results, task)) for task in table.tasks],
    )


def _plot(table: Table, results: Results, task: str) -> str:
    """Accuracy by row, the paper's as a hollow mark and ours with its interval, as SVG."""
    import vl_convert

    rows = []
    for row in table.rows:
        figures = results[task][row.key]
        if figures["accuracy"] is None:
            continue
        rows.append(
            {
                "row": row.name,
                "section": row.section,
                "ours": 100 * figures["accuracy"],
                "low": 100 * figures["low"],
                "high": 100 * figures["high"],
                "paper": row.paper.get(task, {}).get("accuracy"),
            }
        )
    y = {"field": "row", "type": "nominal", "sort": None, "title": None, "axis": {"labelLimit": 420}}
    x = {"type": "quantitative", "scale": {"domain": [0, 100]}, "title": "accuracy, %"}
    spec = {
        "$schema": "https://vega.github.io/schema/vega-lite/v6.json",
        "data": {"values": rows},
        "width": 420,
        "height": {"step": 24},
        "layer": [
            {
                "mark": {"type": "rule", "strokeWidth": 2, "color": "#0072b2"},
                "encoding": {"y": y, "x": {**x, "field": "low"}, "x2": {"field": "high"}},
            },
            {
                "mark": {"type": "point", "filled": True, "size": 70, "color": "#0072b2"},
                "encoding": {"y": y, "x": {**x, "field": "ours"}},
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
    first, own = (results[task][each.key]["tokens"] for each in (table.rows[0], row))
    return own / first if own is not None and first else None


def _plain(row: Row, table: Table, results: Results) -> dict[str, Any]:
    return {
        "section": row.section,
        "name": row.name,
        "weights": row.weights,
        "system": row.system,
        "paper": {task: dict(figures) for task, figures in row.paper.items()},
        "ours": {task: dict(results[task][row.key]) for task in table.tasks},
    }
