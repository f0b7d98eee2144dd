"""The engines, and what System 2 is asked of them."""

from typing import Annotated, Literal

from pydantic import Field, PositiveFloat, PositiveInt

from s2d_loop.config.base import Count, Share, Tree


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
    teacher: Literal["current", "start"] = "start"
    """Whose System 2 is distilled: always the starting weights', or the promoted weights'.  In a first round they are
    the same; later on, training on direct answers has cost the promoted ones some of it (docs/decisions/0020)."""
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
