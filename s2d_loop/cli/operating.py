"""Commands for a run's operator: they need the run's root and nothing else."""

import json
import time
from typing import TYPE_CHECKING, Annotated

import typer

from s2d_loop.cli.app import Json, RunDir, app
from s2d_loop.cli.opening import open_ledger
from s2d_loop.errors import BadInputError, ExitCode
from s2d_loop.terminal import echo, echo_json

if TYPE_CHECKING:
    from s2d_loop.ledger import Ledger

_POLL_S = 1.0


@app.command()
def status(
    run: RunDir,
    as_json: Json = False,
    follow: Annotated[
        bool, typer.Option("--follow", help="Show every commit until the run ends or stops.")
    ] = False,
    exit_status: Annotated[bool, typer.Option("--exit-status", help="Exit as `s2d run` did.")] = False,
) -> None:
    """What a run has done, and what comes next.

    With --exit-status: 0 finished, 3 finished and the last round held or waiting for a person, 4 stopped by the
    collapse rule, 130 stopped by a person, 1 stalled or still open (a driver runs, or was killed: the root can't tell).
    """
    from s2d_loop.operate.state import state
    from s2d_loop.report import status as shown
    from s2d_loop.report.console import open_console
    from s2d_loop.report.view import RunView

    ledger = open_ledger(run)
    while True:
        view = RunView(record.to_json() for record in ledger.live)
        found = state(ledger)
        if as_json:
            said = {**shown.status(view), "state": found.name, "why": found.why}
            echo_json(said, indent=None if follow else 2)
        else:
            shown.print_status(open_console(), view)
        if not follow or found.exit_code is not None:
            break
        _wait_for_news(ledger)
    if exit_status:
        raise typer.Exit(ExitCode.FAILED if found.exit_code is None else found.exit_code)


def _wait_for_news(ledger: "Ledger") -> None:
    """Return once something was appended; a driver that was killed appends nothing (Ctrl-C ends it)."""
    before = len(ledger.records)
    while len(ledger.records) == before:
        time.sleep(_POLL_S)
        ledger.refresh()


@app.command()
def runs(
    folder: Annotated[str, typer.Argument(metavar="DIR", help="A directory or URI with runs in it.")],
    as_json: Json = False,
) -> None:
    """The runs under a directory: state, round, last commit, version in service."""
    from s2d_loop.clock import SystemClock
    from s2d_loop.operate.state import runs as found
    from s2d_loop.report.console import open_console
    from s2d_loop.report.runs import runs_table

    rows = list(found(folder, SystemClock()))
    if as_json:
        echo_json(rows)
    elif rows:
        open_console().print(runs_table(rows))
    else:
        raise BadInputError(f"{folder}: there are no runs directly under it")


@app.command()
def lineage(
    run: RunDir,
    weights: Annotated[
        str,
        typer.Argument(
            metavar="WEIGHTS", help="A round's number, a digest's beginning, a path, or `promoted`."
        ),
    ],
    rows: Annotated[bool, typer.Option("--rows", help="List the pool rows that it trained on.")] = False,
    as_json: Json = False,
) -> None:
    """What a version of the model came of: start weights, teachers, rows by source and task."""
    from s2d_loop.operate import lineage as lines

    ledger = open_ledger(run)
    found = lines.lineage(ledger, weights)
    listed = lines.trained_rows(ledger, found[0]["version"]) if rows else ()
    if listed is None:
        raise BadInputError(
            f"the training rows of version {found[0]['version']} are no longer kept (retention.pool)"
        )
    if as_json:
        echo_json({"versions": found, **({"rows": list(listed)} if rows else {})})
        return
    for line in lines.as_text(found):
        echo(line)
    for row in listed:
        echo(f"  {row['row']}  round {row['round']}  {row['task']}  {row['input']}")


@app.command()
def why(
    run: RunDir,
    wanted: Annotated[str, typer.Argument(metavar="INPUT", help="An input's id, or its text.")],
    as_json: Json = False,
) -> None:
    """Everything that happened to one input: where it came from, its votes, and what trained on it."""
    from s2d_loop.operate import why as causes

    found = causes.why(open_ledger(run), wanted)
    if as_json:
        echo_json(found)
    elif found:
        for each in found:
            for line in causes.as_text(each):
                echo(line)
    if not found:
        raise BadInputError("no source has delivered this input so far (its id, or the whole of its text)")


@app.command()
def doctor(run: RunDir, as_json: Json = False) -> None:
    """Check everything that a run promises: counts, ids, lineage, checksums.

    Exit codes: 0 clean, 1 something was found, 2 there is no run.
    """
    from s2d_loop import doctor as checks

    try:
        checkup = checks.examine(run)
    except checks.NotThereError as error:
        raise BadInputError(str(error)) from error
    if as_json:
        echo_json(json.loads(checks.as_json(checkup)), indent=2)
    else:
        echo(checks.as_text(checkup))
    raise typer.Exit(ExitCode.FAILED if checkup.findings else ExitCode.DONE)


@app.command()
def rollback(
    run: RunDir,
    version: Annotated[
        str | None,
        typer.Argument(metavar="[VERSION]", help="A round's number, a digest's beginning, or `start`."),
    ] = None,
) -> None:
    """Put an earlier promoted version back in service; the one promoted before unless named.

    A driver of this run that is alive loses its lease and exits 5: start `s2d run` again.
    """
    from s2d_loop.operate.service import roll_back

    echo(roll_back(open_ledger(run), version))


@app.command()
def promote(
    run: RunDir,
    version: Annotated[
        str | None,
        typer.Argument(metavar="[VERSION]", help="A round's number, or a digest's beginning."),
    ] = None,
) -> None:
    """Put a version in service that the gate asks for; the newest that waits unless named.

    A version that the gate held has to be named; the record says that the gate was overridden.
    A driver of this run that is alive loses its lease and exits 5: start `s2d run` again.
    """
    from s2d_loop.operate.service import promote as put

    echo(put(open_ledger(run), version))


@app.command()
def forget(
    run: RunDir,
    source: Annotated[
        str, typer.Argument(metavar="SOURCE", help="A source's name: how ids of its inputs start.")
    ],
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would become void, and do nothing.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Make a run as if it had never seen a source: void, erase and, with the next `s2d run`, redo.

    A driver of this run that is alive loses its lease and exits 5.  Run again with the source taken out
    of the configuration; it must keep everything else.
    """
    from s2d_loop.operate import forget as forgetting

    ledger = open_ledger(run)
    found = forgetting.plan(ledger, source) if dry_run else forgetting.forget(ledger, source)
    if as_json:
        echo_json(found.to_json())
        return
    echo(found.text())
    if not dry_run:
        echo(f"Forgotten. Take {source} out of the configuration, and run `s2d run` again.")


@app.command()
def release(
    run: RunDir,
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="A source under quarantine.")],
) -> None:
    """Lift the quarantine of a source, which the gate had traced a hold to.

    A driver of this run that is alive loses its lease and exits 5: start `s2d run` again.
    """
    from s2d_loop.operate import release as lifting

    echo(lifting.release(open_ledger(run), source))
