"""Files that nobody can read: each is one row, rejected with the reason, so that none is passed over in silence."""

from collections.abc import Hashable, Iterator, Sequence

from s2d_loop.sources.api import Position, Row


class Unread:
    """A file whose content is never looked at, so it may change or vanish."""

    grows = False
    stamp: Hashable | None = "never read"

    def __init__(self, name: str, problem: str) -> None:
        self.name, self._problem = name, problem

    def columns(self) -> Sequence[str] | None:
        return ()

    def rows(self, start: Position, columns: Sequence[str] | None) -> Iterator[Row]:  # noqa: ARG002
        if start.row == 0:
            yield Row(0, 0, None, self._problem)

    def mark(self, row: Row, columns: Sequence[str]) -> tuple[str, str]:  # noqa: ARG002
        return "", ""

    def changed(self, position: Position, columns: Sequence[str]) -> str:  # noqa: ARG002
        return ""
