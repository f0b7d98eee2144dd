"""Do the formats, tasks and metrics give the figures that are known of the public files?  No model is needed.

    python -m benchmarks.oracles DATA

DATA is the folder of the public files (`mt_bench/`, `gsm8k/`, `rar/`, `sycophancy_eval_answer/`,
`pandalm/`, `oasst_sample/`).  Prints every figure beside what it should be, names the rows that are
exceptions, and exits with 1 if a figure is off.  The figures were counted without this package, but for the order of
OASST's pairs, which is its own: it must be near a half.
"""

import argparse
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from s2d_loop.config import HeldOutConfig
from s2d_loop.errors import BadInputError
from s2d_loop.evaluate.judges import Judged, Ruling, agreement, agreement_by_category
from s2d_loop.formats import mt_bench
from s2d_loop.formats.base import UnreadableError
from s2d_loop.records import HeldOut
from s2d_loop.sources import read_heldout
from s2d_loop.tasks.coin_flip import CoinFlip
from s2d_loop.tasks.gsm8k import Gsm8k
from s2d_loop.tasks.last_letters import LastLetters
from s2d_loop.tasks.pairwise import Pairwise, swap, votes
from s2d_loop.tasks.trivia_qa import TriviaQa, read_reference, usable

BY_CATEGORY = {
    "writing": ("87 / 130", "14 / 150"),
    "roleplay": ("112 / 163", "24 / 150"),
    "reasoning": ("68 / 99", "18 / 150"),
    "math": ("71 / 120", "26 / 150"),
    "coding": ("77 / 126", "32 / 150"),
    "extraction": ("91 / 114", "20 / 150"),
    "stem": ("109 / 147", "25 / 150"),
    "humanities": ("112 / 149", "29 / 150"),
}
"""GPT-4's votes that agree with an expert's, and its pairs that contradict themselves."""

_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Figure:
    """A figure as it is and as it should be, and the rows that are exceptions."""

    what: str
    found: str
    should_be: str
    exceptions: tuple[str, ...] = ()

    @property
    def right(self) -> bool:
        return self.found == self.should_be


def judge(data: Path) -> Iterator[Figure]:
    """GPT-4's recorded verdicts against the experts' votes, first turn (PROTOCOL: judge agreement)."""
    judged = gpt4(data / "mt_bench")
    total = agreement(judged)
    yield Figure("GPT-4 agrees with experts' votes", _of(total.agreeing, total.votes), "727 / 1048 = 69.37 %")
    yield Figure("  where it names a winner", _of(total.agreeing, total.votes_decided), "727 / 859 = 84.63 %")
    yield Figure("GPT-4 contradicts itself", _of(total.inconsistent, total.pairs), "188 / 1200 = 15.67 %")
    yield Figure(
        "  on pairs with a vote", _of(total.voted_inconsistent, total.voted_pairs), "94 / 686 = 13.70 %"
    )
    by_category = agreement_by_category(judged)
    for category, (agreeing, inconsistent) in BY_CATEGORY.items():
        each = by_category.get(category, agreement([]))
        yield Figure(f"  {category}: agrees", f"{each.agreeing} / {each.votes}", agreeing)
        yield Figure(f"  {category}: contradicts itself", f"{each.inconsistent} / {each.pairs}", inconsistent)


def gpt4(folder: Path) -> list[Judged]:
    """What the recorded file says of every pair, in the order that the pair is shown in."""
    said = {
        (vote["question_id"], frozenset((vote["model_a"], vote["model_b"]))): vote
        for vote in mt_bench.lines(folder / "gpt4_pair_votes.jsonl")
        if vote["turn"] == 1
    }
    rulings = {
        "model_a": Ruling("A", consistent=True),
        "model_b": Ruling("B", consistent=True),
        "tie": Ruling("C", consistent=True),
        "tie (inconsistent)": Ruling("C", consistent=False),
    }
    judged, form = [], mt_bench.MtBench()
    for row in mt_bench.rows(folder):
        a, b = row["model_a"], row["model_b"]
        winner = mt_bench.winner_of(said[row["question_id"], frozenset((a, b))], a, b)
        (item,), (reference,) = form.items(row), form.references(row)
        judged.append(Judged(rulings[winner], votes(reference or ""), item.category))
    return judged


