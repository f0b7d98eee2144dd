"""Adds what was kept to the pool, and chooses the rows that train."""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from s2d_loop import pool as pool_rules
from s2d_loop.ledger import Attempt, Counts, Record
from s2d_loop.records import RECORDED, Example, Verdict, rows, source_of, table
from s2d_loop.stages.run import Balance, Run
from s2d_loop.versions import as_ranges


def pool(run: Run, attempt: Attempt, curated: Record) -> Balance:
    """Add this round's examples to the pool and choose the rows that train."""
    earlier = [r for r in run.ledger.stages("pool") if r.iteration < attempt.iteration]
    old = [e for r in earlier for e in rows(run.ledger.tables(r, "examples"), Example)]
    kept = [v for v in rows(run.ledger.tables(curated, "verdicts"), Verdict) if v.kept]
    with run.progress.stage(attempt.iteration, "pool", len(kept)) as progress:
        new, dropped = pool_rules.new_examples(kept, iteration=attempt.iteration, known=(e.id for e in old))
        chosen = pool_rules.training_rows(new, old, run.config.pool, run.config.run.seed + attempt.iteration)
        progress.advance(len(kept))
    attempt.write("examples", table(new, Example))
    attempt.write("training", table(chosen, Example))
    replayed = sum(e.iteration < attempt.iteration for e in chosen)
    attempt.write_text(
        "README.md",
        pool_rules.card(
            Path(run.ledger.store.root).name,
            attempt.iteration,
            len(new),
            len(chosen),
            {**curated.counts.dropped, **dropped},
            run.config.model.path,
            run.config.generate.recorded,
        ),
    )
    # Inputs are balanced; one whose twin trains too has become two examples.
    return Counts(len(kept), len({e.input_id for e in new}), dropped), {
        "new": len(new),
        "replayed": replayed,
        "training": len(chosen),
        "size": len(old) + len(new),
        "by_task": Counter(e.task for e in new),
        "training_by_task": Counter(e.task for e in chosen),
        "training_by_source": _by_source(chosen),
        "training_rounds": as_ranges(e.iteration for e in chosen if e.weights != RECORDED),
    }


def _by_source(chosen: Iterable[Example]) -> dict[str, Counter[str]]:
    """Rows that train, by source and task: a version's lineage, which outlives its tables."""
    found: dict[str, Counter[str]] = {}
    for each in chosen:
        found.setdefault(source_of(each.input_id), Counter())[each.task] += 1
    return found
