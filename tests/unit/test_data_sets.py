"""The paper's data sets: what each holds, that its sides share nothing, and what `s2d data` says."""

import asyncio
import contextlib
import io
import json
import os
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from s2d_loop.cli import main
from s2d_loop.config import Config, load
from s2d_loop.data import coin_flip, last_letters, mt_bench, oasst, sycophancy
from s2d_loop.data.base import TEST, TRAIN, VALIDATION, Wanted, shuffled
from s2d_loop.data.folder import MANIFEST
from s2d_loop.data.registry import SETS, find_set
from s2d_loop.data.words import NAMES, WORDS
from s2d_loop.errors import BadInputError
from s2d_loop.evaluate.judges import Agreement, Judged, agreement, ruling
from s2d_loop.recorded import Recording, read_records, recording_of
from s2d_loop.records import HeldOut, Input, Message, Messages, Reply, Request, Sampling
from s2d_loop.sources import open_source, read_heldout
from s2d_loop.system2.judge_cot import judge_cot
from s2d_loop.tasks.coin_flip import CoinFlip, swap_people
from s2d_loop.tasks.last_letters import LastLetters
from s2d_loop.tasks.pairwise import Pairwise, swap, swapped_verdict, votes

DATA = os.environ.get("S2D_DATA")
CONFIGS = Path(__file__).parents[2] / "configs" / "paper"
Row = Mapping[str, Any]
quick = settings(max_examples=40, deadline=None)
seeds = st.integers(0, 2**40)


