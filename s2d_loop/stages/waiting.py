"""Waits for inputs before a round of a run without an end (`run.iterations: null`)."""

from collections.abc import Collection

from s2d_loop.quarantine import quarantined
from s2d_loop.replay import cursors, with_replay
from s2d_loop.report.text import duration
from s2d_loop.sources import Cursor, Source, fold
from s2d_loop.stages.run import Run

NAP_S = 1.0
"""How long a request to stop may go unnoticed."""
SAID_EVERY_S = 3600.0
"""A run may wait for weeks, and its log is read."""


class Ahead:
    """Counts what has come behind the committed cursors, reading each row once.

    Nothing is claimed by this: `intake` reads the rows again, from the committed cursors.
    """

    def __init__(
        self, sources: tuple[Source, ...], committed: dict[str, Cursor], barred: Collection[str] = ()
    ) -> None:
        self._open = {source.name: source for source in sources}
        self._cursors = committed
        self._barred = barred
        self.inputs = 0
        self.rows = 0
        """Inputs, and rows that can't be claimed: these wait for `run.max_wait_s` too, to be counted."""

    @property
    def ended(self) -> bool:
        """Whether every source has reached its limit, so that nothing will ever come."""
        return not self._open

    def look(self, enough: int) -> None:
        """Read on until there is enough, or nothing more."""
        for name, source in list(self._open.items()):
            while (missing := enough - self.inputs) > 0:
                cursor = self._cursors.get(name, {})
                delivery = source.read(cursor, missing)
                self._cursors[name] = fold([cursor, delivery.cursor])
                self.inputs += 0 if name in self._barred else len(delivery.inputs)
                self.rows += len(delivery.rows)
                if delivery.capped:
                    del self._open[name]
                if delivery.exhausted or name in self._barred:
                    break


def wait_for_inputs(run: Run, iteration: int) -> None:
    """Return once `run.min_inputs` have come, or fewer have waited for `run.max_wait_s`, or none ever will."""
    if run.ledger.stage(iteration, "intake"):
        return
    config = run.config.run
    enough = config.min_inputs or config.inputs_per_iteration
    ahead = Ahead(with_replay(run.ledger, run.sources, None), cursors(run.ledger), quarantined(run.ledger))
    began = said = run.clock.monotonic()
    first: float | None = None
    while True:
        run.safe_point()
        ahead.look(enough)
        now = run.clock.monotonic()
        if ahead.rows and first is None:
            first = now
        if ahead.inputs >= enough or ahead.ended:
            return
        if first is not None and now - first >= config.max_wait_s:
            return
        if now == began or now - said >= SAID_EVERY_S:
            said = now
            run.progress.note(_sentence(ahead.inputs, enough, config.max_wait_s, now - began))
        _sleep(run, config.poll_s)


def _sleep(run: Run, seconds: float) -> None:
    """In naps, so that a request to stop ends it."""
    until = run.clock.monotonic() + seconds
    while (left := until - run.clock.monotonic()) > 0:
        run.clock.sleep(min(left, NAP_S))
        run.safe_point()


def _sentence(inputs: int, enough: int, max_wait_s: float, waited_s: float) -> str:
    so_far = f" ({duration(waited_s)} so far)" if waited_s else ""
    return (
        f"Waiting for inputs{so_far}: {inputs:,} of {enough:,} (run.min_inputs) are there; a round starts with "
        f"fewer {duration(max_wait_s)} after the first of them (run.max_wait_s)."
    )
