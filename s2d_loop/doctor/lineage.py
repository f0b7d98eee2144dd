"""The questions put to the rows: nothing lost, nothing twice, nothing held out, everything traced back.

Each is an SQL query over the tables of `rows` that finds what breaks a promise, as (round, what).
`there` names the tables that could be read: a row is only missed where its table was.
"""

from dataclasses import dataclass

from s2d_loop.doctor.findings import ALTERED, Checkup
from s2d_loop.doctor.rows import Rows

_SHOWN = 3


@dataclass(frozen=True, slots=True)
class Question:
    """A query that finds rows for which `what` is true; `stage` committed them."""

    stage: str
    what: str
    query: str


@dataclass(frozen=True, slots=True)
class Promise:
    """A check, the table whose rows it looks at, and what would break it."""

    name: str
    unit: str
    table: str
    questions: tuple[Question, ...]


_READ = "SELECT round FROM there WHERE name = "


def _one_outcome(stage: str, table: str, before: str) -> Promise:
    return Promise(
        f"one outcome for each input of {stage}",
        "rows",
        table,
        (
            Question(
                stage,
                "inputs have no row",
                f"""SELECT b.round, b.id FROM {before} b LEFT JOIN {table} t USING (id, round)
                WHERE t.id IS NULL AND b.round IN ({_READ}'{table}')""",
            ),
            Question(
                stage,
                "rows are of no input of the stage before",
                f"""SELECT t.round, t.id FROM {table} t LEFT JOIN {before} b USING (id, round)
                WHERE b.id IS NULL AND t.round IN ({_READ}'{before}')""",
            ),
            Question(
                stage,
                "inputs have more than one row",
                f"SELECT round, id FROM {table} GROUP BY id, round HAVING count(*) > 1",
            ),
        ),
    )


