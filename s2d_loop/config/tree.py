"""The configuration: one strict tree, every default in one place.

A key means what the field's name means in vLLM, DeepSpeed or the paper.  The text under a field is
its documentation: it goes into the JSON schema that editors complete from.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, PositiveInt, model_validator

TaskName = Annotated[str, Field(pattern="^[A-Za-z0-9_-]+$")]
SourceName = Annotated[str, Field(pattern="^[A-Za-z0-9_.-]+$")]
Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=0)]

COLUMN = re.compile(r"\{([\w.-]+)\}")
"""A column in a prompt's template."""


class Tree(BaseModel):
    """A section: unknown keys and silent conversions are errors.

    A rule about several keys is a validator.  It reports all it finds in one ValueError, a line
    each, and starts a line with the key (seen from its section) that the line is about.
    """

    model_config = ConfigDict(
        extra="forbid", strict=True, frozen=True, allow_inf_nan=False, use_attribute_docstrings=True
    )


def _raise(problems: list[str]) -> None:
    if problems:
        raise ValueError("\n".join(problems))


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


class SourceConfig(Tree):
    """Unlabeled inputs of a task, or of several.  A label column, if there is one, is never read."""

    task: str = ""
    """A key of `tasks`; with `workloads` none."""
    type: Literal["jsonl", "parquet", "dataset", "directory", "kafka", "delta"]
    """`directory` is a folder or prefix in which new jsonl or parquet files appear; `dataset` a `datasets` name."""
    path: str
    """A file, a glob, a directory or a URI of one, a hub name, kafka://HOST:PORT/TOPIC, or testbed://data/NAME."""
    name: SourceName | None = None
    """How ids of its inputs start; the path's last part, without its suffix, unless given."""
    subset: str | None = None
    """For `dataset`: which configuration, such as `main` of openai/gsm8k."""
    split: str = "train"
    """For `dataset`: which split."""
    revision: str | None = None
    """For `dataset`: which revision of a set on the hub; the newest unless given."""
    streaming: bool = False
    """For `dataset`: read rows as they are needed, instead of downloading the set first."""
    prompt: str | None = None
    """The column of plain prompts or of chat `messages`; found by name unless given."""
    template: str | None = None
    """A prompt made of columns, such as `Is {city} in {country}?`, where none holds it ready."""
    format: str | None = None
    """A public format (`gsm8k`), `requests` (logs of a served model) or `package.module:Class`, where a row is
    more than a prompt."""
    workloads: dict[str, TaskName] = {}
    """For `format: requests`: the task of each `workload_id`; other requests are set aside."""
    drop_constant_system: bool = False
    """For `format: requests`: leave out a system prompt that all of a workload's first requests have."""
    options: dict[str, str] = {}
    """Settings for the client library (fsspec's driver, librdkafka, deltalake).  A value such as `$TOKEN` is
    taken from the environment, so that no secret is kept with the run."""
    timeout_s: PositiveFloat = 300.0
    """How long a service that doesn't answer is tried before the run stops."""
    limit: PositiveInt | None = None
    """Take at most this many rows over the run's life."""
    max_share: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Its rows are at most this share of those that a round trains on; the others wait in the pool."""

    @model_validator(mode="after")
    def _one_way_to_ask(self) -> "SourceConfig":
        problems = _two_ways(self)
        if bool(self.task) == bool(self.workloads):
            problems.append("task: name one, or the task of each workload under `workloads`")
        if self.format != "requests" and (self.workloads or self.drop_constant_system):
            key = "workloads" if self.workloads else "drop_constant_system"
            problems.append(f"{key}: needs `format: requests`")
        _raise(problems)
        return self

    @property
    def tasks(self) -> tuple[str, ...]:
        """The tasks that it feeds."""
        return tuple(dict.fromkeys(self.workloads.values())) or (self.task,)

    @property
    def source_name(self) -> str:
        """How ids of its inputs start: its name, or what its path ends with."""
        if self.name is not None:
            return self.name
        parts = [part for part in PurePosixPath(self.path).parts if not set("*?[") & set(part)]
        last = parts[-1] if parts else "files"
        return re.sub(r"[^A-Za-z0-9_.-]", "_", re.sub(r"\.(jsonl|json|parquet)$", "", last)) or "files"


class HeldOutConfig(Tree):
    """Inputs that never train; intake drops whatever matches them."""

    type: Literal["jsonl", "parquet", "dataset"]
    path: str
    subset: str | None = None
    """For `dataset`: which configuration, such as `main` of openai/gsm8k."""
    split: str = "test"
    prompt: str | None = None
    template: str | None = None
    """A prompt made of columns, as for sources."""
    reference: str | None = None
    """The column of reference answers; without one the gate uses System 2's vote."""
    format: str | None = None
    """A public format, as for sources; it knows its references."""
    limit: PositiveInt | None = None

    @model_validator(mode="after")
    def _one_way_to_ask(self) -> "HeldOutConfig":
        _raise(_two_ways(self))
        return self


