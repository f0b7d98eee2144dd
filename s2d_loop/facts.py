"""What readers rest on in a record of the ledger, checked once, as it is read.

A stranger's record can hold anything, with a checksum that fits.  Whatever a reader takes out of one without
a doubt has its type here; what isn't named may be anything, or missing.  Figures that older versions didn't
write yet, or that nothing was measured of, may be null.
"""

import math
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from s2d_loop.store import StoreError, inside, shortened

MOST_VALUES = 1_000_000
"""Values of a record, which take a hundred times their bytes once they are read."""
_DEEPEST = 50
_LARGEST_INTEGER = 2**63 - 1
_LARGEST_FLOAT = 1e305
"""Sums and products of a few such numbers are numbers too."""
_MOST_ROUNDS = 10_000_000


class _Facts(BaseModel):
    model_config = ConfigDict(strict=True, extra="ignore")


Count = Annotated[int, Field(ge=0)]
Round = Annotated[int, Field(ge=0, le=_MOST_ROUNDS)]
Number = float
"""NaN included, as a figure of nothing was once written."""
Finite = Annotated[float, Field(allow_inf_nan=False)]
Range = Annotated[list[Round], Field(min_length=2, max_length=2)]
"""The first and the last of some rounds."""


class _File(_Facts):
    table: str
    path: str
    rows: Count
    size: Count
    sha256: str


class _Counts(_Facts):
    into: Count = Field(alias="in")
    out: Count
    dropped: dict[str, Count]


class _Record(_Facts):
    kind: str
    iteration: Round
    stage: str
    attempt: str
    time: str
    seconds: Annotated[Finite, Field(ge=0)]
    counts: _Counts
    files: list[_File]
    facts: dict[str, Any]


class _Weights(_Facts):
    path: str
    digest: str


class _Estimate(_Facts):
    value: Number
    low: Number
    high: Number


class _Score(_Facts):
    accuracy: Number | None = None
    low: Number | None = None
    high: Number | None = None
    n: Number | None = None
    tokens: Annotated[Number, Field(ge=0)] | None = None
    unparsable: Number | None = None


class _Signs(_Facts):
    inputs: Count | None = None
    kept: Count | None = None
    dropped: dict[str, Count] | None = None
    kept_share: Number | None = None
    agreement: Number | None = None
    already: Number | None = None
    self_agreement: Number | None = None
    entropy: Number | None = None
    distinct_answers: Number | None = None
    top_answer_share: Number | None = None
    unparsable_share: Number | None = None
    tokens_per_input: Number | None = None
    direct_tokens_per_answer: Number | None = None


class _Curate(_Facts):
    by_task: dict[str, _Signs] = {}


class _Replayed(_Facts):
    forget: Count
    row: Count


class _Cursor(_Facts):
    rows: Count = 0
    shards: dict[str, dict[str, Any]] = {}
    replayed: _Replayed | None = None


class _Intake(_Facts):
    cursors: dict[str, _Cursor]
    sources: dict[str, dict[str, Count]]
    exhausted: list[str]
    by_task: dict[str, Count] = {}


class _Saved(_Facts):
    calls: Count | None = None
    tokens: Count | None = None


class _Triaged(_Facts):
    routes: dict[str, Count] = {}
    saved: _Saved | None = None


class _Triage(_Facts):
    version: Round
    weights: str
    by_task: dict[str, _Triaged]


class _Tally(_Facts):
    inputs: Count | None = None
    calls: Finite = 0
    tokens: Finite | None = None
    samples: Count | None = None
    planned: Count | None = None


class _Generate(_Facts):
    version: Round
    weights: str
    by_task: dict[str, _Tally] = {}
    tokens_per_second: Number | None = None


class _Pool(_Facts):
    new: Count
    training: Count
    training_by_source: dict[str, dict[str, Count]]
    training_rounds: list[Range]


class _Train(_Facts):
    weights: _Weights
    start: str
    start_version: Round
    steps: Count | None = None
    losses: list[Number] | None = None


class _Evaluated(_Facts):
    reference: str | None = None
    references: dict[str, Count] | None = None
    system1: _Score | None = None
    system2: _Score | None = None
    current: _Score | None = None


class _Pin(_Facts):
    through: Count
    digest: str


class _Policy(_Facts):
    sentence: str


class _Evaluate(_Facts):
    weights: str
    by_task: dict[str, _Evaluated] = {}
    policy: dict[str, _Policy] | None = None
    labels: dict[str, _Pin] | None = None


class _Cell(_Facts):
    low: Number
    difference: Number | None = None
    high: Number | None = None


class _Collapse(_Facts):
    sentence: str | None = None
    by_task: dict[str, dict[str, Any]] = {}


class _Retired(_Facts):
    task: str
    sentence: str


class _Kept(_Facts):
    version: Round
    best: Number
    candidate: Number
    difference: _Estimate
    budget: Number
    state: str


