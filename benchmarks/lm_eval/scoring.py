"""What the harness's tasks call to score a reply."""

from collections.abc import Mapping, Sequence

from s2d_loop.tasks.last_letters import LastLetters


def last_letters(doc: Mapping[str, str], results: Sequence[str]) -> dict[str, float]:
    """1 where the reply's last letters are the reference's."""
    task = LastLetters()
    return {"acc": float(task.score(task.parse(results[0]), doc["answer"]))}