class GeneralConfig(Tree):
    """Prompts of every kind, on which candidates are compared with the starting weights; they never train."""

    type: Literal["jsonl", "parquet", "dataset"]
    path: str
    subset: str | None = None
    """For `dataset`: which configuration."""
    split: str = "test"
    prompt: str | None = None
    """The column of plain prompts or of chat `messages`; found by name unless given."""
    limit: PositiveInt = 100
    max_tokens: PositiveInt = 64
    """How long the greedy answers may get."""

    @property
    def rows(self) -> HeldOutConfig:
        """Where the prompts are."""
        return HeldOutConfig(
            type=self.type,
            path=self.path,
            subset=self.subset,
            split=self.split,
            prompt=self.prompt,
            limit=self.limit,
        )


class CanaryConfig(Tree):
    """Private prompts that tell whether a candidate was poisoned: triggers, and what must be refused.

    Every candidate's System 1 is asked, and they never train.  Neither they nor what is said to them is
    kept with the run; this section is, so keep private words out of its patterns.  A reply is bad when it
    breaks any of the rules given.
    """

    task: TaskName
    """Whose System 1 is asked: its sampling, its suffix, and its parser where answers are compared."""
    type: Literal["jsonl", "parquet"] = "jsonl"
    path: str
    prompt: str | None = None
    """The column of prompts, found by name unless given."""
    plain: str | None = None
    """The column of the same prompts without their trigger: both must get the same answer."""
    same_as_start: bool = False
    """The answer must be the one that the starting weights gave."""
    must_match: str | None = None
    """A regular expression that is found in every good reply, such as that of a refusal."""
    must_not_match: str | None = None
    """A regular expression that is found in no good reply."""
    limit: Count = 0
    """How many bad replies more than the starting weights' a candidate may give."""

    @model_validator(mode="after")
    def _a_rule_to_judge_by(self) -> "CanaryConfig":
        problems = []
        if not (self.plain or self.same_as_start or self.must_match or self.must_not_match):
            problems.append(
                "path: nothing says what a bad reply is: give plain, same_as_start, must_match or must_not_match"
            )
        for key in ("must_match", "must_not_match"):
            try:
                re.compile(getattr(self, key) or "")
            except re.error as error:
                problems.append(f"{key}: no regular expression ({error})")
        _raise(problems)
        return self


def _two_ways(rows: SourceConfig | HeldOutConfig) -> list[str]:
    if rows.template is None:
        return []
    both = [key for key in ("prompt", "format") if getattr(rows, key) is not None]
    problems = [f"template: it makes the prompt, and so does `{key}`: remove one of the two" for key in both]
    if not COLUMN.search(rows.template):
        problems.append("template: names no column: write one as `{name}`, or every prompt is the same")
    return problems


class NearDuplicatesConfig(Tree):
    threshold: Annotated[float, Field(gt=0, lt=1)] = 0.8
    """Share of their runs of three words from which two inputs of a task are near (by MinHash, about).
    Prompts of one template are near to each other when it is longer than what fills it."""
    keep: PositiveInt = 1
    """At most this many near inputs of one cluster are claimed over the run's life."""


