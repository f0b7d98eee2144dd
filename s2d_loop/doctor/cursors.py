"""Cursors: where each source stood after a round, against the rows that the round says it delivered.

An intake record holds what moved, so a source's place is the fold over all of them; void rounds count
too, because what a source delivered once it is never asked for again.
"""

from collections.abc import Mapping
from typing import Any

from s2d_loop.doctor.chain import Entry
from s2d_loop.doctor.findings import ALTERED, Check, Checkup
from s2d_loop.doctor.rows import Rows
from s2d_loop.doctor.story import Story

Places = dict[str, dict[str, int]]
"""The row at which each shard of each source is read on."""


def check_cursors(checkup: Checkup, story: Story, rows: Rows) -> None:
    """Every delivered row lies between its source's place before the round and after it."""
    places: Places = {}
    with checkup.check("cursors fit what was delivered", "reads") as check:
        for entry in story.entries:
            if entry.kind != "stage" or entry.stage != "intake":
                continue
            for source, move in entry.facts["cursors"].items():
                check.looked += 1
                _moved(check, entry, source, move, places.setdefault(source, {}))
            if not story.void(entry):
                for at, first, last in rows.delivered(entry.iteration):
                    _delivered(check, entry, places, (at, first, last))
            for source, move in entry.facts["cursors"].items():
                places[source] |= _rows(move)


def _rows(move: Mapping[str, Any]) -> dict[str, int]:
    return {shard: int(position["row"]) for shard, position in move.get("shards", {}).items()}


def _moved(
    check: Check, entry: Entry, source: str, move: Mapping[str, Any], before: Mapping[str, int]
) -> None:
    if move.get("source", source) != source:
        check.found(entry.path, f"the cursor of {source} is another source's", ALTERED)
    back = [shard for shard, row in _rows(move).items() if row < before.get(shard, 0)]
    if back:
        check.found(entry.path, f"the cursor of {source} went back in {back[0]}", ALTERED)


def _delivered(check: Check, entry: Entry, places: Places, span: tuple[str, int, int]) -> None:
    at, first, last = span
    source, _, shard = at.partition(":")
    move = entry.facts["cursors"].get(source, {})
    before = places.get(source, {}).get(shard, 0)
    after = max(before, _rows(move).get(shard, 0))
    # Rows of a void round come again, from behind the cursor.
    again = "replayed" in move
    if last >= after or (first < before and not again):
        what = (
            f"{entry.where} took rows {first} to {last} of {at}, but its cursor went from {before} to {after}"
        )
        check.found(entry.path, what, ALTERED)