def write(path: Path, rows: Sequence[Row]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@dataclass(frozen=True)
class Done:
    returncode: int
    stdout: str
    stderr: str


def data(*args: object) -> Done:
    """`s2d data` in this process."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), pytest.raises(SystemExit) as ended:
        main(["data", *map(str, args)])
    return Done(int(ended.value.code or 0), out.getvalue(), err.getvalue())


def refused(*args: object) -> str:
    """The message of a command that must fail for what a person gave it."""
    done = data(*args)
    assert (done.returncode, done.stdout) == (2, "")
    return done.stderr


# Draws


def test_an_order_follows_from_the_seed_and_the_purpose_alone() -> None:
    deck = [str(n) for n in range(50)]
    first = shuffled(deck, 1, "one")
    assert sorted(first) == sorted(deck)
    assert first == shuffled(reversed(deck), 1, "one")
    assert len({tuple(shuffled(deck, seed, what)) for seed in (1, 2) for what in ("one", "two")}) == 4


# Last letters


def test_the_shipped_words_and_names_are_enough_and_all_differ() -> None:
    for shipped in (WORDS, NAMES):
        assert len({*shipped}) == len(shipped)
        assert all(re.fullmatch("[a-z]{2,}", word) for word in shipped)
    assert len(WORDS) >= 1200
    assert len(NAMES) * (len(NAMES) - 1) // 2 >= sum(coin_flip.SIZES.values())


words = st.lists(st.text("abcdefgxyz", min_size=1, max_size=6), unique=True, min_size=12, max_size=60)


@quick
@given(words, seeds, st.tuples(*[st.integers(0, 2)] * 3))
def test_no_word_stands_in_two_questions(words: list[str], seed: int, sizes: tuple[int, ...]) -> None:
    wanted = dict(zip((TRAIN, VALIDATION, TEST), sizes, strict=True))
    made = last_letters.questions(words, seed=seed, sizes=wanted)
    assert {name: len(rows) for name, rows in made.items()} == wanted
    asked = [word for rows in made.values() for row in rows for word in quoted(row["prompt"])]
    assert len(asked) == 2 * sum(sizes)
    assert len({word.lower() for word in asked}) == len(asked)
    assert {word.lower() for word in asked} <= {*words}


def quoted(prompt: str) -> list[str]:
    return re.fullmatch('Take the last letters of the words in "(.*)" and concatenate them.', prompt)[
        1
    ].split()


def test_the_reference_is_what_the_question_asks_for() -> None:
    for row in last_letters.questions(WORDS, seed=5, sizes={TEST: 50})[TEST]:
        a, b = quoted(row["prompt"])
        assert a.istitle()
        assert LastLetters().score((a[-1] + b[-1]).lower(), row["answer"])


def test_a_file_of_words_replaces_ours(tmp_path: Path) -> None:
    made_up = [a + b + c for a in "bcdfghjklmnp" for b in "aeiou" for c in "bcdfghjklmnpqrstvwxyz"]
    path = tmp_path / "mine.txt"
    path.write_text("\ufeffBab\n\nbab\n" + "\n".join(made_up[1:]))
    assert last_letters.read_words(path) == made_up
    done = data("last_letters", "--out", tmp_path / "set", "--words", path)
    assert done.returncode == 0, done.stderr
    asked = {word.lower() for row in read(tmp_path / "set" / TRAIN) for word in quoted(row["prompt"])}
    assert asked <= {*made_up}
    assert "--words .../mine.txt" in (tmp_path / "set" / MANIFEST).read_text()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"apple\nlast night\n", ":2: 'last night' is not one word"),
        (b"caf\xc3\xa9\n", "'caf\\xe9' is not one word"),
        (b"apple\xff\n", "it is not UTF-8 text"),
        (b"apple\npear\nApple\n", "1,200 different words are needed, there are 2"),
        (None, "can't be read: No such file"),
    ],
)
def test_words_that_cannot_be_used_are_named(tmp_path: Path, content: bytes | None, said: str) -> None:
    path = tmp_path / "words.txt"
    if content is not None:
        path.write_bytes(content)
    assert said in refused("last_letters", "--out", tmp_path / "set", "--words", path).replace(
        "\u00e9", "\\xe9"
    )
    assert not (tmp_path / "set").exists()


# Coin flip


@quick
@given(seeds, st.tuples(*[st.integers(0, 12)] * 3))
def test_no_two_people_are_asked_about_twice_and_answers_are_balanced(
    seed: int, halves: tuple[int, ...]
) -> None:
    sizes = {name: 2 * half for name, half in zip((TRAIN, VALIDATION, TEST), halves, strict=True)}
    made = coin_flip.questions(NAMES[:13], seed=seed, sizes=sizes)
    assert {name: len(rows) for name, rows in made.items()} == sizes
    pairs = [
        frozenset(re.findall(r"(\w+) (?:flips|does not flip)", row["prompt"]))
        for rows in made.values()
        for row in rows
    ]
    assert all(len(pair) == 2 for pair in pairs)
    assert len({*pairs}) == len(pairs)
    for name, rows in made.items():
        assert Counter(row["answer"] for row in rows)["yes"] == sizes[name] / 2


def test_a_coin_is_still_heads_up_after_an_even_number_of_flips() -> None:
    rows = coin_flip.questions(NAMES, seed=0, sizes={TEST: 400})[TEST]
    for row in rows:
        even = row["prompt"].count(" flips the coin.") % 2 == 0
        assert CoinFlip().score("yes" if even else "no", row["answer"])
        assert row["prompt"].endswith("coin.  Is the coin still heads up?"), (
            "two spaces, as in the public set"
        )
        assert swap_people((Message("user", row["prompt"]),)), "the task knows the public wording"
    acts = Counter(tuple(re.findall(r"(flips|does not flip) the", row["prompt"])) for row in rows)
    assert set(acts.values()) == {100}, "each of the four cases equally often"
    first = sum(NAMES.index(a) < NAMES.index(b) for a, b in (names_of(row) for row in rows))
    assert first == 200, "and either of the two is first"


def names_of(row: Row) -> list[str]:
    return re.findall(r"(\w+) (?:flips|does not flip)", row["prompt"])


def test_too_few_names_are_refused() -> None:
    with pytest.raises(BadInputError, match="7 pairs of names are needed, there are 6"):
        coin_flip.questions(NAMES[:4], seed=0, sizes={TEST: 7})


# Sycophancy

TEMPLATES = ("{question}", "{question} I think yes.", "{question} I think no.", "{question} I doubt it.")


def asked_by_all(
    question: str, dataset: str = "trivia_qa", templates: Sequence[str] = TEMPLATES
) -> list[Row]:
    base = {"dataset": dataset, "question": question, "correct_answer": "Ann", "incorrect_answer": "Bo"}
    graded = {"answer": ["Ann", "Ann Lee"]} if dataset == "trivia_qa" else {"letters": "ABCD"}
    return [
        {
            "prompt": [{"type": "human", "content": each.format(question=question)}],
            "base": base | graded,
            "metadata": {"prompt_template": each},
        }
        for each in templates
    ]


def question_of(row: Row) -> str:
    return str(row["base"]["question"])


@quick
@given(seeds, st.integers(1, 6), st.integers(0, 4), st.integers(0, 3), st.randoms(use_true_random=False))
def test_a_question_is_on_one_side_whatever_it_is_asked_by(
    seed: int, questions: int, truthful: int, left: int, order: Any
) -> None:
    rows = [row for n in range(questions + left) for row in asked_by_all(f"Who is {n}?")]
    rows += [row for n in range(truthful) for row in asked_by_all(f"Is {n}?", "truthful_qa")]
    rows += asked_by_all("Who is half?", templates=TEMPLATES[:2])
    order.shuffle(rows)
    opinions, plain = 3 * questions - 1, questions
    made = sycophancy.held_apart(rows, seed=seed, questions=questions, opinions=opinions, plain=plain)
    test, train = made[TEST], made[TRAIN]
    assert not {*map(question_of, test)} & {*map(question_of, train)}
    assert len(train) == len(rows) - 4 * questions
    templates = Counter(row["metadata"]["prompt_template"] == "{question}" for row in test)
    assert templates == +Counter({True: plain, False: opinions})
    assert {row["base"]["dataset"] for row in test} == {"trivia_qa"}, "what can be graded"
    assert "Who is half?" in map(question_of, train)
    places = [rows.index(row) for row in train if row["base"]["dataset"] == "trivia_qa"]
    assert places == sorted(places)


def test_as_many_questions_as_the_public_file_has_give_the_papers_sizes(tmp_path: Path) -> None:
    rows = [row for n in range(1000) for row in asked_by_all(f"Who is {n}?")]
    rows += [row for n in range(817) for row in asked_by_all(f"Is {n}?", "truthful_qa")]
    done = data("sycophancy", "--from", write(tmp_path / "answer.jsonl", rows), "--out", tmp_path / "set")
    assert done.returncode == 0, done.stderr
    assert re.search(r"train\.jsonl +6,668 rows +6,668 inputs +1,667 questions\n", done.stdout)
    assert re.search(r"test\.jsonl +400 rows", done.stdout)
    assert "the paper" not in done.stdout


def test_too_few_gradable_questions_are_refused(tmp_path: Path) -> None:
    rows = [*asked_by_all("Who?"), *asked_by_all("Is it?", "truthful_qa")]
    path = write(tmp_path / "answer.jsonl", rows)
    said = refused("sycophancy", "--from", path, "--out", tmp_path / "set")
    assert "150 questions of trivia_qa by 4 templates are needed, there are 1" in said
    write(path, [{"prompt": "Who?"}])
    assert "row 0: " in refused("sycophancy", "--from", tmp_path, "--out", tmp_path / "set")


# Open Assistant


def tree(question: str, *ranks: int | None, lang: str = "en") -> dict[str, Any]:
    replies = [
        {
            "message_id": f"{question}/{n}",
            "parent_id": question,
            "role": "assistant",
            "text": f"{question} reply {n}",
            "lang": lang,
            **({} if rank is None else {"rank": rank}),
            "synthetic": False,
            "deleted": False,
            "replies": [{"message_id": f"{question}/{n}/0", "text": "And?", "lang": lang, "replies": []}],
        }
        for n, rank in enumerate(ranks)
    ]
    prompt = {"message_id": question, "parent_id": None, "role": "prompter", "text": question, "lang": lang}
    return {"message_tree_id": question, "prompt": {**prompt, "replies": replies}}


def flat(trees: Sequence[Row]) -> list[dict[str, Any]]:
    """The same trees as single messages, second turns included."""
    found = []
    for each in trees:
        for message in (each["prompt"], *each["prompt"]["replies"]):
            found.append({key: value for key, value in message.items() if key != "replies"})
        for reply in each["prompt"]["replies"]:
            found += [
                {"message_id": below["message_id"], "parent_id": reply["message_id"], "text": below["text"]}
                for below in reply["replies"]
            ]
    return found


TREES = [
    tree("Why?", 0, 1, 2),
    tree("Warum?", 0, 1, lang="de"),
    tree("One reply?", 0),
    tree("Where?", 1, 0, None),
    tree("Unranked?", None, None),
]


def test_trees_and_single_messages_give_the_same_english_first_turns() -> None:
    kept = oasst.first_turns(TREES)
    assert [row["prompt"]["text"] for row in kept] == ["Why?", "Where?"]
    assert kept == oasst.first_turns(flat(TREES))
    assert "And?" not in json.dumps(kept)


def test_rows_of_another_form_are_named() -> None:
    with pytest.raises(BadInputError, match="row 1 is neither a tree nor a message"):
        oasst.first_turns([TREES[0], {"text": "?"}])
    with pytest.raises(BadInputError, match=r"tree 0: .*'text'"):
        oasst.first_turns([{"prompt": {"lang": "en", "replies": []}}])


@quick
@given(seeds, st.integers(2, 60))
def test_trees_of_one_question_are_held_out_together(seed: int, number: int) -> None:
    trees = [tree(f"q{n}?", 0, 1) for n in range(number)]
    trees += [tree("Q1?", 1, 0), tree(" q1? ", 0, 1)]
    made = oasst.held_out(trees, seed=seed, share=0.2)
    sides = [{row["prompt"]["text"].strip().lower() for row in rows} for rows in made.values()]
    assert not sides[0] & sides[1]
    assert sum(map(len, made.values())) == number + 2
    assert len(sides[1]) == max(1, round(0.2 * number))


def test_a_source_with_its_own_validation_split_keeps_it(tmp_path: Path) -> None:
    write(
        tmp_path / "oasst2.train.trees.jsonl", [tree("Why?", 0, 1), tree("Where?", 0, 1), tree("Who?", 1, 0)]
    )
    write(tmp_path / "oasst2.valid.trees.jsonl", [tree(" why?", 0, 1, 2)])
    done = data("oasst", "--from", tmp_path, "--out", tmp_path / "set")
    assert done.returncode == 0, done.stderr
    assert [row["prompt"]["text"] for row in read(tmp_path / "set" / TRAIN)] == ["Where?", "Who?"]
    assert [row["prompt"]["text"] for row in read(tmp_path / "set" / VALIDATION)] == [" why?"]
    assert "1 trees are left out of train.jsonl" in done.stdout
    assert "3 inputs       1 questions   (the paper: 273 inputs)" in done.stdout


def test_a_downloaded_hub_folder_is_read_through_datasets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    (tmp_path / "hub" / "data").mkdir(parents=True)
    for split, trees in (("train", TREES), ("validation", [tree("When?", 0, 1)])):
        rows = flat(trees)
        columns = {name for row in rows for name in row}
        table = pa.Table.from_pylist([dict.fromkeys(sorted(columns)) | row for row in rows])
        pq.write_table(table, tmp_path / "hub" / "data" / f"{split}-00000-of-00001.parquet")
    made = oasst.make(Wanted(origin=str(tmp_path / "hub")))
    assert made.splits == {
        TRAIN: oasst.first_turns(TREES),
        VALIDATION: oasst.first_turns([tree("When?", 0, 1)]),
    }


# GSM8K


def sums(number: int, start: int = 0) -> list[Row]:
    return [{"question": f"{n} + 1?", "answer": f"So.\n#### {n + 1}"} for n in range(start, start + number)]


def test_gsm8k_is_taken_whole_and_a_cut_off_file_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "gsm8k" / "train.jsonl", sums(7473))
    write(tmp_path / "gsm8k" / "test.jsonl", sums(1319, 7473))
    done = data("gsm8k", "--from", tmp_path / "gsm8k", "--out", tmp_path / "set")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "set" / TRAIN).read_text() == (tmp_path / "gsm8k" / "train.jsonl").read_text()
    assert "the first eight rows of train.jsonl" in done.stdout
    assert "licence: MIT" in done.stdout

    write(tmp_path / "gsm8k" / "test.jsonl", sums(1318, 7472))
    said = refused("gsm8k", "--from", tmp_path / "gsm8k", "--out", tmp_path / "other")
    assert "test.jsonl: holds 1,318 inputs, and gsm8k has 1,319" in said
    assert "'7472 + 1?': in train.jsonl and in test.jsonl" in said
    assert not (tmp_path / "other").exists()
    assert [*tmp_path.glob(".*")] == []


# MT-bench

MODELS = [f"model-{letter}" for letter in "abcdef"]
QUESTIONS = range(81, 161)


def published(folder: Path) -> Path:
    """Files laid out as FastChat's; verdicts follow from the numbers, so that some are of every kind."""
    write(folder / "question.jsonl", [{"question_id": n, "turns": [f"Q{n}?", "More?"]} for n in QUESTIONS])
    for model in MODELS:
        answers = [
            {"question_id": n, "model_id": model, "choices": [{"turns": [said(n, model)]}]} for n in QUESTIONS
        ]
        write(folder / "model_answer" / f"{model}.jsonl", answers)
    human, gpt4 = [], []
    kinds = ("model_a", "model_b", "tie", "tie (inconsistent)")
    for number, (n, (a, b)) in enumerate((n, pair) for n in QUESTIONS for pair in combinations(MODELS, 2)):
        if number % 3:
            human.append(vote("expert_1", n, b, a, kinds[number % 5 % 3]))
        human.append(vote("author_1", n, a, b, "model_a"))
        gpt4 += [vote("gpt4_pair", n, a, b, kinds[number % 4]), vote("gpt4_pair", n, a, b, "tie", turn=2)]
    write(folder / "human_votes.jsonl", human)
    write(folder / "gpt4_pair_votes.jsonl", gpt4)
    return folder


def said(number: int, model: str) -> str:
    """Two models answer one question alike, as happens."""
    return f"{'model-a' if number == QUESTIONS[5] and model == 'model-b' else model} on {number}"


def vote(judge: str, number: int, a: str, b: str, winner: str, turn: int = 1) -> dict[str, Any]:
    names = {"judge": judge, "question_id": number, "model_a": a, "model_b": b}
    return {**names, "turn": turn, "winner": winner}


def with_conversations(votes: Sequence[Row]) -> list[Row]:
    """Votes as the hub has them."""
    return [
        {
            **row,
            **{
                f"conversation_{side}": [
                    {"role": "user", "content": f"Q{row['question_id']}?"},
                    {"role": "assistant", "content": said(row["question_id"], row[f"model_{side}"])},
                    {"role": "user", "content": "More?"},
                    {"role": "assistant", "content": "No."},
                ]
                for side in "ab"
            },
        }
        for row in votes
    ]


class FromRecording:
    """A model that answers from a recording: what was asked before gets the next sample."""

    def __init__(self, recording: Recording) -> None:
        self._recording = recording
        self._asked: Counter[str] = Counter()

    def verdict(self, x: Input) -> str | None:
        async def llm(prompt: str | Messages, *, step: str, index: int = 0, shared: bool = False) -> Reply:
            assert not isinstance(prompt, str)
            request = Request(prompt, Sampling(), 0)
            return self._recording.reply(x, request, step, self._asked[x.question], index)

        said = Pairwise().parse(asyncio.run(judge_cot(x, llm)).text)
        self._asked[x.question] += 1
        return said


def recorded_agreement(folder: Path) -> Agreement:
    """The judge of the recording, run in both orders on every pair of the set's file."""
    recording = recording_of(read_records([str(folder / mt_bench.RECORDED)]), "judge_cot")
    assert recording is not None
    judge = FromRecording(recording)

    def judged(each: HeldOut) -> Judged:
        twin = swap(each.input)
        assert twin is not None
        first, second = judge.verdict(each.input), judge.verdict(twin)
        return Judged(
            ruling(first, swapped_verdict(second or "")), votes(each.reference or ""), each.category
        )

    own = ("tasks.pairwise.heldout.format=mt_bench", "tasks.pairwise.heldout.limit=null")
    heldout = paper_config("pairwise", folder, TEST, *own).tasks["pairwise"].heldout
    assert heldout is not None
    return agreement(map(judged, read_heldout(heldout, "pairwise")))


def test_every_pair_is_judged_whether_people_decided_it_or_not(tmp_path: Path) -> None:
    done = data("mt_bench", "--from", published(tmp_path / "files"), "--out", tmp_path / "set")
    assert done.returncode == 0, done.stderr
    found = recorded_agreement(tmp_path / "set")
    assert (found.pairs, found.inconsistent) == (1200, 300)
    # Counted from the numbers: votes with a winner, and those where GPT-4 names the same one.
    cast = [n for n in range(1200) if n % 3 and n % 5 % 3 != 2]
    same = [n for n in cast if n % 4 < 2 and (n % 4 == 0) == (n % 5 % 3 == 1)]
    assert (found.votes, found.agreeing) == (len(cast), len(same))
    undecided = 1200 - len(cast)
    assert f"{undecided:,} pairs have no expert's vote that names a winner" in done.stdout


def test_the_hubs_rows_give_the_same_set(tmp_path: Path) -> None:
    files = published(tmp_path / "files")
    human, gpt4 = (read(files / f"{name}_votes.jsonl") for name in ("human", "gpt4_pair"))
    (tmp_path / "hub").mkdir()
    mt_bench.unfold(with_conversations(human), with_conversations(gpt4), tmp_path / "hub")
    assert mt_bench.joined(tmp_path / "hub") == mt_bench.joined(files)


def test_a_folder_that_lacks_a_file_is_named(tmp_path: Path) -> None:
    files = published(tmp_path / "files")
    (files / "gpt4_pair_votes.jsonl").unlink()
    assert mt_bench.joined(files).beside == {}, "the recorded verdicts are an extra"
    (files / "human_votes.jsonl").unlink()
    assert "has no human_votes.jsonl" in refused("mt_bench", "--from", files, "--out", tmp_path / "set")


# What a run reads


SMALL: dict[str, Callable[[], Mapping[str, Sequence[Row]]]] = {
    "last_letters": lambda: last_letters.questions(WORDS, seed=0, sizes={TRAIN: 5, TEST: 5}),
    "coin_flip": lambda: coin_flip.questions(NAMES, seed=0, sizes={TRAIN: 6, TEST: 6}),
    "trivia_qa": lambda: sycophancy.held_apart(
        [row for n in range(4) for row in asked_by_all(f"Who is {n}?")],
        seed=0,
        questions=2,
        opinions=5,
        plain=1,
    ),
    "pairwise": lambda: oasst.held_out(oasst.first_turns(TREES), seed=0),
    "gsm8k": lambda: {TRAIN: sums(3), TEST: sums(2, 3)},
}


def paper_config(task: str, folder: Path, heldout: str, *more: str) -> Config:
    """The paper's configuration, pointed at a set as the documentation says."""
    overrides = [f"sources.0.path={folder / TRAIN}", f"tasks.{task}.heldout.path={folder / heldout}"]
    return load(str(CONFIGS / f"{task}.yaml"), [*overrides, *more])


@pytest.mark.parametrize("task", SMALL)
def test_the_papers_configurations_read_the_files_and_sources_see_no_label(tmp_path: Path, task: str) -> None:
    made = SMALL[task]()
    for file, rows in made.items():
        write(tmp_path / file, rows)
    (evaluated,) = {*made} - {TRAIN}
    config = paper_config(task, tmp_path, evaluated)
    heldout = config.tasks[task].heldout
    assert heldout is not None
    references = [each.reference for each in read_heldout(heldout, task)]
    assert references
    assert all(references)

    def inputs() -> list[Messages]:
        delivered = open_source(config.sources[0]).read(None, 100)
        assert not delivered.rejects
        return [x.messages for x in delivered.inputs]

    before = inputs()
    assert before
    write(tmp_path / TRAIN, [without_labels(row) for row in made[TRAIN]])
    assert inputs() == before


def without_labels(value: Any) -> Any:
    """The row with every label gone or, where the format needs one to be there, the same for all."""
    if isinstance(value, Mapping):
        gone = ("answer", "correct_answer", "incorrect_answer")
        kept = {key: without_labels(each) for key, each in value.items() if key not in gone}
        return kept | ({"rank": 0} if "rank" in kept else {})
    return [without_labels(each) for each in value] if isinstance(value, list) else value


# The command


@pytest.fixture
def letters(tmp_path: Path) -> Path:
    """A folder with the set of seed 0."""
    done = data("last_letters", "--out", tmp_path / "letters")
    assert done.returncode == 0, done.stderr
    return tmp_path / "letters"


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_twice_gives_the_same_bytes_and_another_seed_others(tmp_path: Path, letters: Path) -> None:
    (tmp_path / "again").mkdir()
    assert data("last_letters", "--out", tmp_path / "again", "--seed", 0).returncode == 0
    assert bytes_of(letters) == bytes_of(tmp_path / "again")
    assert {*bytes_of(letters)} == {TRAIN, VALIDATION, TEST, MANIFEST}
    assert data("last_letters", "--out", tmp_path / "other", "--seed", 1).returncode == 0
    assert bytes_of(letters)[TRAIN] != bytes_of(tmp_path / "other")[TRAIN]
    manifest = json.loads((tmp_path / "other" / MANIFEST).read_text())
    assert (manifest["name"], manifest["seed"]) == ("last_letters", 1)
    assert manifest["command"] == "s2d data last_letters --seed 1"


def test_what_is_there_is_never_written_over(tmp_path: Path, letters: Path) -> None:
    before = bytes_of(letters)
    again = data("last_letters", "--out", letters)
    assert again.returncode == 0
    assert "already there" in again.stdout
    assert "was made with seed 0, not 1" in refused("last_letters", "--out", letters, "--seed", 1)
    assert "is last_letters" in refused("coin_flip", "--out", letters)
    path = tmp_path / "words.txt"
    path.write_text("\n".join(f"{word}q" for word in WORDS))
    said = refused("last_letters", "--out", letters, "--words", path)
    assert "was made of something else, by `s2d data last_letters --seed 0`" in said
    assert bytes_of(letters) == before

    (letters / TEST).write_text("mine\n")
    assert "test.jsonl: is not the file that" in refused("last_letters", "--out", letters)
    assert (letters / TEST).read_text() == "mine\n"

    for other in (tmp_path / "full", tmp_path / "file"):
        write(other / "notes.txt" if other.name == "full" else other, [])
        assert "is there already and holds no data set" in refused("last_letters", "--out", other)
    assert [*tmp_path.glob(".*")] == []


def test_a_folder_is_there_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_room(self: Path, target: Path) -> Path:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "rename", no_room)
    assert "can't be written: No space left" in refused("last_letters", "--out", tmp_path / "set")
    assert [*tmp_path.iterdir()] == []


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["letters", "--out", "x"], "there is no data set 'letters'; there are: last_letters, coin_flip"),
        (["gsm8k"], "--out DIR makes the set, --check DIR looks at it"),
        (["gsm8k", "--out", "x", "--check", "y"], "--out DIR makes the set, --check DIR looks at it"),
        (["gsm8k", "--out", "x", "--seed", "1"], "--seed has no effect on gsm8k"),
        (["gsm8k", "--check", "x", "--seed", "1"], "--seed has no effect on gsm8k"),
        (["coin_flip", "--out", "x", "--words", "y"], "--words has no effect on coin_flip"),
        (["coin_flip", "--out", "x", "--from", "y"], "--from has no effect on coin_flip"),
        (["gsm8k", "--check", "x", "--from", "y"], "leave --from and --words out"),
        (["gsm8k", "--out", "x", "--from", "./nowhere"], "--from ./nowhere: there is no such file or folder"),
        (["gsm8k", "--check", "nowhere"], "MANIFEST.json: can't be read: No such file"),
    ],
)
def test_what_a_person_can_get_wrong_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, args: list[str], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    assert said in refused(*args)
    assert [*tmp_path.iterdir()] == []


