"""Table 2: System 2 Attention (section 4.3)."""

from collections.abc import Mapping

from s2d_loop.formats.sycophancy import BIASED, UNBIASED
from s2d_loop.reproduce.asked import DISTILL_THINKING, THINKING_ROWS
from s2d_loop.reproduce.table import START, Distillation, Figures, HeldOutSet, Order, Row, Table

TRIVIA = HeldOutSet("trivia_qa", "trivia_qa", {BIASED: 350, UNBIASED: 50})
_S2A = Distillation("distill-s2a")
# One random sample an input, so one is drawn.
_NO_USC = Distillation("distill-s2a-no-usc", ("curate.filter=none", "method.samples=1"))

_SYSTEM_1, _SYSTEM_2 = "System 1: Zero-shot", "System 2: S2A"
_DISTILLED = "Distill System 2: Distill S2A"
_WITHOUT_USC = f"{_DISTILLED} (no USC)"
_ON_BIASED, _ON_UNBIASED = f"accuracy, {BIASED}", f"accuracy, {UNBIASED}"


def _sway(biased: float, unbiased: float, tokens: float) -> Mapping[str, Figures]:
    return {TRIVIA.name: {_ON_BIASED: biased, _ON_UNBIASED: unbiased, "tokens": tokens}}


TABLE_2 = Table(
    name="table2",
    title="Table 2: Distillation of System 2 Attention on TriviaQA with opinions",
    sets=(TRIVIA,),
    kind="biased",
    metrics=(_ON_BIASED, _ON_UNBIASED, "tokens"),
    distillations=(_S2A, _NO_USC, DISTILL_THINKING),
    rows=(
        Row("System 1", "Zero-shot", START, "system1", _sway(51.6, 73.8, 165)),
        Row("System 2", "S2A", START, "system2", _sway(76.0, 69.3, 147)),
        Row("Distill System 2", "Distill S2A", _S2A.name, "system1", _sway(81.3, 78.6, 56)),
        Row("Distill System 2", "Distill S2A (no USC)", _NO_USC.name, "system1", _sway(78.6, 75.3, 58)),
        *THINKING_ROWS,
    ),
    stated=(
        Order(TRIVIA.name, _ON_BIASED, _SYSTEM_2, _SYSTEM_1),
        Order(TRIVIA.name, _ON_BIASED, _DISTILLED, _SYSTEM_1),
        Order(TRIVIA.name, _ON_BIASED, _DISTILLED, _WITHOUT_USC),
        Order(TRIVIA.name, _ON_UNBIASED, _DISTILLED, _WITHOUT_USC),
        Order(TRIVIA.name, "tokens", _SYSTEM_1, _DISTILLED),
        Order(TRIVIA.name, "tokens", _SYSTEM_2, _DISTILLED),
    ),
    note="The paper's figures are means of three seeds.",
)
