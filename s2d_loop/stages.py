"""The stages: each reads what earlier ones committed, does its work, and returns its balance.

A stage knows its inputs, never its successors; `loop` knows the order.  Tables are written under the
attempt that the loop hands in, and count once the loop has committed it.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa

from s2d_loop import intake as intake_rules
from s2d_loop import pool as pool_rules
from s2d_loop.config import Config
from s2d_loop.curate.judge import curate
from s2d_loop.curate.signs import signs
from s2d_loop.dataflow import ClientFactory, Dataflow
from s2d_loop.errors import BadInputError, S2DError, UnansweredError
from s2d_loop.evaluate.gate import judge
from s2d_loop.evaluate.suite import SYSTEM1, SYSTEM2, by_task, figures, score
from s2d_loop.generate import Plan, distillation_plans, system1_plans, system2_plans
from s2d_loop.ledger import Attempt, Clock, Counts, Ledger, Record
from s2d_loop.records import (
    RECORDED,
    Example,
    Generation,
    HeldOut,
    Input,
    Reject,
    Scored,
    Trace,
    Verdict,
    Weights,
    rows,
    schema,
    table,
)
from s2d_loop.report.progress import Progress
from s2d_loop.sources import Source, read_heldout
from s2d_loop.tasks.registry import load_task
from s2d_loop.train.job import TrainJob, TrainResult

Balance = tuple[Counts, Mapping[str, Any]]
"""A stage's counts, and its figures for the ledger and the report."""


class Engines(Protocol):
    """Where calls go.  `serve` returns when every engine has proved that it has these weights."""

    @property
    def started(self) -> bool: ...

    def serve(self, weights: Weights) -> None: ...

    def client_factory(self, num_clients: int = 1) -> ClientFactory: ...


class Trainer(Protocol):
    """Fine-tunes; the weights it gives back have passed their checks."""

    def train(self, job: TrainJob) -> TrainResult: ...


@dataclass(frozen=True, slots=True)
class Run:
    """A run and everything it stands on; all of it can be replaced in a test."""

    config: Config
    ledger: Ledger
    clock: Clock
    dataflow: Dataflow
    engines: Engines
    trainer: Trainer
    progress: Progress
    sources: tuple[tuple[str, Source], ...]
    start: Weights
    """The weights that the run began with."""
    weights_dir: Path
    """Where exported weights go; every node can read it."""

    def weights(self, iteration: int) -> Weights:
        """What was promoted last before a round."""
        for record in reversed(self.ledger.stages("promote")):
            if record.iteration < iteration:
                return Weights(**record.facts["weights"])
        return self.start

    def teacher(self, iteration: int) -> Weights:
        """Whose System 2 a round distils."""
        return self.weights(iteration) if self.config.generate.teacher == "current" else self.start

    def heldout(self) -> list[HeldOut]:
        record = self.ledger.stage(0, "heldout")
        assert record is not None, "held-out inputs are fixed before anything else"
        return list(rows(self.ledger.tables(record, "heldout"), HeldOut))


def heldout(run: Run, attempt: Attempt) -> Balance:
    """Fix the inputs that never train, before any input is claimed."""
    items = [each for name, task in run.config.tasks.items() for each in read_heldout(task.heldout, name)]
    attempt.write("heldout", table(items, HeldOut))
    return Counts(len(items), len(items)), {"by_task": Counter(each.input.task for each in items)}


def intake(run: Run, attempt: Attempt) -> Balance:
    """Claim new inputs."""
    earlier = [r for r in run.ledger.stages("intake") if r.iteration < attempt.iteration]
    seen = ((x.task, x.content_hash) for r in earlier for x in rows(run.ledger.tables(r, "inputs"), Input))
    with run.progress.stage(attempt.iteration, "intake", None) as progress:
        claim = intake_rules.claim(
            run.config,
            run.sources,
            earlier[-1].facts["cursors"] if earlier else {},
            seen=seen,
            heldout=(each.input for each in run.heldout()),
            advance=progress.advance,
        )
    attempt.write("inputs", table(claim.inputs, Input))
    attempt.write("rejects", table(claim.rejects, Reject))
    total = len(claim.inputs) + sum(claim.dropped.values())
    return Counts(total, len(claim.inputs), claim.dropped), {
        "by_task": Counter(x.task for x in claim.inputs),
        "sources": claim.by_source,
        "cursors": claim.cursors,
    }


