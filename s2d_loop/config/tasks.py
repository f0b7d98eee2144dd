"""A task: its System 2 and System 1, how they are sampled, and which answers are kept."""

from typing import Annotated, Any, Literal

from pydantic import Field, PositiveInt, model_validator

from s2d_loop.config.base import Count, Share, TemplateKwargs, Tree, raise_problems
from s2d_loop.config.inputs import HeldOutConfig


class SamplingConfig(Tree):
    temperature: Annotated[float, Field(ge=0)] = 1.0
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    max_tokens: PositiveInt = 256
    chat_template_kwargs: TemplateKwargs = {}
    """Arguments of the chat template beside or over `model.chat_template_kwargs`; a step's go over its method's."""
    thinking_token_budget: PositiveInt | None = None
    """Most tokens of thoughts, which are then closed; no limit but max_tokens unless given."""


class ProgramConfig(Tree):
    """A program that answers inputs."""

    name: str = "direct"
    """A registered program (`direct`, `direct_few_shot`, ...) or `package.module:function`."""
    options: dict[str, Any] = {}
    """Keyword arguments of the program."""


class MethodConfig(Tree):
    """The System 2 program of a task and how it is sampled."""

    name: str
    """A registered program (`rar_1step`, `rar_2step`, `s2a`, `bsm`, `cot`, ...) or `package.module:function`."""
    samples: PositiveInt = 8
    """How many times the program runs on each input."""
    options: dict[str, Any] = {}
    """Keyword arguments of the program, such as `answers: 8` for 8 x 8 votes."""
    sampling: SamplingConfig = SamplingConfig()
    steps: dict[str, SamplingConfig] = {}
    """Sampling of single steps, by the step's name in the program."""
    stop: Literal["exact", "likely", "never"] = "exact"
    """When sampling for a vote ends before all samples: once nothing can change its verdict, once its leader
    is likely enough (`stop_risk`), or never."""
    stop_risk: Annotated[float, Field(gt=0, lt=0.5)] = 0.01
    """With `likely`, the probability that the leader is not the one that more samples would confirm."""
    recorded_steps: list[str] | None = None
    """Steps that `generate.recorded` answers, and nothing else; those that it holds unless given."""


class UscConfig(Tree):
    """Universal self-consistency: the model selects among its samples (the paper's Figure 12)."""

    sampling: SamplingConfig = SamplingConfig(temperature=0.0, max_tokens=64)
    fewer_samples: PositiveInt = 10
    """How many are shown where all together don't fit the context; where these don't, one is random."""
    unreadable: Literal["drop", "random"] = "drop"
    """What becomes of an input whose selection names no sample."""


class CurateConfig(Tree):
    filter: Literal["vote", "usc", "none"] = "vote"
    """`vote` is the paper's self-consistency, `usc` lets the model select among its samples, `none` keeps
    one random sample (the paper's ablation)."""
    usc: UscConfig = UscConfig()
    target: Literal["sample", "answer"] = "sample"
    """What is learned: a sampled reply that holds the answer, or the answer alone, as the task writes it."""
    vote: Literal["unique_plurality", "plurality_tiebreak", "absolute_majority"] = "unique_plurality"
    """What a winner is.  A tie has none under the first, a random one under the second."""
    min_share: Share = 0.0
    """The winner's least share of all samples; unparsable samples count in the denominator."""
    perturbations: list[str] = []
    """Twins of the input that must agree with it (names of the task's perturbations)."""
    train_twins: list[str] = []
    """Of these, the twins that train too when the input is kept, each with its own answer."""
    drop_answers: list[str] = []
    """Winning answers that aren't learned, such as a judge's tie `C`."""
    min_characters: Count = 0
    """A target shorter than this is dropped; 0 turns the filter off."""
    max_characters: PositiveInt | None = None
    """A target longer than this is dropped."""
    languages: list[str] = []
    """A target that is surely in another language than these (ISO 639 codes, such as `en`) is dropped; none
    turns the filter off."""

    @model_validator(mode="after")
    def _twins_that_train_must_agree(self) -> "CurateConfig":
        raise_problems(
            [
                f"train_twins: {name!r} is not among `perturbations`, so nothing would be generated for it"
                for name in self.train_twins
                if name not in self.perturbations
            ]
        )
        return self


class TaskConfig(Tree):
    parser: str = "open"
    """A registered task (`last_letters`, `coin_flip`, `open`), `package.module:Class`, or a YAML file."""
    method: MethodConfig
    distill: Literal["system2", "system1"] = "system2"
    """`system1` is the paper's baseline: the same filter over System 1's own samples."""
    curate: CurateConfig = CurateConfig()
    direct_samples: Count = 2
    """System 1 samples beside System 2's on every input, for the signs of collapse."""
    system1: SamplingConfig = SamplingConfig(temperature=0.0, max_tokens=128)
    """How System 1 answers when it is evaluated."""
    system1_method: ProgramConfig = ProgramConfig()
    """What asks System 1 when it is evaluated: the bare input, or after examples (the paper's Table 3)."""
    system1_suffix: str = ""
    """Added to the question when System 1 answers it in evaluation (the paper's Table 6)."""
    heldout: HeldOutConfig

    @model_validator(mode="after")
    def _a_vote_needs_votes(self) -> "TaskConfig":
        method = self.method
        if self.curate.filter != "vote" or method.name == "direct" or self.distill == "system1":
            return self
        answers = method.options.get("answers", 1)
        if type(answers) is not int or answers < 1:
            raise ValueError(f"method.options.answers: wanted a whole number above 0, got {answers!r}")
        problems = []
        if method.samples * answers < 2 and not self.curate.perturbations:
            problems.append(
                "method.samples: a vote needs at least two samples, or a perturbation to agree with: raise "
                "it, name one in curate.perturbations, or set curate.filter: none"
            )
        if method.samples * answers > 1 and all(
            each.temperature == 0 for each in (method.sampling, *method.steps.values())
        ):
            problems.append(
                "method.sampling.temperature: a vote over greedy samples is a vote of one: "
                "raise it above 0, or set curate.filter: none"
            )
        raise_problems(problems)
        return self
