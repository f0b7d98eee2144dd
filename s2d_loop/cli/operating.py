"""Commands for a run's operator: they need the run's root and nothing else."""

import json

import typer

from s2d_loop.cli.app import Json, RunDir, app
from s2d_loop.cli.opening import open_view


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
