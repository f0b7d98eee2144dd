"""Adds what was kept to the pool, and chooses the rows that train."""

import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from s2d_loop import pool as pool_rules
from s2d_loop.config import PoolConfig
from s2d_loop.evaluate.distil import RETIRED, retired_tasks
from s2d_loop.known import KeyIndex, digest_keys
from s2d_loop.ledger import Attempt, Counts, Record
from s2d_loop.quarantine import quarantined
from s2d_loop.records import KEPT, RECORDED, Example, schema, source_of
from s2d_loop.stages.run import Balance, Run
from s2d_loop.versions import as_ranges


def pool(run: Run, attempt: Attempt, curated: Record) -> Balance:
    """Add this round's examples to the pool and choose the rows that train."""
    earlier = [r for r in run.ledger.stages("pool") if r.iteration < attempt.iteration]
    names = list(run.config.tasks)
    known, tasks, is_turn = KeyIndex(), [np.zeros(0, int)], [np.zeros(0, bool)]
    resting = retired_tasks(run.ledger.stages("gate"), attempt.iteration, run.config.gate.retire)
    sources = _Sources(run)
    for record in earlier:
        for each in run.ledger.tables(record, "examples", ["id", "task", "step", *sources.columns]):
            known.add(digest_keys(each["id"].to_pylist()), np.arange(each.num_rows))
            tasks.append(_numbers(each["task"], names))
            is_turn.append(_is_turn(each))
            sources.add(each)
    num_old = sum(map(len, tasks))
    new: list[pa.Table] = []
    added = retired = 0
    with (
        run.progress.stage(attempt.iteration, "pool", curated.counts.out) as progress,
        attempt.writer("examples", schema(Example)) as examples,
    ):
        for each in run.ledger.tables(curated, "verdicts", pool_rules.NEEDED):
            kept = each.filter(pc.equal(each["reason"], KEPT))
            rests = pc.is_in(pc.struct_field(kept["input"], "task"), pa.array(sorted(resting), pa.string()))
            retired += pc.sum(rests).as_py() or 0
            progress.advance(kept.num_rows)
            kept = kept.filter(pc.invert(rests))
            made, inputs = pool_rules.new_examples(kept, iteration=attempt.iteration, known=known)
            examples.write(made)
            new.append(made)
            tasks.append(_numbers(made["task"], names))
            is_turn.append(_is_turn(made))
            sources.add(made)
            added += inputs
            run.safe_point()
    task_of, turn_of = np.concatenate(tasks), np.concatenate(is_turn)
    seed = run.config.run.seed + attempt.iteration
    usable = sources.usable(len(task_of))
    places = _chosen(task_of, turn_of, usable, num_old, run.config.pool, seed)
    drawn = len(places)
    places = sources.capped(places, seed)
    parts = [(r.facts["new"], run.ledger.tables(r, "examples")) for r in earlier]
    parts.append((len(task_of) - num_old, iter(new)))
    lineage = [schema(Example).empty_table().select(_LINEAGE)]
    with attempt.writer("training", schema(Example)) as training:
        for each in pool_rules.gather(parts, places):
            training.write(each)
            lineage.append(each.select(_LINEAGE))
    there = {pool_rules.DUPLICATE: curated.counts.out - added - retired, RETIRED: retired}
    dropped = {reason: count for reason, count in there.items() if count}
    attempt.write_text(
        "README.md",
        pool_rules.card(
            Path(run.ledger.store.root).name,
            attempt.iteration,
            len(task_of) - num_old,
            len(places),
            {**curated.counts.dropped, **dropped},
            run.config.model.path,
            run.config.generate.recorded,
        ),
    )
    # Inputs are balanced; one whose twin trains too has become two examples.
    return Counts(curated.counts.out, added, dropped), {
        "new": len(task_of) - num_old,
        "replayed": int((places < num_old).sum()),
        "training": len(places),
        "quarantined": len(task_of) - len(usable),
        "over_share": drawn - len(places),
        "size": len(task_of),
        "by_task": _count(task_of[num_old:][~turn_of[num_old:]], names),
        "training_by_task": _count(task_of[places[~turn_of[places]]], names),
        "system2_calls": int(turn_of[places].sum()),
        **_trained_on(pa.concat_tables(lineage)),
    }


def _chosen(
    task_of: np.ndarray, turn_of: np.ndarray, usable: np.ndarray, num_old: int, config: PoolConfig, seed: int
) -> np.ndarray:
    """The places of the rows that train: answers by the pool's rules, and a share of System 2's calls."""
    answers, calls = usable[~turn_of[usable]], usable[turn_of[usable]]
    old = int((answers < num_old).sum())
    places: np.ndarray = answers[pool_rules.training_rows(task_of[answers], old, config, seed)]
    if not config.system2_share:
        return places
    replayed = pool_rules.replayed_turns(task_of[calls], len(places), config, seed)
    return np.concatenate([places, calls[replayed]])


def _is_turn(examples: pa.Table) -> np.ndarray:
    if "step" not in examples.column_names:  # of a run from before
        return np.zeros(examples.num_rows, bool)
    return np.asarray(pc.not_equal(examples["step"], ""))


class _Sources:
    """The source of each example of the pool; nothing is read or kept where no rule asks for it."""

    def __init__(self, run: Run) -> None:
        self._barred = set(quarantined(run.ledger))
        given = {each.source_name: each.max_share for each in run.config.sources}
        self._shares = {name: share for name, share in given.items() if share is not None}
        self.columns = ["input_id"] if self._barred or self._shares else []
        self._names: list[np.ndarray] = [np.zeros(0, object)]

    def add(self, examples: pa.Table) -> None:
        if self.columns:
            ids = examples["input_id"].to_pylist()
            self._names.append(np.array([sys.intern(source_of(each)) for each in ids], object))

    def usable(self, size: int) -> np.ndarray:
        """The places of examples that may train."""
        if not self._barred:
            return np.arange(size)
        barred = [name in self._barred for each in self._names for name in each]
        return np.flatnonzero(~np.array(barred, bool))

    def capped(self, places: np.ndarray, seed: int) -> np.ndarray:
        """Without the places that are more than their source's share."""
        if not self._shares:
            return places
        return pool_rules.within_shares(places, np.concatenate(self._names)[places], self._shares, seed)


_LINEAGE = ["input_id", "task", "iteration", "weights"]


def _numbers(tasks: pa.ChunkedArray, names: list[str]) -> np.ndarray:
    return np.asarray(pc.index_in(tasks, value_set=pa.array(names)))


def _count(numbers: np.ndarray, names: list[str]) -> dict[str, int]:
    return {
        names[number]: int(count)
        for number, count in zip(*np.unique(numbers, return_counts=True), strict=True)
    }


def _trained_on(rows: pa.Table) -> dict[str, Any]:
    """By source and task, and from which rounds: a version's lineage, which outlives its tables."""
    by_source: dict[str, Counter[str]] = {}
    for input_id, task in zip(rows["input_id"].to_pylist(), rows["task"].to_pylist(), strict=True):
        by_source.setdefault(source_of(input_id), Counter())[task] += 1
    generated = rows.filter(pc.not_equal(rows["weights"], RECORDED))
    rounds = generated["iteration"].unique().to_pylist()
    return {"training_by_source": by_source, "training_rounds": as_ranges(rounds)}
