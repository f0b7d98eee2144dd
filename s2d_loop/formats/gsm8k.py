"""GSM8K (Cobbe et al., 2021): `question`, and a worked `answer` that ends in `#### 72`."""

from collections.abc import Sequence

from s2d_loop.formats.base import Item, Row, UnreadableError, excerpt, text
from s2d_loop.records import Message


class Gsm8k:
    """The question as it stands."""

    columns = ("question",)

    def items(self, row: Row) -> Sequence[Item]:
        return (Item((Message("user", text(row, "question")),)),)

    def references(self, row: Row) -> Sequence[str | None]:
        worked = text(row, "answer")
        _, marker, gold = worked.rpartition("####")
        if not marker or not gold.strip():
            raise UnreadableError("no '####' before the final answer", excerpt(worked[-60:]))
        return (gold.strip(),)
