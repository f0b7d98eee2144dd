"""Table 3: chain of thought (section 4.5)."""

from collections.abc import Mapping

from s2d_loop.reproduce.asked import DISTILL_THINKING, SHOTS, THINKING_ROWS
from s2d_loop.reproduce.metrics import KS
from s2d_loop.reproduce.table import START, Distillation, Figures, HeldOutSet, Order, Row, Table

GSM8K = HeldOutSet("gsm8k", "gsm8k", {"": 1319})
_COT = Distillation("distill-cot")
_SAMPLED = ("system1.temperature=0.7", "system1.top_p=0.9", f"/evaluate.system1_samples={max(KS)}")
_VOTED = (f"/evaluate.system2_samples={max(KS)}",)

_FEW, _ZERO_COT = "System 1: Few (8)-shot (no CoT)", "System 2: CoT zero-shot"
_FEW_COT, _DISTILLED = "System 2: CoT few (8)-shot", "Distill System 2: Distill CoT zero-shot"


def _at_k(*figures: tuple[float, float]) -> Mapping[str, Figures]:
    columns: dict[str, float] = {}
    for k, (accuracy, tokens) in zip(KS, figures, strict=True):
        columns |= {f"accuracy, k={k}": accuracy, f"tokens, k={k}": tokens}
    return {GSM8K.name: columns}


TABLE_3 = Table(
    name="table3",
    title="Table 3: GSM8K, where distilling chain of thought does not work",
    sets=(GSM8K,),
    kind="votes",
    metrics=tuple(f"{what}, k={k}" for k in KS for what in ("accuracy", "tokens")),
    distillations=(_COT, DISTILL_THINKING),
    rows=(
        Row(
            "System 1",
            "Few (8)-shot (no CoT)",
            START,
            "system1",
            _at_k((7.58, 57), (9.40, 295), (10.31, 620)),
            ("system1_method.name=direct_few_shot", f"system1_method.options={SHOTS}", *_SAMPLED),
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
            ("method.name=cot_few_shot", f"method.options={SHOTS}", *_VOTED),
        ),
        Row(
            "Distill System 2",
            "Distill CoT zero-shot",
            _COT.name,
            "system1",
            _at_k((7.13, 18), (7.13, 90), (7.35, 180)),
            _SAMPLED,
        ),
        Row(
            "Targets",
            "what it trains on: ten votes on training questions",
            _COT.name,
            "targets",
            {GSM8K.name: {f"accuracy, k={max(KS)}": 56.81}},
        ),
        *THINKING_ROWS,
    ),
    stated=tuple(
        Order(GSM8K.name, f"{what}, k={k}", above, below)
        for k in KS
        for what in ("accuracy", "tokens")
        for above, below in (
            (_ZERO_COT, _FEW),
            (_FEW_COT, _FEW),
            *([(_ZERO_COT, _DISTILLED), (_FEW_COT, _DISTILLED)] if what == "accuracy" else []),
        )
    ),
    plotted=tuple(f"accuracy, k={k}" for k in KS),
    note="The last row of the paper's is the accuracy of the 7,461 targets, by the training file's labels, which are read "
    "for this row and for nothing else.",
)
