"""The clock of a real run."""

import time


class SystemClock:
    """`ledger.Clock` by the machine's own time."""

    def now(self) -> float:
        return time.time()

    def monotonic(self) -> float:
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)
