"""Lets a driver stop inside a chosen stage until whoever disturbs it says go.

The places are the loop's own: a safe point inside the stage, or, in a stage without one, the moment before
its record is committed.  For faults of engines it is the moment before a stage's calls are sent, or the
calls themselves, inside the engine.
"""

import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from s2d_loop import logs
from s2d_loop.store import LocalStore

LIMIT_S = 300.0

At = Literal["safe point", "before calls", "calls"]


@dataclass(frozen=True, slots=True)
class Hold:
    """Where to stop.  `orders` is the folder that the driver and its disturber talk through."""

    orders: str
    iteration: int
    stage: str
    at: At = "safe point"
    skip: int = 0
    """How many safe points to pass first."""

    @staticmethod
    def read(settings: dict[str, Any] | None) -> "Hold | None":
        return None if settings is None else Hold(**settings)

    def settings(self) -> dict[str, Any]:
        return asdict(self)

    def here(self) -> bool:
        """Whether the caller is in that stage, and it hasn't been held before."""
        where = logs.where()
        there = (where.get("iteration"), where.get("stage")) == (self.iteration, self.stage)
        return there and not self.reached.exists()

    @property
    def reached(self) -> Path:
        return Path(self.orders, "reached")

    @property
    def go(self) -> Path:
        return Path(self.orders, "go")

    @property
    def freeze(self) -> Path:
        return Path(self.orders, "freeze")

    def wait(self) -> None:
        """Say that the place is reached, and wait for the go."""
        if not self.here():
            return
        if self.at == "calls":
            self.freeze.touch()
            return
        self.reached.write_text(json.dumps(dict(logs.where())))
        until = time.monotonic() + LIMIT_S
        while not self.go.exists():
            if time.monotonic() > until:
                raise TimeoutError(f"nobody said go within {LIMIT_S:g} s")
            time.sleep(0.02)


class HoldingStore(LocalStore):
    """Holds before a stage's record is published."""

    def __init__(self, root: str, hold: Hold | None) -> None:
        super().__init__(root)
        self._hold = hold

    def create(self, path: str, data: bytes) -> None:
        if self._hold is not None and self._hold.at == "safe point":
            self._hold.wait()
        super().create(path, data)
