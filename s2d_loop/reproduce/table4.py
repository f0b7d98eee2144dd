"""Table 4 and section A.2: the paper's training settings, held against the configurations."""

from dataclasses import dataclass
from pathlib import Path

from s2d_loop.config import load
from s2d_loop.errors import S2DError
from s2d_loop.reproduce.plan import existing

NAME = "table4"
LEARNING_RATE, DROPOUT, WARMUP_STEPS = 5.5e-6, 0.1, 1
# The paper gives thousands of tokens, which may be rounded from powers of two.
_NEAR = 600


@dataclass(frozen=True, slots=True)
class Setting:
    """One line of Table 4; `task` names its configuration."""

    method: str
    dataset: str
    task: str
    steps: int
    tokens_per_step: int


TABLE_4 = (
    Setting("RaR", "Last Letter Concatenation", "last_letters", 3, 66_000),
    Setting("RaR", "Coin Flip", "coin_flip", 100, 66_000),
    Setting("S2A", "TriviaQA", "trivia_qa", 350, 23_000),
    Setting("BSM", "OASST2", "pairwise", 600, 131_000),
    Setting("CoT", "GSM8K", "gsm8k", 5000, 33_000),
)


def check(configs: Path) -> str:
    """The table with the configurations' settings beside the paper's.

    Raises:
        S2DError: a configuration differs from the paper.
    """
    lines = [
        "| method | dataset | steps, paper | ours | tokens a step, paper | ours |",
        "|---|---|---|---|---|---|",
    ]
    wrong: list[str] = []
    for each in TABLE_4:
        path = existing(configs / "paper" / f"{each.task}.yaml")
        train = load(str(path)).train
        lines.append(
            f"| {each.method} | {each.dataset} | {each.steps:,} | {train.steps:,} | "
            f"{each.tokens_per_step:,} | {train.tokens_per_step:,} |"
        )
        found = {
            "steps": train.steps == each.steps,
            "tokens_per_step": abs(train.tokens_per_step - each.tokens_per_step) <= _NEAR,
            "learning_rate": train.learning_rate == LEARNING_RATE,
            "dropout": train.dropout == DROPOUT,
            "warmup_steps": train.warmup_steps == WARMUP_STEPS,
            "count_tokens": train.count_tokens == "all",
            "start": train.start == "current",
        }
        wrong += [f"{path}: train.{key} is not the paper's" for key, right in found.items() if not right]
    lines.append(
        f"\nAll: learning rate {LEARNING_RATE:g}, dropout {DROPOUT}, warmup {WARMUP_STEPS} step, "
        "from the current weights."
    )
    if wrong:
        raise S2DError("\n".join([*lines, *wrong]))
    return "\n".join(lines)
