"""What to ask the model about the inputs of each task, from the configuration.

`generate` carries a plan out for one input; plans are plain data, so they travel to the runners.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from s2d_loop.config import Config, SamplingConfig, TaskConfig, TriageConfig
from s2d_loop.curate.stopping import is_decided, risk_of_change, samples_needed
from s2d_loop.curate.vote import Rule
from s2d_loop.recorded import Record, Recording, read_records, recording_of
from s2d_loop.records import Sampling


@dataclass(frozen=True, slots=True)
class Usc:
    """Universal self-consistency: how the selection is sampled, and how many samples if all are too long."""

    sampling: Sampling
    fewer: int


@dataclass(frozen=True, slots=True)
class Stop:
    """The vote that sampling may stop for: for certain, or with `risk` of having stopped too soon."""

    vote: Rule
    min_share: float
    risk: float | None

    def more(self, answers: Sequence[str | None], budget: int) -> int:
        """How many samples to draw next; 0 once the vote is decided."""
        if is_decided(answers, budget, self.vote, self.min_share):
            return 0
        if self.risk is not None and risk_of_change(answers, budget, self.vote, self.min_share) <= self.risk:
            return 0
        return samples_needed(answers, budget, self.vote, self.min_share)


@dataclass(frozen=True, slots=True)
class Plan:
    """What to ask the model about each input of one task.  Plain data, so it travels to the runners."""

    task: str
    parser: str
    method: str
    options: Mapping[str, Any]
    samples: int
    sampling: Sampling
    steps: Mapping[str, Sampling]
    seed: int
    perturbations: tuple[str, ...] = ()
    direct_samples: int = 0
    stop: "Stop | None" = None
    """When sampling ends early; None draws every sample."""
    usc: Usc | None = None
    """How a sample is selected, where the filter is universal self-consistency."""
    recorded: Recording | None = None
    """Answers some steps in the model's place."""
    suffix: str = ""
    stream: str = ""
    """Keeps the seeds of a second use of the same program on the same input apart."""


def distillation_plans(config: Config) -> dict[str, Plan]:
    """What a round generates: the teacher's samples, and System 1's beside them.

    Raises:
        BadInputError: a recording can't be read.
    """
    chosen = config.generate
    records = read_records(chosen.recorded, model=chosen.recorded_model, weights=chosen.recorded_weights)
    return {name: _teacher(name, task, config.run.seed, records) for name, task in config.tasks.items()}


def system2_plans(config: Config) -> dict[str, Plan]:
    """System 2 on held-out inputs."""
    return {
        name: replace(
            _system2(name, task, config.run.seed),
            samples=min(config.evaluate.system2_samples, task.method.samples),
        )
        for name, task in config.tasks.items()
    }


def system1_plans(config: Config) -> dict[str, Plan]:
    """System 1 on held-out inputs."""
    return {
        name: Plan(
            task=name,
            parser=task.parser,
            method=task.system1_method.name,
            options=task.system1_method.options,
            samples=config.evaluate.system1_samples,
            sampling=_sampling(task.system1),
            steps={},
            seed=config.run.seed,
            suffix=task.system1_suffix,
        )
        for name, task in config.tasks.items()
    }


def triage_plans(config: Config, rules: TriageConfig) -> dict[str, Plan]:
    """System 1 on claimed inputs, a few times each."""
    return {
        name: replace(
            plan,
            samples=rules.samples,
            sampling=replace(plan.sampling, temperature=rules.temperature),
            stream="triage/",
        )
        for name, plan in system1_plans(config).items()
    }


def _teacher(name: str, task: TaskConfig, seed: int, records: Sequence[Record]) -> Plan:
    plan = replace(
        _system2(name, task, seed),
        perturbations=tuple(task.curate.perturbations),
        direct_samples=task.direct_samples,
        usc=_usc(task) if task.curate.filter == "usc" else None,
        stop=_stop(task),
    )
    if task.distill == "system1":
        # The paper's baseline: the same number of samples and the same filter, without the program.
        plan = replace(plan, method="direct", options={}, steps={})
    steps = task.method.recorded_steps if plan.method == task.method.name else None
    return replace(plan, recorded=recording_of(records, plan.method, steps))


def _system2(name: str, task: TaskConfig, seed: int) -> Plan:
    method = task.method
    return Plan(
        task=name,
        parser=task.parser,
        method=method.name,
        options=method.options,
        samples=method.samples,
        sampling=_sampling(method.sampling),
        steps={step: _sampling(sampling) for step, sampling in method.steps.items()},
        seed=seed,
    )


def _usc(task: TaskConfig) -> Usc:
    return Usc(sampling=_sampling(task.curate.usc.sampling), fewer=task.curate.usc.fewer_samples)


def _stop(task: TaskConfig) -> Stop | None:
    """Only a vote can be decided early: a selection and a random choice are among all samples."""
    method = task.method
    if task.curate.filter != "vote" or method.stop == "never":
        return None
    risk = method.stop_risk if method.stop == "likely" else None
    return Stop(task.curate.vote, task.curate.min_share, risk)


def _sampling(config: SamplingConfig) -> Sampling:
    return Sampling(config.temperature, config.top_p, config.max_tokens)
