"""A run that is looked after: it is logged, watched, and can be stopped.

`driver.run` opens this around a run, and so does whatever else drives the loop in a process of its own.
"""

import contextlib
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from s2d_loop import logs
from s2d_loop.config import RunConfig
from s2d_loop.errors import LostLeaseError, S2DError, StoppedError
from s2d_loop.ledger import Clock, Ledger
from s2d_loop.report.logged import LoggedProgress
from s2d_loop.report.progress import Progress
from s2d_loop.stop import SafePoint, signals
from s2d_loop.watchdog import Subject, Watchdog


@dataclass(slots=True)
class Attended:
    """What a run gets of it."""

    folder: Path
    """This attempt's logs."""
    progress: LoggedProgress
    safe_point: Callable[[], None]
    describe: list[Callable[[], list[str]]] = field(default_factory=list)
    """Whoever can say what its part of the run waits for; asked when nothing moves."""


@contextlib.contextmanager
def attended(
    config: RunConfig,
    ledger: Ledger,
    clock: Clock,
    shown: Progress,
    base: Path,
    drained: Callable[[], bool] = lambda: False,
) -> Iterator[Attended]:
    """Logs under `base`, signals that stop at safe points, and a watchdog.  For the main thread.

    Raises:
        StoppedError: a signal asked for it.
        StalledError: the watchdog found no progress.
    """
    folder = logs.new_folder(base)
    progress = LoggedProgress(shown)
    stop = SafePoint(ledger, clock, drained=drained)

    def safe_point() -> None:
        watchdog.beat()
        stop()

    run = Attended(folder, progress, safe_point)
    subject = Subject(
        last=lambda: progress.now,
        describe=lambda: [sentence for each in run.describe for sentence in each()],
        record=lambda facts: stalled(ledger, facts),
        fail=stop.fail,
    )
    watchdog = Watchdog(config.no_progress_s, folder, subject)
    with (
        logs.to_file(folder / logs.FILE, Path(ledger.store.root).name),
        signals(stop, config.stop_within_s, progress.note),
        watchdog.watching(),
    ):
        try:
            yield run
        except StoppedError as stopped:
            logs.event(str(stopped))
            # Nothing depends on the record: a driver that took over has better things in that place.
            with contextlib.suppress(LostLeaseError):
                ledger.append("stopped", facts={"why": str(stopped), "last": progress.now})
            raise
        except S2DError as error:
            logs.event(str(error), logging.ERROR, error=type(error).__name__, exit_code=int(error.exit_code))
            raise
        except BaseException as error:
            logs.log.log(logging.ERROR, "ended by %s", type(error).__name__, exc_info=True)
            raise
        logs.event("run ended")


def stalled(ledger: Ledger, facts: dict[str, Any]) -> None:
    """Record that nothing moved, for whoever looks at the run later."""
    ledger.append("stalled", facts=facts)
