"""Commands that show what a run made."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from s2d_loop.cli.app import Json, RunDir, app
from s2d_loop.cli.opening import open_ledger, write_page
from s2d_loop.errors import ExitCode
from s2d_loop.terminal import echo


@app.command()
def show(
    run: RunDir,
    input_id: Annotated[str | None, typer.Option("--id", help="One input, with its votes and calls.")] = None,
    reason: Annotated[str | None, typer.Option(help="`kept`, or a reason inputs were dropped for.")] = None,
    task: Annotated[str | None, typer.Option(help="Only this task's inputs.")] = None,
    iteration: Annotated[int | None, typer.Option(help="Only this round; all unless given.")] = None,
    heldout: Annotated[
        Literal["lost", "gained", "wrong", "all"] | None,
        typer.Option(help="Held-out inputs: what a round's candidate lost or gained, or has wrong."),
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="How many inputs to show.")] = 10,
    as_json: Json = False,
) -> None:
    """Samples of a run: outcomes by reason, the inputs behind one of them, or one input in full.

    With --heldout: the held-out inputs behind the gate's figures.
    """
    from s2d_loop.report import history
    from s2d_loop.report import show as shown
    from s2d_loop.report.console import open_console

    ledger = open_ledger(run)
    console = open_console()
    if input_id is not None:
        found = shown.show_input(
            console,
            input_id,
            history.verdicts(ledger, iteration),
            history.generations(ledger, iteration),
            as_json=as_json,
        )
        raise typer.Exit(ExitCode.DONE if found else ExitCode.BAD_INPUT)
    if heldout is not None:
        from s2d_loop.report.heldout import compared

        rows = compared(ledger, iteration)
        shown.show_heldout(console, rows, change=heldout, task=task, limit=limit, as_json=as_json)
    elif reason is None:
        shown.show_outcomes(console, history.verdicts(ledger, iteration), as_json=as_json)
    else:
        verdicts = history.verdicts(ledger, iteration)
        shown.show_samples(console, verdicts, reason=reason, task=task, limit=limit, as_json=as_json)


@app.command()
def report(
    run: RunDir,
    out: Annotated[Path | None, typer.Option(help="Where the page goes; RUN/report.html by default.")] = None,
) -> None:
    """Write the run's HTML page."""
    echo(write_page(run, out))


@app.command()
def inspect(
    run: RunDir,
    out: Annotated[Path, typer.Option(help="The folder that the logs go to.")] = Path("logs/inspect"),
) -> None:
    """Write the run's evaluations and kept traces as Inspect logs (`inspect view` shows them)."""
    from s2d_loop.report import inspect_logs

    for path in inspect_logs.write(open_ledger(run), out):
        echo(path)
