"""Request logs of a served model: a row holds the exact chat-completions `request` that was made.

`response`, `timestamp` and `client_id`, where there are any, are not looked at; `workload_id` says which
task a request is of.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from s2d_loop.formats.base import Item, Row, UnreadableError, excerpt, messages
from s2d_loop.formats.json_text import parse_json
from s2d_loop.records import Messages, digest


class Requests:
    """One input a request: the conversation up to its last user turn.

    Args:
        workloads: the task of each workload; requests of any other are set aside.
        dropped: by workload, the digest of a system prompt that is left out of x.
    """

    columns = ("request", "workload_id")

    def __init__(
        self, workloads: Mapping[str, str] | None = None, dropped: Mapping[str, str] | None = None
    ) -> None:
        self._workloads = workloads
        self._dropped = dropped or {}

    def items(self, row: Row) -> Sequence[Item]:
        workload = _workload(row)
        if self._workloads is not None and workload not in self._workloads:
            raise UnreadableError(f"the workload {excerpt(workload)!r} is of no task", excerpt(row))
        asked = _conversation(row)
        if workload in self._dropped and system_digest(asked) == self._dropped[workload]:
            asked = asked[1:]
        return (Item(asked, task=self._workloads[workload] if self._workloads is not None else ""),)

    def references(self, row: Row) -> Sequence[str | None]:
        """None: what the model answered is no reference."""
        return [None for _ in self.items(row)]


def constant_systems(rows: Iterable[Row]) -> dict[str, str]:
    """By workload, the digest of the system prompt that all of its requests (two at least) begin with."""
    seen: dict[str, list[str]] = defaultdict(list)
    for row in rows:
        try:
            seen[_workload(row)].append(system_digest(_conversation(row)))
        except UnreadableError:
            continue
    return {
        name: each[0] for name, each in sorted(seen.items()) if len(each) > 1 and {*each} == {each[0]} != {""}
    }


def system_digest(conversation: Messages) -> str:
    """The digest of the system prompt; empty if there is none."""
    first = conversation[0]
    return digest(first.content) if first.role == "system" else ""


def _workload(row: Row) -> str:
    workload = row.get("workload_id", "")
    if not isinstance(workload, str):
        raise UnreadableError("the workload_id is no text", excerpt(row))
    return workload


def _conversation(row: Row) -> Messages:
    request = row.get("request")
    if isinstance(request, str):
        try:
            request = parse_json(request)
        except (ValueError, RecursionError):
            raise UnreadableError("the request is no JSON", excerpt(request)) from None
    if not isinstance(request, Mapping) or not isinstance(request.get("messages"), list):
        raise UnreadableError("no request with messages", excerpt(row))
    return messages(request["messages"])
