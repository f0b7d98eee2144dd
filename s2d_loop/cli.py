"""The commands: they parse and print, and leave the rest to the modules below.

Heavy imports happen inside the commands, so that `--help` answers at once.
"""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NoReturn

import typer

from s2d_loop.errors import BadInputError, ExitCode, S2DError

if TYPE_CHECKING:
    from s2d_loop.ledger import Ledger
    from s2d_loop.report.view import RunView

app = typer.Typer(
    name="s2d",
    help="Distil a model's System 2 answers into its System 1, without labels, round after round.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

ConfigFile = Annotated[str, typer.Argument(metavar="CONFIG", help="A YAML file; see configs/.")]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(metavar="[key.sub=value]...", help="Settings that differ from the file's."),
]
RunDir = Annotated[str, typer.Argument(metavar="RUN", help="The run's directory or URI.")]
Json = Annotated[bool, typer.Option("--json", help="Machine-readable output.")]


@app.command()
def run(config: ConfigFile, overrides: Overrides = None) -> None:
    """Run the loop; the same command goes on where an earlier one stopped.

    Exit codes: 0 done, 1 failed, 2 bad input or plan, 3 the last round was held by the gate,
    5 another driver took over, 130 interrupted.
    """
    from s2d_loop.config import load
    from s2d_loop.driver import run as run_config
    from s2d_loop.report.progress import progress

    loaded = load(config, overrides or [])
    shown = progress()
    code = run_config(loaded, shown)
    shown.finished(open_view(loaded.run.dir), write_page(loaded.run.dir))
    raise typer.Exit(code)


@app.command()
def check(config: ConfigFile, overrides: Overrides = None) -> None:
    """Validate a configuration and its data, and print what would run and what it needs."""
    from s2d_loop.config import load, resolved_yaml
    from s2d_loop.preflight import check as preflight
    from s2d_loop.preflight import describe

    loaded = load(config, overrides or [])
    describe(loaded, preflight(loaded), typer.echo)
    typer.echo("\n# The resolved configuration\n" + resolved_yaml(loaded).rstrip())


