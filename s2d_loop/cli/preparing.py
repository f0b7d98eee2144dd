"""The command that gets data ready for runs."""

from pathlib import Path
from typing import Annotated

import typer

from s2d_loop.cli.app import app
from s2d_loop.errors import BadInputError
from s2d_loop.terminal import echo


@app.command()
def data(
    name: Annotated[
        str,
        typer.Argument(metavar="NAME", help="last_letters, coin_flip, sycophancy, oasst, gsm8k or mt_bench."),
    ],
    out: Annotated[Path | None, typer.Option(help="The folder to make; never written over.")] = None,
    check: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Instead: say whether this folder holds the set.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Every draw derives from it; 0 unless given.")] = None,
    origin: Annotated[
        str | None,
        typer.Option(
            "--from", help="A file, a folder or a hub name; the set's own place on the hub unless given."
        ),
    ] = None,
    words: Annotated[
        str | None, typer.Option(help="For last_letters: a file of words, one a line, instead of our own.")
    ] = None,
) -> None:
    """Make or convert one of the paper's data sets: jsonl files and a MANIFEST.json.

    Exit codes: 0 the set is there, 2 it isn't, or can't be made.
    """
    from s2d_loop.data.command import check_set, make_set

    if (out is None) == (check is None):
        raise BadInputError("s2d data needs one of the two: --out DIR makes the set, --check DIR looks at it")
    if out is not None:
        echo(make_set(name, out, seed=seed, origin=origin, words=words))
    elif check is not None:
        if origin is not None or words is not None:
            raise BadInputError("--check looks at the folder alone: leave --from and --words out")
        echo(check_set(name, check, seed=seed))
