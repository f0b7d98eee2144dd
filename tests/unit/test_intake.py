"""Intake: each delivered row has one outcome, and what was delivered can be told from them."""

import itertools
import random
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from s2d_loop.intake import HELD_OUT, UNREADABLE, NeverTrain, Outcomes, claim, in_order
from s2d_loop.known import DUPLICATE, UNKNOWN, KeyIndex, Known
from s2d_loop.near import NEAR_DUPLICATE, NEAR_HELD_OUT, NearDuplicates, band_keys, shape
from s2d_loop.records import Dropped, Input, Message, Near, Reject, content_hash, rows
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
        for each in itertools.chain(*done):
            known.add(each.inputs)
        found = list(claim(config, sources, cursors, [never, known], known.count))  # type: ignore[arg-type]
        cursors |= {each.source: each.cursor for each in found}
        if not any(each.rows for each in found):
            return done
        done.append(found)


TEXTS = st.lists(st.text("abcdefg.", max_size=30), min_size=1, max_size=3)


@given(texts=TEXTS, per_round=st.integers(1, 12))
@settings(max_examples=30)
def test_every_delivered_row_has_one_outcome(texts: list[str], per_round: int) -> None:
    sources = [Rows(f"s{number}", text) for number, text in enumerate(texts)]
    done = rounds(sources, per_round, "ab")
    for found in done:
        delivered = list(
            in_order(
                (x for each in found for x in rows(each.inputs, Input)),
                (x for each in found for x in each.dropped),
                (x for each in found for x in each.rejects),
            )
        )
        assert len(delivered) == sum(each.rows for each in found)
        assert sum(each.inputs.num_rows for each in found) <= per_round
        for source in sources:
            ours = [row for row in delivered if _source(row) == source.name]
            first = source.rows.index(ours[0]) if ours else 0
            assert ours == source.rows[first : first + len(ours)]
    claimed = [x.question for found in done for each in found for x in rows(each.inputs, Input)]
    assert len(claimed) == len(set(claimed))
    assert set(claimed) == set("".join(texts)) - set("ab.")
    names: dict[str, str] = {
        x.id: x.question for found in done for each in found for x in rows(each.inputs, Input)
    }
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


WORDS = random.Random(0).sample([f"word{n}" for n in range(4000)], 3000)


def near_input(number: int, letter: str, form: str) -> Input:
    """Forms of one letter differ in two words of 120 at most: near to each other in any order (tried, all pairs)."""
    first = "acehk".index(letter) * 120
    words = WORDS[first : first + 120]
    if form != "a":
        words[ord(form) % 50] = form
    messages = (Message("user", " ".join(words)),)
    return Input(f"s:f#{number}", "t", messages, content_hash(messages))


TEXT = st.lists(st.tuples(st.sampled_from("acehk"), st.sampled_from("abcdef")), max_size=25)


@given(delivered=TEXT, keep=st.integers(1, 3), cuts=st.lists(st.integers(1, 7), min_size=1))
@settings(max_examples=20)
def test_of_near_inputs_so_many_are_claimed_whenever_the_run_is_restarted(
    delivered: list[tuple[str, str]], keep: int, cuts: list[int]
) -> None:
    inputs = [near_input(number, *each) for number, each in enumerate(delivered)]
    heldout = [near_input(0, "k", "z")]
    whole, _ = claimed_in_batches(inputs, heldout, keep, [len(inputs) or 1])
    found, near = claimed_in_batches(inputs, heldout, keep, cuts)
    assert [(each.place, each.reason, each.same_as) for each in found] == [
        (each.place, each.reason, each.same_as) for each in whole
    ]
    dropped = {each.place: each for each in found}
    claimed = [each for number, each in enumerate(delivered) if number not in dropped]
    for letter in "aceh":
        forms = len({form for other, form in delivered if other == letter})
        assert sum(other == letter for other, _ in claimed) == min(keep, forms)
    assert all(each.reason == NEAR_HELD_OUT for each in found if delivered[each.place][0] == "k")
    assert all(delivered[number][0] != "k" for number in range(len(delivered)) if number not in dropped)
    for each in found:
        if each.reason == NEAR_DUPLICATE:
            assert delivered[int(each.same_as.split("#")[1])][0] == delivered[each.place][0]
    assert [each.first for each in near] == [
        next(n for n, other in enumerate(claimed) if other[0] == each[0]) for each in claimed
    ]


def claimed_in_batches(
    inputs: list[Input], heldout: list[Input], keep: int, sizes: list[int]
) -> tuple[list[Dropped], list[Near]]:
    """What is dropped, and what is committed; between two batches all is rebuilt from what was committed."""
    dropped: list[Dropped] = []
    committed: list[tuple[pa.Table, pa.Table]] = []
    left = list(inputs)
    for size in itertools.cycle(sizes):
        if not left:
            return dropped, [each for _, near in committed for each in rows(near, Near)]
        known = Known()
        test = NearDuplicates(known, heldout, 0.7, keep)
        for claimed, near in committed:
            known.add(claimed)
            test.add(claimed["task"], near)
        delivery = Delivery(left[:size], {}, exhausted=True)
        source = SimpleNamespace(name="s", tasks=["t"], read=lambda cursor, limit, found=delivery: found)
        config = SimpleNamespace(run=SimpleNamespace(inputs_per_iteration=1000))
        (found,) = claim(config, [source], {}, [known, test], known.count)  # type: ignore[arg-type,list-item]
        place = len(inputs) - len(left)
        dropped += [replace(each, place=each.place + place) for each in found.dropped]
        committed.append((found.inputs, test.committed))
        left = left[size:]
    raise AssertionError


def test_about_half_of_the_pairs_at_the_threshold_share_a_band() -> None:
    """Measured on texts whose shares of common runs are known, at two thresholds."""
    rng = random.Random(1)
    for threshold in (0.6, 0.8):
        found = {0.15: 0, -0.25: 0}
        for distance in found:
            share = threshold + distance
            common = round(2 * 200 * share / (1 + share))
            for _ in range(60):
                shared = " ".join(rng.choices(WORDS, k=common + 2))
                one, two = (" ".join(rng.choices(WORDS, k=200 - common)) for _ in range(2))
                pair = [as_input(f"{shared} {each}") for each in (one, two)]
                keys = band_keys(pair, threshold)
                found[distance] += bool((keys[0] == keys[1]).any())
        assert found[0.15] >= 50
        assert found[-0.25] <= 10
    bands, height = shape(0.8)
    assert bands * height <= 128


def as_input(text: str) -> Input:
    return Input("s:f#0", "t", (Message("user", text),), "00" * 16)
