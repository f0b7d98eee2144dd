"""Every stage with every fault that can happen in it."""

from dataclasses import dataclass
from typing import Literal

Kind = Literal["scripted", "ray", "real"]

STAGES = (
    (0, "heldout"),
    (0, "evaluate"),
    (1, "intake"),
    (1, "probe"),
    (2, "generate"),
    (2, "curate"),
    (2, "pool"),
    (2, "train"),
    (2, "evaluate"),
    (2, "gate"),
    (2, "promote"),
)
"""The stages of a run of two rounds; those that are in each round are disturbed in the second."""

DRIVER_FAULTS = ("driver killed", "driver paused", "disk full", "SIGTERM")
ENGINE_FAULTS = ("engine process killed", "engine rank hung")
FAULTS = (*DRIVER_FAULTS, "runner killed", *ENGINE_FAULTS, "train worker killed", "hung for good")
CALLING = ("evaluate", "probe", "generate")
"""Stages that call the model."""


@dataclass(frozen=True, slots=True)
class Case:
    """A fault in a stage, on scripted parts, on scripted parts in Ray, or on vLLM and DeepSpeed."""

    kind: Kind
    iteration: int
    stage: str
    fault: str

    @property
    def name(self) -> str:
        return f"{self.kind}/{self.iteration}-{self.stage}/{self.fault.replace(' ', '-')}"


def cases() -> list[Case]:
    """The whole matrix; what a stage has no part for (a runner in `gate`) is left out."""
    found = [Case("scripted", *stage, fault) for stage in STAGES for fault in DRIVER_FAULTS]
    for iteration, stage in STAGES:
        if stage in CALLING:
            found.append(Case("ray", iteration, stage, "runner killed"))
        if (iteration, stage) != (0, "heldout"):  # no engine has started yet
            found += [Case("ray", iteration, stage, fault) for fault in ENGINE_FAULTS]
    found.append(Case("ray", 2, "generate", "hung for good"))
    return found + [Case("real", 1, stage, fault) for stage, fault in REAL]


REAL = (
    ("generate", "engine process killed"),
    ("train", "train worker killed"),
    ("generate", "SIGTERM"),
    ("evaluate", "driver killed"),
    ("train", "disk full"),
    ("generate", "runner killed"),
    ("generate", "engine rank hung"),
    ("train", "SIGTERM"),
    ("generate", "driver paused"),
    ("train", "driver killed"),
    ("evaluate", "engine rank hung"),
    ("generate", "driver killed"),
    ("train", "engine process killed"),
    ("evaluate", "engine process killed"),
    ("generate", "hung for good"),
)
"""On vLLM and DeepSpeed, where a case takes about a minute: the stages that hold their processes."""
