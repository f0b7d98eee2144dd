"""Intake: each delivered row has one outcome, and what was delivered can be told from them."""

from types import SimpleNamespace

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from s2d_loop.intake import DUPLICATE, HELD_OUT, UNREADABLE, NeverTrain, Outcomes, claim, in_order
from s2d_loop.known import UNKNOWN, KeyIndex, Known
from s2d_loop.records import Input, Message, Reject, content_hash, table
from s2d_loop.sources import Delivery


class Rows:
    """A source of made-up rows: a letter is an input that says it, a dot is unreadable."""

    mapping, tasks = "", ("t",)

    def __init__(self, name: str, text: str) -> None:
        self.name = name
        self.rows = [self._row(number, letter) for number, letter in enumerate(text)]

    def _row(self, number: int, letter: str) -> Input | Reject:
        if letter == ".":
            return Reject(self.name, "f", number, "no letter", ".")
        messages = (Message("user", letter),)
        return Input(f"{self.name}:f#{number}", "t", messages, content_hash(messages))

    def read(self, cursor, limit):  # type: ignore[no-untyped-def]
        start = cursor["row"] if cursor else 0
        rows = self.rows[start : start + limit]
        return Delivery(rows, {"row": start + len(rows)}, exhausted=start + len(rows) == len(self.rows))


def rounds(sources: list[Rows], per_round: int, heldout: str) -> list[list[Outcomes]]:
    """Claim until nothing is left; what is known is rebuilt before each round, as after a restart."""
    config = SimpleNamespace(run=SimpleNamespace(inputs_per_iteration=per_round))
    never = NeverTrain(row for row in Rows("held", heldout).rows if isinstance(row, Input))
    cursors: dict = {}
    done: list[list[Outcomes]] = []
    while True:
        known = Known()
        for each in done:
            known.add(table([x for found in each for x in found.inputs], Input))
        found = list(claim(config, sources, cursors, known, never))  # type: ignore[arg-type]
        cursors |= {each.source: each.cursor for each in found}
        if not any(each.rows for each in found):
            return done
        done.append(found)


TEXTS = st.lists(st.text("abcdefg.", max_size=30), min_size=1, max_size=3)


@given(texts=TEXTS, per_round=st.integers(1, 12))
@settings(max_examples=60)
def test_every_delivered_row_has_one_outcome(texts: list[str], per_round: int) -> None:
    sources = [Rows(f"s{number}", text) for number, text in enumerate(texts)]
    done = rounds(sources, per_round, "ab")
    for found in done:
        delivered = list(
            in_order(
                (x for each in found for x in each.inputs),
                (x for each in found for x in each.dropped),
                (x for each in found for x in each.rejects),
            )
        )
        assert len(delivered) == sum(each.rows for each in found)
        assert sum(len(each.inputs) for each in found) <= per_round
        for source in sources:
            ours = [row for row in delivered if _source(row) == source.name]
            first = source.rows.index(ours[0]) if ours else 0
            assert ours == source.rows[first : first + len(ours)]
    claimed = [x.question for found in done for each in found for x in each.inputs]
    assert len(claimed) == len(set(claimed))
    assert set(claimed) == set("".join(texts)) - set("ab.")
    names: dict[str, str] = {x.id: x.question for found in done for each in found for x in each.inputs}
    for drop in (drop for found in done for each in found for drop in each.dropped):
        if drop.reason == HELD_OUT:
            assert drop.input.question in "ab"
        else:
            assert (drop.reason, names[drop.same_as]) == (DUPLICATE, drop.input.question)


def _source(row: Input | Reject) -> str:
    return row.source if isinstance(row, Reject) else row.id.split(":")[0]


def test_outcomes_are_counted_by_reason() -> None:
    ((found,),) = rounds([Rows("s", "aab.x")], 10, "x")
    assert found.reasons == {DUPLICATE: 1, HELD_OUT: 1, UNREADABLE: 1}
    assert [(x.place, x.same_as) for x in found.dropped] == [(1, "s:f#0"), (4, "held:f#0")]
    assert [x.place for x in found.rejects] == [3]


@given(st.lists(st.lists(st.integers(0, 40), max_size=25), max_size=8))
def test_an_index_answers_as_a_dict_does(parts: list[list[int]]) -> None:
    index, expected = KeyIndex(), dict[int, int]()
    number = 0
    for part in parts:
        index.add(np.array(part, np.uint64), np.arange(number, number + len(part)))
        for key in part:
            expected.setdefault(key, number)
            number += 1
        asked = np.arange(42, dtype=np.uint64)
        assert index.find(asked).tolist() == [expected.get(int(key), UNKNOWN) for key in asked]
