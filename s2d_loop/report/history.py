"""Reads a run's committed rows back for people: verdicts, generations, and their traces where kept."""

from collections.abc import Iterator
from dataclasses import replace

from s2d_loop.ledger import Ledger, Record
from s2d_loop.records import Call, Generation, Trace, Verdict, rows
from s2d_loop.report.examples import Shown


def verdicts(ledger: Ledger, iteration: int | None = None) -> Iterator[Verdict]:
    """The verdicts of one round, or of all that are kept, newest round first."""
    for record in reversed(ledger.stages("curate")):
        if iteration in (None, record.iteration) and ledger.holds(record, "verdicts"):
            yield from rows(ledger.tables(record, "verdicts"), Verdict)


def generations(ledger: Ledger, iteration: int | None = None) -> Iterator[Generation]:
    """What the model said, with the calls that were kept, newest round first."""
    for record in reversed(ledger.stages("generate")):
        if iteration in (None, record.iteration) and ledger.holds(record, "generations"):
            calls = kept_calls(ledger, record)
            for row in rows(ledger.tables(record, "generations"), Generation):
                yield replace(row, calls=calls.get(row.input.id, ()))


def examples(ledger: Ledger) -> Iterator[Shown]:
    """Every verdict, with its generation where it is kept, newest round first; both are in the inputs' order."""
    for iteration in sorted({r.iteration for r in ledger.stages("curate")}, reverse=True):
        curated, generated = ledger.stage(iteration, "curate"), ledger.stage(iteration, "generate")
        judged = curated is not None and ledger.holds(curated, "verdicts")
        if judged and generated is not None and ledger.holds(generated, "generations"):
            pairs = zip(verdicts(ledger, iteration), generations(ledger, iteration), strict=True)
            yield from (Shown(verdict, generation) for verdict, generation in pairs)
        else:
            yield from map(Shown, verdicts(ledger, iteration))


def kept_calls(ledger: Ledger, generated: Record) -> dict[str, tuple[Call, ...]]:
    """Traces that still exist: those that `curate` copied, or all of them where all are kept."""
    curated = ledger.stage(generated.iteration, "curate")
    for record in filter(None, (curated, generated)):
        if ledger.holds(record, "traces"):
            return {t.input_id: t.calls for t in rows(ledger.tables(record, "traces"), Trace)}
    return {}
