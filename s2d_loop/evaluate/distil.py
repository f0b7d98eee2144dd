"""Which tasks are distilled.  Some reasoning doesn't distil: such a task rests, and is tried again seldom.

Each round the gate writes down what it shows of every task (`Evidence`).  A task that showed in each of its
rounds that System 1 doesn't approach System 2 is retired.  A candidate is one draw of training, so a single
round proves little; that all of them say the same is asked instead of a test over all of them.

The Evidence and the retirements are facts of the gate, so which tasks rest in a round follows from the
ledger alone (`retired_tasks`): `triage` and `pool` ask.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from s2d_loop.config import RetireConfig
from s2d_loop.evaluate.gate import HOLD
from s2d_loop.evaluate.metrics import Estimate, paired_difference, ratio, wilson
from s2d_loop.evaluate.suite import is_right
from s2d_loop.ledger import Record
from s2d_loop.records import Scored

RETIRED = "retired"
"""Why kept rows of a task don't go into the pool."""

_LEVEL = 0.975
"""Of the gap and of the gain, so that their ratio has 95 %."""

Facts = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a round shows of one task, on the inputs that all three answered.

    `system1` and `system2` are accuracies of the candidate's System 1 and of the starting weights' System 2.
    `gap` is how far System 2 was above System 1 at the start, `gained` what System 1 has gained since, and
    `closed` the share of the gap that is (None where the gap isn't shown).  `rows` of the task were new.
    """

    rows: int
    n: int
    system1: Estimate
    system2: Estimate
    gap: Estimate
    gained: Estimate
    closed: Estimate | None

    @staticmethod
    def read(row: Facts) -> "Evidence":
        """From the gate's facts."""
        return Evidence(
            rows=row["rows"],
            n=row["n"],
            system1=Estimate(**row["system1"]),
            system2=Estimate(**row["system2"]),
            gap=Estimate(**row["gap"]),
            gained=Estimate(**row["gained"]),
            closed=None if row["closed"] is None else Estimate(**row["closed"]),
        )


@dataclass(frozen=True, slots=True)
class Retired:
    """A task that is not distilled: since the gate of which round, and why."""

    task: str
    since: int
    sentence: str


def evidence(
    start1: Iterable[Scored], start2: Iterable[Scored], candidate: Iterable[Scored], rows: int
) -> Evidence:
    """What a candidate shows of one task.

    Args:
        start1: System 1 of the starting weights, and `start2` their System 2.
        rows: how many rows of the task the pool has gained; replayed ones teach nothing new.
    """
    first = {each.input_id: each.correct for each in start1}
    second = {each.input_id: is_right(each) for each in start2}
    inputs = [
        (bool(first[each.input_id]), second[each.input_id], each.correct)
        for each in candidate
        if each.correct is not None and first.get(each.input_id) is not None and each.input_id in second
    ]
    one, two, now = ([each[i] for each in inputs] for i in range(3))
    gap, gained = paired_difference(one, two, _LEVEL), paired_difference(one, now, _LEVEL)
    return Evidence(
        rows=rows,
        n=len(inputs),
        system1=_accuracy(now),
        system2=_accuracy(two),
        gap=Estimate(*paired_difference(one, two)),
        gained=Estimate(*paired_difference(one, now)),
        closed=ratio(gained, gap),
    )


def retire(
    gates: Sequence[tuple[int, Facts]], now: Mapping[str, Evidence], iteration: int, rules: RetireConfig
) -> tuple[list[Retired], list[str]]:
    """The tasks that are retired from now on, and a sentence for each that was retired, or is distilled again.

    Args:
        gates: the facts of earlier gates with their rounds, oldest first.
        now: what this round shows, by task.
    """
    before = {each["task"]: Retired(**each) for each in (gates[-1][1].get(RETIRED) or ())} if gates else {}
    retired: list[Retired] = []
    said: list[str] = []
    for task, found in now.items():
        if task in before:
            if found.rows and _tried_again(before[task], iteration, rules) and not _stuck(found, rules):
                said.append(f"{task} is distilled again: {_closed(found)}.")
            else:
                retired.append(before[task])
        elif why := _why(task, [*_rounds(gates, task), *([found] if found.rows else [])], rules):
            retired.append(Retired(task, iteration, why))
            said.append(why)
    return retired, said


def retired_tasks(gates: Iterable[Record], iteration: int, rules: RetireConfig) -> frozenset[str]:
    """The tasks that rest in a round: retired, and not tried again in it.

    Args:
        gates: the committed records of the gate, oldest first.
    """
    earlier = [gate for gate in gates if gate.iteration < iteration]
    listed = (earlier[-1].facts.get(RETIRED) or ()) if earlier else ()
    found = (Retired(**each) for each in listed)
    return frozenset(each.task for each in found if not _tried_again(each, iteration, rules))


def with_retired(
    facts: Facts, now: Mapping[str, Evidence], retired: Iterable[Retired], news: Iterable[str]
) -> dict[str, Any]:
    """A gate's facts with what the round shows of each task, and which of them rest from now on."""
    return {
        **facts,
        "sentence": " ".join((facts["sentence"], *news)),
        "distil": {task: asdict(found) for task, found in now.items()},
        RETIRED: [asdict(each) for each in retired],
    }


def held_without_gain(facts: Facts) -> dict[str, Any]:
    """A gate's facts; held where all that a candidate learned is of tasks that rest from now on.

    However little it differs, it has nothing better to serve.
    """
    learned = sorted(task for task, found in facts["distil"].items() if found["rows"])
    resting = {each["task"] for each in facts[RETIRED]}
    if facts["decision"] == HOLD or not learned or not resting.issuperset(learned):
        return dict(facts)
    why = f"Held: all that it learned is of {', '.join(learned)}, and nothing is gained there."
    measured = facts["sentence"].replace("Promoted: ", "No worse: ", 1)
    return {**facts, "decision": HOLD, "sentence": f"{why} {measured}"}


def _tried_again(retired: Retired, iteration: int, rules: RetireConfig) -> bool:
    return iteration > retired.since and (iteration - retired.since) % rules.retry_every == 0


def _rounds(gates: Sequence[tuple[int, Facts]], task: str) -> list[Evidence]:
    """What the rounds since the task last rested show of it, oldest first, where any of it trained."""
    found: list[Evidence] = []
    for _, facts in reversed(gates):
        if any(each["task"] == task for each in facts.get(RETIRED) or ()):
            break
        if row := (facts.get("distil") or {}).get(task):
            found.append(Evidence.read(row))
    return [each for each in reversed(found) if each.rows]


def _why(task: str, rounds: Sequence[Evidence], rules: RetireConfig) -> str | None:
    if rules.after_rounds is None or not rounds:
        return None
    last, again = rounds[-1], f"it is tried again every {rules.retry_every} rounds"
    if last.gap.high < 0:
        return (
            f"{task} is no longer distilled: System 2 was worse than System 1 at the start "
            f"({_points(last.gap)}, n={last.n}); {again}."
        )
    budget = rounds[-rules.after_rounds :]
    if len(budget) < rules.after_rounds or not all(_stuck(each, rules) for each in budget):
        return None
    return f"{task} is no longer distilled after {len(rounds)} rounds: {_closed(last)}; {again}."


def _stuck(found: Evidence, rules: RetireConfig) -> bool:
    """Whether a round shows that System 1 doesn't approach System 2."""
    little = found.closed is not None and found.closed.high < rules.closed
    no_better = found.system1.high < found.system2.low and found.gained.low <= 0
    return little or no_better


def _closed(found: Evidence) -> str:
    said = f"System 1 is at {found.system1.value:.1%} and System 2 at {found.system2.value:.1%}"
    if found.closed is None:
        return f"{said} (n={found.n})"
    part = found.closed
    return f"{said}, {part.value:.0%} of the gap closed ({part.low:.0%} to {part.high:.0%}, n={found.n})"


def _points(difference: Estimate) -> str:
    return (
        f"{100 * difference.value:+.1f} points, {100 * difference.low:+.1f} to {100 * difference.high:+.1f}"
    )


def _accuracy(right: Sequence[bool]) -> Estimate:
    return Estimate(sum(right) / len(right) if right else 0.0, *wilson(sum(right), len(right)))
