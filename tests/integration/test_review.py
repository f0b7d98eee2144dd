"""`s2d review` on a run: labels beside a loop, the gate that measures against them, and the page in a browser."""

import contextlib
import json
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from s2d_loop.clock import SystemClock
from s2d_loop.doctor import examine
from s2d_loop.errors import ExitCode
from s2d_loop.evaluate.metrics import paired_difference
from s2d_loop.labels import LabelError, Labels, read_labels
from s2d_loop.ledger import Ledger
from s2d_loop.loop import run_loop
from s2d_loop.records import HeldOut, Scored, rows
from s2d_loop.report.heldout import compared
from s2d_loop.review.items import items
from s2d_loop.review.server import Server
from s2d_loop.review.sitting import NONE_OF_THESE, Sitting
from s2d_loop.review.summary import as_text, summary
from s2d_loop.stages.evaluate import references_of
from s2d_loop.store import LocalStore
from tests.support.runs import finished
from tests.support.scripted import letters, letters_config, question, scripted_run, words, write_questions

HOSTILE = '</script><script>window.ran = 1</script><img src=x onerror="window.ran = 1">'


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of one round whose held-out inputs have no references; one of them is hostile."""
    folder = tmp_path_factory.mktemp("review")
    write_questions(folder / "stream.jsonl", words(1, 70))
    write_questions(folder / "heldout.jsonl", words(2, 19), labels=False)
    with (folder / "heldout.jsonl").open("a") as file:
        file.write(json.dumps({"prompt": f"{HOSTILE} {question(('abc', 'def'))}"}) + "\n")
    finished(letters_config(folder, run__iterations=1))
    return folder


@pytest.fixture
def folder(original: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(original, tmp_path / "copy", symlinks=True))


def reread(folder: Path) -> Ledger:
    return Ledger(LocalStore(str(folder / "run")), SystemClock())


def truth(text: str) -> str:
    found = re.search(r'"(\w+) (\w+)"', text)
    assert found is not None
    return letters((found[1], found[2]))


def label_all(folder: Path, rater: str, *, wrong_every: int = 0) -> None:
    """Label everything there is, as a person who knows the answers (but for every so many)."""
    ledger = reread(folder)
    page = Sitting(rater, items(ledger), Labels(ledger.store), SystemClock())
    number = 0
    while (item := page.shown()["item"]) is not None:
        number += 1
        right = truth(item["turns"][-1][1])
        choice = item["answers"].index(right) + 1 if right in item["answers"] else NONE_OF_THESE
        if wrong_every and number % wrong_every == 0:
            choice = 1 if choice != 1 else NONE_OF_THESE
        page.label(item["key"], choice)


def go_on(folder: Path) -> Ledger:
    run_loop(scripted_run(letters_config(folder, run__iterations=2)))
    return reread(folder)


def scored(ledger: Ledger, iteration: int) -> dict[str, Scored]:
    record = ledger.stage(iteration, "evaluate")
    assert record is not None
    found = rows(ledger.tables(record, "scored"), Scored)
    return {each.input_id: each for each in found if each.system == "system1"}


def test_the_gate_compares_both_systems_with_the_labels_that_came_meanwhile(folder: Path) -> None:
    label_all(folder, "ada")
    ledger = go_on(folder)
    evaluated, decided = ledger.stage(2, "evaluate"), ledger.stage(2, "gate")
    fixed = ledger.stage(0, "heldout")
    assert evaluated is not None
    assert decided is not None
    assert fixed is not None
    facts = evaluated.facts["by_task"]["letters"]
    assert facts["reference"] == "review"
    assert facts["references"]["review"] == 20
    right = {x.input.id: truth(x.input.question) for x in rows(ledger.tables(fixed, "heldout"), HeldOut)}
    before, after = scored(ledger, 1), scored(ledger, 2)
    # A new answer where none of those there were was right: the labels can't tell, and the gate doesn't count it.
    seen = [name for name, each in after.items() if each.correct is not None]
    assert len(seen) > 10
    assert all((after[name].answer == right[name]) == after[name].correct for name in seen)
    expected = paired_difference(
        [before[name].answer == right[name] for name in seen],
        [after[name].answer == right[name] for name in seen],
    )
    found = decided.facts["by_task"]["letters"]
    assert (found["difference"], found["n"]) == (pytest.approx(expected.value), len(seen))
    assert any(before[name].correct != (before[name].answer == right[name]) for name in seen), (
        "against the votes the earlier answers had been scored otherwise"
    )


def test_a_decision_rests_on_the_labels_that_were_there(folder: Path) -> None:
    label_all(folder, "ada")
    ledger = go_on(folder)
    evaluated = ledger.stage(2, "evaluate")
    assert evaluated is not None
    before = references_of(scripted_run(letters_config(folder, run__iterations=2)), evaluated)
    for rater in ("bob", "cyd"):
        label_all(folder, rater, wrong_every=2)
    assert references_of(scripted_run(letters_config(folder, run__iterations=2)), evaluated) == before
    assert examine(str(folder / "run")).findings == []
    Path(folder, "run/labels/ada/00000003.json").unlink()
    with pytest.raises(LabelError, match=r"labels/ada/00000003.json is missing"):
        references_of(scripted_run(letters_config(folder, run__iterations=2)), evaluated)


def test_each_systems_accuracy_by_round_is_a_fact(folder: Path) -> None:
    label_all(folder, "ada")
    ledger = go_on(folder)
    evaluated = ledger.stage(2, "evaluate")
    assert evaluated is not None
    (row,) = evaluated.facts["audited"]["letters"]
    assert row["round"] == 1
    assert row["n"] == 20
    # The script: System 1 starts at 0.1, each of System 2's five samples is right with 0.7.
    assert row["system1"] < 0.5 < row["system2"]


def test_the_rows_behind_the_gates_figures_can_be_shown(folder: Path) -> None:
    label_all(folder, "ada")
    ledger = go_on(folder)
    decided = ledger.stage(2, "gate")
    assert decided is not None
    found = list(compared(ledger, 2))
    gained, lost = (sum(each.is_of(change) for each in found) for change in ("gained", "lost"))
    cell = decided.facts["by_task"]["letters"]
    assert (gained - lost) / cell["n"] == pytest.approx(cell["difference"])
    assert gained
    assert {each.reference for each in found} == {"review"}


def test_labels_take_no_lease_from_a_driver(folder: Path) -> None:
    config = letters_config(folder, run__iterations=2)
    run = scripted_run(config)
    label_all(folder, "ada")
    run_loop(run)
    assert run.ledger.stage(2, "gate") is not None


def test_a_run_without_labels_measures_against_votes(original: Path) -> None:
    evaluated = reread(original).stage(1, "evaluate")
    assert evaluated is not None
    assert evaluated.facts["by_task"]["letters"]["reference"] == "vote"
    assert evaluated.facts["labels"] == {}
    assert as_text(summary(reread(original))) == ["Nothing is labelled yet: s2d review RUN --rater NAME"]


@pytest.mark.parametrize(
    ("harm", "file", "what"),
    [
        (lambda run: (run / "labels/ada/00000002.json").write_text("{}"), "00000002.json", "is damaged"),
        (lambda run: (run / "labels/ada/00000002.json").unlink(), "00000002.json", "is missing"),
        (lambda run: (run / "labels/ada/note.txt").write_text("!"), "note.txt", "is no label"),
        (lambda run: shutil.rmtree(run / "labels/bob"), "labels/bob", "what evaluate of round 2 read"),
    ],
)
def test_the_doctor_finds_harmed_labels(folder: Path, harm: Any, file: str, what: str) -> None:
    for rater in ("ada", "bob"):
        label_all(folder, rater)
    go_on(folder)
    harm(folder / "run")
    found = [each for _, each in examine(str(folder / "run")).findings]
    assert any(file in each.file and what in each.what for each in found), found


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("no chromium on this machine")
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with api.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox"], timeout=60_000)
        yield browser
        browser.close()


def labelled(page: Any, count: int) -> None:
    """Returns once the page says so many."""
    from playwright.sync_api import expect

    expect(page.locator("#done")).to_have_text(re.compile(rf"^{count} of "), timeout=20_000)


@contextlib.contextmanager
def reviewing(run: Path, rater: str) -> Iterator[tuple[str, "subprocess.Popen[str]"]]:
    """`s2d review` and the address it names; it is ended with the context, whatever happened."""
    command = [sys.executable, "-m", "s2d_loop.cli", "review", str(run), "--rater", rater, "--json"]
    # What is started in the background, these tests perhaps, ignores Ctrl-C, and so would its children.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        signal.signal(signal.SIGINT, before)
        try:
            assert process.stdout is not None
            yield process.stdout.readline().removeprefix("Label at ").strip(), process
        finally:
            process.kill()


def test_two_raters_label_in_a_browser(folder: Path, browser: Any) -> None:
    store = LocalStore(str(folder / "run"))
    asked: list[str] = []
    page = browser.new_page()
    page.on("request", lambda request: asked.append(request.url))
    with reviewing(folder / "run", "ada") as (url, process):
        page.goto(url)
        labelled(page, 0)
        first = page.inner_text("#turns")
        for number, key in enumerate(("1", "0", " "), 1):
            page.keyboard.press(key)
            labelled(page, number)
        page.keyboard.press("u")
        labelled(page, 2)
        page.keyboard.press("9")  # there is no ninth answer
        page.click("#answers button >> nth=0")
        labelled(page, 3)
        blind = page.content().lower()
        assert not any(name in blind for name in ("system1", "system2", "system 1", "system 2", "heldout/"))
        count = 3
        while HOSTILE not in page.inner_text("#turns"):
            page.keyboard.press("1")
            labelled(page, count := count + 1)
        assert page.evaluate("window.ran") is None
        assert all(each.startswith(url) or each == "data:," for each in asked), "it loads nothing else"
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=30)
        assert process.returncode == ExitCode.DONE
    ada = read_labels(store).of("ada")
    assert [label.said for label in ada[:5]] == ["right", "none", "unsure", "undone", "right"]
    assert ada[3].input_id == ada[2].input_id == ada[4].input_id
    assert json.loads(out.splitlines()[-1])["raters"]["ada"]["none"] == 1
    ledger = reread(folder)
    with Server(Sitting("bob", items(ledger), Labels(store), SystemClock())) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        page.goto(server.url)
        labelled(page, 0)
        assert page.inner_text("#turns") == first, "raters are asked the same"
        for number in (1, 2):
            page.keyboard.press("0")
            labelled(page, number)
        assert "ada and bob: 2 inputs labelled by both, the same label for 50.0 %" in page.inner_text(
            "#agreement"
        )
        server.shutdown()
        thread.join()
    page.close()
