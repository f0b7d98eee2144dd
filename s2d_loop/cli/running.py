"""Commands that run the loop or check what it would do."""

from pathlib import Path
from typing import Annotated

import typer

from s2d_loop.cli.app import ConfigFile, Json, Overrides, app
from s2d_loop.cli.opening import open_view, write_page
from s2d_loop.terminal import echo, echo_json


@app.command()
def run(
    config: ConfigFile,
    overrides: Overrides = None,
    forever: Annotated[
        bool, typer.Option("--forever", help="Wait for new inputs, round after round: run.iterations=null.")
    ] = False,
) -> None:
    """Run the loop; the same command goes on where an earlier one stopped.

    Exit codes: 0 done, 1 failed, 2 bad input or plan, 3 the last round was held by the gate or waits
    for `s2d promote`, 4 stopped by the collapse rule, 5 another driver took over, 130 interrupted.
    """
    from s2d_loop.config import load
    from s2d_loop.driver import run as run_config
    from s2d_loop.report.progress import progress

    loaded = load(config, [*(overrides or []), *(["run.iterations=null"] if forever else [])])
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
    describe(loaded, preflight(loaded, hash_weights=False), echo)
    echo("\n# The resolved configuration\n" + resolved_yaml(loaded).rstrip())


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
        echo_json(found)
    else:
        accuracy = "no references" if found["accuracy"] is None else f"{found['accuracy']:.1%}"
        echo(
            f"{task}, System {system}: {accuracy} ({found['low']:.1%} to {found['high']:.1%}, "
            f"n={found['n']}), {found['tokens']:.1f} tokens an input, {found['unparsable']} unparsable"
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
    raise typer.Exit(submit_config(loaded, Cluster(address, token_file), options, echo))
