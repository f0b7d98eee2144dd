"""What a round trains on, and how."""

from typing import Annotated, Literal

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from s2d_loop.config.base import Count, Share, Tree, raise_problems


class PoolConfig(Tree):
    replay_share: Share = 0.5
    """Share of a round's training rows drawn from earlier rounds' pools, where there are enough."""
    system2_share: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of a round's training rows that are System 2's own calls on kept inputs, of this round and of earlier
    ones: training on direct answers alone can cost a model its System 2 (docs/decisions/0020)."""
    balance: Share = 0.5
    """Tasks get training rows in proportion to (their rows) ** balance: 1 as they come, 0 all alike."""
    max_examples: PositiveInt | None = None
    """At most this many rows train in a round."""


class TrainConfig(Tree):
    start: Literal["current", "base"] = "current"
    """Weights that training starts from; the paper continues from the current ones."""
    steps: PositiveInt = 100
    tokens_per_step: PositiveInt = 65536
    """Table 4's tokens of an optimiser step, over all workers."""
    average_with_start: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of the run's starting weights in what a round exports: the trained ones are averaged with them."""
    count_tokens: Literal["all", "answer"] = "all"
    """Whether `tokens_per_step` counts all tokens, as in Table 4, or those with a loss."""
    micro_batch_tokens: PositiveInt = 4096
    """Length of a packed row; a longer example is dropped and counted."""
    learning_rate: PositiveFloat = 5.5e-6
    warmup_steps: PositiveInt = 1
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.1
    """Attention dropout."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    max_grad_norm: PositiveFloat = 1.0
    num_workers: PositiveInt = 1
    cpus_per_worker: PositiveInt = 1
    gpus_per_worker: Annotated[float, Field(ge=0)] = 0.0
    zero_stage: Literal[0, 1, 2, 3] = 0
    offload: Literal["none", "optimizer", "all"] = "none"
    """What ZeRO keeps in host memory: nothing, optimiser states (stage 1 and up), or parameters too (3)."""
    bf16: bool = False
    gradient_checkpointing: bool = False
    checkpoint_every: PositiveInt = 50
    """Optimiser steps between checkpoints of a round, which a killed worker resumes from."""
    max_failures: Count = 3
    start_timeout_s: PositiveFloat = 600.0
    timeout_s: PositiveFloat = 86400.0
    """Longest a round's training may take."""

    @model_validator(mode="after")
    def _keys_fit_together(self) -> "TrainConfig":
        problems = []
        if self.offload != "none" and self.zero_stage == 0:
            problems.append("offload: needs zero_stage 1 or higher")
        elif self.offload == "all" and self.zero_stage != 3:
            problems.append("offload: all needs zero_stage 3")
        if self.bf16 and self.zero_stage == 0:
            problems.append("bf16: takes another optimiser path at zero_stage 0 and drifts: use 1 or higher")
        if self.warmup_steps > self.steps:
            problems.append(
                f"warmup_steps: {self.warmup_steps} is more than the {self.steps} steps of a round, "
                "so the learning rate would never be reached"
            )
        raise_problems(problems)
        return self
