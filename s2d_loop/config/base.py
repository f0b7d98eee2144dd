"""What every section of the configuration is made of."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

TaskName = Annotated[str, Field(pattern="^[A-Za-z0-9_-]+$")]
SourceName = Annotated[str, Field(pattern="^[A-Za-z0-9_.-]+$")]
Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=0)]
TemplateKwargs = dict[str, str | int | float | bool | None]
"""Arguments of a chat template, such as `enable_thinking: false`."""


class Tree(BaseModel):
    """A section: unknown keys and silent conversions are errors.

    A rule about several keys is a validator.  It reports all it finds in one ValueError, a line
    each, and starts a line with the key (seen from its section) that the line is about.
    """

    model_config = ConfigDict(
        extra="forbid", strict=True, frozen=True, allow_inf_nan=False, use_attribute_docstrings=True
    )


def raise_problems(problems: list[str]) -> None:
    """What a validator found, in the one ValueError that it may raise."""
    if problems:
        raise ValueError("\n".join(problems))