def probe(run: Run, attempt: Attempt, claimed: Record) -> Balance:
    """Send the first few inputs of each task through generate and curate before money is spent.

    Raises:
        BadInputError: a task keeps less than `generate.min_kept_share` of them.
    """
    config = run.config
    first: dict[str, list[Input]] = {task: [] for task in config.tasks}
    for x in rows(run.ledger.tables(claimed, "inputs"), Input):
        if len(first[x.task]) < config.generate.probe_inputs:
            first[x.task].append(x)
    chosen = [x for each in first.values() for x in each]
    _serve(run, run.teacher(attempt.iteration))
    with run.progress.stage(attempt.iteration, "probe", len(chosen)) as progress:
        verdicts: list[Verdict] = []
        for each in _generate(run, [table(chosen, Input)], distillation_plans(config)):
            verdicts += rows(_curate_table(each, config), Verdict)
            progress.advance(each.num_rows)
    found = _signs(config, verdicts)
    floor = config.generate.min_kept_share
    poor = {task: s for task, s in found.items() if s["inputs"] and s["kept_share"] < floor}
    if poor:
        lines = [
            f"  {task}: kept {s['kept']} of {s['inputs']}; dropped: "
            + ", ".join(f"{reason} {count}" for reason, count in sorted(s["dropped"].items()))
            for task, s in poor.items()
        ]
        raise BadInputError(
            f"the first pass kept less than generate.min_kept_share = {floor:.0%} of its inputs:\n"
            + "\n".join(lines)
            + "\nNothing more was spent. Check the task's method and parser, or lower the floor."
        )
    attempt.write("verdicts", table(verdicts, Verdict))
    return Counts(len(verdicts), len(verdicts)), {"by_task": found}


def generate(run: Run, attempt: Attempt, claimed: Record) -> Balance:
    """Run the System 2 programs on every claimed input."""
    weights = run.teacher(attempt.iteration)
    _serve(run, weights)
    tallies: dict[str, Counter[str]] = {}
    started = run.clock.monotonic()
    failed = 0
    keep_traces = run.config.traces.keep != "none"
    with (
        run.progress.stage(attempt.iteration, "generate", claimed.counts.out) as progress,
        attempt.writer("generations", schema(Generation)) as generations,
        attempt.writer("traces", schema(Trace)) as traces,
    ):
        tables = run.ledger.tables(claimed, "inputs")
        for each in _generate(run, tables, distillation_plans(run.config)):
            batch = list(rows(each, Generation))
            for row in batch:
                made_by = (weights.digest, RECORDED)
                assert row.error or row.weights in made_by, f"{row.input.id}: made by other weights"
                _tally(tallies.setdefault(row.input.task, Counter()), row)
                failed += row.error is not None
            generations.write(table([replace(row, calls=()) for row in batch], Generation))
            if keep_traces:
                traces.write(table([Trace(row.input.id, row.calls) for row in batch], Trace))
            progress.advance(len(batch), tokens=sum(r.num_tokens + r.num_direct_tokens for r in batch))
    seconds = run.clock.monotonic() - started
    tokens = sum(tally["tokens"] + tally["direct_tokens"] for tally in tallies.values())
    total = generations.rows
    if total and failed == total:
        raise S2DError(
            f"every one of the {total} inputs failed to generate; the first: {_first_error(batch)}"
        )
    # A failed input is still a row: `curate` gives it its reason.
    return Counts(claimed.counts.out, total), {
        "weights": weights.digest,
        "by_task": tallies,
        "tokens_per_second": tokens / max(seconds, 1e-9) if total else 0.0,
    }


def _serve(run: Run, weights: Weights) -> None:
    if not run.engines.started:
        run.progress.note("Starting the engines; this takes about a minute, once.")
    run.engines.serve(weights)


def _generate(run: Run, tables: Iterable[pa.Table], plans: Mapping[str, Plan]) -> Iterator[pa.Table]:
    clients = run.engines.client_factory(run.config.generate.num_runners)
    return run.dataflow.generate(tables, plans, clients)


