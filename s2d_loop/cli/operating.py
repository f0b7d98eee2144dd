"""Commands for a run's operator: they need the run's root and nothing else."""

import json
from typing import Annotated

import typer

from s2d_loop.cli.app import Json, RunDir, app
from s2d_loop.cli.opening import open_ledger, open_view
from s2d_loop.errors import BadInputError, ExitCode


@app.command()
def status(run: RunDir, as_json: Json = False) -> None:
    """What a run has done, and what comes next."""
    from s2d_loop.report import status as shown
    from s2d_loop.report.console import open_console

    view = open_view(run)
    if as_json:
        typer.echo(json.dumps(shown.status(view), indent=2))
    else:
        shown.print_status(open_console(), view)


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
    typer.echo(checks.as_json(checkup) if as_json else checks.as_text(checkup))
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
    from s2d_loop.operate.rollback import roll_back

    typer.echo(roll_back(open_ledger(run), version))


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
    typer.echo(json.dumps(found.to_json()) if as_json else found.text())
    if not dry_run and not as_json:
        typer.echo(f"Forgotten. Take {source} out of the configuration, and run `s2d run` again.")