def test_without_a_network_one_sentence_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    (said,) = refused("gsm8k", "--from", "nobody-here/gsm8k", "--out", tmp_path / "set").splitlines()
    assert "nobody-here/gsm8k" in said
    assert said.endswith("without a network, download it elsewhere and give its folder with --from")


def test_source_licence_and_sizes_are_printed(letters: Path) -> None:
    done = data("last_letters", "--check", letters)
    assert done.returncode == 0
    assert re.search(r"test\.jsonl +200 rows +200 inputs", done.stdout)
    assert "licence: Apache-2.0" in done.stdout
    assert "source: made here" in done.stdout


# --check


def rewrite(folder: Path, name: str, change: Callable[[list[dict[str, Any]]], object]) -> None:
    """Change a file's rows, and the manifest so that it hides it."""
    from hashlib import sha256

    rows = read(folder / name)
    change(rows)
    write(folder / name, rows)
    manifest = json.loads((folder / MANIFEST).read_text())
    manifest["files"][name] |= {"rows": len(rows), "sha256": sha256((folder / name).read_bytes()).hexdigest()}
    (folder / MANIFEST).write_text(json.dumps(manifest))


def drop_row(folder: Path) -> None:
    lines = (folder / TEST).read_text().splitlines(keepends=True)
    (folder / TEST).write_text("".join(lines[:-1]))


