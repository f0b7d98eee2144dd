"""The application, the arguments that commands share, and how a failure ends."""

import sys
from typing import Annotated, Any, NoReturn

import typer

from s2d_loop.errors import ExitCode, S2DError
from s2d_loop.terminal import echo, guard

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


def main(args: list[str] | None = None) -> NoReturn:
    """The `s2d` command: every failure that a person can act on is a message and an exit code."""
    guard()
    try:
        # Not by calling `app`, which puts a hook for tracebacks of its own in the place of ours.
        code: Any = typer.main.get_command(app)(args=args, standalone_mode=False)
    except S2DError as error:
        echo(f"s2d: {error}", err=True)
        code = error.exit_code
    except (typer.Abort, KeyboardInterrupt):
        echo("s2d: interrupted; the same command goes on from what was committed.", err=True)
        code = ExitCode.INTERRUPTED
    except typer.TyperException as error:
        echo(f"s2d: {error.format_message()} (`s2d COMMAND --help` lists what it takes)", err=True)
        code = ExitCode.BAD_INPUT
    sys.exit(int(code or 0))
