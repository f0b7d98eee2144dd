"""Branch-Solve-Merge as a judge (section 4.4): the unnumbered table, and Table 5 with Figure 2."""

from collections.abc import Mapping

from s2d_loop.reproduce.asked import DISTILL_THINKING, OF_SYSTEM_1, THINKING_ROWS
from s2d_loop.reproduce.table import START, Distillation, Figures, HeldOutSet, Order, Row, Table

OASST = HeldOutSet("pairwise", "pairwise", {"": 273})
MT_BENCH = HeldOutSet(
    "mt_bench",
    "pairwise",
    {"": 1200},
    (
        "heldout.path=$DATA/mt_bench/test.jsonl",
        "heldout.format=mt_bench",
        "heldout.limit=null",
        # Pairs without a vote have no reference, and count for consistency alone.
        "/evaluate.system2_every=0",
    ),
    needs="mt_bench/test.jsonl",
)
RECORDED_VOTES = "mt_bench/recorded_gpt4.jsonl"
"""GPT-4's published verdicts, under the data folder, as `s2d data mt_bench` writes them."""

_BSM = Distillation("distill-bsm")
_AS_TEXT = Distillation("distill-bsm-text", ("method.options={merge: llm}", "curate.target=sample"))
"""Figure 13's middle: the model's own merged judgement is learned, with the verdict at its end."""
_JUDGE_COT = ("method.name=judge_cot", "method.options={}")
_ROOM_FOR_TEXT = ("system1.max_tokens=$LONGEST",)

_GPT_4 = "System 1: GPT-4-0125-preview (the paper's figures alone)"
_GPT_4_COT = "System 2: CoT (GPT-4, from its published votes)"
_SYSTEM_1, _COT, _BSM_ROW = "System 1: Zero-shot", "System 2: CoT", "System 2: BSM"
_OF_1 = "Distill System 1: Distill System 1"
_LABEL, _TEXT = "Distill System 2: Distill BSM", "Distill System 2: Distill BSM (text)"


def _judged(oasst: tuple[float, float, float], mt_bench: tuple[float, float, float]) -> Mapping[str, Figures]:
    names = ("agreement", "inconsistent", "tokens")
    return {
        OASST.name: dict(zip(names, oasst, strict=True)),
        MT_BENCH.name: dict(zip(names, mt_bench, strict=True)),
    }


def _rows(paper: Mapping[str, Mapping[str, Figures]]) -> tuple[Row, ...]:
    """The judges, with what a table of the paper says of each."""
    rows = (
        Row("System 1", "GPT-4-0125-preview (the paper's figures alone)", START, "paper"),
        Row("System 1", "Zero-shot", START, "system1"),
        Row(
            "System 2",
            "CoT (GPT-4, from its published votes)",
            START,
            "recorded",
            overrides=_JUDGE_COT,
            sets=(MT_BENCH.name,),
        ),
        Row("System 2", "CoT", START, "system2", overrides=_JUDGE_COT),
        Row("System 2", "BSM", START, "system2"),
        Row("Distill System 1", "Distill System 1", OF_SYSTEM_1.name, "system1"),
        Row("Distill System 2", "Distill BSM (text)", _AS_TEXT.name, "system1", overrides=_ROOM_FOR_TEXT),
        Row("Distill System 2", "Distill BSM", _BSM.name, "system1"),
        *THINKING_ROWS,
    )
    return tuple(_with(row, paper.get(row.key, {})) for row in rows)


def _with(row: Row, paper: Mapping[str, Figures]) -> Row:
    return Row(
        row.section, row.name, row.weights, row.system, paper, row.overrides, "", row.sets, row.thinking
    )


_DISTILLATIONS = (OF_SYSTEM_1, _AS_TEXT, _BSM, DISTILL_THINKING)
_FROM_VOTES = "GPT-4's row on MT-bench is measured on its published verdicts (an earlier GPT-4 than the paper's, and without tokens)."

