"""How a candidate is measured, what it must show, and who serves."""

from typing import Annotated, Literal

from pydantic import Field, PositiveInt, model_validator

from s2d_loop.config.base import Count, Share, Tree
from s2d_loop.config.inputs import GeneralConfig


class EvaluateConfig(Tree):
    system1_samples: PositiveInt = 1
    """Direct answers to each held-out input; several are voted on."""
    system2_samples: PositiveInt = 1
    """Runs of the System 2 program on each held-out input."""
    system2_every: Count | None = 1
    """Evaluate System 2 on the new weights every so many rounds; 0: only on the starting weights; null: never,
    where every held-out input has a reference."""
    general: GeneralConfig | None = None


class ForgettingConfig(Tree):
    """What a candidate may lose of what earlier weights could do (docs/operations.md)."""

    budget: Share = 0.02
    """How far below its best promoted System 1 a task may fall, at least `gate.margin`; a candidate that is shown
    to be further below is held."""
    agreement: Share = 0.5
    """On the general set, the least overlap in words (token F1) with what the starting weights answer."""
    perplexity: Annotated[float, Field(ge=1)] = 1.5
    """On the general set, how many times as perplexing the starting weights' answers may be to a candidate."""


class RetireConfig(Tree):
    """When a task is no longer distilled because its System 1 doesn't approach System 2 (docs/operations.md)."""

    after_rounds: PositiveInt | None = 4
    """How many rounds a task has to show that it distils; null: it is never retired."""
    closed: Share = 0.2
    """The share of the gap between its systems at the start that System 1 must close: a task is retired when
    less is shown in each of these rounds."""
    retry_every: Annotated[int, Field(ge=2)] = 10
    """A retired task is distilled again for one round, every so many rounds."""


class GateConfig(Tree):
    promote: Literal["auto", "ask"] = "auto"
    """With `ask` a candidate that is good enough waits for `s2d promote`; the loop goes on without it."""
    margin: Share = 0.02
    """A candidate is promoted once each task is shown to be no worse than this on held-out inputs, beside the
    System 1 in service and beside the best so far.  1 promotes whatever comes."""
    class_margin: Share = 0.05
    """The same for each class of a task's held-out inputs (their `category`)."""
    min_class: PositiveInt = 100
    """A class with fewer held-out inputs is reported, and decides nothing."""
    level: Annotated[float, Field(gt=0, lt=1)] = 0.05
    """How likely it may be, over all decisions together, that a task which is worse by the margin passes."""
    looks: PositiveInt | None = None
    """Decisions that `level` is divided among; after them a person is asked.  As many as run.iterations unless
    given, or 730 without an end: two years of daily rounds."""
    forgetting: ForgettingConfig = ForgettingConfig()
    retire: RetireConfig = RetireConfig()
    attribute: Count = 0
    """After a hold: how many trainings may be spent on finding the source that caused it: one again, from another
    seed, and then each without the new rows of one source; 0 looks for none."""

    @model_validator(mode="after")
    def _something_to_compare(self) -> "GateConfig":
        if self.attribute in (1, 2):
            raise ValueError(
                f"attribute: with {self.attribute} training(s) nobody is named, since it takes one from another seed "
                "and another source whose absence leaves the hold: give 3 or more, or 0"
            )
        return self


class ServingConfig(Tree):
    """Which system should answer a task's inputs: System 1, unless it may be worse (docs/operations.md)."""

    margin: Share = 0.05
    """System 1 serves a task when it is shown to be no further below System 2 than this."""
    floor: Share | None = None
    """A task neither of whose systems can be this good is served by none."""
