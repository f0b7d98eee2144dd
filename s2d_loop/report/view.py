"""A run's commits as the figures that are shown: the one input of `page`, `status` and the summary.

The view is built from plain dicts (the ledger's commits) so that it can be built from made-up ones,
and it never fails on a fact that is missing: a page about a run in trouble is the one most needed.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from typing import Any, TypeVar

from s2d_loop.quarantine import standing

FIRST = ("heldout", "evaluate")
"""Iteration 0: the held-out inputs are fixed, and the starting weights evaluated on them."""
STAGES = (
    "intake",
    "probe",
    "triage",
    "generate",
    "curate",
    "pool",
    "train",
    "evaluate",
    "gate",
    "attribute",
    "promote",
)
"""The order of an iteration's stages; only the first iteration may have a `probe`, and only some a `triage` or an
`attribute`."""

SERVING = ("rollback", "promote", "collapsed")
"""Kinds of records that put a version in service, beside the stage `promote`."""

Commit = Mapping[str, Any]
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Score:
    """One way of answering, measured on a task's held-out inputs; `tokens` are those of an answer."""

    accuracy: float | None = None
    low: float | None = None
    high: float | None = None
    n: int | None = None
    tokens: float | None = None
    unparsable: float | None = None


@dataclass(frozen=True, slots=True)
class Signs:
    """What became of one task's inputs, and the signs of collapse that need no label.

    `inputs` and `dropped` count what `triage` left out too; all else is of what `curate` saw.
    """

    inputs: int = 0
    kept: int = 0
    dropped: Mapping[str, int] = field(default_factory=dict)
    kept_share: float | None = None
    agreement: float | None = None
    already: float | None = None
    self_agreement: float | None = None
    entropy: float | None = None
    distinct_answers: float | None = None
    top_answer_share: float | None = None
    unparsable_share: float | None = None
    tokens_per_input: float | None = None
    direct_tokens_per_answer: float | None = None


@dataclass(frozen=True, slots=True)
class Measured:
    """One task in one `evaluate`: the weights at hand, and the System 1 that was promoted last."""

    iteration: int
    reference: str
    system1: Score | None
    system2: Score | None
    current: Score | None


@dataclass(frozen=True, slots=True)
class Stage:
    """One commit of a stage."""

    name: str
    iteration: int
    attempt: str
    time: str
    seconds: float
    rows_in: int
    rows_out: int
    dropped: Mapping[str, int]
    facts: Mapping[str, Any]


@dataclass(frozen=True)
class Iteration:
    """The stages that one iteration has committed, by name."""

    number: int
    stages: Mapping[str, Stage]

    def facts(self, stage: str) -> Mapping[str, Any]:
        return self.stages[stage].facts if stage in self.stages else {}

    @property
    def decision(self) -> str | None:
        return self.facts("gate").get("decision")

    @property
    def promoted(self) -> bool:
        return self.decision == "promote"

    @property
    def sentence(self) -> str:
        said = (self.facts(stage).get("sentence") for stage in ("gate", "attribute"))
        return " ".join(str(each) for each in said if each)

    @property
    def seconds(self) -> float:
        return sum(stage.seconds for stage in self.stages.values())

    @cached_property
    def signs(self) -> dict[str, Signs]:
        routed = _by_task(self.facts("triage"))
        return {
            task: _with_left_out(_only(Signs, row), (routed.get(task) or {}).get("routes") or {})
            for task, row in _by_task(self.facts("curate")).items()
        }

    @cached_property
    def measured(self) -> dict[str, Measured]:
        return {
            task: Measured(
                self.number,
                str(row.get("reference") or "labels"),
                *(_score(row.get(name)) for name in ("system1", "system2", "current")),
            )
            for task, row in _by_task(self.facts("evaluate")).items()
        }


@dataclass(frozen=True, slots=True)
class TaskSummary:
    """A task in one look.  `now` is what the promoted weights measure, not the last attempt."""

    task: str
    reference: str
    system1_start: Score | None
    system1_now: Score | None
    system2_start: Score | None
    system2_now: Score | None

    @property
    def token_ratio(self) -> float | None:
        """How many tokens of System 2 one token of System 1 replaces."""
        slow = self.system2_start.tokens if self.system2_start else None
        fast = self.system1_now.tokens if self.system1_now else None
        return slow / fast if slow and fast else None

    @property
    def against_system2(self) -> str | None:
        """`above`, `below` or `level`: level when either value lies within the other's interval."""
        one, two = self.system1_now, self.system2_start
        if one is None or two is None or one.accuracy is None or two.accuracy is None:
            return None
        if _within(one.accuracy, two) or _within(two.accuracy, one):
            return "level"
        return "above" if one.accuracy > two.accuracy else "below"