def _tally(tally: Counter[str], row: Generation) -> None:
    tally["inputs"] += 1
    tally["failed"] += row.error is not None
    tally["calls"] += row.num_calls
    tally["tokens"] += row.num_tokens
    tally["direct_tokens"] += row.num_direct_tokens


def _first_error(batch: list[Generation]) -> str:
    return next(row.error for row in batch if row.error)


def curate_stage(run: Run, attempt: Attempt, generated: Record) -> Balance:
    """Keep what is self-consistent, and drop the rest with a reason each."""
    dropped: Counter[str] = Counter()
    verdicts: list[Verdict] = []
    with (
        run.progress.stage(attempt.iteration, "curate", generated.counts.out) as progress,
        attempt.writer("verdicts", schema(Verdict)) as writer,
    ):
        tables = run.ledger.tables(generated, "generations")
        for each in run.dataflow.map(tables, partial(_curate_table, config=run.config)):
            each = each.cast(schema(Verdict))
            batch = list(rows(each, Verdict))
            lost = [v.reason for v in batch if not v.kept]
            dropped.update(lost)
            verdicts += batch
            writer.write(each)
            progress.advance(len(batch), kept=len(batch) - len(lost), dropped=len(lost))
    if run.config.traces.keep == "rejected":
        rejected = {v.input.id for v in verdicts if not v.kept}
        with attempt.writer("traces", schema(Trace)) as traces:
            for each in run.ledger.tables(generated, "traces"):
                traces.write(table([t for t in rows(each, Trace) if t.input_id in rejected], Trace))
    kept = len(verdicts) - dropped.total()
    return Counts(generated.counts.out, kept, dict(dropped)), {"by_task": _signs(run.config, verdicts)}


def _signs(config: Config, verdicts: list[Verdict]) -> dict[str, Any]:
    return {
        name: signs([v for v in verdicts if v.input.task == name], task.direct_samples)
        for name, task in config.tasks.items()
    }


def _curate_table(generations: pa.Table, config: Config) -> pa.Table:
    verdicts = []
    for row in rows(generations, Generation):
        task = config.tasks[row.input.task]
        verdicts.append(curate(row, load_task(task.parser), task.curate, config.run.seed))
    return table(verdicts, Verdict)


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
    }


def train(run: Run, attempt: Attempt, pooled: Record) -> Balance:
    """Fine-tune on the round's rows; the export is checked before it counts."""
    config = run.config.train
    current = run.weights(attempt.iteration)
    name = f"{attempt.iteration:05d}-{attempt.id}"
    with run.progress.stage(attempt.iteration, "train", config.steps) as progress:
        done = 0

        def step_done(step: int, total: int, loss: float, tokens: int) -> None:  # noqa: ARG001
            nonlocal done
            progress.advance(step - done, loss=loss)
            done = step

        result = run.trainer.train(
            TrainJob(
                examples=[_local_copy(run, attempt, pooled, "training")],
                start=current if config.start == "current" else run.start,
                out_dir=str(run.weights_dir / name),
                config=config,
                seed=run.config.run.seed + attempt.iteration,
                scratch_dir=str(run.weights_dir / f".scratch-{attempt.iteration:05d}"),
                on_progress=step_done,
            )
        )
    return Counts(result.num_examples, result.trained, result.dropped), {
        "weights": asdict(result.weights),
        "start": current.digest if config.start == "current" else run.start.digest,
        "steps": result.steps,
        "losses": result.losses,
        "tokens": result.tokens,
        "answer_tokens": result.answer_tokens,
    }


def _local_copy(run: Run, attempt: Attempt, record: Record, name: str) -> str:
    """A committed table as a file that train workers can open."""
    (file,) = [each for each in record.files if each.table == name]
    whole = run.ledger.read(record, name, schema(Example))
    path = run.ledger.store.local_path(file.path)
    if path is None:
        import pyarrow.parquet as pq

        path = str(run.weights_dir / f".training-{attempt.iteration:05d}-{attempt.id}.parquet")
        pq.write_table(whole, path)
    return path