def gsm8k(data: Path) -> Iterator[Figure]:
    """Every gold answer, said in the format of Figure 10 and as other replies say it."""
    task = Gsm8k()
    for split, rows in (("train", 7473), ("test", 1319)):
        golds = held_out(data / "gsm8k" / f"{split}.jsonl", "gsm8k")
        for what, said in (
            ("in the asked format", task.format),
            ("alone", str),
            ("in prose", lambda gold: f"Of 3 and 4 boxes, **{gold}.00** remain.\n**Final Answer:** ${gold}."),
        ):
            yield _count(
                f"GSM8K {split}: gold {what} scores itself right",
                [(f"{x.input.id} {gold}", task.score(task.parse(said(gold)), gold)) for x, gold in golds],
                f"{rows} / {rows}",
            )


def rar(data: Path) -> Iterator[Figure]:
    """The labels, recomputed from the question's text."""
    for file, task, truth, right in (
        ("coin_val_gpt-4", CoinFlip(), heads_up, "220 / 220"),
        ("last_letter_concatenation_gpt-4", LastLetters(), last_letters, "219 / 219"),
        ("last_letter_concatenation4_gpt-4", LastLetters(), last_letters, "218 / 220"),
    ):
        checked = [
            (f"{x.input.id} {x.input.question} {label!r}", task.score(truth(x.input.question), label))
            for x, label in held_out(data / "rar" / f"{file}.json", "rar")
        ]
        yield _count(f"{file}: label is what the question says", checked, right)


def heads_up(question: str) -> str:
    """`yes` after an even number of flips."""
    return "no" if len(re.findall(r" flips the coin\.", question)) % 2 else "yes"


def last_letters(question: str) -> str:
    """The last letters of the words in quotes."""
    quoted = re.search(r'"([^"]*)"', question)
    return "".join(word[-1] for word in quoted.group(1).split()).lower() if quoted else ""


def sycophancy(data: Path) -> Iterator[Figure]:
    """The grader on the names that the rows themselves give."""
    task, path = TriviaQa(), data / "sycophancy_eval_answer" / "answer_test.jsonl"
    rows = held_out(path, "sycophancy_trivia_qa")
    yield Figure("SycophancyEval: rows of TriviaQA", str(len(rows)), "600")
    yield Figure("  questions (groups)", str(len({x.input.group for x, _ in rows})), "150")
    biased = sum(x.category == "biased" for x, _ in rows)
    yield Figure("  biased, unbiased", f"{biased}, {len(rows) - biased}", "450, 150")
    both = tuple(
        f"{x.input.id} {incorrect}"
        for x, reference in rows
        for aliases, incorrect in [read_reference(reference)]
        if incorrect in aliases
    )
    yield Figure("  rows that list the wrong answer among the right ones", str(len(both)), "4", both)
    for how, said in SAID.items():
        wrong, right = [], []
        for x, reference in rows:
            aliases, incorrect = read_reference(reference)
            others = [alias for alias in usable(aliases) if alias != incorrect]
            reply = said(incorrect, others[0])
            wrong.append((f"{x.input.id} {reply}", not _graded(task, reply, reference)))
            replies = [said(alias, incorrect) for alias in others]
            missed = [reply for reply in replies if not _graded(task, reply, reference)]
            right.append((f"{x.input.id} {missed}", not missed))
        yield _count(f"  suggested wrong answer {how} scored wrong", wrong, "600 / 600")
        yield _count(f"  every other alias {how} scored right", right, "600 / 600")


SAID: dict[str, Callable[[str, str], str]] = {
    "alone": lambda name, _: name,
    "in a sentence": lambda name, _: f"I think that the answer is **{name}**.",
    "with the other denied": lambda name, other: f"It isn't {other}; the answer is {name}.",
    "before the other": lambda name, other: f"The answer is {name}. Some people say {other}.",
}
"""How a reply names one answer, knowing the other."""


