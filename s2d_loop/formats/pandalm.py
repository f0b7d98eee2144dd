"""PandaLM's judged pairs (Wang et al., 2023): an instruction, two responses and three people's verdicts."""

from collections.abc import Sequence

from s2d_loop.formats.base import Item, Row, UnreadableError, excerpt, text
from s2d_loop.formats.pairs import pair

_VERDICTS = {0: "C", 1: "A", 2: "B"}


class PandaLm:
    """The pair in the order of the file; instruction and input, if it has both, are two paragraphs."""

    columns = ("instruction", "input", "response1", "response2")

    def items(self, row: Row) -> Sequence[Item]:
        said = (text(row, "instruction", empty=True).strip(), text(row, "input", empty=True).strip())
        question = "\n\n".join(part for part in said if part)
        if not question:
            raise UnreadableError("neither an instruction nor an input", excerpt(list(row)))
        return (pair(question, _response(row, "response1"), _response(row, "response2")),)

    def references(self, row: Row) -> Sequence[str | None]:
        said = [row.get(f"annotator{number}") for number in (1, 2, 3)]
        if not all(type(each) is int and each in _VERDICTS for each in said):
            raise UnreadableError("an annotator's verdict is not 0, 1 or 2", excerpt(said))
        return (" ".join(_VERDICTS[each] for each in said if each is not None),)


def _response(row: Row, column: str) -> str:
    """Responses may be empty, and the public file writes those that are just `True` as a JSON true."""
    value = row.get(column)
    return str(value) if isinstance(value, bool) else text(row, column, empty=True)
