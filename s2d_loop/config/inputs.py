"""Where inputs come from: to learn from, to be judged by, and to be warned by."""

import re
from pathlib import PurePosixPath
from typing import Annotated, Literal

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from s2d_loop.config.base import Count, SourceName, TaskName, Tree, raise_problems

COLUMN = re.compile(r"\{([\w.-]+)\}")
"""A column in a prompt's template."""


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
    taken from the environment; a secret has to be, since the configuration is kept with the run."""
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
        raise_problems(problems)
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
        raise_problems(_two_ways(self))
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
        raise_problems(problems)
        return self


class NearDuplicatesConfig(Tree):
    threshold: Annotated[float, Field(gt=0, lt=1)] = 0.8
    """Share of their runs of three words from which two inputs of a task are near (by MinHash, about).
    Prompts of one template are near to each other when it is longer than what fills it."""
    keep: PositiveInt = 1
    """At most this many near inputs of one cluster are claimed over the run's life."""


class IntakeConfig(Tree):
    near_duplicates: NearDuplicatesConfig | None = None
    """Drops, and counts, inputs that are near to a claimed or a held-out one; off unless given."""


def _two_ways(rows: SourceConfig | HeldOutConfig) -> list[str]:
    problems = []
    if rows.format is not None:
        known = {"prompt": rows.prompt, "reference": getattr(rows, "reference", None)}
        problems += [
            f"{key}: `format: {rows.format}` knows its own: remove one of the two"
            for key, given in known.items()
            if given is not None
        ]
    if rows.template is None:
        return problems
    both = [key for key in ("prompt", "format") if getattr(rows, key) is not None]
    problems += [f"template: it makes the prompt, and so does `{key}`: remove one of the two" for key in both]
    if not COLUMN.search(rows.template):
        problems.append("template: names no column: write one as `{name}`, or every prompt is the same")
    return problems
