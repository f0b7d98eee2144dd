"""The report: figures from made-up ledgers, a page that is safe to open, lines for a log."""

import io
import itertools
import json
import re
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from s2d_loop.report import charts, page, show
from s2d_loop.report.console import Terminal
from s2d_loop.report.examples import pick
from s2d_loop.report.progress import LiveProgress, PlainProgress, Progress, SilentProgress, progress
from s2d_loop.report.status import print_status, status
from s2d_loop.report.summary import sentence, summary_table
from s2d_loop.report.text import duration, one_line
from s2d_loop.report.view import RunView, Score, TaskSummary
from s2d_loop.terminal import visible
from tests.unit.test_report_records import commits, example, wilson

HOSTILE = "</script><script>alert(1)</script> <img src=x onerror=alert(2)> \x1b[2J\u202e {{ 7 * 7 }}"


def printed(write: Callable[[Terminal], Any], width: int = 140) -> str:
    console = Terminal(file=io.StringIO(), width=width, color_system=None)
    write(console)
    return console.file.getvalue()  # type: ignore[attr-defined]


def strings(value: Any) -> Iterator[str]:
    """Every string in a JSON value."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for each in value.values() if isinstance(value, dict) else value:
            yield from strings(each)


# view


def test_the_start_is_the_first_evaluation_and_now_is_what_is_promoted() -> None:
    made = commits(3, hold=(3,))
    evaluations = {
        c["iteration"]: c["facts"]["by_task"]["last_letters"] for c in made if c.get("stage") == "evaluate"
    }
    summary = RunView(made).summary("last_letters")
    assert summary.system1_start is not None
    assert summary.system1_now is not None
    assert summary.system1_start.accuracy == evaluations[0]["system1"]["accuracy"]
    assert summary.system1_now.accuracy == evaluations[3]["current"]["accuracy"], "iteration 3 was held"
    assert summary.system2_start is not None
    assert summary.system2_start.accuracy == evaluations[0]["system2"]["accuracy"]
    assert summary.token_ratio == pytest.approx(61.0 / 3.1)


def test_an_evaluation_without_a_decision_is_not_yet_now() -> None:
    made = [
        c for c in commits(2) if (c.get("iteration"), c.get("stage")) not in {(2, "gate"), (2, "promote")}
    ]
    view = RunView(made)
    now = view.summary("coin_flip").system1_now
    assert now == view.measured("coin_flip")[2].current


def test_counts_are_summed_over_tasks_and_iterations() -> None:
    view = RunView(commits(3, hold=(2,)))
    assert view.promoted == [1, 3]
    assert view.held == [2]
    inputs = sum(s.inputs for task in view.tasks for _, s in view.signs(task))
    kept = sum(s.kept for task in view.tasks for _, s in view.signs(task))
    assert inputs == 6000
    assert inputs == kept + sum(view.dropped.values())
    assert next(iter(view.dropped)) == "no_winner"
    assert view.name == "demo"
    assert view.planned == 3
    assert len(view.rounds) == 3


@pytest.mark.parametrize(
    ("one", "two", "against"), [(0.9, 0.7, "above"), (0.5, 0.7, "below"), (0.71, 0.7, "level")]
)
def test_system1_is_level_with_system2_where_the_intervals_say_so(
    one: float, two: float, against: str
) -> None:
    fast, slow = Score(**wilson(one, 400), tokens=3.0), Score(**wilson(two, 400), tokens=60.0)
    summary = TaskSummary("t", "labels", fast, fast, slow, slow)
    assert summary.against_system2 == against
    assert against in sentence(summary)
    assert "20x fewer tokens" in sentence(summary)


def test_a_view_survives_missing_facts_unknown_facts_and_other_kinds() -> None:
    signs = {"t": {"new": 1, "inputs": 2, "entropy": float("nan")}}
    curated = {"kind": "stage", "iteration": 1, "stage": "curate", "facts": {"by_task": signs}}
    measured = {"t": {"system1": None}}
    evaluated = {"kind": "stage", "iteration": 0, "stage": "evaluate", "facts": {"by_task": measured}}
    lease = {"kind": "lease", "facts": {}}
    view = RunView([curated | {"seq": 3}, lease | {"seq": 1}, evaluated | {"seq": 2}])
    assert view.signs("t")[0][1].entropy is None
    assert view.summary("t").system1_now is None
    assert view.next_step == (1, "intake")
    assert "Not evaluated yet" in page.render(view, [])


@pytest.mark.parametrize(
    ("last", "step"),
    [
        (0, (0, "heldout")),  # the run record
        (1, (0, "evaluate")),
        (2, (1, "intake")),
        (5, (1, "pool")),
        (10, None),
    ],
)
def test_what_comes_next(last: int, step: tuple[int, str] | None) -> None:
    assert RunView(commits(1)[: last + 1]).next_step == step


def test_a_held_iteration_needs_no_promotion() -> None:
    assert RunView(commits(2, hold=(1,))[:10]).next_step == (2, "intake")
    assert RunView([]).next_step == (0, "heldout")


def test_a_round_that_kept_nothing_ends_with_its_pool_and_a_finished_run_has_no_next_step() -> None:
    made = commits(2)[:7]
    made[-1]["facts"]["training"] = 0
    assert RunView(made).next_step == (2, "intake")
    assert RunView([*made, {"seq": 99, "kind": "finished", "facts": {"held": False}}]).next_step is None


def test_a_probe_comes_next_where_the_config_asks_for_one() -> None:
    made = commits(1)[:4]
    made[0]["facts"]["config"]["generate"] = {"probe_inputs": 16}
    assert RunView(made).next_step == (1, "probe")


# page


@pytest.fixture(scope="module")
def hostile_page() -> str:
    made = commits(2, tasks=(HOSTILE,))
    for commit in made:
        commit.get("facts", {}).update(sentence=HOSTILE)
        for signs in commit.get("facts", {}).get("by_task", {}).values():
            if isinstance(signs, dict) and "dropped" in signs:
                signs["dropped"] = {HOSTILE: signs["inputs"] - signs["kept"]}
    made[0]["facts"]["config"]["model"]["path"] = HOSTILE
    shown = [example(1, question=HOSTILE, answer=HOSTILE), example(2, reason=HOSTILE, task=HOSTILE)]
    return page.render(RunView(made), shown)


def test_hostile_text_stays_text(hostile_page: str) -> None:
    own = hostile_page.replace(page.vega_bundle(), "")
    assert own.count("<script") == 3
    assert own.count("</script>") == 3
    assert "<img" not in own
    assert "&lt;img" in own
    assert "\x1b" not in own
    assert "\u202e" not in own
    assert "{{ 7 * 7 }}" in own, "text is never a template"


def test_hostile_text_is_whole_again_in_the_charts_data(hostile_page: str) -> None:
    data = re.search(r'<script type="application/json" id="charts">(.*?)</script>', hostile_page, re.S)
    assert data
    assert "<" not in data[1]
    assert HOSTILE in set(strings(json.loads(data[1])))


def test_the_page_loads_nothing(hostile_page: str) -> None:
    own = hostile_page.replace(page.vega_bundle(), "")
    assert not re.search(r"""(src|href|action)\s*=\s*["']""", own)
    assert not re.search(r"url\(|@import", own)
    assert not re.search(r"https?://(?!vega\.github\.io/schema/)", own)
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', own)
    assert policy
    assert "default-src 'none'" in policy[1]
    for script in re.findall(r"<script>(.*?)</script>", hostile_page, re.S):
        assert page._hash(script) in policy[1]


