"""Lets System 1 answer the claimed inputs a few times, and sends on those that System 2 is needed for."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import numpy as np
import pyarrow as pa

from s2d_loop.config import TriageConfig
from s2d_loop.evaluate.distil import retired_tasks
from s2d_loop.ledger import Attempt, Counts, Record
from s2d_loop.plan import triage_plans
from s2d_loop.records import Generation, Route, rows, schema
from s2d_loop.stages.engines import generated, serve
from s2d_loop.stages.run import Balance, Run
from s2d_loop.tasks.registry import load_task
from s2d_loop.triage.routes import (
    ANSWERED,
    LEFT_OUT,
    NOT_ASKED,
    Rule,
    commonest,
    draws,
    route,
)
from s2d_loop.triage.standing import Standing, standing
from s2d_loop.triage.words import sentence
from s2d_loop.versions import in_service


def triages(run: Run, iteration: int) -> bool:
    """Whether a round has this stage: where it is configured, or where a task is retired."""
    return run.config.triage is not None or bool(_retired(run, iteration))


def triage(run: Run, attempt: Attempt, claimed: Record) -> Balance:
    """Decide which claimed inputs System 2 answers; the others are counted by the reason why not."""
    config, iteration = run.config, attempt.iteration
    rules = config.triage or TriageConfig()
    retired = _retired(run, iteration)
    known = {task: standing(run.ledger, config, rules, task, iteration) for task in config.tasks}
    columns = pa.concat_tables(run.ledger.tables(claimed, "inputs", ["id", "task"]))
    ids, tasks = columns["id"].to_pylist(), np.asarray(columns["task"])
    drawn = draws(ids, config.run.seed)
    audit = drawn < rules.audit_share
    said = _Said(len(ids))
    if config.triage is not None:
        _ask(run, attempt, claimed, rules, audit | ~np.isin(tasks, list(retired)), said)
    routes = route(
        tasks,
        said.agreeing,
        audit,
        drawn,
        {
            task: Rule(each.calibration.threshold, task in retired, each.tokens, each.gain)
            for task, each in known.items()
        },
        rules.tokens,
    )
    attempt.write("routes", _table(columns, said, routes, rules.samples))
    total = Counter(routes.tolist())
    by_task = {
        task: _facts(each, Counter(routes[tasks == task].tolist()), said.tokens[task], config.triage)
        for task, each in known.items()
    }
    for task, facts in by_task.items():
        if facts["inputs"]:
            run.progress.note(f"{task}: {facts['sentence']}")
    return Counts(len(ids), sum(total[each] for each in ANSWERED), _left_out(total)), {
        "version": in_service(run.ledger, iteration),
        "weights": run.weights(iteration).digest,
        "tokens": rules.tokens,
        "by_task": by_task,
    }


class _Said:
    """System 1's commonest answer to each input, how many samples gave it, and the tokens of each task."""

    def __init__(self, inputs: int) -> None:
        self.agreeing = np.full(inputs, NOT_ASKED)
        self.answers: list[str | None] = [None] * inputs
        self.tokens: Counter[str] = Counter()


def _ask(
    run: Run, attempt: Attempt, claimed: Record, rules: TriageConfig, chosen: np.ndarray, said: _Said
) -> None:
    """Let the System 1 in service answer the chosen inputs."""
    tasks = {name: load_task(task.parser) for name, task in run.config.tasks.items()}
    places = np.flatnonzero(chosen)
    if not len(places):
        return
    serve(run, run.weights(attempt.iteration))
    done = 0
    with run.progress.stage(attempt.iteration, "triage", len(places)) as progress:
        for batch in generated(run, _chosen(run, claimed, chosen), triage_plans(run.config, rules)):
            batch_places = places[done : done + batch.num_rows]
            for place, row in zip(batch_places, rows(batch, Generation), strict=True):
                parse = tasks[row.input.task].parse
                answers = [parse(each.text) if each.finished else None for each in row.samples]
                # An input that failed has no samples: System 2 will be asked, and says why.
                said.agreeing[place], said.answers[place] = commonest(answers)
                said.tokens[row.input.task] += row.num_tokens
            done += batch.num_rows
            progress.advance(batch.num_rows)
            run.safe_point()
    assert done == len(places), "a row for each input"


def _table(inputs: pa.Table, said: _Said, routes: np.ndarray, samples: int) -> pa.Table:
    """Rows of `Route`, in the order of the inputs."""
    scores = pa.array(said.agreeing / samples, mask=said.agreeing == NOT_ASKED)
    answers = pa.array(said.answers, pa.string())
    columns = [inputs["id"], inputs["task"], scores, answers, pa.array(routes)]
    return pa.Table.from_arrays(columns, schema=schema(Route))


def _chosen(run: Run, claimed: Record, chosen: np.ndarray) -> Iterator[pa.Table]:
    start = 0
    for each in run.ledger.tables(claimed, "inputs"):
        some = each.filter(pa.array(chosen[start : start + each.num_rows]))
        start += each.num_rows
        if some.num_rows:
            yield some


def _retired(run: Run, iteration: int) -> frozenset[str]:
    return retired_tasks(run.ledger.stages("gate"), iteration, run.config.gate.retire)


def _left_out(routes: Counter[str]) -> dict[str, int]:
    return {name: routes[name] for name in LEFT_OUT if routes[name]}


def _facts(known: Standing, routes: Counter[str], tokens: int, rules: TriageConfig | None) -> dict[str, Any]:
    """One task's figures; what was saved is by System 2's mean for an input."""
    saved = sum(_left_out(routes).values())
    threshold = known.calibration.threshold
    return {
        "inputs": routes.total(),
        "routes": dict(sorted(routes.items())),
        "threshold": threshold,
        "calibration": {**asdict(known.calibration.rate), "rounds": known.rounds},
        "drift": known.drift,
        "gain_per_token": known.gain,
        "system1_tokens": tokens,
        "system2_tokens_per_input": known.tokens,
        "saved": {
            "inputs": saved,
            "tokens": round(saved * known.tokens),
            "calls": None if known.calls is None else round(saved * known.calls),
        },
        "sentence": sentence(known, routes, rules),
    }
