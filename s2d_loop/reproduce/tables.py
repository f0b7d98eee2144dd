"""The paper's tables as data: what each row measures, on which weights, and the paper's figures.

Every task of a table has a configuration of its own, because the paper trains each by itself (Table 4);
a row or a distillation changes some of it.  `method.name=...` is `tasks.TASK.method.name=...`; other
sections start with a slash: `/train.steps=3`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from s2d_loop.reproduce.metrics import KS, Kind

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

    `weights` is `start` or a distillation's name; `paper` is what the paper says, by task.  `EXAMPLES` in an
    override is a file of examples: the pairs that the distillation `shots_of` kept, or the task's own source.
    """

    section: str
    name: str
    weights: str
    system: Literal["system1", "system2"]
    paper: Mapping[str, Figures]
    overrides: tuple[str, ...] = ()
    shots_of: str = ""

    @property
    def key(self) -> str:
        """What names it among its table's rows."""
        return f"{self.section}: {self.name}"


@dataclass(frozen=True, slots=True)
class Claim:
    """An order of two rows that the paper reports in its table's first column, for one task."""

    task: str
    better: str
    worse: str


@dataclass(frozen=True, slots=True)
class Table:
    """`kind` is how rows are measured (`metrics.py`); `metrics` are the columns shown for each task, the
    first of them plotted; `note` is what a reader should know.
    """

    name: str
    title: str
    tasks: tuple[str, ...]
    kind: Kind
    metrics: tuple[str, ...]
    distillations: tuple[Distillation, ...]
    rows: tuple[Row, ...]
    claims: tuple[Claim, ...] = ()
    note: str = ""


def _letters_and_coin(letters: tuple[float, float], coin: tuple[float, float]) -> Mapping[str, Figures]:
    return {
        "last_letters": {"accuracy": letters[0], "tokens": letters[1]},
        "coin_flip": {"accuracy": coin[0], "tokens": coin[1]},
    }


_SHOTS = "{examples: EXAMPLES, num_shots: 8}"
_OF_SYSTEM_1 = Distillation("distill-system-1", ("distill=system1",))
_UNFILTERED = Distillation("distill-unfiltered", ("curate.filter=none",))
_TWO_STEP = Distillation("distill-2-step-rar")

_DISTILLED = "Distill System 2: Distill 2-Step RaR"
_NO_FILTER = f"{_DISTILLED} (no filter)"

TABLE_1 = Table(
    name="table1",
    title="Table 1: System 2 Distillation of Rephrase and Respond",
    tasks=("last_letters", "coin_flip"),
    kind="answers",
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
    claims=(
        Claim("last_letters", _DISTILLED, _NO_FILTER),
        Claim("last_letters", _NO_FILTER, "System 1: Distill System 1"),
        Claim("last_letters", "System 1: Distill System 1", "System 1: Zero-shot"),
        Claim("last_letters", _DISTILLED, "System 2: 2-Step RaR"),
        Claim("coin_flip", _DISTILLED, "System 1: Distill System 1"),
        Claim("coin_flip", _DISTILLED, "System 1: Zero-shot"),
    ),
)


def _coin(exact: float, missed: float) -> Mapping[str, Figures]:
    return {"coin_flip": {"accuracy": exact, "miss_match": missed}}


_SUFFIXES = ("", "Flip means reverse.", "Flip means reverse. Answer the Yes or No question.")


