"""A table over several seeds: mean and range of each figure, and in how many seeds each order held."""

import json
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from s2d_loop.report.text import DASH, markdown_table
from s2d_loop.reproduce.page import set_names, words
from s2d_loop.reproduce.table import Row, Table

Written = Mapping[str, Any]
"""What `page.write` put into a table's JSON file, for one seed."""


def read(files: Sequence[Path]) -> list[Written]:
    """The tables in these files."""
    return [json.loads(file.read_text()) for file in files]


def markdown(table: Table, seeds: Sequence[Written]) -> str:
    """The table with `mean (least to most)` in each cell, and its orders."""
    columns = [(name, metric) for name in set_names(table) for metric in table.metrics]
    heads = [f"{name}: {words(metric)}, {whose}" for name, metric in columns for whose in ("paper", "ours")]
    lines = [["", *heads]]
    for number, row in enumerate(table.rows):
        lines.append([row.key])
        for name, metric in columns:
            lines[-1] += [_paper(row, name, metric), spread(_values(seeds, number, name, metric))]
    rows = markdown_table(lines)
    about = ", ".join(f"{name} {seeds[0][name]}" for name in ("model", "settings", "scale"))
    numbers = ", ".join(str(each["seed"]) for each in seeds)
    return (
        f"# {table.title}\n\n{about}, seeds {numbers}: mean (least to most).\n\n{rows}\n\n{_orders(seeds)}\n"
    )


def spread(values: Sequence[float | None]) -> str:
    """`mean (least to most)`; where a seed has no figure, no mean of the others stands in for it."""
    known = [value for value in values if value is not None]
    if len(known) < len(values) or not known:
        return DASH
    least, most = (f"{end(known):.1f}" for end in (min, max))
    mean = f"{statistics.mean(known):.1f}"
    return mean if least == most else f"{mean} ({least} to {most})"


def _orders(seeds: Sequence[Written]) -> str:
    """How many held in every seed, then those that the text states and those that a seed doesn't show."""
    lines, whole = [], 0
    for each in zip(*(seed["orders"] for seed in seeds), strict=True):
        counts = Counter(order["verdict"] for order in each)
        whole += counts["holds"] == len(each)
        if each[0]["stated"] or counts["reversed"] or counts["not resolved"]:
            said = ", ".join(
                f"{verdict} in {count} of {len(each)}" for verdict, count in counts.most_common()
            )
            first = each[0]
            lines.append(
                f"- {first['set']}, {words(first['metric'])}: {first['above']} above {first['below']}: {said}"
            )
    return (
        "Every two rows that a column of the paper tells apart, and what its text says of two, by an exact sign test in "
        f"each seed: {whole} of {len(seeds[0]['orders'])} hold in every seed. Those that its text states, and those that "
        "don't hold in some seed:\n\n" + "\n".join(lines)
    )


def _values(seeds: Sequence[Written], number: int, name: str, metric: str) -> list[float | None]:
    return [seed["rows"][number]["ours"][name].get(metric, {}).get("value") for seed in seeds]


def _paper(row: Row, name: str, metric: str) -> str:
    figure = row.paper.get(name, {}).get(metric)
    return DASH if figure is None else f"{figure:g}"