class RunView:
    """A run as its ledger tells it."""

    def __init__(self, commits: Iterable[Commit]) -> None:
        in_order = sorted(commits, key=lambda commit: commit.get("seq", 0))
        self.runs = [c for c in in_order if c.get("kind") == "run"]
        self.finished = any(c.get("kind") == "finished" for c in in_order)
        self.quarantined = standing(
            (c.get("kind"), c.get("stage"), c.get("iteration"), c.get("facts") or {}) for c in in_order
        )
        """Sources whose rows no longer train, each with the round whose hold was traced to it."""
        serving = [c for c in in_order if c.get("kind") in SERVING]
        self._by_hand = {(c.get("facts") or {}).get("version") for c in serving if c.get("kind") == "promote"}
        self.collapse = ""
        """Why the stop rule ended the run, unless an operator has decided since."""
        if serving and serving[-1].get("kind") == "collapsed":
            self.collapse = str((serving[-1].get("facts") or {}).get("sentence") or "")
        stages = [_stage(c) for c in in_order if c.get("kind") == "stage"]
        self.last: Stage | None = stages[-1] if stages else None
        by_iteration: dict[int, dict[str, Stage]] = {}
        for stage in stages:
            by_iteration.setdefault(stage.iteration, {})[stage.name] = stage
        self.iterations = [Iteration(n, by_iteration[n]) for n in sorted(by_iteration)]
        self.in_service = 0
        """The version that people should serve."""
        for commit in in_order:
            if commit.get("stage") == "promote":
                self.in_service = int(commit.get("iteration") or 0)
            elif commit.get("kind") in SERVING:
                self.in_service = int((commit.get("facts") or {}).get("version") or 0)

    @property
    def config(self) -> Mapping[str, Any]:
        """The resolved configuration the run was last started with."""
        return (self.runs[-1].get("facts") or {}).get("config") or {} if self.runs else {}

    @property
    def name(self) -> str:
        directory = str((self.config.get("run") or {}).get("dir") or "")
        return directory.rstrip("/").rsplit("/", 1)[-1] or "run"

    @property
    def planned(self) -> int | None:
        """How many iterations the configuration asks for."""
        return (self.config.get("run") or {}).get("iterations")

    @property
    def started(self) -> str:
        first = self.runs[0].get("time") if self.runs else None
        times = [s.time for i in self.iterations for s in i.stages.values() if s.time]
        return str(first or min(times, default=""))

    @property
    def rounds(self) -> list[Iteration]:
        """The iterations proper, without the evaluation of the starting weights."""
        return [i for i in self.iterations if i.number > 0]

    @property
    def promoted(self) -> list[int]:
        """By the gate, or by a person."""
        return [i.number for i in self.iterations if i.promoted or i.number in self._by_hand]

    @property
    def held(self) -> list[int]:
        return [i.number for i in self._kept_back if i.decision != "ask"]

    @property
    def asked(self) -> list[int]:
        """The iterations whose weights a person was asked about, and has not promoted."""
        return [i.number for i in self._kept_back if i.decision == "ask"]

    @property
    def _kept_back(self) -> list[Iteration]:
        promoted = set(self.promoted)
        return [i for i in self.iterations if i.decision is not None and i.number not in promoted]

    @property
    def policy(self) -> Mapping[str, Mapping[str, Any]]:
        """How each task should be served by the version in service; empty where nothing says so."""
        served = [i for i in self.iterations if i.number == self.in_service]
        return (served[0].facts("evaluate").get("policy") or {}) if served else {}

    @property
    def retention(self) -> Mapping[str, Any]:
        """What the last candidate has kept; empty where no gate says so."""
        gates = [i.facts("gate") for i in self.iterations if "gate" in i.stages]
        return (gates[-1].get("retention") or {}) if gates else {}

    @property
    def retired(self) -> Mapping[str, Mapping[str, Any]]:
        """The tasks that are not distilled as things stand."""
        gates = [i.facts("gate") for i in self.iterations if "gate" in i.stages]
        return {each["task"]: each for each in (gates[-1].get("retired") or ())} if gates else {}

    @cached_property
    def tasks(self) -> list[str]:
        """Every task the run names, in the configuration's order, then in order of appearance."""
        names = dict.fromkeys(self.config.get("tasks") or {})
        for iteration in self.iterations:
            names |= dict.fromkeys([*iteration.measured, *iteration.signs])
        return list(names)

    @cached_property
    def dropped(self) -> Counter[str]:
        """Inputs that curation dropped over the whole run, by reason, the commonest first."""
        total: Counter[str] = Counter()
        for signs in (s for i in self.iterations for s in i.signs.values()):
            total.update(signs.dropped)
        return Counter(dict(total.most_common()))

    @cached_property
    def seconds_by_stage(self) -> dict[str, float]:
        total = dict.fromkeys((*FIRST[:1], *STAGES), 0.0)
        for stage in (s for i in self.iterations for s in i.stages.values()):
            total[stage.name] = total.get(stage.name, 0.0) + stage.seconds
        return {name: seconds for name, seconds in total.items() if seconds}

    def measured(self, task: str) -> list[Measured]:
        """A task's evaluations, by iteration."""
        return [i.measured[task] for i in self.iterations if task in i.measured]

    def signs(self, task: str) -> list[tuple[int, Signs]]:
        return [(i.number, i.signs[task]) for i in self.iterations if task in i.signs]

    def summary(self, task: str) -> TaskSummary:
        measured = self.measured(task)
        promoted = {0, *self.promoted} | {m.iteration for m in measured[:1]}
        served = [m for m in measured if m.iteration in promoted]
        now = served[-1].system1 if served else None
        # A held iteration measured the promoted weights again, on the same inputs: the newer figure.
        if measured and served and measured[-1].iteration > served[-1].iteration and measured[-1].current:
            now = measured[-1].current
        slow = [m.system2 for m in served if m.system2]
        return TaskSummary(
            task=task,
            reference=measured[-1].reference if measured else "labels",
            system1_start=measured[0].system1 if measured else None,
            system1_now=now,
            system2_start=slow[0] if slow else None,
            system2_now=slow[-1] if slow else None,
        )

    @property
    def summaries(self) -> list[TaskSummary]:
        return [self.summary(task) for task in self.tasks]

    @property
    def next_step(self) -> tuple[int, str] | None:
        """The iteration and stage that a resume would start with; None when the run is complete."""
        if self.finished or self.collapse:
            return None
        if not self.iterations:
            return 0, FIRST[0]
        latest = self.iterations[-1]
        for stage in self._wanted(latest):
            if stage not in latest.stages:
                return latest.number, stage
        if self.planned is not None and latest.number >= self.planned:
            return None
        return latest.number + 1, STAGES[0]

    def _wanted(self, iteration: Iteration) -> tuple[str, ...]:
        """The stages that an iteration has when it is through."""
        if iteration.number == 0:
            return FIRST
        end = len(STAGES)
        if iteration.facts("pool").get("training") == 0:
            end = STAGES.index("train")
        probed = iteration.number == 1 and (self.config.get("generate") or {}).get("probe_inputs")
        attributes = iteration.decision == "hold" and (self.config.get("gate") or {}).get("attribute")
        left_out = {
            "probe": not probed,
            "attribute": not attributes,
            "promote": iteration.decision not in (None, "promote"),
            "triage": not (self.config.get("triage") or "triage" in iteration.stages),
        }
        return tuple(stage for stage in STAGES[:end] if not left_out.get(stage))