def _by_suffix(section: str, weights: str, figures: tuple[tuple[float, float], ...]) -> list[Row]:
    return [
        Row(
            section,
            f"{{question}} {suffix}".strip(),
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
    kind="answers",
    metrics=("accuracy", "miss_match"),
    distillations=(_OF_SYSTEM_1, _TWO_STEP),
    rows=(
        *_by_suffix("System 1", START, ((56.11, 4.65), (66.84, 0.15), (52.89, 0.0))),
        Row("System 2", "1-Step RaR", START, "system2", _coin(58.51, 0.0), ("method.name=rar_1step",)),
        Row("System 2", "2-Step RaR", START, "system2", _coin(77.19, 0.0)),
        *_by_suffix(
            "Distill System 1",
            _OF_SYSTEM_1.name,
            ((54.54, 3.75), (62.64, 1.13), (63.39, 0.60)),
        ),
        *_by_suffix(
            "Distill System 2",
            _TWO_STEP.name,
            ((75.69, 0.0), (78.92, 0.0), (74.49, 0.0)),
        ),
    ),
    claims=tuple(
        Claim("coin_flip", f"Distill System 2: {asked}", f"{other}: {asked}")
        for suffix in _SUFFIXES
        for asked in [f"{{question}} {suffix}".strip()]
        for other in ("System 1", "Distill System 1")
    ),
    note='Where the questions already end in "Flip means reverse.", as the public ones do, the first row is '
    "the paper's second.",
)


def _ablation(name: str, *overrides: str, paper: float | None = None) -> tuple[Distillation, Row]:
    # Two rounds: in the first there is no earlier pool and no other start.
    overrides = ("/run.iterations=2", *overrides)
    made = Distillation("ablation-" + name.replace(",", "").replace(" ", "-"), overrides)
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
    title="Ablations: filter, vote rule, starting weights, pool, examples in the context instead of training",
    tasks=("last_letters",),
    kind="answers",
    metrics=("accuracy", "tokens"),
    distillations=tuple(each for each, _ in _ABLATIONS),
    rows=(
        Row("Not distilled", "System 1", START, "system1", {"last_letters": {"accuracy": 30.0}}),
        Row(
            "Not distilled",
            "eight of the kept pairs in the context",
            START,
            "system1",
            {},
            ("system1_method.name=direct_few_shot", f"system1_method.options={_SHOTS}"),
            shots_of=_ABLATIONS[0][0].name,
        ),
        *(row for _, row in _ABLATIONS),
    ),
    claims=(
        Claim("last_letters", _ABLATIONS[0][1].key, _ABLATIONS[1][1].key),
        Claim("last_letters", _ABLATIONS[1][1].key, "Not distilled: System 1"),
    ),
    note="The paper trains one round from the current weights; it has figures for the filter only.",
)


def _sway(biased: float, unbiased: float, tokens: float) -> Mapping[str, Figures]:
    return {"trivia_qa": {"accuracy, biased": biased, "accuracy, unbiased": unbiased, "tokens": tokens}}


_S2A = Distillation("distill-s2a")
_S2A_NO_USC = Distillation("distill-s2a-no-usc", ("curate.filter=none",))

TABLE_2 = Table(
    name="table2",
    title="Table 2: Distillation of System 2 Attention on TriviaQA with opinions",
    tasks=("trivia_qa",),
    kind="biased",
    metrics=("accuracy, biased", "accuracy, unbiased", "tokens"),
    distillations=(_S2A, _S2A_NO_USC),
    rows=(
        Row("System 1", "Zero-shot", START, "system1", _sway(51.6, 73.8, 165)),
        Row("System 2", "S2A", START, "system2", _sway(76.0, 69.3, 147)),
        Row("Distill System 2", "Distill S2A", _S2A.name, "system1", _sway(81.3, 78.6, 56)),
        Row("Distill System 2", "Distill S2A (no USC)", _S2A_NO_USC.name, "system1", _sway(78.6, 75.3, 58)),
    ),
    claims=(
        Claim("trivia_qa", "Distill System 2: Distill S2A", "System 1: Zero-shot"),
        Claim("trivia_qa", "Distill System 2: Distill S2A", "System 2: S2A"),
        Claim("trivia_qa", "Distill System 2: Distill S2A", "Distill System 2: Distill S2A (no USC)"),
    ),
    note="The paper's figures are means of three seeds.",
)