JUDGE = Table(
    name="judge",
    title="Branch-Solve-Merge as a judge: OASST2 and MT-bench",
    sets=(OASST, MT_BENCH),
    kind="judge",
    metrics=("agreement", "inconsistent", "tokens", "tokens, both orders"),
    distillations=_DISTILLATIONS,
    rows=_rows(
        {
            _GPT_4: _judged((44.7, 35.5, 4), (68.1, 25.6, 4)),
            _SYSTEM_1: _judged((32.0, 56.7, 4), (28.1, 80.9, 4)),
            _GPT_4_COT: _judged((48.7, 28.2, 603.7), (73.8, 16.2, 548.8)),
            _COT: _judged((45.2, 37.7, 432.6), (58.9, 30.8, 411.8)),
            _BSM_ROW: _judged((49.1, 30.4, 2117.8), (64.5, 21.1, 2063.1)),
            _LABEL: _judged((58.4, 12.2, 4), (72.4, 9.1, 4)),
        }
    ),
    stated=tuple(
        order
        for each in (OASST, MT_BENCH)
        for order in (
            Order(each.name, "agreement", _COT, _SYSTEM_1),
            Order(each.name, "agreement", _BSM_ROW, _COT),
            Order(each.name, "agreement", _LABEL, _COT),
            Order(each.name, "agreement", _LABEL, _BSM_ROW),
            Order(each.name, "inconsistent", _SYSTEM_1, _COT),
            Order(each.name, "inconsistent", _COT, _LABEL),
            Order(each.name, "inconsistent", _BSM_ROW, _LABEL),
            Order(each.name, "inconsistent", _GPT_4_COT, _LABEL),
            Order(each.name, "tokens", _BSM_ROW, _COT),
            Order(each.name, "tokens", _COT, _LABEL),
            Order(each.name, "tokens", _BSM_ROW, _LABEL),
            *([Order(each.name, "agreement", _LABEL, _GPT_4_COT)] if each is OASST else []),
            *([Order(each.name, "agreement", _GPT_4_COT, _LABEL)] if each is MT_BENCH else []),
        )
    ),
    note="Agreement is over single human votes that name a winner and inconsistency over all pairs; n is how many. "
    f"#Tokens is that of one order, and of both together. {_FROM_VOTES}",
)

_CATEGORIES = (
    "writing",
    "reasoning",
    "math",
    "humanities",
    "roleplay",
    "coding",
    "extraction",
    "stem",
)
_AGREEMENT = tuple(f"agreement, {category}" for category in _CATEGORIES)


def _of_categories(*figures: float) -> Mapping[str, Figures]:
    return {MT_BENCH.name: dict(zip(_AGREEMENT, figures, strict=True))}


def _in(categories: tuple[str, ...], above: str, below: str) -> tuple[Order, ...]:
    return tuple(Order(MT_BENCH.name, f"agreement, {each}", above, below) for each in categories)


TABLE_5 = Table(
    name="table5",
    title="Table 5 and Figure 2: agreement on MT-bench by category",
    sets=(MT_BENCH,),
    kind="judge",
    metrics=_AGREEMENT,
    distillations=_DISTILLATIONS,
    rows=_rows(
        {
            _GPT_4_COT: _of_categories(65.38, 78.79, 73.33, 75.17, 69.94, 78.57, 76.32, 75.51),
            _COT: _of_categories(48.98, 54.89, 60.00, 66.67, 58.89, 62.17, 48.54, 66.67),
            _BSM_ROW: _of_categories(63.08, 64.65, 61.67, 70.74, 65.64, 70.63, 57.02, 76.19),
            _OF_1: _of_categories(53.59, 66.00, 54.72, 67.11, 62.17, 67.73, 43.86, 70.07),
            _TEXT: _of_categories(68.46, 67.34, 67.78, 74.94, 68.30, 70.64, 61.69, 75.51),
            _LABEL: _of_categories(70.77, 70.71, 76.95, 74.50, 68.92, 74.34, 61.70, 79.59),
        }
    )[1:],
    stated=(
        *_in(_CATEGORIES, _COT, _SYSTEM_1),
        *_in(_CATEGORIES, _BSM_ROW, _COT),
        *_in(_CATEGORIES, _LABEL, _BSM_ROW),
        *_in(("reasoning", "coding", "extraction"), _GPT_4_COT, _LABEL),
        *_in(("writing", "math", "stem"), _LABEL, _GPT_4_COT),
    ),
    plotted=_AGREEMENT,
    note="The paper doesn't say which prompt GPT-4 and Llama-2-70B-chat have in Table 5. Weighted by the votes of each "
    f"category they come to 73.9 % and 58.9 %, the judge table's CoT rows, so they stand there. {_FROM_VOTES}",
)
