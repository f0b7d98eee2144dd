"""What came of a review: who labelled how much, how raters agree, and how right the systems were."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from s2d_loop.config import Config
from s2d_loop.evaluate.agreement import agreements
from s2d_loop.evaluate.metrics import wilson
from s2d_loop.evaluate.references import majority, review_says
from s2d_loop.labels import Labels, read_labels
from s2d_loop.ledger import Ledger
from s2d_loop.report.text import DASH, interval, percent
from s2d_loop.review.audit import audited_accuracy
from s2d_loop.review.items import heldout_items, tasks_of


def summary(ledger: Ledger, config: Config | None = None) -> dict[str, Any]:
    """As plain JSON.

    `votes` says by task how often System 2's vote at the start is right, over the held-out inputs that were
    labelled: what a figure is worth where votes stand in for references.

    `config` is that of `items.tasks_of`.

    Raises:
        LabelError: a file of labels is damaged or missing.
        BadInputError: the ledger names a parser that only the operator's own configuration may name.
    """
    labels = read_labels(ledger.store)
    return {
        "raters": {rater: _said(labels, rater) for rater in labels.raters},
        "agreement": [asdict(each) for each in agreements(labels.standing)],
        "votes": _votes(ledger, labels),
        "audited": audited_accuracy(ledger, labels.standing, tasks_of(ledger, config)),
    }


def as_text(found: Mapping[str, Any]) -> list[str]:
    """The same for people, a line each."""
    if not found["raters"]:
        return ["Nothing is labelled yet: s2d review RUN --rater NAME"]
    lines = [
        f"{rater}: {sum(said.values())} inputs ({said['right']} with a right answer, {said['none']} without, "
        f"{said['unsure']} can't tell)"
        for rater, said in found["raters"].items()
    ]
    for x in found["agreement"]:
        kappa = DASH if x["kappa"] is None else f"{x['kappa']:.2f}"
        lines.append(
            f"{x['first']} and {x['second']}: the same label for {percent(x['same'])} of {x['n']} inputs, "
            f"Cohen's kappa {kappa}"
        )
    for task, x in found["votes"].items():
        lines.append(
            f"{task}: System 2's vote is right on {x['right']} of {x['n']} labelled held-out inputs "
            f"({percent(x['right'] / x['n'])}; {interval(x['low'], x['high'])})"
        )
    for task, rounds in found["audited"].items():
        lines += [
            f"{task}, round {x['round']}: System 1 {percent(x['system1'])}, System 2 {percent(x['system2'])} "
            f"of {x['n']} audited inputs"
            for x in rounds
        ]
    return lines


def _said(labels: Labels, rater: str) -> dict[str, int]:
    counts = Counter(found[rater].said for found in labels.standing.values() if rater in found)
    return {name: counts[name] for name in ("right", "none", "unsure")}


def _votes(ledger: Ledger, labels: Labels) -> dict[str, dict[str, Any]]:
    tally: dict[str, Counter[str]] = {}
    standing = labels.standing
    for item in heldout_items(ledger):
        reviewed = majority(standing.get(item.input.id, {}))
        if reviewed is not None:
            counts = tally.setdefault(item.input.task, Counter())
            counts["n"] += 1
            counts["right"] += bool(review_says(item.answers[0], reviewed))
    return {
        task: {
            "n": x["n"],
            "right": x["right"],
            **dict(zip(("low", "high"), wilson(x["right"], x["n"]), strict=True)),
        }
        for task, x in tally.items()
    }
