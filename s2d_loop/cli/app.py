"""The application, the arguments that commands share, and how a failure ends."""

import sys
from typing import Annotated, Any, NoReturn

import typer

from s2d_loop.errors import ExitCode, S2DError
from s2d_loop.report.text import visible

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
    try:
        code: Any = app(args=args, standalone_mode=False)
    except S2DError as error:
        # It may quote a stranger's data: a column, a row, a path.
        typer.echo(f"s2d: {visible(str(error))}", err=True)
        code = error.exit_code
    except (typer.Abort, KeyboardInterrupt):
        typer.echo("s2d: interrupted; the same command goes on from what was committed.", err=True)
        code = ExitCode.INTERRUPTED
    except typer.TyperException as error:
        typer.echo(
            f"s2d: {visible(error.format_message())} (`s2d COMMAND --help` lists what it takes)", err=True
        )
        code = ExitCode.BAD_INPUT
    sys.exit(int(code or 0))