@app.command("eval")
def evaluate(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A model directory, such as RUN/weights/...")],
    task: Annotated[str, typer.Option(help="A task of the configuration.")],
    system: Annotated[int, typer.Option(min=1, max=2, help="1 answers directly, 2 runs the task's method.")],
    config: Annotated[str, typer.Option(help="Where the task is defined.")] = "configs/quickstart.yaml",
    samples: Annotated[int, typer.Option(min=1, help="Runs of the method for an input; they vote.")] = 1,
    overrides: Overrides = None,
    as_json: Json = False,
) -> None:
    """Accuracy and #Tokens of one system of a model on a task's held-out inputs."""
    from s2d_loop.config import load
    from s2d_loop.driver import evaluate_model
    from s2d_loop.report.progress import progress

    loaded = load(config, overrides or [])
    found = evaluate_model(loaded, model, task, f"system{system}", samples, progress())
    if as_json:
        typer.echo(json.dumps(found))
    else:
        accuracy = "no references" if found["accuracy"] is None else f"{found['accuracy']:.1%}"
        typer.echo(
            f"{task}, System {system}: {accuracy} ({found['low']:.1%} to {found['high']:.1%}, "
            f"n={found['n']}), {found['tokens']:.1f} tokens an input, {found['unparsable']} unparsable"
        )


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
def show(
    run: RunDir,
    input_id: Annotated[str | None, typer.Option("--id", help="One input, with its votes and calls.")] = None,
    reason: Annotated[str | None, typer.Option(help="`kept`, or a reason inputs were dropped for.")] = None,
    task: Annotated[str | None, typer.Option(help="Only this task's inputs.")] = None,
    iteration: Annotated[int | None, typer.Option(help="Only this round; all unless given.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="How many inputs to show.")] = 10,
    as_json: Json = False,
) -> None:
    """Samples of a run: outcomes by reason, the inputs behind one of them, or one input in full."""
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
    if reason is None:
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
    typer.echo(write_page(run, out))


@app.command()
def inspect(
    run: RunDir,
    out: Annotated[Path, typer.Option(help="The folder that the logs go to.")] = Path("logs/inspect"),
) -> None:
    """Write the run's evaluations and kept traces as Inspect logs (`inspect view` shows them)."""
    from s2d_loop.report import inspect_logs

    for path in inspect_logs.write(open_ledger(run), out):
        typer.echo(path)


@app.command()
def reproduce(
    table: Annotated[
        str,
        typer.Argument(metavar="TABLE", help="table1, table2, table3, judge, table4, table6 or ablations."),
    ],
    model: Annotated[
        str, typer.Option(help="`testbed`, or a model directory or hub name for the paper's own settings.")
    ] = "testbed",
    settings: Annotated[
        str | None, typer.Option(help="A folder of --configs: testbed, paper, smollm2 or your own.")
    ] = None,
    scale: Annotated[
        float, typer.Option(min=0.0001, max=1.0, help="The part of inputs and steps to take.")
    ] = 1.0,
    seed: Annotated[int, typer.Option(help="Every random choice derives from it.")] = 0,
    out: Annotated[Path, typer.Option(help="Where runs and results are kept.")] = Path("runs/reproduce"),
    configs: Annotated[Path, typer.Option(help="The checkout's configurations.")] = Path("configs"),
) -> None:
    """Run a table of the paper again and put its figures beside the paper's; resumes row by row."""
    from s2d_loop.report.progress import progress
    from s2d_loop.reproduce.command import reproduce_table

    written = reproduce_table(
        table,
        model=model,
        settings=settings,
        scale=scale,
        seed=seed,
        out=out,
        configs=configs,
        progress=progress(),
    )
    typer.echo(written)


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
        typer.echo(json.dumps(to_dict(tried)))
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
        typer.echo(f"wrote {path}")
    typer.echo(
        f"Test it: python -m pytest test_{name}.py\nName it: {path_of(kind, name)}, with PYTHONPATH=$PWD"
    )


@app.command()
def submit(
    config: ConfigFile,
    overrides: Overrides = None,
    address: Annotated[
        str,
        typer.Option(envvar="RAY_API_SERVER_ADDRESS", help="The cluster's dashboard, as http://HEAD:8265."),
    ] = "http://localhost:8265",
    follow: Annotated[
        bool, typer.Option("--follow", help="Stay, show the log, return its exit code.")
    ] = False,
    token_file: Annotated[
        Path | None, typer.Option(help="The cluster's token; RAY_AUTH_TOKEN(_PATH) by default.")
    ] = None,
    runtime_env: Annotated[
        Path | None, typer.Option(help="A YAML file with more of Ray's runtime environment.")
    ] = None,
    ship_code: Annotated[
        bool | None,
        typer.Option(
            "--ship-code/--no-ship-code", help="Send this package's code along; the default in a checkout."
        ),
    ] = None,
    take_over: Annotated[
        bool, typer.Option("--take-over", help="Submit although a job of this run is under way.")
    ] = False,
) -> None:
    """Send the run to a Ray cluster as a job; the same command again follows it, or goes on with it.

    Exit codes: 2 nothing was submitted; with --follow those of `s2d run`, 130 detached or stopped.
    """
    from s2d_loop.config import load
    from s2d_loop.submit import Cluster, Options
    from s2d_loop.submit import submit as submit_config

    options = Options(follow=follow, runtime_env=runtime_env, ship_code=ship_code, take_over=take_over)
    loaded = load(config, overrides or [])
    raise typer.Exit(submit_config(loaded, Cluster(address, token_file), options, typer.echo))


def write_page(run_dir: str, out: Path | None = None) -> str:
    """Write the page; returns where it is."""
    from s2d_loop.report import history
    from s2d_loop.report.page import render

    ledger = open_ledger(run_dir)
    page = render(open_view(run_dir), history.examples(ledger))
    if out is not None:
        out.write_text(page)
        return str(out)
    # A page is no part of the run's state: it may be written over.
    ledger.store.remove("report.html")
    with ledger.store.writing("report.html") as file:
        file.write(page.encode())
    return f"{ledger.store.root}/report.html"


def open_ledger(run_dir: str) -> "Ledger":
    """The ledger of a run that exists."""
    from s2d_loop.clock import SystemClock
    from s2d_loop.ledger import Ledger
    from s2d_loop.store import open_store

    ledger = Ledger(open_store(run_dir), SystemClock())
    if not ledger.last("run"):
        raise BadInputError(f"{run_dir}: there is no run here (no ledger). Start one with `s2d run`.")
    return ledger


def open_view(run_dir: str) -> "RunView":
    """What the report shows of a run."""
    from s2d_loop.report.view import RunView

    return RunView(record.to_json() for record in open_ledger(run_dir).live)


def main(args: list[str] | None = None) -> NoReturn:
    """The `s2d` command: every failure that a person can act on is a message and an exit code."""
    try:
        code: Any = app(args=args, standalone_mode=False)
    except S2DError as error:
        typer.echo(f"s2d: {error}", err=True)
        code = error.exit_code
    except (typer.Abort, KeyboardInterrupt):
        typer.echo("s2d: interrupted; the same command goes on from what was committed.", err=True)
        code = ExitCode.INTERRUPTED
    except typer.TyperException as error:
        typer.echo(f"s2d: {error.format_message()} (`s2d COMMAND --help` lists what it takes)", err=True)
        code = ExitCode.BAD_INPUT
    sys.exit(int(code or 0))


if __name__ == "__main__":
    main()
