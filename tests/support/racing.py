"""What a racing process does; a module of its own, so that starting one costs little."""

from typing import Any

from s2d_loop.store import ExistsError, open_store


def create_all(root: str, number: int, records: int, barrier: Any, won: Any) -> None:
    """Create every record with this racer's number as its bytes; the won ones go into the queue."""
    store = open_store(root)
    store.read("warm-up")
    barrier.wait(60)
    for record in range(records):
        try:
            store.create(f"ledger/{record}", b"%d" % number)
            won.put((record, number))
        except ExistsError:
            pass
