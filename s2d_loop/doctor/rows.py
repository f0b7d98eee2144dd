"""Single rows through the stages: every row of every round in one database on disk, then questions to it.

The database is SQLite's own temporary file with a bounded cache, so that a run of millions of rows is
checked in the memory of a small one.
"""

import hashlib
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from s2d_loop.doctor.chain import File
from s2d_loop.doctor.root import Root
from s2d_loop.doctor.story import Story
from s2d_loop.doctor.tables import batches, column, content_hash, conversations, pair_digest

_CACHE_KIB = 64 << 10
_LONGEST = 512
"""Characters of a text that is held as it is; of a longer one its beginning and its digest, so that the disk lasts."""
_PER_CALL = 100_000
"""SQLite's own steps between two looks at the clock."""
_STEPS, _STEPS_PER_ROW = 50_000_000, 10_000
"""What all questions together may take: a hundred times what they do, and less than rows that all pair with all."""
_TABLES = """
CREATE TABLE heldout (task, content, grp, id);
CREATE TABLE claimed (round, id, task, content, grp, holds);
CREATE TABLE dropped (round, place, reason, same_as, id, task, content);
CREATE TABLE reject (round, place);
CREATE TABLE routed (round, id, task, route);
CREATE TABLE generated (round, id, weights, failed);
CREATE TABLE verdict (round, id, weights, reason);
CREATE TABLE pair (round, input, digest);
CREATE TABLE example (round, id, input, digest, content, weights);
CREATE TABLE trained (round, id, digest);
CREATE TABLE there (name, round);
CREATE TABLE teacher (round, weights);
CREATE TABLE delivered (round, at, first, last);
CREATE TABLE forgotten (source);
CREATE TABLE quarantined (stage, round, source);
CREATE TABLE counted (stage, round, reason, number);
"""
_WIDTHS = {line.split()[2]: line.count(",") + 1 for line in _TABLES.strip().splitlines()}
_INDEXES = """
CREATE INDEX claimed_id ON claimed (id);
CREATE INDEX delivered_round ON delivered (round, at);
CREATE INDEX dropped_id ON dropped (id);
CREATE INDEX heldout_id ON heldout (id);
CREATE INDEX claimed_content ON claimed (content, task);
CREATE INDEX claimed_group ON claimed (grp, task) WHERE grp <> '';
CREATE INDEX routed_id ON routed (id, round);
CREATE INDEX generated_id ON generated (id, round);
CREATE INDEX verdict_id ON verdict (id, round);
CREATE INDEX pair_input ON pair (input, round, digest);
CREATE INDEX example_id ON example (id);
CREATE INDEX heldout_content ON heldout (content);
CREATE INDEX heldout_group ON heldout (task, grp);
"""


_VIEWS = """
CREATE VIEW asked AS SELECT c.round, c.id FROM claimed c LEFT JOIN routed r USING (id, round)
    WHERE r.route IN ('system2', 'audit') OR c.round NOT IN (SELECT round FROM counted WHERE stage = 'triage');
INSERT INTO there SELECT 'asked', t.round FROM there t WHERE t.name = 'claimed' AND (
    t.round NOT IN (SELECT round FROM counted WHERE stage = 'triage')
    OR t.round IN (SELECT round FROM there WHERE name = 'routed'));
"""
"""`asked`: the inputs that System 2 was to answer, where that can be known."""