PROMISES = (
    Promise(
        "no input used twice",
        "inputs",
        "claimed",
        (
            Question(
                "intake",
                "inputs were claimed more than once",
                "SELECT max(round), id FROM claimed GROUP BY id HAVING count(*) > 1",
            ),
            Question(
                "intake",
                "inputs hold what an earlier one of their task holds",
                "SELECT max(round), max(id) FROM claimed GROUP BY task, content HAVING count(DISTINCT id) > 1",
            ),
            Question(
                "intake",
                "inputs don't have the content hash of what they hold",
                "SELECT round, id FROM claimed WHERE NOT holds",
            ),
        ),
    ),
    Promise(
        "one outcome for each row delivered",
        "rows not claimed",
        "dropped",
        (
            Question(
                "intake",
                "inputs were dropped and claimed, or dropped twice",
                """SELECT d.round, d.id FROM dropped d JOIN claimed c USING (id)
                UNION ALL SELECT max(round), id FROM dropped GROUP BY id HAVING count(*) > 1""",
            ),
            Question(
                "intake",
                "places have two rows that were not claimed",
                """SELECT round, 'place ' || place FROM (
                    SELECT round, place FROM dropped UNION ALL SELECT round, place FROM reject
                ) GROUP BY round, place HAVING count(*) > 1""",
            ),
            Question(
                "intake",
                "inputs were dropped for one that isn't there, or holds something else",
                """SELECT d.round, d.id || ' for ' || d.same_as FROM dropped d
                LEFT JOIN claimed c ON c.id = d.same_as AND c.task = d.task AND c.content = d.content
                WHERE d.reason = 'duplicate' AND c.id IS NULL
                UNION ALL SELECT d.round, d.id || ' for ' || d.same_as FROM dropped d
                LEFT JOIN heldout h ON h.id = d.same_as WHERE d.reason = 'matches_heldout' AND h.id IS NULL""",
            ),
        ),
    ),
    Promise(
        "held out from intake and pool",
        "held-out inputs",
        "heldout",
        (
            Question(
                "intake",
                "inputs are held out",
                "SELECT c.round, c.id FROM heldout h JOIN claimed c ON c.content = h.content",
            ),
            Question(
                "intake",
                "inputs are of a group that is held out",
                """SELECT c.round, c.id FROM heldout h
                JOIN claimed c ON c.grp = h.grp AND c.task = h.task WHERE h.grp <> '' AND c.grp <> ''""",
            ),
            Question(
                "pool",
                "examples ask what is held out",
                "SELECT e.round, e.id FROM heldout h JOIN example e ON e.content = h.content",
            ),
        ),
    ),
    Promise(
        "nothing left of forgotten sources",
        "forgotten sources",
        "forgotten",
        (
            Question(
                "intake",
                "inputs are of a source that was forgotten",
                "SELECT round, id FROM claimed JOIN forgotten ON instr(id, source || ':') = 1",
            ),
            Question(
                "pool",
                "examples are of a source that was forgotten",
                "SELECT round, input FROM example JOIN forgotten ON instr(input, source || ':') = 1",
            ),
        ),
    ),
    Promise(
        "nothing of sources under quarantine trains",
        "stages of sources under quarantine",
        "quarantined",
        (
            Question(
                "intake",
                "inputs are of a source under quarantine",
                """SELECT c.round, c.id FROM quarantined q
                JOIN claimed c ON c.round = q.round AND instr(c.id, q.source || ':') = 1 WHERE q.stage = 'intake'""",
            ),
            Question(
                "pool",
                "rows to train on are of a source under quarantine",
                """SELECT t.round, e.input FROM quarantined q JOIN trained t ON t.round = q.round
                JOIN example e ON e.id = t.id AND instr(e.input, q.source || ':') = 1 WHERE q.stage = 'pool'""",
            ),
        ),
    ),
    _one_outcome("triage", "routed", "claimed"),
    _one_outcome("generate", "generated", "asked"),
    _one_outcome("curate", "verdict", "generated"),
    Promise(
        "outcomes are those that were counted",
        "verdicts",
        "verdict",
        (
            Question(
                "curate",
                "reasons have another number of verdicts than was counted",
                f"""SELECT round, reason || ' (' || sum(rows) || ', counted ' || sum(number) || ')' FROM (
                    SELECT round, reason, count(*) AS rows, 0 AS number FROM verdict GROUP BY 1, 2
                    UNION ALL SELECT round, reason, 0, number FROM counted
                    WHERE stage = 'curate' AND round IN ({_READ}'verdict')
                ) GROUP BY round, reason HAVING sum(rows) <> sum(number)""",
            ),
            Question(
                "intake",
                "reasons have another number of rows than was counted",
                f"""SELECT round, reason || ' (' || sum(rows) || ', counted ' || sum(number) || ')' FROM (
                    SELECT round, reason, count(*) AS rows, 0 AS number FROM dropped GROUP BY 1, 2
                    UNION ALL SELECT round, 'unreadable', count(*), 0 FROM reject GROUP BY 1
                    UNION ALL SELECT round, reason, 0, number FROM counted
                    WHERE stage = 'intake' AND reason <> 'kept' AND round IN ({_READ}'dropped')
                ) GROUP BY round, reason HAVING sum(rows) <> sum(number)""",
            ),
            Question(
                "triage",
                "routes have another number of inputs than was counted",
                f"""SELECT round, reason || ' (' || sum(rows) || ', counted ' || sum(number) || ')' FROM (
                    SELECT round, iif(route IN ('system2', 'audit'), 'kept', route) AS reason,
                        count(*) AS rows, 0 AS number FROM routed GROUP BY 1, 2
                    UNION ALL SELECT round, reason, 0, number FROM counted
                    WHERE stage = 'triage' AND round IN ({_READ}'routed')
                ) GROUP BY round, reason HAVING sum(rows) <> sum(number)""",
            ),
            Question(
                "pool",
                "counts of inputs in the pool aren't those of its rows",
                f"""SELECT round, number || ' counted, ' || count(DISTINCT input) || ' there'
                FROM counted LEFT JOIN example USING (round)
                WHERE stage = 'pool' AND reason = 'kept' AND round IN ({_READ}'example')
                GROUP BY round HAVING count(DISTINCT input) <> number""",
            ),
        ),
    ),
    Promise(
        "every pool row traced back",
        "examples",
        "example",
        (
            Question(
                "pool",
                "examples are in the pool more than once",
                "SELECT max(round), id FROM example GROUP BY id HAVING count(*) > 1",
            ),
            Question(
                "pool",
                "examples come from no input that was claimed",
                f"""SELECT e.round, e.id || ' of ' || e.input FROM example e
                LEFT JOIN claimed c ON c.id = e.input AND c.round = e.round
                WHERE c.id IS NULL AND e.round IN ({_READ}'claimed')""",
            ),
            Question(
                "pool",
                "examples come from no kept verdict, or say something else than it",
                f"""SELECT e.round, e.id || ' of ' || e.input FROM example e
                LEFT JOIN pair p ON (p.input, p.round, p.digest) = (e.input, e.round, e.digest)
                WHERE p.input IS NULL AND e.round IN ({_READ}'verdict')""",
            ),
        ),
    ),
    Promise(
        "every trained row in the pool",
        "rows",
        "trained",
        (
            Question(
                "pool",
                "rows to train on are in no pool until then, or changed",
                f"""SELECT t.round, t.id FROM trained t
                LEFT JOIN example e ON e.id = t.id AND e.digest = t.digest AND e.round <= t.round
                WHERE e.id IS NULL AND t.round IN ({_READ}'example')""",
            ),
        ),
    ),
    Promise(
        "rows carry the weights that made them",
        "rows",
        "generated",
        (
            Question(
                "generate",
                "rows were made by other weights than their round's",
                """SELECT round, id || ' by ' || generated.weights FROM generated JOIN teacher USING (round)
                WHERE NOT failed AND generated.weights NOT IN (teacher.weights, 'recorded')""",
            ),
            Question(
                "curate",
                "verdicts name other weights than their generation",
                """SELECT v.round, v.id FROM verdict v JOIN generated g USING (id, round)
                WHERE v.weights <> g.weights""",
            ),
            Question(
                "pool",
                "examples name other weights than their verdict",
                """SELECT e.round, e.id FROM example e JOIN verdict v ON v.id = e.input AND v.round = e.round
                WHERE v.weights <> e.weights""",
            ),
        ),
    ),
)


def check_rows(checkup: Checkup, rows: Rows) -> None:
    """Every promise about single rows, in the order of the stages."""
    for promise in PROMISES:
        with checkup.check(promise.name, promise.unit) as check:
            check.looked = rows.count(promise.table)
            for question in promise.questions:
                for iteration, number, some in rows.broken(question.query, _SHOWN):
                    what = f"{number:,} {question.what}, such as {some}"
                    check.found(rows.where(question.stage, iteration), what, ALTERED)
