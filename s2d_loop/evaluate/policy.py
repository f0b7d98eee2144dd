"""Which system should serve a task's inputs: System 1, System 2 with how many votes, or none.

System 1 serves where it is shown to be no worse than System 2, by more than a margin and on the same
inputs: not worse is to be proved, since it is what saves the tokens.  Else System 2 serves with the fewest
votes that measure within the interval of the best.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from s2d_loop.config import ServingConfig
from s2d_loop.evaluate.metrics import Estimate, paired_difference, wilson
from s2d_loop.evaluate.suite import SYSTEM1, SYSTEM2
from s2d_loop.records import Scored, VotedAt

NONE = "none"


@dataclass(frozen=True, slots=True)
class Figure:
    """One way to answer, as it measures; `votes` are runs of the program, or samples of System 1."""

    votes: int
    accuracy: float | None
    low: float
    high: float
    n: int
    tokens: float | None


@dataclass(frozen=True, slots=True)
class Serving:
    """How a task should be served.

    `difference` is System 1's accuracy less that of the best System 2, over `n` inputs; `system2_version`
    says whose System 2 was measured.
    """

    serve: str
    votes: int
    system1: Figure
    system2: tuple[Figure, ...]
    system2_version: int
    difference: Estimate
    n: int
    sentence: str


def choose(
    system1: Sequence[Scored],
    system2: Iterable[VotedAt],
    rules: ServingConfig,
    *,
    samples: int = 1,
    version: int = 0,
) -> Serving:
    """The policy of one task.

    Args:
        samples: how many System 1 samples an answer takes.
        version: the one whose System 2 was measured.
    """
    by_votes: dict[int, list[VotedAt]] = {}
    for each in system2:
        by_votes.setdefault(each.votes, []).append(each)
    figures = [_figure(votes, by_votes[votes]) for votes in sorted(by_votes)]
    best = max(figures, key=lambda each: each.accuracy or 0.0)
    enough = next(each for each in figures if (each.accuracy or 0.0) >= best.low or each is best)
    one = _figure(samples, system1)
    right = {each.input_id: each.correct for each in by_votes[best.votes]}
    pairs = [
        (bool(right[each.input_id]), each.correct)
        for each in system1
        if each.correct is not None and right.get(each.input_id) is not None
    ]
    difference = Estimate(*paired_difference([two for two, _ in pairs], [one for _, one in pairs]))
    serve = SYSTEM1 if difference.low >= -rules.margin else SYSTEM2
    if rules.floor is not None and max(one.high, enough.high) < rules.floor:
        serve = NONE
    chosen = {SYSTEM1: one, SYSTEM2: enough}.get(serve)
    return Serving(
        serve=serve,
        votes=chosen.votes if chosen else 0,
        system1=one,
        system2=tuple(figures),
        system2_version=version,
        difference=difference,
        n=len(pairs),
        sentence=_sentence(serve, one, enough, difference, len(pairs), rules),
    )


def as_facts(policy: Mapping[str, Serving]) -> dict[str, Any]:
    """For the ledger and RUN/serving."""
    return {task: asdict(each) for task, each in policy.items()}


def _figure(votes: int, answers: Sequence[Scored | VotedAt]) -> Figure:
    judged = [each.correct for each in answers if each.correct is not None]
    return Figure(
        votes=votes,
        accuracy=sum(judged) / len(judged) if judged else None,
        low=wilson(sum(judged), len(judged))[0],
        high=wilson(sum(judged), len(judged))[1],
        n=len(judged),
        tokens=sum(each.num_tokens for each in answers) / len(answers) if answers else None,
    )


def _sentence(
    serve: str, one: Figure, two: Figure, difference: Estimate, n: int, rules: ServingConfig
) -> str:
    points = (
        f"{100 * difference.value:+.1f} points ({100 * difference.low:+.1f} to "
        f"{100 * difference.high:+.1f}, n={n})"
    )
    slow = f"System 2 with {two.votes} vote{'s' if two.votes > 1 else ''}"
    if serve == NONE:
        return f"None: neither System 1 ({_share(one)}) nor {slow} ({_share(two)}) reaches {rules.floor:.0%}."
    if serve == SYSTEM1:
        return f"System 1, {points} from System 2, at {_tokens(one)} instead of {_tokens(two)} tokens."
    return (
        f"{slow} ({_share(two)}): System 1 is {points} from it, and {-rules.margin:.0%} has to be ruled out."
    )


def _share(figure: Figure) -> str:
    return "not measured" if figure.accuracy is None else f"{figure.accuracy:.1%}"


def _tokens(figure: Figure) -> str:
    return "-" if figure.tokens is None else f"{figure.tokens:.1f}"
