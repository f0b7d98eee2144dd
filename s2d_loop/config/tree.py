"""The configuration: one strict tree, every default beside its key.

A key means what the field's name means in vLLM, DeepSpeed or the paper.  The text under a field is
its documentation: it goes into the JSON schema that editors complete from.
"""

from typing import Annotated, Literal

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from s2d_loop.config.base import TaskName, TemplateKwargs, Tree, raise_problems
from s2d_loop.config.generation import EngineConfig, GenerateConfig, TriageConfig
from s2d_loop.config.inputs import CanaryConfig, IntakeConfig, SourceConfig
from s2d_loop.config.judgement import EvaluateConfig, GateConfig, ServingConfig
from s2d_loop.config.misfits import misfits
from s2d_loop.config.tasks import TaskConfig
from s2d_loop.config.training import PoolConfig, TrainConfig


class RunConfig(Tree):
    dir: str
    """Where everything of this run is kept: a local path, or a URI such as s3://bucket/run."""
    weights_dir: str | None = None
    """Where engines and trainer open weights: a directory that every node can read.  run.dir keeps what is
    committed, so this may be lost; under run.dir unless given."""
    seed: int = 0
    """Every random choice of the run derives from it."""
    iterations: PositiveInt | None = 3
    """How many rounds of generate, curate, train, evaluate and gate; null, or `s2d run --forever`: a round
    whenever enough new inputs have come."""
    min_inputs: PositiveInt | None = None
    """Without an end: how many new inputs start a round; inputs_per_iteration unless given."""
    max_wait_s: Annotated[float, Field(ge=0)] = 3600.0
    """Without an end: a round starts with fewer, this long after the first of them was seen."""
    poll_s: PositiveFloat = 10.0
    """Without an end: how long between two looks at the sources."""
    inputs_per_iteration: PositiveInt = 1000
    """At most this many new inputs of each task are claimed by a round."""
    min_free_gb: Annotated[float, Field(ge=0)] = 1.0
    """A stage doesn't start unless this is left beside what it is likely to write (local disks)."""
    no_progress_s: PositiveFloat = 1800.0
    """A run ends, and says why, when for this long no batch, step or stage was done.  Above the time that
    an engine may take to fail a call and be replaced."""
    stop_within_s: PositiveFloat = 20.0
    """Asked to stop (SIGTERM, Ctrl-C) a run leaves at its next safe point, and wherever it is after this."""

    @model_validator(mode="after")
    def _weights_are_files(self) -> "RunConfig":
        if "://" in self.dir and not self.dir.startswith("file://") and self.weights_dir is None:
            raise ValueError(
                "run.weights_dir: with run.dir on an object store, name a directory that every node can read"
            )
        return self


class ModelConfig(Tree):
    path: str
    """A local Hugging Face directory, a hub name, or a model that ships: testbed://model, testbed://models/NAME."""
    chat_template: str | None = None
    """A file with the chat template to use in place of the model's own; exports carry it."""
    chat_template_kwargs: TemplateKwargs = {}
    """Arguments of the chat template for every call, such as `enable_thinking: false` (docs/models.md)."""
    reasoning_parser: str = "auto"
    """What splits a reply into thoughts and text: `auto` by the model's tokens, `none`, or a name of vLLM's."""


class TracesConfig(Tree):
    keep: Literal["none", "rejected", "all"] = "rejected"
    """Which inputs keep the intermediate text of their calls."""


class RetentionConfig(Tree):
    """What of earlier rounds stays on disk.  Pool, claimed inputs and ledger always do."""

    promoted: PositiveInt = 5
    """Promoted versions whose weights stay, the newest first, for `s2d rollback`; and as many of those that wait
    for `s2d promote`.  The best so far stays too."""
    held: PositiveInt = 1
    """Candidates that the gate held whose weights stay."""
    rounds: PositiveInt = 50
    """Rounds whose generations, verdicts and scored answers stay: what `s2d show` and the page can tell."""
    traces: PositiveInt = 50
    """Rounds whose traces stay, of the inputs that `traces.keep` names."""
    pool: PositiveInt = 5
    """Pool versions whose training rows stay; the examples of every version do."""
    logs: PositiveInt = 20
    """Starts of the driver whose logs stay."""


class RayConfig(Tree):
    address: str | None = None
    """A running cluster; without one, and without RAY_ADDRESS, Ray starts on this machine."""
    resources_timeout_s: PositiveFloat = 60.0
    """How long a placement may wait for its resources before the run stops and says what is missing."""


class Config(Tree):
    """A run of the loop."""

    run: RunConfig
    model: ModelConfig
    tasks: Annotated[dict[TaskName, TaskConfig], Field(min_length=1)]
    sources: Annotated[list[SourceConfig], Field(min_length=1)]
    canaries: dict[TaskName, CanaryConfig] = {}
    intake: IntakeConfig = IntakeConfig()
    engine: EngineConfig = EngineConfig()
    triage: TriageConfig | None = None
    """Sends only those inputs to System 2 that need it; off unless given."""
    generate: GenerateConfig = GenerateConfig()
    pool: PoolConfig = PoolConfig()
    train: TrainConfig = TrainConfig()
    evaluate: EvaluateConfig = EvaluateConfig()
    gate: GateConfig = GateConfig()
    serving: ServingConfig = ServingConfig()
    traces: TracesConfig = TracesConfig()
    retention: RetentionConfig = RetentionConfig()
    ray: RayConfig = RayConfig()

    @model_validator(mode="after")
    def _sections_fit_together(self) -> "Config":
        unknown = [name for name, each in self.canaries.items() if each.task not in self.tasks]
        known = ", ".join(sorted(self.tasks))
        problems = [
            f"canaries.{name}.task: no task {self.canaries[name].task!r} (there are: {known})"
            for name in unknown
        ]
        raise_problems([*misfits(self.tasks, self.sources, self.engine), *problems])
        return self
