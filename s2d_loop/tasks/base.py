"""What a task knows.  `curate` parses with it, `generate` perturbs, `evaluate` scores."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

from s2d_loop.records import Input, Message, Messages


def _same(answer: str) -> str:
    return answer


@dataclass(frozen=True, slots=True)
class Perturbation:
    """A twin of an input with the same answer, or one that can be read back.

    `twin` is None for an input that doesn't have the task's form.  `answer` says what the twin's answer
    means for the input, where that differs: "B is better" with the two in the other order is "A".
    """

    twin: Callable[[Input], Input | None]
    answer: Callable[[str], str] = _same


def reworded(change: Callable[[Messages], Messages | None]) -> Perturbation:
    """A perturbation of nothing but the conversation."""

    def twin(x: Input) -> Input | None:
        messages = change(x.messages)
        return None if messages is None else replace(x, messages=messages)

    return Perturbation(twin)


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

    def format(self, answer: str) -> str:
        """A reply that holds this answer and nothing else; `parse` reads it back."""
        ...

    def score(self, answer: str | None, reference: str) -> bool:
        """Whether a parsed answer is the reference's; an unparsable one never is."""
        ...


def with_last_turn(messages: Messages, text: str) -> Messages:
    """The conversation with the text of its last turn replaced."""
    return (*messages[:-1], Message(messages[-1].role, text))