def _at_k(*figures: tuple[float, float]) -> Mapping[str, Figures]:
    columns: dict[str, float] = {}
    for k, (accuracy, tokens) in zip(KS, figures, strict=True):
        columns |= {f"accuracy, k={k}": accuracy, f"tokens, k={k}": tokens}
    return {"gsm8k": columns}


_COT = Distillation("distill-cot")
_SAMPLED = ("system1.temperature=0.7", "system1.top_p=0.9", f"/evaluate.system1_samples={max(KS)}")
_VOTED = (f"/evaluate.system2_samples={max(KS)}",)

TABLE_3 = Table(
    name="table3",
    title="Table 3: GSM8K, where distilling chain of thought does not work",
    tasks=("gsm8k",),
    kind="votes",
    metrics=tuple(f"{what}, k={k}" for k in KS for what in ("accuracy", "tokens")),
    distillations=(_COT,),
    rows=(
        Row(
            "System 1",
            "Few (8)-shot (no CoT)",
            START,
            "system1",
            _at_k((7.58, 57), (9.40, 295), (10.31, 620)),
            ("system1_method.name=direct_few_shot", f"system1_method.options={_SHOTS}", *_SAMPLED),
        ),
        Row(
            "System 2",
            "CoT zero-shot",
            START,
            "system2",
            _at_k((52.77, 270), (57.54, 1385), (59.44, 2760)),
            _VOTED,
        ),
        Row(
            "System 2",
            "CoT few (8)-shot",
            START,
            "system2",
            _at_k((36.39, 297), (54.97, 1560), (63.84, 3120)),
            ("method.name=cot_few_shot", f"method.options={_SHOTS}", *_VOTED),
        ),
        Row(
            "Distill System 2",
            "Distill CoT zero-shot",
            _COT.name,
            "system1",
            _at_k((7.13, 18), (7.13, 90), (7.35, 180)),
            _SAMPLED,
        ),
    ),
    claims=(
        Claim("gsm8k", "System 2: CoT zero-shot", "System 1: Few (8)-shot (no CoT)"),
        Claim("gsm8k", "System 2: CoT zero-shot", "Distill System 2: Distill CoT zero-shot"),
    ),
)


def _judged(agreement: float, inconsistent: float, tokens: float) -> Mapping[str, Figures]:
    return {"pairwise": {"agreement": agreement, "inconsistent": inconsistent, "tokens": tokens}}


_BSM = Distillation("distill-bsm")

JUDGE = Table(
    name="judge",
    title="Branch-Solve-Merge as a judge: OASST2",
    tasks=("pairwise",),
    kind="judge",
    metrics=("agreement", "inconsistent", "tokens"),
    distillations=(_BSM,),
    rows=(
        Row("System 1", "Zero-shot", START, "system1", _judged(32.0, 56.7, 4)),
        Row(
            "System 2",
            "CoT",
            START,
            "system2",
            _judged(45.2, 37.7, 432.6),
            ("method.name=judge_cot",),
        ),
        Row("System 2", "BSM", START, "system2", _judged(49.1, 30.4, 2117.8)),
        Row("Distill System 2", "Distill BSM", _BSM.name, "system1", _judged(58.4, 12.2, 4)),
    ),
    claims=(
        Claim("pairwise", "System 2: BSM", "System 1: Zero-shot"),
        Claim("pairwise", "Distill System 2: Distill BSM", "System 1: Zero-shot"),
        Claim("pairwise", "Distill System 2: Distill BSM", "System 2: BSM"),
    ),
    note=(
        "Agreement is over single human votes and inconsistency over all pairs; #Tokens is that of one order. "
        "A configuration whose held-out set has headings (MT-bench) also gives each heading's agreement in the "
        "JSON file (Table 5 and Figure 2)."
    ),
)

TABLES = {table.name: table for table in (TABLE_1, TABLE_2, TABLE_3, JUDGE, TABLE_6, ABLATIONS)}
