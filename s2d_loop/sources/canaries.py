"""Canaries: private prompts, read from their file whenever they are asked and kept nowhere else."""

from collections.abc import Sequence
from dataclasses import dataclass

from s2d_loop.config import CanaryConfig, HeldOutConfig
from s2d_loop.errors import BadInputError
from s2d_loop.records import Input, digest
from s2d_loop.sources.heldout import read_whole


@dataclass(frozen=True, slots=True)
class Canary:
    """A prompt, and where there is one the same without its trigger."""

    input: Input
    plain: Input | None

    @property
    def inputs(self) -> tuple[Input, ...]:
        return (self.input,) if self.plain is None else (self.input, self.plain)


def read_canaries(name: str, config: CanaryConfig) -> list[Canary]:
    """A set of canaries.

    Raises:
        BadInputError: a row can't be read, or its two prompts are the same.
    """
    asked = _column(name, config, config.prompt, f"canary/{name}")
    if config.plain is None:
        return [Canary(each, None) for each in asked]
    plain = _column(name, config, config.plain, f"canary/{name}/plain")
    canaries = [Canary(*pair) for pair in zip(asked, plain, strict=True)]
    same = [each.input.id for each in canaries if each.plain and each.plain.messages == each.input.messages]
    if same:
        raise BadInputError(
            f"canaries.{name}.plain: {len(same)} rows have the same prompt with and without a trigger, "
            f"such as {same[0]}: name another column"
        )
    return canaries


def set_digest(canaries: Sequence[Canary]) -> str:
    """Which set it is: nobody can tell its prompts from it who can't guess all of them."""
    return digest(*(x.content_hash for each in canaries for x in each.inputs))


def _column(name: str, config: CanaryConfig, column: str | None, ids: str) -> list[Input]:
    rows = HeldOutConfig(type=config.type, path=config.path, prompt=column)
    where = f"canaries.{name} ({config.path})"
    return [each.input for each in read_whole(rows, config.task, ids, where, labelled=False)]
