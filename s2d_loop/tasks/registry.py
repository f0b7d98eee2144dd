"""The tasks by name."""

import inspect
from collections.abc import Sequence

from s2d_loop.errors import BadInputError
from s2d_loop.plugins import did_you_mean, installed, resolve
from s2d_loop.tasks.base import Task
from s2d_loop.tasks.data import is_data_task, load_data_task
from s2d_loop.thoughts import split

TASKS: dict[str, str] = {
    "last_letters": "s2d_loop.tasks.last_letters:LastLetters",
    "coin_flip": "s2d_loop.tasks.coin_flip:CoinFlip",
    "trivia_qa": "s2d_loop.tasks.trivia_qa:TriviaQa",
    "pairwise": "s2d_loop.tasks.pairwise:Pairwise",
    "gsm8k": "s2d_loop.tasks.gsm8k:Gsm8k",
    "open": "s2d_loop.tasks.open:Open",
}


class TextOnly:
    """A task that is shown what a reply says, and never the thoughts before it.

    The project's own tasks see to that themselves.  One that comes from elsewhere can't forget to.
    """

    def __init__(self, task: Task) -> None:
        self.task = task
        self.name = task.name
        self.perturbations = task.perturbations

    def parse(self, reply: str) -> str | None:
        said = split(reply)
        return self.task.parse(said.text) if said.closed else None

    def format(self, answer: str) -> str:
        return self.task.format(answer)

    def score(self, answer: str | None, reference: str) -> bool:
        return self.task.score(answer, split(reference).text)


def load_task(name: str, perturbations: Sequence[str] = ()) -> Task:
    """The task that `parser` names; it must know the `perturbations` that curation asks for."""
    task: Task = load_data_task(name) if is_data_task(name) else TextOnly(_of_class(name))
    for each in perturbations:
        if each not in task.perturbations:
            raise BadInputError(
                f"curate.perturbations: task {name!r} has no {each!r}"
                f"{did_you_mean(each, task.perturbations)} "
                f"(it has: {', '.join(task.perturbations) or 'none'})"
            )
    return task


def load_recorded_task(name: str, remedy: str) -> Task:
    """A task that a run's ledger names, which somebody else may have written: code of its own is never imported.

    Args:
        remedy: what to do where it can't be loaded.

    Raises:
        BadInputError: it is neither one of the project's nor one that an installed package registers.
    """
    if name in TASKS or name in installed("task"):
        return load_task(name)
    raise BadInputError(
        f"the run names the task {name!r}, which is code or a file of its own, and nothing that a run directory names "
        f"is executed: {remedy}"
    )


def _of_class(name: str) -> Task:
    found = resolve("task", name, TASKS)
    if not inspect.isclass(found):
        raise BadInputError(
            f"task {name!r} is not a class: name one with parse, format, score and perturbations"
        )
    try:
        task = found()
    except Exception as error:
        raise BadInputError(
            f"task {name!r}: {found.__name__}() failed with {type(error).__name__}: {error}. "
            "It must take no arguments"
        ) from error
    if not isinstance(task, Task):
        missing = [
            each for each in ("name", "perturbations", "parse", "format", "score") if not hasattr(task, each)
        ]
        raise BadInputError(f"task {name!r}: {found.__name__} has no {', no '.join(missing)}")
    return task