def test_a_run_that_has_only_begun_has_a_page() -> None:
    assert "Nothing is committed yet" in page.render(RunView([]), [])
    assert "Not evaluated yet" in page.render(RunView(commits(1)[:1]), [])


def test_signs_of_a_pinned_teacher_say_whose_they_are() -> None:
    made = commits(1)
    assert "stay the teacher" not in page.render(RunView(made), [])
    made[0]["facts"]["config"]["generate"] = {"teacher": "start"}
    assert "stay the teacher" in page.render(RunView(made), [])


def test_a_long_run_is_thinned() -> None:
    view = RunView(commits(500, tasks=("t",), hold=(7, 300)))
    accuracy, width = charts.accuracy(view, "t")
    assert width == 5
    rows = [layer["data"]["values"] for layer in accuracy["layer"] if "values" in layer.get("data", {})]
    assert max(map(len, rows)) <= 2 * charts.MOST_POINTS + 2
    outcomes, width = charts.outcomes(view, "t")
    assert width == 9
    assert len({row["iteration"] for row in outcomes["data"]["values"]}) <= charts.MOST_BARS


def test_a_page_of_months_stays_small_and_quick_and_shows_where_the_gate_turned() -> None:
    """Bounds for 500 and 1,000 iterations of two tasks, in bytes and in this process's own time."""
    tasks = ("a", "b")
    turns = (7, 300)
    page.render(RunView(commits(2, tasks=tasks)), [])  # Altair's own import
    sizes = []
    for rounds in (500, 1000):
        began = time.process_time()
        written = page.render(RunView(commits(rounds, tasks=tasks, hold=turns)), [])
        assert time.process_time() - began < 30, "a page is written after every run"
        sizes.append(len(written.encode()) - len(page.vega_bundle().encode()))
        rows = re.findall(r"<tr[^>]*>\s*<td[^>]*>\s*([\d,]+)\s*</td>", written)
        assert len(rows) <= page.NEWEST + page.MOST_EARLIER + 4 * len(tasks)
        assert {"7", "8", "300", "301"} <= set(rows)
    assert sizes[0] < 1 << 20
    assert sizes[1] < 1.2 * sizes[0], "a longer run has no larger page"