def evaluate(run: Run, attempt: Attempt, weights: Weights) -> Balance:
    """System 1 and System 2 of some weights on the held-out inputs."""
    config = run.config
    items = {each.input.id: each for each in run.heldout()}
    baseline = run.ledger.stage(0, "evaluate")
    voted = _voted(run, baseline) if baseline else {}
    every = config.evaluate.system2_every
    with_system2 = attempt.iteration == 0 or (every > 0 and attempt.iteration % every == 0)
    _serve(run, weights)
    scored: list[Scored] = []
    passes = [(SYSTEM2, system2_plans(config))] if with_system2 else []
    passes.append((SYSTEM1, system1_plans(config)))
    with run.progress.stage(attempt.iteration, "evaluate", len(items) * len(passes)) as progress:
        for system, plans in passes:
            for batch in say(items, partial(_generate, run, plans=plans)):
                scored += score_batch(config, system, batch, items, voted)
                progress.advance(len(batch))
            if not baseline:
                # On the starting weights System 2 comes first: its answers stand in for references.
                voted = {s.input_id: s.answer for s in scored if s.answer is not None}
    assert len(scored) == len(items) * len(passes)
    attempt.write("scored", table(scored, Scored))
    labelled = {each.input.task for each in items.values() if each.reference is not None}
    systems = {system: by_task(s for s in scored if s.system == system) for system, _ in passes}
    return Counts(len(scored), len(scored)), {
        "weights": weights.digest,
        "by_task": {
            task: {
                "reference": "labels" if task in labelled else "vote",
                SYSTEM1: figures(systems[SYSTEM1][task]),
                SYSTEM2: figures(systems[SYSTEM2][task]) if with_system2 else None,
                "current": _current(run, attempt, task),
            }
            for task in config.tasks
        },
    }


def say(
    items: Mapping[str, HeldOut], generate: Callable[[list[pa.Table]], Iterable[pa.Table]]
) -> Iterator[list[Generation]]:
    """What one system says to held-out inputs, batch by batch.

    Raises:
        UnansweredError: an input failed; an evaluation without it would be another evaluation.
    """
    for each in generate([table([item.input for item in items.values()], Input)]):
        batch = list(rows(each, Generation))
        for row in batch:
            if row.error:
                raise UnansweredError(f"evaluate: held-out input {row.input.id} failed: {row.error}")
        yield batch


def score_batch(
    config: Config,
    system: str,
    batch: Iterable[Generation],
    items: Mapping[str, HeldOut],
    voted: Mapping[str, str],
) -> list[Scored]:
    """What a system said against the references, or against the votes that stand in for them."""
    return [
        score(
            row,
            system=system,
            task=load_task(config.tasks[row.input.task].parser),
            config=config.tasks[row.input.task],
            seed=config.run.seed,
            heldout=items[row.input.id],
            voted=voted.get(row.input.id),
        )
        for row in batch
    ]


def _voted(run: Run, baseline: Record) -> dict[str, str]:
    scored = rows(run.ledger.tables(baseline, "scored"), Scored)
    return {s.input_id: s.answer for s in scored if s.system == SYSTEM2 and s.answer is not None}


def _promoted_evaluation(run: Run, iteration: int) -> Record | None:
    """The evaluation of the weights that a round began with."""
    promoted = [r.iteration for r in run.ledger.stages("promote") if r.iteration < iteration]
    return run.ledger.stage(promoted[-1] if promoted else 0, "evaluate")


def _current(run: Run, attempt: Attempt, task: str) -> Any:
    if attempt.iteration == 0:
        return None
    record = _promoted_evaluation(run, attempt.iteration)
    assert record is not None, "the promoted weights were evaluated"
    return record.facts["by_task"][task][SYSTEM1]


def gate(run: Run, attempt: Attempt, evaluated: Record) -> Balance:
    """Compare the candidate's System 1 with the promoted one, on the same inputs."""
    current = _promoted_evaluation(run, attempt.iteration)
    assert current is not None, "the promoted weights were evaluated"
    decision = judge(_system1(run, evaluated), _system1(run, current), run.config.gate.margin)
    run.progress.note(decision.sentence)
    return Counts(0, 0), asdict(decision)


def _system1(run: Run, record: Record) -> Mapping[str, list[Scored]]:
    return by_task(s for s in rows(run.ledger.tables(record, "scored"), Scored) if s.system == SYSTEM1)


def promote(run: Run, attempt: Attempt, trained: Record) -> Balance:  # noqa: ARG001
    """Name the weights that the next round starts from and that people should serve."""
    return Counts(0, 0), {"weights": trained.facts["weights"]}