class Rows:
    """The rows of a run that promises are made about, as far as their tables could be read."""

    def __init__(self, root: Root, story: Story, intact: set[str]) -> None:
        self._root, self._story, self._intact = root, story, intact
        self._calls = 0
        self._database = sqlite3.connect("")
        self._database.executescript(
            f"PRAGMA cache_size=-{_CACHE_KIB}; PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF;{_TABLES}"
        )

    def close(self) -> None:
        self._database.close()

    def load(self) -> int:
        """Read every intact table; returns how many rows there were."""
        for stage, table, into, read in _READERS:
            for entry in self._story.all(stage):
                files = entry.tables(table)
                if files and all(file.path in self._intact for file in files):
                    for file in files:
                        self._insert(into, read(self._root, file, entry.iteration))
                    self._insert("there", [(into, entry.iteration)])
        teachers = ((e.iteration, e.facts["weights"]) for e in self._story.all("generate"))
        self._insert("teacher", teachers)
        gone = {e.facts["source"] for e in self._story.entries if e.kind == "forget"}
        self._insert("forgotten", ((source,) for source in gone))
        barred = self._story.quarantined()
        for stage in ("intake", "pool"):
            for entry in self._story.all(stage):
                held = ((stage, entry.iteration, source) for source in barred[entry.seq])
                self._insert("quarantined", held)
        for stage in ("intake", "triage", "curate", "pool"):
            for entry in self._story.all(stage):
                outcomes = {"kept": entry.out, **entry.dropped}
                self._insert("counted", ((stage, entry.iteration, *each) for each in outcomes.items()))
        self._database.executescript(_INDEXES + _VIEWS)
        rows = sum(self.count(into) for _, _, into, _ in _READERS)
        self._calls = (_STEPS + rows * _STEPS_PER_ROW) // _PER_CALL
        self._database.set_progress_handler(self._is_over, _PER_CALL)
        return rows

    def _is_over(self) -> bool:
        """Whether a question is given up: rows of a stranger can be such that it would take for ever."""
        self._calls -= 1
        return self._calls < 0

    def count(self, table: str) -> int:
        (number,) = next(self._database.execute(f"SELECT count(*) FROM {table}"))
        return int(number)

    def delivered(self, iteration: int) -> Iterator[tuple[str, int, int]]:
        """By shard of a source: the first and the last row that a round took or dropped."""
        query = "SELECT at, min(first), max(last) FROM delivered WHERE round = ? GROUP BY at"
        yield from self._database.execute(query, (iteration,))

    def broken(self, query: str, shown: int) -> Iterator[tuple[int, int, str]]:
        """By round: how many rows the query finds, and the first few of them."""
        found: dict[int, list[Any]] = {}
        for iteration, what in self._database.execute(query):
            number, some = found.setdefault(iteration, [0, []])
            found[iteration][0] = number + 1
            if len(some) < shown:
                some.append(str(what))
        for iteration, (number, some) in sorted(found.items()):
            yield iteration, number, ", ".join(some)

    def where(self, stage: str, iteration: int) -> str:
        """The record that committed a stage's rows."""
        entry = self._story.stage(iteration, stage)
        return entry.path if entry else "ledger"

    def _insert(self, table: str, rows: Iterable[tuple[Any, ...]]) -> None:
        marks = ",".join("?" * _WIDTHS[table])
        self._database.executemany(f"INSERT INTO {table} VALUES ({marks})", map(_shortened, rows))


