"""Tables 1 and 6 and the ablations: Rephrase and Respond (section 4.2)."""

from collections.abc import Mapping

from s2d_loop.reproduce.asked import (
    DISTILL_THINKING,
    OF_SYSTEM_1,
    ONCE,
    ONE_STEP,
    SHOTS,
    THINKING_ROWS,
)
from s2d_loop.reproduce.table import (
    START,
    Distillation,
    Figures,
    HeldOutSet,
    Order,
    Row,
    Spread,
    Table,
)

LETTERS = HeldOutSet("last_letters", "last_letters", {"": 200})
COIN = HeldOutSet("coin_flip", "coin_flip", {"": 1330})

_TWO_STEP = Distillation("distill-2-step-rar")
# One random sample an input, so one is drawn.
_UNFILTERED = Distillation("distill-unfiltered", ("curate.filter=none", "method.samples=1", *ONCE))

_SYSTEM_1 = "System 1: Zero-shot"
_OF_1 = "System 1: Distill System 1"
_1_STEP, _2_STEP = "System 2: 1-Step RaR", "System 2: 2-Step RaR"
_DISTILLED = "Distill System 2: Distill 2-Step RaR"
_NO_FILTER = f"{_DISTILLED} (no filter)"


def _both(letters: tuple[float, float], coin: tuple[float, float]) -> Mapping[str, Figures]:
    return {
        LETTERS.name: {"accuracy": letters[0], "tokens": letters[1]},
        COIN.name: {"accuracy": coin[0], "tokens": coin[1]},
    }


def _accuracy(of: HeldOutSet, *pairs: tuple[str, str]) -> tuple[Order, ...]:
    return tuple(Order(of.name, "accuracy", above, below) for above, below in pairs)


TABLE_1 = Table(
    name="table1",
    title="Table 1: System 2 Distillation of Rephrase and Respond",
    sets=(LETTERS, COIN),
    kind="answers",
    metrics=("accuracy", "tokens"),
    distillations=(OF_SYSTEM_1, _UNFILTERED, _TWO_STEP, DISTILL_THINKING),
    rows=(
        Row("System 1", "Zero-shot", START, "system1", _both((30.0, 27.1), (56.1, 61.9))),
        Row(
            "System 1",
            "Distill System 1",
            OF_SYSTEM_1.name,
            "system1",
            _both((69.5, 24.4), (54.5, 30.4)),
        ),
        Row("System 2", "1-Step RaR", START, "system2", _both((39.5, 106.6), (58.5, 158.9)), ONE_STEP),
        Row("System 2", "2-Step RaR", START, "system2", _both((44.5, 41.5), (77.2, 112.4)), ONCE),
        Row(
            "Distill System 2",
            "Distill 2-Step RaR (no filter)",
            _UNFILTERED.name,
            "system1",
            {LETTERS.name: {"accuracy": 87.5}},
            sets=(LETTERS.name,),
        ),
        Row(
            "Distill System 2",
            "Distill 2-Step RaR",
            _TWO_STEP.name,
            "system1",
            _both((98.0, 25.5), (75.69, 50.3)),
        ),
        *THINKING_ROWS,
    ),
    stated=(
        *_accuracy(
            LETTERS,
            (_1_STEP, _SYSTEM_1),
            (_2_STEP, _SYSTEM_1),
            (_DISTILLED, _SYSTEM_1),
            (_DISTILLED, _2_STEP),
            (_DISTILLED, _NO_FILTER),
            (_NO_FILTER, _SYSTEM_1),
            (_OF_1, _SYSTEM_1),
            (_DISTILLED, _OF_1),
        ),
        Order(LETTERS.name, "tokens", _2_STEP, _DISTILLED),
        *_accuracy(
            COIN,
            (_1_STEP, _SYSTEM_1),
            (_2_STEP, _SYSTEM_1),
            (_2_STEP, _1_STEP),
            (_DISTILLED, _SYSTEM_1),
            (_DISTILLED, _OF_1),
        ),
        Order(COIN.name, "tokens", _2_STEP, _DISTILLED),
    ),
)


def _coin(exact: float, missed: float) -> Mapping[str, Figures]:
    return {COIN.name: {"accuracy": exact, "miss_match": missed}}


SUFFIXES = ("", "Flip means reverse.", "Flip means reverse. Answer the Yes or No question.")


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
        for suffix, each in zip(SUFFIXES, figures, strict=True)
    ]


