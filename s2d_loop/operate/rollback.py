"""Puts an earlier promoted version back in service."""

from typing import Any

from s2d_loop.errors import BadInputError
from s2d_loop.evaluate.gate import PROMOTE
from s2d_loop.ledger import Ledger, Record
from s2d_loop.operate.lease import take_over
from s2d_loop.serving import publish
from s2d_loop.versions import Version, in_service, named, versions


def roll_back(ledger: Ledger, wanted: str | None) -> str:
    """Put a version back in service (the one promoted before, unless named); says what happened.

    The next round starts from it.  A round under way is redone with it: its claimed inputs stay, the
    rest becomes void.

    Raises:
        BadInputError: there is no such version, or none to return to; the message lists those there are.
        LostLeaseError: a driver committed faster, again and again.
    """
    _choose(ledger, wanted)  # before a driver loses its lease over a misspelt name
    take_over(ledger)
    before, version = in_service(ledger), _choose(ledger, wanted)
    facts = _facts(ledger, version)
    ledger.append("rollback", facts={"replaced": before, **facts})
    publish(ledger)
    return str(facts["sentence"])


def _choose(ledger: Ledger, wanted: str | None) -> int:
    """The number of the version to return to; 0 are the weights that the run began with."""
    current = in_service(ledger)
    there = [each for each in versions(ledger) if each.promoted and not ledger.swept(each.path)]
    choices = [0, *(each.number for each in there if each.number != current)] if current else []
    if not choices:
        raise BadInputError(f"{ledger.store.root}: nothing was promoted yet: there is nothing to return to")
    if wanted is None:
        earlier = [number for number in choices if number < current]
        return earlier[-1]
    number = _number(ledger, wanted)
    if number in choices:
        return number
    raise BadInputError(f"{_refusal(ledger, wanted, number)}\n{_listed(there, current)}")


def _number(ledger: Ledger, wanted: str) -> int | None:
    if wanted in ("0", "start"):
        return 0
    found = named(versions(ledger), wanted)
    return found.number if found else None


def _refusal(ledger: Ledger, wanted: str, number: int | None) -> str:
    if number is not None and number == in_service(ledger):
        return f"version {number} is in service already"
    for version in versions(ledger):
        if version.number == number:
            return f"version {number} was " + (
                "held by the gate" if not version.promoted else "swept: its weights are gone"
            )
    for record in reversed(ledger.records):
        forgets = record.kind == "forget"
        for tainted in record.facts["versions"] if forgets else ():
            if wanted == str(tainted["version"]) or tainted["digest"].startswith(wanted):
                return (
                    f"version {tainted['version']} ({tainted['digest'][:12]}) went when "
                    f"{record.facts['source']} was forgotten: {tainted['reason'] or 'its round is redone'}"
                )
    return f"there is no version {wanted!r}"


def _listed(there: list[Version], current: int) -> str:
    lines = ["Versions to return to:", "  0  start"]
    lines += [f"  {v.number}  {v.digest[:12]}" for v in there if v.number != current]
    return "\n".join(lines)


def _facts(ledger: Ledger, version: int) -> dict[str, Any]:
    under_way = _under_way(ledger)
    last = max((r.iteration for r in ledger.live if r.kind == "stage"), default=0)
    # Claims don't depend on weights: what a round took stays taken.
    first = under_way[0].iteration if under_way else last + 1
    void = [r.seq for r in under_way if r.stage != "intake"]
    void += [r.seq for r in ledger.live if r.kind == "checkpoint" and r.facts["iteration"] == first]
    again = ", which is done again from its claimed inputs" if void else ""
    name = f"version {version}" if version else "the weights that the run began with"
    trained = ledger.stage(version, "train")
    return {
        "version": version,
        "digest": trained.facts["weights"]["digest"] if trained else "",
        "from": first,
        "void": void,
        "sentence": f"In service now: {name}. The next to start from it is round {first}{again}.",
    }


def _under_way(ledger: Ledger) -> list[Record]:
    """The records of the round that is begun and not decided."""
    stages = [r for r in ledger.live if r.kind == "stage"]
    latest = [r for r in stages if r.iteration == stages[-1].iteration]
    last = latest[-1]
    decided = (
        last.iteration == 0
        or last.stage in ("promote", "attribute")
        or (last.stage == "gate" and last.facts["decision"] != PROMOTE)
        or (last.stage == "pool" and not last.facts["training"])
    )
    return [] if decided else latest
