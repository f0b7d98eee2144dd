"""The paper's tables as data: what each row measures, on which weights, and the paper's figures.

Every task of a table has a configuration of its own, because the paper trains each by itself (Table 4);
a row or a distillation changes some of it.  `method.name=...` is `tasks.TASK.method.name=...`; other
sections start with a slash: `/train.steps=3`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

START = "start"
"""The weights that a table starts from."""

Figures = Mapping[str, float]
"""By metric: `accuracy`, `miss_match`, ... in percent, `tokens` in tokens."""


@dataclass(frozen=True, slots=True)
class Distillation:
    """A run whose last promoted weights some rows measure."""

    name: str
    overrides: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a table.

    `weights` is `start` or a distillation's name; `paper` is what the paper says, by task.
    """

    section: str
    name: str
    weights: str
    system: Literal["system1", "system2"]
    paper: Mapping[str, Figures]
    overrides: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """What names it among its table's rows."""
        return f"{self.section}: {self.name}"


@dataclass(frozen=True, slots=True)
class Table:
    """`metrics` are its columns for each task, in order; `note` is what a reader should know."""

    name: str
    title: str
    tasks: tuple[str, ...]
    metrics: tuple[str, ...]
    distillations: tuple[Distillation, ...]
    rows: tuple[Row, ...]
    note: str = ""


def _letters_and_coin(letters: tuple[float, float], coin: tuple[float, float]) -> Mapping[str, Figures]:
    return {
        "last_letters": {"accuracy": letters[0], "tokens": letters[1]},
        "coin_flip": {"accuracy": coin[0], "tokens": coin[1]},
    }


_OF_SYSTEM_1 = Distillation("distill-system-1", ("distill=system1",))
_UNFILTERED = Distillation("distill-unfiltered", ("curate.filter=none",))
_TWO_STEP = Distillation("distill-2-step-rar")

TABLE_1 = Table(
    name="table1",
    title="Table 1: System 2 Distillation of Rephrase and Respond",
    tasks=("last_letters", "coin_flip"),
    metrics=("accuracy", "tokens"),
    distillations=(_OF_SYSTEM_1, _UNFILTERED, _TWO_STEP),
    rows=(
        Row("System 1", "Zero-shot", START, "system1", _letters_and_coin((30.0, 27.1), (56.1, 61.9))),
        Row(
            "System 1",
            "Distill System 1",
            _OF_SYSTEM_1.name,
            "system1",
            _letters_and_coin((69.5, 24.4), (54.5, 30.4)),
        ),
        Row(
            "System 2",
            "1-Step RaR",
            START,
            "system2",
            _letters_and_coin((39.5, 106.6), (58.5, 158.9)),
            ("method.name=rar_1step",),
        ),
        Row("System 2", "2-Step RaR", START, "system2", _letters_and_coin((44.5, 41.5), (77.2, 112.4))),
        Row(
            "Distill System 2",
            "Distill 2-Step RaR (no filter)",
            _UNFILTERED.name,
            "system1",
            {"last_letters": {"accuracy": 87.5}},
        ),
        Row(
            "Distill System 2",
            "Distill 2-Step RaR",
            _TWO_STEP.name,
            "system1",
            _letters_and_coin((98.0, 25.5), (75.69, 50.3)),
        ),
    ),
)


def _coin(exact: float, missed: float) -> Mapping[str, Figures]:
    return {"coin_flip": {"accuracy": exact, "miss_match": missed}}


_SUFFIXES = ("", "Flip means reverse.", "Flip means reverse. Answer the Yes or No question.")


def _by_suffix(section: str, name: str, weights: str, figures: tuple[tuple[float, float], ...]) -> list[Row]:
    return [
        Row(
            section,
            f"{name}: {{question}} {suffix}".strip(),
            weights,
            "system1",
            _coin(*each),
            (f"system1_suffix={suffix}",) if suffix else (),
        )
        for suffix, each in zip(_SUFFIXES, figures, strict=True)
    ]


TABLE_6 = Table(
    name="table6",
    title="Table 6: Coin flip with three endings of the question",
    tasks=("coin_flip",),
    metrics=("accuracy", "miss_match"),
    distillations=(_OF_SYSTEM_1, _TWO_STEP),
    rows=(
        *_by_suffix("System 1", "System 1", START, ((56.11, 4.65), (66.84, 0.15), (52.89, 0.0))),
        Row("System 2", "1-Step RaR", START, "system2", _coin(58.51, 0.0), ("method.name=rar_1step",)),
        Row("System 2", "2-Step RaR", START, "system2", _coin(77.19, 0.0)),
        *_by_suffix(
            "Distill System 1",
            "Distill System 1",
            _OF_SYSTEM_1.name,
            ((54.54, 3.75), (62.64, 1.13), (63.39, 0.60)),
        ),
        *_by_suffix(
            "Distill System 2",
            "Distill System 2",
            _TWO_STEP.name,
            ((75.69, 0.0), (78.92, 0.0), (74.49, 0.0)),
        ),
    ),
)


def _ablation(name: str, *overrides: str, paper: float | None = None) -> tuple[Distillation, Row]:
    made = Distillation(f"ablation-{name.replace(' ', '-')}", overrides)
    figures: Mapping[str, Figures] = {} if paper is None else {"last_letters": {"accuracy": paper}}
    return made, Row("Distilled, two rounds", name, made.name, "system1", figures)


_ABLATIONS = (
    _ablation("unique plurality", paper=98.0),
    _ablation("no filter", "curate.filter=none", paper=87.5),
    _ablation("plurality, ties at random", "curate.vote=plurality_tiebreak"),
    _ablation("absolute majority", "curate.vote=absolute_majority"),
    _ablation("start from base", "/train.start=base"),
    _ablation("pool replaced each round", "/pool.replay_share=0.0"),
)

ABLATIONS = Table(
    name="ablations",
    title="Ablations: filter, vote rule, starting weights, pool",
    tasks=("last_letters",),
    metrics=("accuracy", "tokens"),
    distillations=tuple(each for each, _ in _ABLATIONS),
    rows=(
        Row("Not distilled", "System 1", START, "system1", {"last_letters": {"accuracy": 30.0}}),
        *(row for _, row in _ABLATIONS),
    ),
    note="The paper trains one round from the current weights; it has figures for the filter only.",
)

TABLES = {table.name: table for table in (TABLE_1, TABLE_6, ABLATIONS)}