TABLE_6 = Table(
    name="table6",
    title="Table 6: Coin flip with three endings of the question",
    sets=(COIN,),
    kind="answers",
    metrics=("accuracy", "miss_match"),
    distillations=(OF_SYSTEM_1, _TWO_STEP),
    rows=(
        *_by_suffix("System 1", START, ((56.11, 4.65), (66.84, 0.15), (52.89, 0.0))),
        Row("System 2", "1-Step RaR", START, "system2", _coin(58.51, 0.0), ONE_STEP),
        Row("System 2", "2-Step RaR", START, "system2", _coin(77.19, 0.0), ONCE),
        *_by_suffix(
            "Distill System 1",
            OF_SYSTEM_1.name,
            ((54.54, 3.75), (62.64, 1.13), (63.39, 0.60)),
        ),
        *_by_suffix(
            "Distill System 2",
            _TWO_STEP.name,
            ((75.69, 0.0), (78.92, 0.0), (74.49, 0.0)),
        ),
    ),
    stated=_accuracy(COIN, ("System 1: {question} Flip means reverse.", "System 1: {question}")),
    spreads=tuple(
        Spread(COIN.name, "accuracy", other, "Distill System 2") for other in ("System 1", "Distill System 1")
    ),
    note='Where the questions already end in "Flip means reverse.", as the public ones do, the first row is '
    "the paper's second.",
)


def _letters(accuracy: float) -> dict[str, Figures]:
    return {LETTERS.name: {"accuracy": accuracy}}


def _ablation(section: str, name: str, *overrides: str) -> tuple[Distillation, Row]:
    made = Distillation("ablation-" + name.replace(",", "").replace(" ", "-"), overrides)
    return made, Row(section, name, made.name, "system1", sets=(LETTERS.name,))


_ONE_ROUND, _TWO_ROUNDS = "Distilled, one round", "Distilled, two rounds of half of the inputs"
# In a first round there is no earlier pool and no other start, so it must leave inputs for a second.
_HALVES = ("/run.iterations=2", "/run.inputs_per_iteration=$HALF", "/generate.teacher=current")
_ABLATIONS = (
    _ablation(_ONE_ROUND, "plurality, ties at random", "curate.vote=plurality_tiebreak"),
    _ablation(_ONE_ROUND, "absolute majority", "curate.vote=absolute_majority"),
    _ablation(_TWO_ROUNDS, "as configured", *_HALVES),
    _ablation(_TWO_ROUNDS, "each round started from base", *_HALVES, "/train.start=base"),
    _ablation(_TWO_ROUNDS, "pool replaced each round", *_HALVES, "/pool.replay_share=0.0"),
)
_ONE_REPHRASING = Distillation("ablation-one-rephrasing", ("method.samples=1", "method.options={answers: 8}"))
_UNIQUE = Row(
    _ONE_ROUND,
    "unique plurality",
    _TWO_STEP.name,
    "system1",
    _letters(98.0) | {COIN.name: {"accuracy": 75.69}},
)
_ONCE_REPHRASED = Row(
    _ONE_ROUND,
    "one rephrasing, eight answers (footnote 1)",
    _ONE_REPHRASING.name,
    "system1",
    sets=(COIN.name,),
)
_ALL_KEPT = Row(_ONE_ROUND, "no filter", _UNFILTERED.name, "system1", _letters(87.5), sets=(LETTERS.name,))
_BEFORE = Row("Not distilled", "System 1", START, "system1", _letters(30.0) | {COIN.name: {"accuracy": 56.1}})

ABLATIONS = Table(
    name="ablations",
    title="Ablations: filter, votes, starting weights, pool, examples in the context instead of training",
    sets=(LETTERS, COIN),
    kind="answers",
    metrics=("accuracy", "tokens"),
    distillations=(_TWO_STEP, _UNFILTERED, _ONE_REPHRASING, *(each for each, _ in _ABLATIONS)),
    rows=(
        _BEFORE,
        Row(
            "Not distilled",
            "eight of the kept pairs in the context",
            START,
            "system1",
            {},
            ("system1_method.name=direct_few_shot", f"system1_method.options={SHOTS}"),
            shots_of=_TWO_STEP.name,
            sets=(LETTERS.name,),
        ),
        _UNIQUE,
        _ALL_KEPT,
        _ONCE_REPHRASED,
        *(row for _, row in _ABLATIONS),
    ),
    stated=(
        *_accuracy(LETTERS, (_UNIQUE.key, _ALL_KEPT.key), (_ALL_KEPT.key, _BEFORE.key)),
        *_accuracy(COIN, (_UNIQUE.key, _ONCE_REPHRASED.key)),
    ),
    note="Of these the paper has figures for the filter, and says that one rephrasing did worse; it trains one round "
    "from the current weights.",
)