def test_thinning_keeps_the_mean_and_the_start() -> None:
    rows = [{"iteration": n, "value": float(n)} for n in range(101)]
    thinned, width = charts.thin(rows, 10)
    assert width == 11
    assert thinned[0] == {"iteration": 0, "value": 0.0, "first": 0, "last": 0}
    assert thinned[1] == {"iteration": 6, "value": 6.0, "first": 1, "last": 11}
    assert sum(row["value"] * (row["last"] - row["first"] + 1) for row in thinned) == sum(range(101))


def test_labels_at_a_lines_end_do_not_cover_one_another() -> None:
    ends = [{"iteration": 3, "value": value} for value in (0.97, 0.98, 0.99)]
    placed = sorted(row["label_y"] for row in charts._spread(ends, (0.0, 1.0), 130, log=False))
    gap = charts.LABEL_HEIGHT / 130
    assert all(b - a >= gap - 1e-9 for a, b in itertools.pairwise(placed))
    assert placed[-1] <= 1 + gap / 2


def test_examples_are_shared_out_among_tasks_and_reasons() -> None:
    rows = [example(n) for n in range(20)] + [example(n, task="coin_flip") for n in range(20)]
    picked = pick([example(0, reason="no_winner"), *rows])
    assert list(picked) == ["kept", "no_winner"]
    assert [shown.verdict.input.task for shown in picked["kept"]] == ["last_letters", "coin_flip"] * 2


# progress


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_plain_progress_says_when_a_stage_starts_ends_and_now_and_then_between() -> None:
    clock = Clock()

    def run(console: Terminal) -> None:
        lines = PlainProgress(console, clock)
        lines.run_started("demo", 3)
        with lines.stage(1, "generate", 1000) as stage:
            for _ in range(25):
                clock.now += 1
                stage.advance(20, kept=15, dropped=5, tokens=400)
        lines.note("engine 0 was replaced \x1b[2J")

    assert printed(run).splitlines() == [
        "demo: 3 iterations",
        "iteration 1/3 generate: started (1,000 rows)",
        "iteration 1/3 generate: 200/1,000 rows, 150 kept, 50 dropped, 400 tokens/s, 40.0 s left",
        "iteration 1/3 generate: 400/1,000 rows, 300 kept, 100 dropped, 400 tokens/s, 30.0 s left",
        "iteration 1/3 generate: done in 25.0 s (500/1,000 rows, 375 kept, 125 dropped, 400 tokens/s)",
        "engine 0 was replaced \\x1b[2J",
    ]


def test_a_stage_that_fails_says_so_and_raises() -> None:
    def run(console: Terminal) -> None:
        with pytest.raises(ValueError), PlainProgress(console, Clock()).stage(2, "train", 100):
            raise ValueError("bad")

    assert printed(run).splitlines()[0] == "iteration 2/0 train: started (100 steps)"
    assert printed(run).splitlines()[-1] == "iteration 2/0 train: stopped after 0.0 s by ValueError"


def test_a_pipe_gets_plain_lines_and_no_colour() -> None:
    console = Terminal(file=io.StringIO())
    assert isinstance(progress(console), PlainProgress)


def test_no_color_is_respected_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    console = Terminal(file=io.StringIO(), force_terminal=True, width=120)
    live = LiveProgress(console, Clock())
    live.run_started("demo", 1)
    with live.stage(1, "curate", 10) as stage:
        stage.advance(10, kept=9, dropped=1)
    live.finished(RunView(commits(1)), "report.html")
    said = console.file.getvalue()  # type: ignore[attr-defined]
    assert "done in 0.0 s (10/10 rows, 9 kept, 1 dropped)" in said
    assert not re.search(r"\x1b\[[0-9;]*(3[0-7]|9[0-7])[;m]", said)