def _shortened(row: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(_digested(x) if isinstance(x, str) and len(x) > _LONGEST else x for x in row)


def _digested(text: str) -> str:
    return f"{text[: _LONGEST // 2]}...{hashlib.blake2b(text.encode(), digest_size=16).hexdigest()}"


def _heldout(root: Root, file: File, _: int) -> Iterator[tuple[Any, ...]]:
    for batch in batches(root, file, ["input.task", "input.messages", "input.group", "input.id"]):
        contents = map(content_hash, conversations(batch, "input.messages"))
        yield from zip(
            column(batch, "input.task"),
            contents,
            column(batch, "input.group"),
            column(batch, "input.id"),
            strict=True,
        )


def _claimed(root: Root, file: File, iteration: int) -> Iterator[tuple[Any, ...]]:
    names = ["id", "task", "content_hash", "group"]
    for batch in batches(root, file, [*names, "messages"]):
        contents = map(content_hash, conversations(batch, "messages"))
        for *known, holds in zip(*(column(batch, name) for name in names), contents, strict=True):
            yield iteration, *known, holds == known[2]


def _spans(path: str, root: Root, file: File, iteration: int) -> Iterator[tuple[Any, ...]]:
    """The first and the last row of each shard in a batch; ids are `source:shard#row` or `...#row.n`."""
    for batch in batches(root, file, [path]):
        numbers: dict[str, list[int]] = {}
        for each in column(batch, path):
            at, _, row = str(each).rpartition("#")
            numbers.setdefault(at, []).append(int(row.partition(".")[0]))
        for at, found in numbers.items():
            yield iteration, at, min(found), max(found)


def _dropped(root: Root, file: File, iteration: int) -> Iterator[tuple[Any, ...]]:
    names = ["place", "reason", "same_as", "input.id", "input.task", "input.content_hash"]
    for batch in batches(root, file, names):
        for row in zip(*(column(batch, name) for name in names), strict=True):
            yield iteration, *row


def _rejects(root: Root, file: File, iteration: int) -> Iterator[tuple[Any, ...]]:
    for batch in batches(root, file, ["place"]):
        for place in column(batch, "place"):
            yield iteration, place


def _routed(root: Root, file: File, iteration: int) -> Iterator[tuple[Any, ...]]:
    names = ["input_id", "task", "route"]
    for batch in batches(root, file, names):
        for row in zip(*(column(batch, name) for name in names), strict=True):
            yield iteration, *row


def _generated(root: Root, file: File, iteration: int) -> Iterator[tuple[Any, ...]]:
    for batch in batches(root, file, ["input.id", "weights", "error"]):
        for row in zip(*(column(batch, n) for n in ("input.id", "weights", "error")), strict=True):
            yield iteration, row[0], row[1], row[2] is not None


def _verdicts(root: Root, file: File, iteration: int) -> Iterator[tuple[Any, ...]]:
    for batch in batches(root, file, ["input.id", "weights", "reason"]):
        for row in zip(*(column(batch, n) for n in ("input.id", "weights", "reason")), strict=True):
            yield iteration, *row


def _pairs(root: Root, file: File, iteration: int) -> Iterator[tuple[Any, ...]]:
    """What may be trained on: a kept input with its answer, its twins with theirs, and System 2's calls."""
    wanted = [
        "input.id",
        "input.messages",
        "reason",
        "target",
        "twins.list.element.prompt",
        "twins.list.element.target",
        "turns.list.element.prompt",
        "turns.list.element.completion",
    ]
    for batch in batches(root, file, wanted):
        prompts = conversations(batch, "input.messages")
        names = ("input.id", "reason", "target", "twins")
        columns = [column(batch, name) for name in names]
        # Runs of before have none.
        columns.append(column(batch, "turns") if "turns" in batch.schema.names else [()] * batch.num_rows)
        for prompt, input_id, reason, target, twins, calls in zip(prompts, *columns, strict=True):
            if reason != "kept":
                continue
            yield iteration, input_id, pair_digest(prompt, str(target))
            for twin in twins or ():  # type: ignore[attr-defined]
                yield iteration, input_id, pair_digest(_turns(twin["prompt"]), twin["target"])
            for call in calls or ():  # type: ignore[attr-defined]
                yield iteration, input_id, pair_digest(_turns(call["prompt"]), call["completion"])


def _turns(messages: Sequence[Mapping[str, str]]) -> list[tuple[str, str]]:
    return [(each["role"], each["content"]) for each in messages]


def _examples(root: Root, file: File, iteration: int) -> Iterator[tuple[Any, ...]]:
    for batch in batches(root, file, ["id", "input_id", "prompt", "completion", "weights"]):
        pairs = zip(conversations(batch, "prompt"), conversations(batch, "completion"), strict=True)
        columns = (column(batch, name) for name in ("id", "input_id", "weights"))
        for (prompt, completion), example, input_id, weights in zip(pairs, *columns, strict=True):
            answer = "".join(content for _, content in completion)
            yield iteration, example, input_id, pair_digest(prompt, answer), content_hash(prompt), weights


def _trained(root: Root, file: File, iteration: int) -> Iterator[tuple[Any, ...]]:
    for batch in batches(root, file, ["id", "prompt", "completion"]):
        pairs = zip(conversations(batch, "prompt"), conversations(batch, "completion"), strict=True)
        for (prompt, completion), example in zip(pairs, column(batch, "id"), strict=True):
            yield iteration, example, pair_digest(prompt, "".join(content for _, content in completion))


_READERS = (
    ("heldout", "heldout", "heldout", _heldout),
    ("intake", "inputs", "claimed", _claimed),
    ("intake", "inputs", "delivered", partial(_spans, "id")),
    ("intake", "dropped", "delivered", partial(_spans, "input.id")),
    ("intake", "dropped", "dropped", _dropped),
    ("intake", "rejects", "reject", _rejects),
    ("triage", "routes", "routed", _routed),
    ("generate", "generations", "generated", _generated),
    ("curate", "verdicts", "verdict", _verdicts),
    ("curate", "verdicts", "pair", _pairs),
    ("pool", "examples", "example", _examples),
    ("pool", "training", "trained", _trained),
)
"""Stage, its table, where its rows go, and how they are read."""
