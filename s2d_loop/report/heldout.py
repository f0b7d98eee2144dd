"""The held-out inputs behind an evaluation's figures: what System 1 answered before and after a round."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

from s2d_loop.errors import BadInputError
from s2d_loop.evaluate.references import LABELS, Reference, references, review_says
from s2d_loop.evaluate.suite import SYSTEM1, SYSTEM2
from s2d_loop.labels import read_labels
from s2d_loop.ledger import Ledger, LedgerError, Record
from s2d_loop.records import HeldOut, Scored, rows
from s2d_loop.versions import in_service

Change = Literal["lost", "gained", "wrong", "all"]


@dataclass(frozen=True, slots=True)
class Compared:
    """One held-out input: System 1's answer and whether it was right, of the version in service and the candidate.

    `reference` says what they were held against (`labels`, `review`, `vote`, or `none`).
    """

    id: str
    task: str
    question: str
    reference: str
    before: str | None
    before_right: bool | None
    after: str | None
    after_right: bool | None

    def is_of(self, change: Change) -> bool:
        match change:
            case "lost":
                return self.before_right is True and self.after_right is False
            case "gained":
                return self.before_right is False and self.after_right is True
            case "wrong":
                return self.after_right is False
        return True


def compared(ledger: Ledger, iteration: int | None = None) -> Iterator[Compared]:
    """A round's candidate beside the version in service then, as the gate compares them; the newest unless given.

    Raises:
        BadInputError: the round has no evaluation, or its answers are no longer kept.
    """
    fixed = ledger.stage(0, "heldout")
    evaluations = ledger.stages("evaluate")
    chosen = (
        evaluations[-1] if iteration is None and evaluations else ledger.stage(iteration or 0, "evaluate")
    )
    if fixed is None or chosen is None:
        raise BadInputError(f"--iteration {iteration}: it has no evaluation yet")
    items = list(rows(ledger.tables(fixed, "heldout"), HeldOut))
    labels = read_labels(ledger.store, chosen.facts.get("labels") or {})
    known = references(items, _votes(ledger), labels.standing)
    before = ledger.stage(in_service(ledger, chosen.iteration), "evaluate")
    after, earlier = (_system1(ledger, record, known) for record in (chosen, before or chosen))
    for item in items:
        name = item.input.id
        reference = known.get(name)
        if name not in earlier or name not in after:
            raise LedgerError(
                f"{ledger.store.root}: round {chosen.iteration} has no answer to {name}: run `s2d doctor`"
            )
        old, new = earlier[name], after[name]
        yield Compared(
            id=name,
            task=item.input.task,
            question=item.input.question,
            reference=reference.source if reference else "none",
            before=old.answer,
            before_right=old.correct,
            after=new.answer,
            after_right=new.correct,
        )


def _votes(ledger: Ledger) -> dict[str, str]:
    start = ledger.stage(0, "evaluate")
    scored = rows(ledger.tables(start, "scored"), Scored) if start else ()
    return {s.input_id: s.answer for s in scored if s.system == SYSTEM2 and s.answer is not None}


def _system1(ledger: Ledger, record: Record, known: dict[str, Reference]) -> dict[str, Scored]:
    if not ledger.holds(record, "scored"):
        raise BadInputError(f"the answers of round {record.iteration} are no longer kept (retention.rounds)")
    answers = rows(ledger.tables(record, "scored"), Scored)
    return {s.input_id: _against(s, known.get(s.input_id)) for s in answers if s.system == SYSTEM1}


def _against(answer: Scored, reference: Reference | None) -> Scored:
    """An answer against the reference there is now.

    What it was by a reference of the row's own stands: it can't have changed, and to score it again would be to run
    the task that a record names, which may be a stranger's.
    """
    if reference is None:
        return replace(answer, correct=None)
    if reference.source == LABELS:
        return answer
    if reference.reviewed is not None:
        return replace(answer, correct=review_says(answer.answer, reference.reviewed))
    return replace(answer, correct=answer.answer == reference.text)
