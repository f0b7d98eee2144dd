"""What there is to label: held-out inputs without a reference first, then samples of the newest rounds."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from s2d_loop.config import Config
from s2d_loop.evaluate.suite import SYSTEM2
from s2d_loop.ledger import Ledger
from s2d_loop.records import HeldOut, Input, Scored, rows
from s2d_loop.review.audit import audited, rounds, sample, shuffled
from s2d_loop.tasks.base import Task
from s2d_loop.tasks.registry import load_recorded_task, load_task
from s2d_loop.versions import in_service

MOST_ANSWERS = 9
"""As many as there are keys."""


@dataclass(frozen=True, slots=True)
class Item:
    """An input and the different answers that there are to it, System 2's first.

    `round` is that of the sample it is in; None for a held-out input.
    """

    input: Input
    answers: tuple[str, ...]
    round: int | None = None


def items(ledger: Ledger, config: Config | None = None) -> list[Item]:
    """Everything there is to label, in the order in which it is shown.

    `config` and `Raises` are those of `tasks_of`.

    The order within a part is random, and the same for every rater: a part that was labelled is a random
    sample, and raters who stop early have labelled the same inputs.
    """
    audits = _audits(ledger, tasks_of(ledger, config))
    return [*heldout_items(ledger), *(each for each in audits if each.answers)]


def heldout_items(ledger: Ledger) -> list[Item]:
    """The held-out inputs without a reference."""
    fixed = ledger.stage(0, "heldout")
    if fixed is None:
        return []
    said = _answers(ledger)
    found = [
        Item(each.input, tuple(said[each.input.id][:MOST_ANSWERS]))
        for each in rows(ledger.tables(fixed, "heldout"), HeldOut)
        if each.reference is None and said.get(each.input.id)
    ]
    return sorted(found, key=lambda item: shuffled(item.input.id))


def _answers(ledger: Ledger) -> dict[str, list[str]]:
    """What the start, the version in service and the newest candidate answered: the different answers by input.

    System 2's on the starting weights comes first: it is the vote that stands in for a reference.
    """
    evaluations = ledger.stages("evaluate")
    newest = evaluations[-1].iteration if evaluations else 0
    said: dict[str, dict[str, None]] = {}
    for iteration in dict.fromkeys((0, in_service(ledger), newest)):
        record = ledger.stage(iteration, "evaluate")
        if record is None or not ledger.holds(record, "scored"):
            continue
        scored = sorted(rows(ledger.tables(record, "scored"), Scored), key=lambda s: s.system != SYSTEM2)
        for each in scored:
            if each.answer is not None:
                said.setdefault(each.input_id, {})[each.answer] = None
    return {name: list(answers) for name, answers in said.items()}


def _audits(ledger: Ledger, tasks: Mapping[str, Task]) -> Iterator[Item]:
    for iteration in rounds(ledger):
        found = audited(ledger, iteration, sample(ledger, iteration), tasks)
        for each in sorted(found, key=lambda x: shuffled(x.input.id)):
            yield Item(each.input, each.answers[:MOST_ANSWERS], iteration)


def tasks_of(ledger: Ledger, config: Config | None = None) -> dict[str, Task]:
    """The parsers of a run's tasks, by the configuration that it was last started with.

    Args:
        config: the operator's own, whose parsers are taken where it has a task of the name.

    Raises:
        BadInputError: the ledger names a parser that only the operator's own configuration may name.
    """
    begun = ledger.last("run")
    assert begun is not None, "a run begins with its configuration"
    own = config.tasks if config else {}
    return {
        name: load_task(own[name].parser)
        if name in own
        else load_recorded_task(task["parser"], "name your own configuration of the run with --config FILE")
        for name, task in begun.facts["config"]["tasks"].items()
    }