class _General(_Facts):
    n: Count
    agreement: _Estimate
    perplexity: _Estimate


class _Retention(_Facts):
    tasks: dict[str, _Kept]
    general: _General | None = None


class _Gate(_Facts):
    decision: Literal["promote", "hold", "ask"]
    sentence: str
    by_task: dict[str, _Cell] = {}
    classes: dict[str, dict[str, _Cell]] = {}
    collapse: _Collapse | None = None
    retired: list[_Retired] | None = None
    retention: _Retention | None = None


class _Attribute(_Facts):
    named: list[str]
    sentence: str | None = None


class _Promote(_Facts):
    weights: _Weights


_STAGES: Mapping[str, type[_Facts]] = {
    "heldout": _Facts,
    "intake": _Intake,
    "probe": _Curate,
    "triage": _Triage,
    "generate": _Generate,
    "curate": _Curate,
    "pool": _Pool,
    "train": _Train,
    "evaluate": _Evaluate,
    "gate": _Gate,
    "attribute": _Attribute,
    "promote": _Promote,
}


class _RunSection(_Facts):
    iterations: Round | None


class _Task(_Facts):
    parser: str


class _Config(_Facts):
    run: _RunSection
    tasks: dict[str, _Task]
    sources: list[dict[str, Any]] | None = None
    generate: dict[str, Any] | None = None
    triage: dict[str, Any] | None = None
    gate: dict[str, Any] | None = None


class _Begun(_Facts):
    config: _Config
    start: str
    model: str
    sources: dict[str, list[str]]


class _Void(_Facts):
    void: list[int]


class _Gone(_Facts):
    version: Round
    digest: str
    reason: str | None


class _Forget(_Void):
    source: str
    rounds: Range
    waiting: dict[str, Count]
    versions: list[_Gone]


class _Serving(_Void):
    version: Round
    digest: str
    since: Round = Field(alias="from")
    sentence: str


class _Collapsed(_Serving):
    round: Round


class _Swept(_Facts):
    paths: list[str]


class _Checkpoint(_Facts):
    iteration: Round
    digest: str


class _Trial(_Facts):
    without: str


class _Finished(_Facts):
    held: bool


class _Stopped(_Facts):
    why: str


class _Stalled(_Facts):
    found: list[str]


class _Release(_Facts):
    source: str


_KINDS: Mapping[str, type[_Facts]] = {
    "run": _Begun,
    "lease": _Facts,
    "checkpoint": _Checkpoint,
    "trial": _Trial,
    "finished": _Finished,
    "forget": _Forget,
    "rollback": _Serving,
    "promote": _Serving,
    "collapsed": _Collapsed,
    "release": _Release,
    "swept": _Swept,
    "stopped": _Stopped,
    "stalled": _Stalled,
}


_UNDER = {"forget": "forget", "trial": "attribute"}
"""What stands as the stage of kinds that have files."""


def problem(row: Mapping[str, Any]) -> str | None:
    """What is wrong with a record, as it is stored: the key, what is there, and what is wanted there."""
    if found := _out_of_bounds(row):
        return found
    try:
        _Record.model_validate(row)
        kind, stage = row["kind"], row["stage"]
        known = _STAGES.get(stage) if kind == "stage" else _KINDS.get(kind)
        if known is None or (kind != "stage" and stage not in ("", _UNDER.get(kind))):
            return f"is of a kind that no record has: {shortened(f'{kind} {stage}')!r}"
        for file in row["files"]:
            inside(file["path"])
        known.model_validate(row["facts"])
    except ValidationError as error:
        return _told(error, "facts." if error.title != _Record.__name__ else "")
    except StoreError as error:
        return str(error)
    return None


def _told(error: ValidationError, prefix: str) -> str:
    """The first thing that is wrong, in words."""
    found = error.errors(include_url=False)[0]
    key = shortened(prefix + ".".join(str(each) for each in found["loc"]))
    if found["type"] == "missing":
        return f"lacks {key}"
    wanted = found["msg"].removeprefix("Input should be ")
    return f"has {shortened(repr(found['input']))} as {key}, and {wanted} is wanted"


def _out_of_bounds(row: Mapping[str, Any]) -> str | None:
    """Whether a value is so large, or lies so deep, that no reader can be expected to bear it."""
    level: list[Any] = [row]
    for _ in range(_DEEPEST):
        below: list[Any] = []
        for each in level:
            for value in each.values() if isinstance(each, dict) else each:
                if isinstance(value, dict | list):
                    below.append(value)
                elif isinstance(value, float):
                    if abs(value) > _LARGEST_FLOAT:
                        return f"holds the number {value}, which no figure is"
                elif isinstance(value, int) and abs(value) > _LARGEST_INTEGER:
                    return (
                        f"holds a number of {math.ceil(value.bit_length() / 3.3)} digits, which no figure is"
                    )
        if not below:
            return None
        level = below
    return f"holds values in more than {_DEEPEST} others"
