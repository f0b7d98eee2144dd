"""A whole scripted run as the driver begins one, for what reads runs."""

from s2d_loop.config import Config
from s2d_loop.driver import begin
from s2d_loop.errors import ExitCode
from s2d_loop.loop import run_loop
from s2d_loop.preflight import Checked
from s2d_loop.stages import Run
from tests.support.scripted import scripted_run


def begun(config: Config, **parts: object) -> Run:
    """A `Run` whose ledger holds its configuration, as `s2d status` and the page want it."""
    run = scripted_run(config, **parts)
    begin(config, Checked(run.ledger.store, run.start, run.sources, {}))
    run.ledger.refresh()
    return run


def finished(config: Config, **parts: object) -> ExitCode:
    """Run it to its end."""
    return run_loop(begun(config, **parts))
