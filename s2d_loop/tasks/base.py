"""What a task knows.  `curate` parses with it, `generate` perturbs, `evaluate` scores."""

from collections.abc import Callable, Mapping
from typing import Protocol, runtime_checkable

from s2d_loop.records import Message, Messages

Perturbation = Callable[[Messages], Messages | None]
"""A twin of an input whose answer must be the same; None if the input doesn't have the task's form."""


@runtime_checkable
class Task(Protocol):
    """A task's own part of the loop.  It has no state: one object serves every thread."""

    @property
    def name(self) -> str: ...

    @property
    def perturbations(self) -> Mapping[str, Perturbation]: ...

    def parse(self, reply: str) -> str | None:
        """The answer that a reply holds, in the one form that votes compare; never raises."""
        ...

    def score(self, answer: str | None, reference: str) -> bool:
        """Whether a parsed answer is the reference's; an unparsable one never is."""
        ...


def with_last_turn(messages: Messages, text: str) -> Messages:
    """The conversation with the text of its last turn replaced."""
    return (*messages[:-1], Message(messages[-1].role, text))
