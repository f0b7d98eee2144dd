"""Tasks that are only data: what a file says is what it does, and what is wrong in it is named."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from s2d_loop.errors import BadInputError
from s2d_loop.preflight import for_workers
from s2d_loop.submit.check import check_from_here
from s2d_loop.system2.scripted import question
from s2d_loop.tasks.base import Task
from s2d_loop.tasks.data import AnswerFile, DataTask, PerturbationFile, TaskFile
from s2d_loop.tasks.registry import load_task
from tests.support.scripted import letters_config

GOOD = """\
name: verdict
answer:
  pattern: 'answer is (\\w+)|^(\\w+)\\.?$'
  normalize: [case]
format: The answer is {answer}.
examples:
  "I think the answer is **no**. No: the answer is Yes!": "yes"
  "Yes.": "yes"
  "Who knows?": null
perturbations:
  shout:
    find: 'heads (\\w+)'
    replace: 'HEADS \\1'
"""


@pytest.fixture
def write(tmp_path: Path):  # type: ignore[no-untyped-def]
    def write(text: str) -> str:
        path = tmp_path / "verdict.yaml"
        path.write_text(text)
        return str(path)

    return write


def complaint(path: str) -> str:
    with pytest.raises(BadInputError) as caught:
        load_task(path)
    return str(caught.value)


def made(pattern: str, **answer: object) -> DataTask:
    read = AnswerFile.model_validate({"pattern": pattern, **answer})
    return DataTask(TaskFile(name="t", answer=read, examples={"": None}))


def test_a_file_is_a_task(write) -> None:  # type: ignore[no-untyped-def]
    task = load_task(write(GOOD), ["shout"])
    assert isinstance(task, Task)
    assert task.name == "verdict"
    assert task.parse("The answer is YES, surely") == "yes"
    assert task.parse("yes") == "yes"
    assert task.parse(task.format("no")) == "no"
    assert task.score("yes", "Yes")
    assert not task.score("yes", "no")
    assert not task.score(None, "yes")


def test_a_perturbation_substitutes_in_the_question(write) -> None:  # type: ignore[no-untyped-def]
    shout = load_task(write(GOOD)).perturbations["shout"]
    twin = shout.twin(question("A coin is heads up."))
    assert twin is not None
    assert twin.question == "A coin is HEADS up."
    assert shout.twin(question("A coin.")) is None


@pytest.mark.parametrize(
    ("take", "reply", "answer"),
    [("last", "1 then 2", "2"), ("first", "1 then 2", "1"), ("last", "none", None)],
)
def test_which_match_counts(take: str, reply: str, answer: str | None) -> None:
    assert made(r"\d", take=take).parse(reply) == answer


@pytest.mark.parametrize(
    ("normalize", "text", "answer"),
    [
        ([], " So  So ", "So So"),
        (["case"], "SO", "so"),
        (["punctuation"], "s-o, *now*!", "so now"),
        (["punctuation"], "***", None),
        (["number"], "$1,200.50", "1200.5"),
        (["number"], "1200.50.", "1200.5"),
        (["number"], "-0", "0"),
        (["number"], "100 %", "100"),
        (["number"], "about 7", None),
        (["number"], "1.2.3", None),
    ],
)
def test_what_makes_no_difference(normalize: list[str], text: str, answer: str | None) -> None:
    assert made("(?s).+", normalize=normalize).parse(text) == answer


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("-$5", "-5"),
        ("\u22125", "-5"),
        ("\uff11\uff18", "18"),
        ("1,5", "1.5"),
        ("1.234,50 \u20ac", "1234.5"),
        ("12,34,567", "1234567"),
        ("1.2 x 10^3", "1200"),
        ("3/4", "0.75"),
        ("1/3", "1/3"),
        ("3 to 5", None),
        ("3:30", None),
    ],
)
def test_numbers_are_read_as_everywhere_else(text: str, answer: str | None) -> None:
    assert made("(?s).+", normalize=["number"]).parse(text) == answer


def test_a_pattern_reads_what_follows_the_thoughts() -> None:
    task = made(r"answer is (\w+)")
    assert task.parse("<think>\nThe answer is no?\n</think>\n\nIt seems that the answer is yes") == "yes"
    assert task.parse("<think>\nThe answer is no?\n</think>\n\nWho knows") is None
    assert task.parse("<think>\nThe answer is no") is None


def test_of_a_very_long_text_the_end_is_read_and_a_start_is_still_a_start() -> None:
    filler = "so and so " * 20_000
    assert made(r"^(\w+)").parse(filler) is None
    assert made(r"^(\w+)", take="first").parse(filler) == "so"
    assert made(r"is (\w+)$").parse(f"it is no {filler}it is yes") == "yes"


def test_a_perturbation_that_would_take_for_ever_makes_no_twin() -> None:
    file = TaskFile(
        name="t",
        answer=AnswerFile(pattern=r"\w+"),
        examples={"": None},
        perturbations={"slow": PerturbationFile(find=r"^(([a-z])+.)+[A-Z]([a-z])+$", replace="x")},
    )
    assert DataTask(file).perturbations["slow"].twin(question("a" * 100_000)) is None


def test_a_match_with_nothing_in_it_is_passed_over() -> None:
    assert made(r"\S+", normalize=["punctuation"]).parse("so ---") == "so"


@given(st.text(), st.sampled_from([[], ["case"], ["punctuation"], ["number"], ["case", "punctuation"]]))
def test_it_never_raises_and_reads_back_what_it_formats(reply: str, normalize: list[str]) -> None:
    task = made("(?s).+", normalize=normalize)
    answer = task.parse(reply)
    if answer is not None:
        assert task.parse(task.format(answer)) == answer
        assert task.score(answer, reply)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (
            "normalize: [case]",
            "normalise: [case]",
            ":4: answer.normalise: no such key, did you mean 'normalize'?",
        ),
        ("normalize: [case]", "normalize: [caps]", ":4: answer.normalize.0: "),
        (
            "normalize: [case]",
            "normalize: [number, punctuation]",
            ":4: answer.normalize: `punctuation` would",
        ),
        ("normalize: [case]", "take: middle", ":4: answer.take: "),
        ("name: verdict\n", "", ": name: missing"),
        ("(\\w+)|", "(\\w+|", ":3: answer.pattern: not a regular expression"),
        ("is {answer}.", "is.", ":5: format: wanted `{answer}` once"),
        ("The answer is {answer}.", "So {answer}!", "which the pattern doesn't read back"),
        ('"Yes.": "yes"', '"Yes.": "no"', ":8: examples.Yes.: the pattern reads 'yes' in it, not 'no'"),
        ("\\1", "\\2", ":13: perturbations.shout.replace: invalid group reference 2"),
        ("find: 'heads", "find: '(heads", ":12: perturbations.shout.find: not a regular expression"),
        (GOOD, "- a list", "wanted sections"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(write, old: str, new: str, said: str) -> None:  # type: ignore[no-untyped-def]
    assert old in GOOD
    path = write(GOOD.replace(old, new))
    text = complaint(path)
    assert path in text
    assert said in text


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    assert "no such file" in complaint(str(tmp_path / "nowhere.yaml"))


def test_a_perturbation_that_it_has_not(write) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(BadInputError, match="has no 'whisper'"):
        load_task(write(GOOD), ["whisper"])


def test_workers_are_given_its_full_path(write, monkeypatch, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    """A worker process may run in another directory."""
    write(GOOD)
    monkeypatch.chdir(tmp_path)
    config = letters_config(tmp_path)
    task = config.tasks["letters"].model_copy(update={"parser": "verdict.yaml"})
    config = config.model_copy(update={"tasks": {"letters": task, "plain": config.tasks["letters"]}})
    tasks = for_workers(config).tasks
    assert tasks["letters"].parser == str(tmp_path / "verdict.yaml")
    assert tasks["plain"].parser == "last_letters"


def test_a_job_on_a_cluster_needs_full_paths(write, monkeypatch, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    write(GOOD)
    monkeypatch.chdir(tmp_path)
    config = letters_config(tmp_path, generate__recorded=["calls.jsonl"])
    task = config.tasks["letters"].model_copy(update={"parser": "verdict.yaml"})
    with pytest.raises(BadInputError) as caught:
        check_from_here(config.model_copy(update={"tasks": {"letters": task}}))
    assert "tasks.letters.parser: 'verdict.yaml' starts at the current directory" in str(caught.value)
    assert "generate.recorded.0: 'calls.jsonl' starts at the current directory" in str(caught.value)
    task = task.model_copy(update={"parser": "/not/here.yaml"})
    there = config.generate.model_copy(update={"recorded": ["/not/here.jsonl"]})
    unseen = check_from_here(config.model_copy(update={"tasks": {"letters": task}, "generate": there}))
    assert {"tasks.letters.parser (/not/here.yaml)", "generate.recorded.0 (/not/here.jsonl)"} <= set(unseen)
