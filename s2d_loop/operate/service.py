"""Puts a version in service by an operator's decision: back to an earlier one, or on to one the gate kept."""

from typing import Any

from s2d_loop.commits import Kind
from s2d_loop.errors import BadInputError
from s2d_loop.evaluate.gate import ASK, HOLD, PROMOTE
from s2d_loop.ledger import Ledger, Record
from s2d_loop.operate.lease import take_over
from s2d_loop.serving import publish
from s2d_loop.versions import Version, collapsed, in_service, named, standing, versions


def roll_back(ledger: Ledger, wanted: str | None) -> str:
    """Put a version back in service (the one promoted before, unless named); says what happened.

    The next round starts from it.  A round under way is redone with it: its claimed inputs stay, the
    rest becomes void.  A run that its stop rule ended goes on from it.

    Raises:
        BadInputError: there is no such version, or none to return to; the message lists those there are.
        LostLeaseError: a driver committed faster, again and again.
    """
    _earlier(ledger, wanted)  # before a driver loses its lease over a misspelt name
    take_over(ledger)
    return _put(ledger, "rollback", _earlier(ledger, wanted))


def promote(ledger: Ledger, wanted: str | None) -> str:
    """Put a version in service that the gate asks for (the newest, unless named), or held, if it is named.

    As `roll_back` does it.

    Raises:
        BadInputError: none waits, or the named one can't be; the message says why.
        LostLeaseError: a driver committed faster, again and again.
    """
    _kept_back(ledger, wanted)
    take_over(ledger)
    return _put(ledger, "promote", _kept_back(ledger, wanted))


def waiting(ledger: Ledger) -> list[Version]:
    """The versions that wait for a person, oldest first: those whose weights are there, newer than the one served."""
    return [
        each
        for each in versions(ledger)
        if each.number > in_service(ledger)
        and not each.promoted
        and _decision(ledger, each.number) == ASK
        and not ledger.swept(each.path)
    ]


def _put(ledger: Ledger, kind: Kind, version: int) -> str:
    facts = _facts(ledger, version)
    gate = ledger.stage(version, "gate")
    if kind == "promote" and gate is not None and gate.facts["decision"] == HOLD:
        facts["overrides"] = gate.facts["sentence"]
        facts["sentence"] += f" This overrides the gate, which said: {gate.facts['sentence']}"
    ledger.append(kind, facts={"replaced": in_service(ledger), **facts})
    publish(ledger)
    return str(facts["sentence"])


def _earlier(ledger: Ledger, wanted: str | None) -> int:
    """The number of the version to return to; 0 are the weights that the run began with."""
    current, stopped = in_service(ledger), collapsed(ledger) is not None
    there = [each for each in versions(ledger) if each.promoted and not ledger.swept(each.path)]
    # After a stop the version in service is a choice too: to go on with it all the same.
    choices = [n for n in (0, *(each.number for each in there)) if n != current or stopped]
    if not (current or stopped):
        raise BadInputError(f"{ledger.store.root}: nothing was promoted yet: there is nothing to return to")
    if wanted is None:
        before = [number for number in standing(ledger) if number in choices and number != current]
        return before[-1] if before else 0
    number = _number(ledger, wanted)
    if number is not None and number in choices:
        return number
    raise BadInputError(f"{_refusal(ledger, wanted, number)}\n{_listed(there, current)}")


def _kept_back(ledger: Ledger, wanted: str | None) -> int:
    """The number of the version to promote."""
    asked = waiting(ledger)
    if wanted is None:
        if not asked:
            raise BadInputError(
                f"{ledger.store.root}: no version waits for a person; name one to promote it against the gate"
            )
        return asked[-1].number
    found = named(versions(ledger), wanted)
    if found is None or ledger.swept(found.path):
        raise BadInputError(_refusal(ledger, wanted, found.number if found else None))
    if found.number == in_service(ledger) and not collapsed(ledger):
        raise BadInputError(f"version {found.number} is in service already")
    if _decision(ledger, found.number) is None:
        raise BadInputError(f"version {found.number} is of the round under way: the gate has not seen it yet")
    return found.number


def _decision(ledger: Ledger, number: int) -> str | None:
    gate = ledger.stage(number, "gate")
    return str(gate.facts["decision"]) if gate else None


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
            if ledger.swept(version.path):
                return f"version {number} was swept: its weights are gone"
            return f"version {number} was never in service: `s2d promote` puts it there"
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