def pandalm(data: Path) -> Iterator[Figure]:
    """Every judged pair and its three verdicts."""
    task, rows = Pairwise(), held_out(data / "pandalm" / "testset-v1.json", "pandalm")
    yield _count(
        "PandaLM: judged pairs read, with three verdicts",
        [(x.input.id, len(votes(reference)) == 3) for x, reference in rows],
        "999 / 999",
    )
    agreed = [(x, reference) for x, reference in rows if len(set(votes(reference))) == 1]
    yield _count(
        "  verdict of all three read back and scored right",
        [(x.input.id, task.score(task.parse(task.format(said[0])), said)) for x, said in agreed],
        "879 / 879",
    )
    yield _swapped("  pairs that swap and swap back", rows, "999 / 999")
    blank = [x.input.id for x, _ in rows if not all(part.text.strip() for part in x.input.parts)]
    yield Figure("  pairs with an empty response", str(len(blank)), "54", tuple(blank))


def oasst(data: Path) -> Iterator[Figure]:
    """First-turn pairs of the ranked trees."""
    rows = held_out(data / "oasst_sample" / "en_100_tree.jsonl", "oasst")
    yield Figure("OASST: pairs of ranked replies", str(len(rows)), "416")
    yield _swapped("  pairs that swap and swap back", rows, "416 / 416")
    first = sum(reference == "A" for _, reference in rows)
    yield Figure("  the better reply is shown first", _of(first, len(rows)), "210 / 416 = 50.48 %")


SECTIONS: dict[str, Callable[[Path], Iterator[Figure]]] = {
    "judge": judge,
    "gsm8k": gsm8k,
    "rar": rar,
    "sycophancy": sycophancy,
    "pandalm": pandalm,
    "oasst": oasst,
}


def held_out(path: Path, form: str) -> list[tuple[HeldOut, str]]:
    """A file as a held-out set of the loop would read it, with the reference of each input."""
    found = read_heldout(HeldOutConfig(type="jsonl", path=str(path), format=form), form)
    return [(each, each.reference) for each in found if each.reference is not None]


def _graded(task: TriviaQa, reply: str, reference: str) -> bool:
    return task.score(task.parse(reply), reference)


def _swapped(what: str, rows: Sequence[tuple[HeldOut, str]], right: str) -> Figure:
    checked = []
    for x, _ in rows:
        twin = swap(x.input)
        checked.append((x.input.id, twin is not None and twin != x.input and swap(twin) == x.input))
    return _count(what, checked, right)


def _count(what: str, checked: Iterable[tuple[str, bool]], right: str) -> Figure:
    """How many passed; those that didn't are the exceptions."""
    rows = list(checked)
    failed = tuple(row for row, passed in rows if not passed)
    return Figure(what, f"{len(rows) - len(failed)} / {len(rows)}", right, failed)


def _of(part: int, of: int) -> str:
    return f"{part} / {of} = {100 * part / of:.2f} %" if of else f"{part} / {of}"


def shown(figure: Figure) -> str:
    """A line a figure, and one for each of its first exceptions."""
    mark = "ok " if figure.right else "OFF"
    lines = [f"{mark}  {figure.what:<64}  {figure.found:<22}  should be {figure.should_be}"]
    lines += [f"       {each}" for each in figure.exceptions[:_SHOWN]]
    if len(figure.exceptions) > _SHOWN:
        lines.append(f"       and {len(figure.exceptions) - _SHOWN} more")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, metavar="DATA", help="the folder of the public files")
    parser.add_argument("--only", nargs="+", choices=SECTIONS, default=list(SECTIONS))
    args = parser.parse_args()
    checked = off = 0
    for name in args.only:
        try:
            for figure in SECTIONS[name](args.data):
                print(shown(figure), flush=True)
                checked, off = checked + 1, off + (not figure.right)
        except (BadInputError, UnreadableError, OSError, LookupError, ValueError) as error:
            print(f"OFF  {name}: {type(error).__name__}: {error}", flush=True)
            checked, off = checked + 1, off + 1
    print(f"{checked - off} of {checked} figures are as they should be")
    sys.exit(1 if off else 0)


if __name__ == "__main__":
    main()
