"""How an operator's command gets the right to append."""

from s2d_loop.errors import LostLeaseError
from s2d_loop.ledger import Ledger

_TRIES = 10


def take_over(ledger: Ledger) -> None:
    """Take the lease, also from a driver that runs: it notices at its next safe point and exits 5.

    Whether one runs can't be known from the root.  One that commits at this very moment wins, and the
    lease is asked for again behind its record.

    Raises:
        LostLeaseError: others were faster every time.
    """
    for left in reversed(range(_TRIES)):
        ledger.refresh()
        try:
            ledger.take_lease()
        except LostLeaseError:
            if not left:
                raise
        else:
            return
