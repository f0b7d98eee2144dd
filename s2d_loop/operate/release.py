"""Lifts the quarantine of a source."""

from s2d_loop.errors import BadInputError
from s2d_loop.ledger import Ledger
from s2d_loop.operate.lease import take_over
from s2d_loop.quarantine import quarantined


def release(ledger: Ledger, source: str) -> str:
    """Let a source's rows be claimed and trained on again; says what happened.

    Raises:
        BadInputError: it is not under quarantine; the message lists those that are.
        LostLeaseError: a driver committed faster, again and again.
    """
    _check(ledger, source)  # before a driver loses its lease over a misspelt name
    take_over(ledger)
    _check(ledger, source)
    sentence = (
        f"{source} is out of quarantine: its rows in the pool may train again, and new ones are claimed. "
        "What was dropped meanwhile stays dropped."
    )
    ledger.append("release", facts={"source": source, "sentence": sentence})
    return sentence


def _check(ledger: Ledger, source: str) -> None:
    there = quarantined(ledger)
    if source not in there:
        have = ", ".join(sorted(there)) or "none"
        raise BadInputError(f"{source!r} is not under quarantine (there are: {have})")
