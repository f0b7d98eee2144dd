"""A run that exists, as commands read it."""

from pathlib import Path
from typing import TYPE_CHECKING

from s2d_loop.errors import BadInputError

if TYPE_CHECKING:
    from s2d_loop.ledger import Ledger
    from s2d_loop.report.view import RunView


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
