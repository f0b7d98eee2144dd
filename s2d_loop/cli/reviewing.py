"""Where people say which answers are right."""

from pathlib import Path
from typing import Annotated

import typer

from s2d_loop.cli.app import Json, RunDir, app
from s2d_loop.cli.opening import open_ledger
from s2d_loop.errors import BadInputError
from s2d_loop.terminal import echo, echo_json


@app.command()
def review(
    run: RunDir,
    rater: Annotated[
        str | None, typer.Option(help="Who labels: lower-case letters, digits, _ and -.")
    ] = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Where the page listens; 0: a free port.")] = 0,
    summary: Annotated[
        bool, typer.Option("--summary", help="Say what came of it, and open no page.")
    ] = False,
    config: Annotated[
        Path | None,
        typer.Option(help="Your own configuration of the run, where its tasks are code or files of yours."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Label answers blind on a page of this machine; the gate then measures against the labels.

    Held-out inputs without a reference come first, then a sample of the newest rounds.  A driver of this run
    goes on beside it.  Ctrl-C ends it; everything that was labelled is kept.
    """
    from s2d_loop.clock import SystemClock
    from s2d_loop.config import load
    from s2d_loop.labels import check_rater, read_labels
    from s2d_loop.review.items import items
    from s2d_loop.review.server import Server
    from s2d_loop.review.sitting import Sitting
    from s2d_loop.review.summary import as_text
    from s2d_loop.review.summary import summary as summarised

    if not summary:
        if rater is None:
            raise BadInputError("--rater: say who labels, such as --rater ada (or --summary)")
        check_rater(rater)
    ledger, own = open_ledger(run), load(str(config)) if config else None
    if not summary:
        assert rater is not None
        found = items(ledger, own)
        if not found:
            raise BadInputError(
                f"{run}: there is nothing to label yet: every held-out input has a reference, "
                "and no round has been curated"
            )
        with Server(Sitting(rater, found, read_labels(ledger.store), SystemClock()), port) as server:
            echo(f"Label at {server.url}")
            echo("1, 2, ... the right answer; 0 none; space can't tell; u undo.  Ctrl-C ends it.")
            try:
                server.serve_forever()
            except KeyboardInterrupt:
                echo()
    result = summarised(ledger, own)
    if as_json:
        echo_json(result)
    else:
        for line in as_text(result):
            echo(line)