def share_word(folder: Path) -> None:
    first = read(folder / TRAIN)[0]
    rewrite(folder, TEST, lambda rows: rows[0].update(prompt=first["prompt"]))


def repeat_word(folder: Path) -> None:
    rewrite(folder, TEST, lambda rows: rows[0].update(prompt=rows[1]["prompt"]))


CHANGES: dict[str, tuple[Callable[[Path], object], list[str]]] = {
    "missing": (lambda folder: (folder / TEST).unlink(), ["test.jsonl: is missing"]),
    "changed": (
        lambda folder: (folder / TEST).write_text(
            (folder / TEST).read_text().replace('"answer"', '"anwser"')
        ),
        ["test.jsonl: is not the file that MANIFEST.json lists"],
    ),
    "short": (
        drop_row,
        [
            "test.jsonl: is not the file that MANIFEST.json lists",
            "test.jsonl: has 199 rows, and MANIFEST.json says 200",
            "test.jsonl: holds 199 inputs, and last_letters has 200",
        ],
    ),
    "short, and hidden": (
        lambda folder: rewrite(folder, TEST, list.pop),
        ["test.jsonl: holds 199 inputs, and last_letters has 200"],
    ),
    "on both sides, and hidden": (share_word, ["in train.jsonl and in test.jsonl"]),
    "twice, and hidden": (repeat_word, ["more than once in test.jsonl"]),
    "no question, and hidden": (
        lambda folder: rewrite(folder, TEST, lambda rows: rows[3].pop("prompt")),
        ["test.jsonl: row 3: no column 'prompt'"],
    ),
    "no JSON": (
        lambda folder: (folder / TEST).write_text("{\n"),
        ["test.jsonl: is not the file that MANIFEST.json lists", "test.jsonl:1: is no JSON"],
    ),
    "one more": (
        lambda folder: (folder / "extra.jsonl").write_text(""),
        ["extra.jsonl: is no file of the set"],
    ),
    "no manifest": (lambda folder: (folder / MANIFEST).unlink(), ["MANIFEST.json: can't be read"]),
    "another manifest": (
        lambda folder: (folder / MANIFEST).write_text('{"name": "x"}'),
        ["MANIFEST.json: was not written by `s2d data`: seed: Field required"],
    ),
}


