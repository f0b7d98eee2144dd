"""Asks System 1 of some weights the canaries, and keeps what became of each, without its text."""

from collections.abc import Collection
from functools import partial

from s2d_loop.errors import BadInputError
from s2d_loop.evaluate.canaries import Parsing, by_set, judge_replies
from s2d_loop.ledger import Attempt, Record
from s2d_loop.plan import system1_plans
from s2d_loop.records import Asked, HeldOut, rows, table
from s2d_loop.sources import Canary, read_canaries, set_digest
from s2d_loop.stages.engines import generated, say
from s2d_loop.stages.run import Run
from s2d_loop.tasks.registry import load_task


def canaries(run: Run) -> dict[str, list[Canary]]:
    """The sets as they are in their files.

    Raises:
        BadInputError: one can't be read, or isn't the set that the starting weights were asked.
    """
    found = {name: read_canaries(name, each) for name, each in run.config.canaries.items()}
    baseline = run.ledger.stage(0, "evaluate")
    for name, each in found.items():
        if baseline and baseline.facts["canaries"][name]["digest"] != set_digest(each):
            raise BadInputError(
                f"canaries.{name}: {run.config.canaries[name].path} isn't what it was when the run began: restore "
                "it, or start a run in a new run.dir"
            )
    return found


def ask(run: Run, sets: dict[str, list[Canary]]) -> list[Asked]:
    """What the weights that are served make of them, in the sets' order."""
    config, baseline = run.config, run.ledger.stage(0, "evaluate")
    start = {each.id: each for each in asked_of(run, baseline)} if baseline else {}
    inputs = {x.id: HeldOut(x, None) for each in sets.values() for canary in each for x in canary.inputs}
    said = {
        row.input.id: row
        for batch in say(inputs, partial(generated, run, plans=system1_plans(config)))
        for row in batch
    }
    asked = []
    for name, members in sets.items():
        chosen = config.canaries[name]
        task = config.tasks[chosen.task]
        parsing = Parsing(load_task(task.parser), task, config.run.seed)
        for each in members:
            plain = said[each.plain.id] if each.plain else None
            asked.append(judge_replies(each, said[each.input.id], plain, name, chosen, parsing, start))
    run.safe_point()
    return asked


def ask_sets(run: Run, attempt: Attempt, names: Collection[str]) -> dict[str, dict[str, object]]:
    """Ask some sets and write down the outcomes; their figures by set."""
    sets = {name: each for name, each in canaries(run).items() if name in names}
    asked = ask(run, sets)
    attempt.write("canaries", table(asked, Asked))
    return {
        name: {"n": len(each), "bad": sum(one.bad for one in each), "digest": set_digest(sets[name])}
        for name, each in by_set(asked).items()
    }


def asked_of(run: Run, evaluated: Record) -> list[Asked]:
    """What an evaluation has written down."""
    return list(rows(run.ledger.tables(evaluated, "canaries"), Asked))
