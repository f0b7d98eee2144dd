"""A table over several seeds: mean and range of each figure, and in how many seeds each order held."""

import json
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from s2d_loop.report.text import DASH, markdown_table
from s2d_loop.reproduce.page import words
from s2d_loop.reproduce.tables import Row, Table

Written = Mapping[str, Any]
"""What `page.write` put into a table's JSON file, for one seed."""


def read(files: Sequence[Path]) -> list[Written]:
    """The tables in these files."""
    return [json.loads(file.read_text()) for file in files]


def markdown(table: Table, seeds: Sequence[Written]) -> str:
    """The table with `mean (least to most)` in each cell, and its orders."""
    columns = [(task, metric) for task in table.tasks for metric in table.metrics]
    heads = [f"{task}: {words(metric)}, {whose}" for task, metric in columns for whose in ("paper", "ours")]
    lines = [["", *heads]]
    for number, row in enumerate(table.rows):
        lines.append([row.key])
        for task, metric in columns:
            lines[-1] += [_paper(row, task, metric), spread(_values(seeds, number, task, metric))]
    rows = markdown_table(lines)
    about = ", ".join(f"{name} {seeds[0][name]}" for name in ("model", "settings", "scale"))
    numbers = ", ".join(str(each["seed"]) for each in seeds)
    return (
        f"# {table.title}\n\n{about}, seeds {numbers}: mean (least to most).\n\n{rows}\n\n"
        f"The paper's orders ({words(table.metrics[0])}), by McNemar's exact test in each seed:\n\n"
        f"{_orders(seeds)}\n"
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
    lines = []
    for each in zip(*(seed["orders"] for seed in seeds), strict=True):
        counts = Counter(order["verdict"] for order in each).most_common()
        said = ", ".join(f"{verdict} in {count} of {len(each)}" for verdict, count in counts)
        lines.append(f"- {each[0]['task']}: {each[0]['better']} above {each[0]['worse']}: {said}")
    return "\n".join(lines)


def _values(seeds: Sequence[Written], number: int, task: str, metric: str) -> list[float | None]:
    return [seed["rows"][number]["ours"][task].get(metric, {}).get("value") for seed in seeds]


def _paper(row: Row, task: str, metric: str) -> str:
    figure = row.paper.get(task, {}).get(metric)
    return DASH if figure is None else f"{figure:g}"
