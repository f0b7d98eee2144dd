"""A measured table beside the paper's: Markdown, JSON, and a page with plots."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2

from s2d_loop.report.text import DASH, markdown_table, times
from s2d_loop.reproduce.metrics import TOKENS, Figure
from s2d_loop.reproduce.orders import Outcome, Results, compared, counted
from s2d_loop.reproduce.table import Row, Table


def write(
    table: Table, results: Results, about: Mapping[str, str], folder: Path, notes: Sequence[str] = ()
) -> Path:
    """Write `TABLE.json`, `TABLE.md` and `TABLE.html`; returns the page."""
    folder.mkdir(parents=True, exist_ok=True)
    body = {
        "table": table.name,
        **about,
        "notes": list(notes),
        "rows": [_plain(row, table, results) for row in table.rows],
        "orders": [order._asdict() for order in compared(table, results)],
    }
    (folder / f"{table.name}.json").write_text(json.dumps(body, indent=2) + "\n")
    (folder / f"{table.name}.md").write_text(markdown(table, results, about, notes))
    page = folder / f"{table.name}.html"
    page.write_text(html(table, results, about, notes))
    return page


def ours(figure: Figure | None) -> str:
    """A figure as the paper writes it; a share with its 95 % interval and what it is a share of."""
    if figure is None or figure.value is None:
        return DASH
    if figure.low is None or figure.high is None:
        return f"{figure.value:.1f}"
    return f"{figure.value:.2f} ({figure.low:.1f} to {figure.high:.1f}; n {figure.n:,})"


def cells(row: Row, table: Table, results: Results) -> list[str]:
    """The paper's figure and ours, for each set and column, and how many times the first row's tokens."""
    shown = []
    for name in set_names(table):
        measured = results[name][row.key].figures
        for metric in table.metrics:
            paper = row.paper.get(name, {}).get(metric)
            shown += [DASH if paper is None else f"{paper:g}", ours(measured.get(metric))]
        if TOKENS in table.metrics:
            shown.append(times(_token_ratio(row, table, results, name)))
    return shown


def heads(table: Table) -> list[str]:
    """The columns that `cells` fills."""
    made = []
    for name in set_names(table):
        for metric in table.metrics:
            made += [f"{name}: {words(metric)}, paper", f"{name}: {words(metric)}, ours"]
        if TOKENS in table.metrics:
            made.append(f"{name}: tokens against {_first_asked(table).name}, ours")
    return made


def set_names(table: Table) -> list[str]:
    """What heads its groups of columns."""
    return [each.name for each in table.sets]


def words(metric: str) -> str:
    """A column's heading."""
    if metric.startswith(TOKENS):
        return metric.replace(TOKENS, "tokens an answer")
    return metric.replace("miss_match", "no answer") + " %"


def markdown(table: Table, results: Results, about: Mapping[str, str], notes: Sequence[str] = ()) -> str:
    """The table for a terminal or a repository."""
    lines = [["", *heads(table)], *([row.key, *cells(row, table, results)] for row in table.rows)]
    described = ", ".join(f"{name} {value}" for name, value in about.items())
    said = "\n\n".join([*filter(None, (table.note,)), *notes, *problems(results)])
    orders = compared(table, results)
    listed = "\n".join(f"- {line(each)}" for each in shown(orders))
    return (
        f"# {table.title}\n\n{described}. 95 % Wilson intervals.\n\n{markdown_table(lines)}\n\n"
        f"Every two rows that a column of the paper tells apart, and what its text says of two: {counted(orders)}. "
        f"Those that its text states, and those that don't hold here (exact sign test over inputs):\n\n{listed}\n\n"
        f"{said}\n"
    )


def shown(orders: Sequence[Outcome]) -> list[Outcome]:
    """The orders that are listed: the others hold, or have nothing here to hold or not."""
    return [each for each in orders if each.stated or each.verdict in ("reversed", "not resolved")]


def line(each: Outcome) -> str:
    """An order and what became of it."""
    said = f"{each.set}, {words(each.metric)}: {each.above} above {each.below}: {each.verdict}"
    if each.high is None or each.low is None:
        return said
    tested = "" if each.p is None else f", p = {each.p:.2g}"
    return f"{said} ({each.high:.1f} against {each.low:.1f}{tested})"


def problems(results: Results) -> list[str]:
    """What rows could not be measured for; the same command tries them again."""
    return [
        f"Not measured: {name}, {key}: {result.problem}"
        for name, rows in results.items()
        for key, result in rows.items()
        if result.problem
    ]


def html(table: Table, results: Results, about: Mapping[str, str], notes: Sequence[str] = ()) -> str:
    """One self-contained page."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("s2d_loop.reproduce", "."),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
    )
    orders = compared(table, results)
    return environment.get_template("page.html.j2").render(
        table=table,
        sets=set_names(table),
        about=about,
        notes=[*filter(None, (table.note,)), *notes, *problems(results)],
        words=words,
        against=_first_asked(table).name if TOKENS in table.metrics else "",
        orders=orders,
        counted=counted(orders),
        rows=[(row, cells(row, table, results)) for row in table.rows],
        plots=list(_plots(table, results)),
    )


def _plots(table: Table, results: Results) -> Iterator[tuple[str, str]]:
    for name in set_names(table):
        for metric in table.plotted or table.metrics[:1]:
            yield f"{name}: {words(metric)}", _plot(table, results, name, metric)


def _plot(table: Table, results: Results, name: str, metric: str) -> str:
    """A column by row, the paper's as a hollow mark and ours with its interval, as SVG."""
    import vl_convert

    rows = []
    for row in table.rows:
        figure = results[name][row.key].figures.get(metric)
        paper = row.paper.get(name, {}).get(metric)
        if (figure is None or figure.value is None) and paper is None:
            continue
        measured = Figure(None, None, None, 0) if figure is None else figure
        rows.append(measured._asdict() | {"row": row.key, "paper": paper})
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
                "transform": [{"filter": "datum.value !== null"}],
                "mark": {"type": "rule", "strokeWidth": 2, "color": "#0072b2"},
                "encoding": {"y": y, "x": {**x, "field": "low"}, "x2": {"field": "high"}},
            },
            {
                "transform": [{"filter": "datum.value !== null"}],
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


def _first_asked(table: Table) -> Row:
    """The first row that a model answers here: System 1 on the starting weights."""
    return next(row for row in table.rows if row.system != "paper")


def _token_ratio(row: Row, table: Table, results: Results, name: str) -> float | None:
    """How many times the tokens of the first row."""
    first, own = (results[name][each.key].figures.get(TOKENS) for each in (_first_asked(table), row))
    if first is None or own is None or own.value is None or not first.value:
        return None
    return own.value / first.value


def _plain(row: Row, table: Table, results: Results) -> dict[str, Any]:
    measured = {name: results[name][row.key] for name in set_names(table)}
    return {
        "section": row.section,
        "name": row.name,
        "weights": row.weights,
        "system": row.system,
        "paper": {name: dict(figures) for name, figures in row.paper.items()},
        "ours": {
            name: {metric: figure._asdict() for metric, figure in result.figures.items()}
            for name, result in measured.items()
        },
        "problems": {name: result.problem for name, result in measured.items() if result.problem},
    }