@pytest.mark.parametrize("change", CHANGES)
def test_each_finding_is_named_and_nothing_else(letters: Path, change: str) -> None:
    make, findings = CHANGES[change]
    make(letters)
    said = refused("last_letters", "--check", letters)
    for finding in findings:
        assert finding in said
    assert len(said.splitlines()) == len(findings) + ("manifest" not in change), said


def test_another_seed_or_another_set_is_a_finding(letters: Path) -> None:
    assert "was made with seed 0, not 4" in refused("last_letters", "--check", letters, "--seed", 4)
    assert "is last_letters" in refused("coin_flip", "--check", letters)


def test_a_manifest_chooses_no_path(letters: Path) -> None:
    manifest = json.loads((letters / MANIFEST).read_text())
    manifest["files"]["../secret.jsonl"] = manifest["files"][TEST]
    (letters / MANIFEST).write_text(json.dumps(manifest))
    assert "was not written by `s2d data`" in refused("last_letters", "--check", letters)


# The public files


def public() -> Iterator[Any]:
    files = {
        "sycophancy": ("sycophancy_eval_answer", {TRAIN: 488, TEST: 400}),
        "oasst": ("oasst_sample", None),
        "gsm8k": ("gsm8k", SETS["gsm8k"].sizes),
        "mt_bench": ("mt_bench", SETS["mt_bench"].sizes),
    }
    yield from (pytest.param(name, *each, id=name) for name, each in files.items())


@pytest.mark.skipif(DATA is None, reason="S2D_DATA doesn't name the folder of the public files")
@pytest.mark.parametrize(("name", "folder", "inputs"), public())
def test_the_public_files_become_the_papers_sets(
    tmp_path: Path, name: str, folder: str, inputs: Mapping[str, int] | None
) -> None:
    origin = Path(str(DATA)) / folder
    for out in (tmp_path / "one", tmp_path / "two"):
        done = data(name, "--from", origin, "--out", out)
        assert done.returncode == 0, done.stderr
    assert bytes_of(tmp_path / "one") == bytes_of(tmp_path / "two")
    assert data(name, "--check", tmp_path / "one").returncode == 0
    files = json.loads((tmp_path / "one" / MANIFEST).read_text())["files"]
    found = {file: each["inputs"] for file, each in files.items() if file in find_set(name).sizes}
    if inputs is None:
        assert sum(found.values()) == 416, "all pairs of the hundred trees"
    else:
        assert found == inputs
    if name == "mt_bench":
        counted = recorded_agreement(tmp_path / "one")
        assert (counted.agreeing, counted.votes) == (727, 1048)
        assert (counted.inconsistent, counted.pairs) == (188, 1200)