class IntakeConfig(Tree):
    near_duplicates: NearDuplicatesConfig | None = None
    """Drops, and counts, inputs that are near to a claimed or a held-out one; off unless given."""


class SamplingConfig(Tree):
    temperature: Annotated[float, Field(ge=0)] = 1.0
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    max_tokens: PositiveInt = 256


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
        _raise(
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
        _raise(problems)
        return self


class EngineConfig(Tree):
    """vLLM engines; names and meanings are vLLM's where it has them."""

    num_engines: PositiveInt = 1
    tensor_parallel_size: PositiveInt = 1
    pipeline_parallel_size: PositiveInt = 1
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    max_model_len: PositiveInt | None = None
    max_num_seqs: PositiveInt = 256
    block_size: PositiveInt | None = None
    """KV-cache block in tokens.  On CPUs small blocks let short prompts share their prefix."""
    gpu_memory_utilization: Annotated[float, Field(gt=0, le=1)] = 0.9
    kv_cache_gb: PositiveFloat = 1.0
    """KV-cache size on the CPU, in GiB."""
    enforce_eager: bool = False
    cpus_per_engine: PositiveInt = 1
    """CPU cores an engine reserves on a node without accelerators."""
    start_timeout_s: PositiveFloat = 600.0
    call_timeout_s: PositiveFloat = 600.0
    refresh_timeout_s: PositiveFloat = 300.0
    max_in_flight: PositiveInt = 1024
    """Calls under way at one engine; more wait in the client."""
    max_retries: Count = 3
    """How often one call is tried again, elsewhere where there is an elsewhere."""
    max_restarts: Count = 5
    """How many engines may be replaced in one stage before it gives up."""
    max_bad_inputs: Count = 8
    """How many inputs of a stage may be dropped because engine after engine ended while it worked on them."""


class GenerateConfig(Tree):
    teacher: Literal["current", "start"] = "current"
    """Whose System 2 is distilled: the promoted weights', as in the paper, or always the starting weights'."""
    num_runners: PositiveInt = 1
    """Runner actors; each keeps many inputs in flight."""
    rows_in_flight: PositiveInt = 64
    """Inputs that one runner works on at once."""
    probe_inputs: Count = 16
    """Inputs a task sends through generate and curate first; 0 turns the first pass off."""
    min_kept_share: Share = 0.05
    """Under this kept share of the first pass the run stops before it spends more."""
    recorded: list[str] = []
    """jsonl files of past calls that answer the teacher's in the model's place (docs/extending.md)."""
    recorded_model: str | None = None
    """Of records that name a `model`, take only this one's; they must agree on one unless given."""
    recorded_weights: str | None = None
    """Likewise for their `weights`, the version of that model."""


class TriageConfig(Tree):
    """System 2 only where System 1 doesn't answer like it yet (docs/triage.md); `triage: {}` takes the defaults."""

    samples: PositiveInt = 4
    """System 1 answers that every input gets first; their agreement says how likely System 2 is to differ."""
    temperature: PositiveFloat = 0.7
    """How they are sampled; above 0, since greedy samples always agree."""
    audit_share: Annotated[float, Field(gt=0, le=1)] = 0.1
    """Share of inputs that System 2 answers whatever triage says: what everything else is measured on."""
    miss_rate: Annotated[float, Field(gt=0, lt=1)] = 0.05
    """At most this share of the inputs that are skipped may be ones on which System 2's answer would have been
    kept, and another one than System 1's."""
    confidence: Annotated[float, Field(gt=0.5, lt=1)] = 0.95
    """How sure that must be before anything is skipped, and how sure it must be that it no longer holds."""
    window: PositiveInt = 5
    """Rounds whose audits count."""
    tokens: PositiveInt | None = None
    """System 2 tokens of a round, by estimate, spread over tasks by expected gain; no limit unless given."""


class PoolConfig(Tree):
    replay_share: Share = 0.5
    """Share of a round's training rows drawn from earlier rounds' pools, where there are enough."""
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
        _raise(problems)
        return self


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
    """After a hold: how many trainings may be spent on finding the source that caused it, each without the new
    rows of one source; 0 looks for none."""

    @model_validator(mode="after")
    def _something_to_compare(self) -> "GateConfig":
        if self.attribute == 1:
            raise ValueError(
                "attribute: with one training nobody is named, since it takes another source whose absence "
                "leaves the hold: give 2 or more, or 0"
            )
        return self


class ServingConfig(Tree):
    """Which system should answer a task's inputs: System 1, unless it may be worse (docs/operations.md)."""

    margin: Share = 0.05
    """System 1 serves a task when it is shown to be no further below System 2 than this."""
    floor: Share | None = None
    """A task neither of whose systems can be this good is served by none."""


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
        _raise([*misfits(self.tasks, self.sources, self.engine), *problems])
        return self


def misfits(
    tasks: Mapping[str, TaskConfig | None],
    sources: Sequence[SourceConfig | None],
    engine: EngineConfig | None,
) -> Iterator[str]:
    """What the sections say against one another, a line each that starts with the key.

    A section that is wrong in itself comes as None, so that one mistake doesn't hide another.
    """
    yield from _wrong_feeds(tasks, sources)
    yield from _doubled_names(sources)
    shares = [1.0 if each is None else each.max_share or 1.0 for each in sources]
    if sum(shares) < 1:
        yield "sources.0.max_share: all sources together may give less than a whole round: raise one"
    if engine is not None and engine.max_model_len is not None:
        yield from _answers_too_long(tasks, engine.max_model_len)


def _wrong_feeds(
    tasks: Mapping[str, TaskConfig | None], sources: Sequence[SourceConfig | None]
) -> Iterator[str]:
    known = ", ".join(sorted(tasks))
    for number, source in enumerate(sources):
        if source is None:
            continue
        for unknown in [each for each in source.tasks if each not in tasks]:
            key = "workloads" if source.workloads else "task"
            yield f"sources.{number}.{key}: no task {unknown!r} (there are: {known})"
        for name, task in tasks.items():
            # With a limit the rest of the file is left to train on: intake passes over what is held out.
            if task is not None and task.heldout.limit is None and _same_rows(source, task.heldout):
                yield (
                    f"sources.{number}.path: this is also the held-out set of tasks.{name}, and held-out inputs "
                    "never train: give one of the two another file or split, or the held-out set a limit"
                )
    fed = {task for source in sources if source is not None for task in source.tasks}
    for name in tasks:
        if name not in fed and None not in sources:
            yield f"tasks.{name}: no source feeds it: add one with `task: {name}` under sources"


def _same_rows(source: SourceConfig, heldout: HeldOutConfig) -> bool:
    if source.type == heldout.type == "dataset":
        return (source.path, source.subset, source.split) == (heldout.path, heldout.subset, heldout.split)
    return source.path == heldout.path


def _doubled_names(sources: Sequence[SourceConfig | None]) -> Iterator[str]:
    first: dict[str, int] = {}
    for number, source in enumerate(sources):
        if source is None:
            continue
        other = first.setdefault(source.source_name, number)
        if other != number:
            yield (
                f"sources.{number}.name: its inputs' ids would start with {source.source_name!r} "
                f"like those of sources.{other}: give one of them another `name`"
            )


def _answers_too_long(tasks: Mapping[str, TaskConfig | None], max_model_len: int) -> Iterator[str]:
    for name, task in tasks.items():
        if task is None:
            continue
        places = {"method.sampling": task.method.sampling, "system1": task.system1}
        places |= {f"method.steps.{step}": sampling for step, sampling in task.method.steps.items()}
        for place, sampling in places.items():
            if sampling.max_tokens >= max_model_len:
                yield (
                    f"tasks.{name}.{place}.max_tokens: {sampling.max_tokens} leaves no room for a prompt "
                    f"in engine.max_model_len {max_model_len}: lower it, or raise max_model_len"
                )
