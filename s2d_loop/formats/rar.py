"""Rephrase and Respond's files (Deng et al., 2023): `question`, `answer`, and a rephrasing that isn't read.

Its coin questions end in `Flip means reverse.` already, which is the second of Table 6's three prompts.
"""

from collections.abc import Sequence

from s2d_loop.formats.base import Item, Row, text
from s2d_loop.records import Message


class Rar:
    """The question as it stands."""

    columns = ("question",)

    def items(self, row: Row) -> Sequence[Item]:
        return (Item((Message("user", text(row, "question")),)),)

    def references(self, row: Row) -> Sequence[str | None]:
        return (text(row, "answer"),)
