"""Commands for people who extend s2d_loop or run the paper's tables again."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from s2d_loop.cli.app import Json, Overrides, app
from s2d_loop.errors import ExitCode
from s2d_loop.terminal import echo, echo_json


@app.command()
def reproduce(
    table: Annotated[
        str,
        typer.Argument(
            metavar="TABLE", help="table1, table2, table3, judge, table4, table5, table6 or ablations."
        ),
    ],
    overrides: Overrides = None,
    model: Annotated[
        str, typer.Option(help="`testbed`, or a model directory or hub name for the paper's own settings.")
    ] = "testbed",
    settings: Annotated[
        str | None, typer.Option(help="A folder of --configs: testbed, paper, paper-8b, smollm2 or your own.")
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(
            help="Where the sets are, as `s2d data NAME --out DATA/NAME` makes them: `data`, or what ships for "
            "the testbed, unless given.",
            show_default=False,
        ),
    ] = None,
    scale: Annotated[
        float, typer.Option(min=0.0001, max=1.0, help="The part of inputs and steps to take.")
    ] = 1.0,
    seed: Annotated[
        list[int] | None,
        typer.Option(
            help="Every random choice derives from it, 0 unless given; several give means and ranges."
        ),
    ] = None,
    validation: Annotated[
        bool, typer.Option("--validation", help="Measure on the validation sets, to choose settings by.")
    ] = False,
    check: Annotated[
        bool, typer.Option("--check", help="Start nothing: say what would run, whether it can, and its cost.")
    ] = False,
    tokens_per_second: Annotated[
        float, typer.Option(min=1e-6, help="For --check: what an engine writes.")
    ] = 2000.0,
    train_tokens_per_second: Annotated[
        float, typer.Option(min=1e-6, help="For --check: what a train worker trains on.")
    ] = 150.0,
    out: Annotated[Path, typer.Option(help="Where runs and results are kept.")] = Path("runs/reproduce"),
    configs: Annotated[Path, typer.Option(help="The checkout's configurations.")] = Path("configs"),
) -> None:
    """Run a table of the paper again and put its figures beside the paper's; resumes row by row.

    Everything is checked before anything is spent: exit code 2 means that nothing was started.
    """
    from s2d_loop.report.progress import progress
    from s2d_loop.reproduce.command import Wanted, check_table, reproduce_table
    from s2d_loop.reproduce.estimate import Rates

    wanted = Wanted(model, settings, tuple(overrides or ()), scale, validation, data, out, configs)
    if check:
        echo(check_table(table, wanted, Rates(tokens_per_second, train_tokens_per_second)))
    else:
        echo(reproduce_table(table, wanted, seed or [0], progress()))


@app.command("try")
def try_(
    method: Annotated[
        str, typer.Argument(metavar="METHOD", help="A program's name, or package.module:name.")
    ],
    text: Annotated[str, typer.Option("--input", help="The question that it runs on.")],
    overrides: Overrides = None,
    config: Annotated[
        str | None, typer.Option(help="The engine and the task; the tiny model that ships unless given.")
    ] = None,
    task: Annotated[
        str | None, typer.Option(help="Whose options, sampling and parser; the first task with this method.")
    ] = None,
    model: Annotated[str | None, typer.Option(help="Other weights than the configuration's.")] = None,
    recorded: Annotated[
        str | None, typer.Option(help="A recording that answers every call; no engine is started.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Run a program once on an input, and print every call and the outcome."""
    from s2d_loop.records import to_dict
    from s2d_loop.report.console import open_console
    from s2d_loop.report.progress import progress
    from s2d_loop.tryout import show as show_tried
    from s2d_loop.tryout import try_method

    tried = try_method(
        method,
        text,
        progress(),
        config_path=config,
        overrides=overrides,
        task=task,
        model=model,
        recorded=recorded,
    )
    if as_json:
        echo_json(to_dict(tried))
    else:
        show_tried(open_console(), tried)
    raise typer.Exit(ExitCode.FAILED if tried.error else ExitCode.DONE)


@app.command()
def new(
    kind: Annotated[Literal["method", "task"], typer.Argument(help="What to begin.")],
    name: Annotated[str, typer.Argument(metavar="NAME", help="Its name, which is its module's too.")],
) -> None:
    """Write a small working method or task, with its test, into this directory."""
    from s2d_loop.scaffold import path_of, write_new

    for path in write_new(kind, name, Path()):
        echo(f"wrote {path}")
    echo(f"Test it: python -m pytest test_{name}.py\nName it: {path_of(kind, name)}, with PYTHONPATH=$PWD")