def _stage(commit: Commit) -> Stage:
    counts = commit.get("counts") or {}
    return Stage(
        name=str(commit.get("stage")),
        iteration=int(commit.get("iteration") or 0),
        attempt=str(commit.get("attempt") or ""),
        time=str(commit.get("time") or ""),
        seconds=float(commit.get("seconds") or 0.0),
        rows_in=int(counts.get("in") or 0),
        rows_out=int(counts.get("out") or 0),
        dropped=counts.get("dropped") or {},
        facts=commit.get("facts") or {},
    )


def _by_task(facts: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    return {task: row for task, row in (facts.get("by_task") or {}).items() if isinstance(row, Mapping)}


def _score(row: Mapping[str, Any] | None) -> Score | None:
    return None if row is None else _only(Score, row)


def _only(kind: type[T], row: Mapping[str, Any]) -> T:
    """The fields of `row` that `kind` has (a newer ledger may say more); null and NaN are missing."""
    names = {f.name for f in fields(kind)}  # type: ignore[arg-type]
    return kind(
        **{
            name: value
            for name, value in row.items()
            if name in names and value is not None and value == value
        }
    )


def _with_left_out(signs: Signs, routes: Mapping[str, int]) -> Signs:
    left_out = {route: count for route, count in routes.items() if route not in ("system2", "audit")}
    inputs = signs.inputs + sum(left_out.values())
    return replace(signs, inputs=inputs, dropped={**signs.dropped, **left_out})


def _within(value: float, score: Score) -> bool:
    return score.low is not None and score.high is not None and score.low <= value <= score.high
