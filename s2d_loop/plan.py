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
from s2d_loop.records import Sampling, TemplateArguments


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
    keep_turns: bool = False
    """Whether a generation keeps its calls as they can be trained on."""
    direct: Sampling | None = None
    """How System 1 is asked beside System 2, where that differs: sampled alike, under its own template arguments."""


def distillation_plans(config: Config) -> dict[str, Plan]:
    """What a round generates: the teacher's samples, and System 1's beside them.

    Raises:
        BadInputError: a recording can't be read.
    """
    chosen = config.generate
    records = read_records(chosen.recorded, model=chosen.recorded_model, weights=chosen.recorded_weights)
    return {name: _teacher(config, name, records) for name in config.tasks}


def system2_plans(config: Config) -> dict[str, Plan]:
    """System 2 on held-out inputs."""
    return {
        name: replace(
            _system2(config, name),
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
            sampling=_sampling(config, task.system1),
            steps={},
            seed=config.run.seed,
            suffix=task.system1_suffix,
        )
        for name, task in config.tasks.items()
    }


def system1_arguments(config: Config) -> dict[str, TemplateArguments]:
    """What each task's System 1 gives the chat template: its answers are trained behind these prompts."""
    return {name: plan.sampling.chat_template_kwargs for name, plan in system1_plans(config).items()}


def training_arguments(config: Config) -> dict[str, TemplateArguments]:
    """What the chat template is given for each row that trains.

    System 1's by task; where calls of System 2 are replayed, theirs by `task/step`, and by `task/*` for the steps
    that have no sampling of their own.
    """
    found = system1_arguments(config)
    if config.pool.system2_share:
        for name in config.tasks:
            plan = _system2(config, name)
            found[f"{name}/*"] = plan.sampling.chat_template_kwargs
            found |= {f"{name}/{step}": each.chat_template_kwargs for step, each in plan.steps.items()}
    return found


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


def _teacher(config: Config, name: str, records: Sequence[Record]) -> Plan:
    task = config.tasks[name]
    plan = _system2(config, name)
    direct = replace(
        plan.sampling,
        chat_template_kwargs=_sampling(config, task.system1).chat_template_kwargs,
        thinking_token_budget=None,
    )
    plan = replace(
        plan,
        perturbations=tuple(task.curate.perturbations),
        direct_samples=task.direct_samples,
        usc=_usc(config, task) if task.curate.filter == "usc" else None,
        stop=_stop(task),
        direct=direct,
        keep_turns=config.pool.system2_share > 0 and task.distill == "system2",
    )
    if task.distill == "system1":
        # The paper's baseline: the same number of samples and the same filter, without the program.
        plan = replace(plan, method="direct", options={}, steps={}, sampling=direct)
    steps = task.method.recorded_steps if plan.method == task.method.name else None
    return replace(plan, recorded=recording_of(records, plan.method, steps))


def _system2(config: Config, name: str) -> Plan:
    task = config.tasks[name]
    method = task.method
    return Plan(
        task=name,
        parser=task.parser,
        method=method.name,
        options=method.options,
        samples=method.samples,
        sampling=_sampling(config, method.sampling),
        steps={step: _sampling(config, method.sampling, sampling) for step, sampling in method.steps.items()},
        seed=config.run.seed,
    )


def _usc(config: Config, task: TaskConfig) -> Usc:
    return Usc(sampling=_sampling(config, task.curate.usc.sampling), fewer=task.curate.usc.fewer_samples)


def _stop(task: TaskConfig) -> Stop | None:
    """Only a vote can be decided early: a selection and a random choice are among all samples."""
    method = task.method
    if task.curate.filter != "vote" or method.stop == "never":
        return None
    risk = method.stop_risk if method.stop == "likely" else None
    return Stop(task.curate.vote, task.curate.min_share, risk)


def _sampling(config: Config, *levels: SamplingConfig) -> Sampling:
    """The last level's sampling, under the template arguments of the model and of all levels, the last foremost."""
    arguments = dict(config.model.chat_template_kwargs)
    for level in levels:
        arguments |= level.chat_template_kwargs
    last = levels[-1]
    return Sampling(
        temperature=last.temperature,
        top_p=last.top_p,
        max_tokens=last.max_tokens,
        chat_template_kwargs=tuple(sorted(arguments.items())),
        thinking_token_budget=last.thinking_token_budget,
    )