def test_the_silent_progress_is_a_progress() -> None:
    silent: Progress = SilentProgress()
    silent.run_started("demo", 1)
    with silent.stage(1, "train", 10) as stage:
        stage.advance(loss=0.3)
    silent.note("x")
    silent.finished(RunView([]))


def test_the_end_is_a_table_and_the_pages_path() -> None:
    view = RunView(commits(3))
    said = printed(lambda console: PlainProgress(console).finished(view, "/runs/demo/report.html"))
    assert "demo: 3 iterations, 3 promoted" in said
    assert "20x" in said
    assert said.rstrip().endswith("Report: /runs/demo/report.html")
    now = view.summary("last_letters").system1_now
    assert now is not None
    assert f"{100 * now.accuracy:.1f} %" in said  # type: ignore[operator]


def test_the_page_shows_no_secret_of_a_run_whose_configuration_holds_one() -> None:
    """None gets in today; a run of an earlier version may hold one."""
    options = {"sasl.password": "hunter2", "sasl.username": "me", "ssl.key.password": "$KEY_PASSWORD"}
    config = {"sources": [{"path": "kafka://me:hunter2@broker/topic", "options": options}]}
    said = page.render(RunView([{"seq": 1, "kind": "run", "facts": {"config": config}}]), [])
    assert "kafka://broker/topic" in said
    assert "$KEY_PASSWORD" in said
    assert "sasl.password" in said
    assert "hunter2" not in said


# status and show


def test_status_says_where_a_run_stands() -> None:
    view = RunView(commits(3)[:14])
    state = json.loads(json.dumps(status(view)))
    assert state["iteration"] == 2
    assert state["committed"] == ["intake", "generate", "curate"]
    assert state["next"] == {"iteration": 2, "stage": "pool"}
    last = state["last_commit"]
    assert last["in"] == last["out"] + sum(last["dropped"].values())
    assert state["inputs"] == state["kept"] + sum(state["dropped"].values())
    said = printed(lambda console: print_status(console, view))
    assert "pool of iteration 2" in said
    assert "2 of 3" in said
    assert "nothing is committed yet" in printed(lambda console: print_status(console, RunView([])))


def test_samples_of_one_outcome() -> None:
    verdicts = [example(n, reason).verdict for n, reason in enumerate(("kept", "no_winner", "kept", "kept"))]
    said = printed(lambda console: show.show_samples(console, verdicts, limit=2))
    assert "kept: 2 inputs" in said
    assert "kd x6, dk x1" in said
    lines = printed(lambda c: show.show_samples(c, verdicts, reason="no_winner", as_json=True), width=20)
    assert [json.loads(line)["reason"] for line in lines.splitlines()] == ["no_winner"]
    assert "No input has the outcome gone" in printed(lambda c: show.show_samples(c, verdicts, reason="gone"))
    said = printed(lambda c: show.show_outcomes(c, verdicts, as_json=True))
    assert [json.loads(line)["inputs"] for line in said.splitlines()] == [3, 1]


def test_one_input_in_full_with_hostile_text_made_visible() -> None:
    shown = example(5, question=HOSTILE + " [red]x[/red]")
    assert shown.generation
    rows = [shown.verdict], [shown.generation]
    said = printed(lambda console: show.show_input(console, shown.verdict.input.id, *rows))
    assert "\x1b" not in said
    assert "\\x1b[2J" in said
    assert "[red]x[/red]" in said
    assert "rar_2step: 16 calls, 488 tokens" in said
    assert "sample 0, respond 1" in said
    as_json = printed(lambda console: show.show_input(console, shown.verdict.input.id, *rows, as_json=True))
    assert json.loads(as_json)["generation"]["program"] == "rar_2step"
    assert "No input nope here." in printed(lambda console: show.show_input(console, "nope", *rows))


# text


def test_text_is_made_harmless_and_short() -> None:
    assert visible("a\x1b]0;t\x07b\u202ec\n") == "a\\x1b]0;t\\x07b\\u202ec\n"
    assert visible("abcdef", 2) == "ab ... (4 more characters)"
    assert one_line("a\n  b" + "c" * 100, 10) == "a bcccc..."


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0.04, "0.0 s"),
        (59.96, "1 min"),
        (200, "3 min 20 s"),
        (3600, "1 h"),
        (18720, "5 h 12 min"),
        (187200, "2 d 4 h"),
    ],
)
def test_durations_are_said_as_people_say_them(seconds: float, said: str) -> None:
    assert duration(seconds) == said


def test_the_summary_table_has_a_row_a_task() -> None:
    assert summary_table(RunView(commits(1))).row_count == 2
