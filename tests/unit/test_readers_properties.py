"""What holds of every reader of answers, whatever a model writes."""

import time
from collections.abc import Callable, Hashable
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from s2d_loop.system2.plans import criteria
from s2d_loop.system2.scores import scores
from s2d_loop.system2.tree_of_thoughts import parse_value
from s2d_loop.system2.usc import parse as usc
from s2d_loop.tasks.data import AnswerFile, DataTask, TaskFile
from s2d_loop.tasks.gsm8k import Gsm8k
from s2d_loop.tasks.pairwise import Pairwise
from s2d_loop.tasks.registry import TASKS, load_task

Read = Callable[[str], Hashable]


def by_pattern(pattern: str, **answer: object) -> DataTask:
    """A task that is only data."""
    read = AnswerFile.model_validate({"pattern": pattern, **answer})
    return DataTask(TaskFile(name="t", answer=read, examples={"": None}))


FIRST = by_pattern(r"answer\W+(\w+)", take="first", normalize=["case"])
LAST = by_pattern(r"-?[\d.,]+", normalize=["number"])
WHOLE_REPLY = by_pattern("(?s).+", take="first", normalize=["number"])
READERS: dict[str, Read] = {
    **{name: load_task(name).parse for name in TASKS},
    "first match": FIRST.parse,
    "last match": LAST.parse,
    "whole reply": WHOLE_REPLY.parse,
    "scores": scores,
    "criteria": criteria,
    "usc": usc,
    "value": parse_value,
}
NOTHING: dict[str, Hashable] = {"scores": (None, None), "criteria": (), "value": 0}

# A reply that each reads, and what a model may have thought before it, made of such replies.
SAID = {
    "last_letters": 'The answer is "nu".',
    "coin_flip": "No.",
    "trivia_qa": "The answer is Paris.",
    "pairwise": "My final verdict: [[A]]",
    "gsm8k": "Final answer: 18",
    "open": "Paris",
    "first match": "The answer: Rome",
    "last match": "-7.50",
    "whole reply": "$1,080",
    "scores": "Assistant A: 4\nAssistant B: 2",
    "criteria": "1. Truth: is it so?\n2. Depth: enough?",
    "usc": "The most consistent response is Response 2",
    "value": "7",
}
OTHERS = [
    *("The answer is 'ox'", "Yes!", "[[B]]", "Final answer: 12", r"\boxed{5}", "Lyon", "answer: Bonn", "3"),
    *("Assistant A: 1\nAssistant B: 5", "1. Tone: kind?\n2. Length: short?"),
    "The most consistent response is Response 1",
]
THOUGHTS = st.lists(
    st.one_of(st.sampled_from(OTHERS), st.text(st.characters(exclude_characters="<>[]|"))), max_size=6
).map("\n".join)
BLOCKS = [
    *("<think>\n{}\n</think>\n\n", "{}\n</think>\n\n", "<thinking>{}</thinking>\n", "[THINK]{}[/THINK]"),
    *("<seed:think>{}</seed:think>", "<|START_THINKING|>{}<|END_THINKING|>", "<|channel>{}<channel|>"),
    "<|channel|>analysis<|message|>{}<|end|><|start|>assistant<|channel|>final<|message|>",
]


@pytest.mark.parametrize("name", READERS)
@given(block=st.sampled_from(BLOCKS), thoughts=THOUGHTS)
def test_thoughts_before_an_answer_never_change_what_is_read(name: str, block: str, thoughts: str):
    read = READERS[name]
    assert read(SAID[name]) != NOTHING.get(name)
    assert read(block.format(thoughts) + SAID[name]) == read(SAID[name])


@pytest.mark.parametrize("name", READERS)
@given(
    opening=st.sampled_from([block.partition("{}")[0] for block in BLOCKS if block[0] != "{"]),
    thoughts=THOUGHTS,
)
def test_a_reply_cut_off_in_its_thoughts_holds_no_answer(name: str, opening: str, thoughts: str):
    assert READERS[name](opening + thoughts + SAID[name]) == NOTHING.get(name)


# Texts made of the very things that the readers look for.
PIECES = st.one_of(
    st.sampled_from(["Final answer: ", "answer is ", "Answer", "verdict: ", "####", r"\boxed{", r"\frac{", r"\text{"]),
    st.sampled_from(["[[", "]]", "[", "]", "(", ")", "{", "}", "A", "B", "C", " a tie", " is better", " if", " or "]),
    st.sampled_from(["yes", "No", "so", "n", '"', "'", "`", "**", "_", "$", "\u201c", "\u2019", "\n", " ", "\t", "."]),
    st.sampled_from(["1", "23", "456", ",", "/", "-", "\u2212", ":", "=", " x ", "10^", "e", "%", " and ", " in ", "\u00bd"]),
    st.sampled_from(["\u0661", "\uff11", "\u202f", "\u0301", "\u0316", "\ud83d", "\x00", "<answer>", "</answer>", "<think>"]),
)  # fmt: skip
ANY = st.one_of(st.text(), st.lists(PIECES, max_size=30).map("".join))


@pytest.mark.parametrize("name", READERS)
@given(reply=ANY)
def test_no_text_is_an_error_and_a_text_has_one_reading(name: str, reply: str):
    assert READERS[name](reply) == READERS[name](reply)


@pytest.mark.parametrize("name", TASKS)
@given(reply=ANY)
def test_what_a_task_reads_it_reads_back_and_takes_for_right(name: str, reply: str):
    task = load_task(name)
    answer = task.parse(reply)
    if answer is not None:
        assert task.parse(task.format(answer)) == answer
        if name not in ("pairwise", "trivia_qa"):  # references of another form
            assert task.score(answer, task.format(answer) if name == "gsm8k" else answer)


# Numbers


def grouped(digits: str, sign: str) -> str:
    return f"{int(digits):,}".replace(",", sign)


def lakhs(digits: str) -> str:
    head, last = digits[:-3], digits[-3:]
    return ",".join([*([head[:1]] if len(head) % 2 else []), *(head[n : n + 2] for n in range(len(head) % 2, len(head), 2)), last])  # fmt: skip


def in_digits(text: str, zero: int) -> str:
    return "".join(chr(zero + int(c)) if c.isdigit() else c for c in text)


MILLIONS = st.integers(10**6, 10**12).map(str)
WHOLE = st.integers(0, 10**12).map(str)
PARTS = st.integers(1, 99).map(str)
WAYS_OF_WHOLE: dict[str, Callable[[str], str]] = {
    "plain": str,
    "commas": lambda n: grouped(n, ","),
    "spaces": lambda n: grouped(n, " "),
    "thin spaces": lambda n: grouped(n, "\u2009"),
    "no-break spaces": lambda n: grouped(n, "\u202f"),
    "LaTeX's commas": lambda n: grouped(n, "{,}"),
    "LaTeX's spaces": lambda n: grouped(n, "\\,"),
    "apostrophes": lambda n: grouped(n, "'"),
    "points": lambda n: grouped(n, "."),
    "lakhs": lakhs,
    "full width": lambda n: in_digits(n, 0xFF10),
    "Arabic-Indic": lambda n: in_digits(n, 0x0660),
    "Devanagari": lambda n: in_digits(grouped(n, ","), 0x0966),
    "bold mathematics": lambda n: in_digits(n, 0x1D7CE),
    "cents": lambda n: f"${grouped(n, ',')}.00",
    "Euros": lambda n: f"{grouped(n, '.')},00 \u20ac",
    "boxed": lambda n: f"$\\boxed{{{n}}}$",
    "boxed with its unit": lambda n: f"\\boxed{{{grouped(n, ',')} \\text{{ eggs}}}}",
    "units": lambda n: f"**{n}** eggs in 7 days",
    "a result": lambda n: f"2 x 3 + 4 = {n} eggs",
    "an equation": lambda n: f"x = {n} (since y = 3)",
    "turned round": lambda n: f"{n} = 2 x 3 + 4",
    "a sentence": lambda n: f"She has {n} of them, not 5.",
    "a power": lambda n: f"{n[0]}.{n[1:]} x 10^{len(n) - 1}",
    "LaTeX's power": lambda n: f"{n[0]}.{n[1:]} \\times 10^{{{len(n) - 1}}}",
    "an exponent": lambda n: f"{n[0]}.{n[1:]}e+{len(n) - 1:02d}",
    "superscripts": lambda n: f"{n[0]}.{n[1:]} \u00d7 10" + f"{len(n) - 1}".translate(str.maketrans("0123456789", "\u2070\u00b9\u00b2\u00b3\u2074\u2075\u2076\u2077\u2078\u2079")),
    "millions": lambda n: f"{Decimal(n) / 10**6:f} million",
}  # fmt: skip
SIGNS = {
    "": "",
    "-": "-",
    "\u2212": "-",
    "minus ": "-",
    "negative ": "-",
    "+": "",
    "plus ": "",
    "-$": "-",
    "$-": "-",
}
SIGNABLE = (
    "plain",
    "commas",
    "spaces",
    "points",
    "apostrophes",
    "full width",
    "units",
    "a power",
    "an exponent",
)


@pytest.mark.parametrize("way", WAYS_OF_WHOLE)
@given(number=MILLIONS)
def test_a_whole_number_reads_back_however_it_is_written(way: str, number: str):
    written = WAYS_OF_WHOLE[way](number)
    for reply in (f"3 + 4 = 7.\nFinal answer: {written}", f"**Final Answer:**\n\n{written}\n"):
        assert Gsm8k().parse(reply) == number
        assert Gsm8k().score(Gsm8k().parse(reply), number)


@given(number=MILLIONS, way=st.sampled_from(SIGNABLE), sign=st.sampled_from(list(SIGNS)))
def test_a_sign_may_be_a_word_or_any_dash(number: str, way: str, sign: str):
    assert Gsm8k().parse(f"Final answer: {sign}{WAYS_OF_WHOLE[way](number)}") == SIGNS[sign] + number


@given(
    whole=WHOLE,
    part=PARTS,
    way=st.sampled_from(["{w}.{p}", "{c}.{p}", "{s}.{p}", "{s},{p}", "{d},{p}", "{q}.{p}", "${w}.{p}0$"]),
)
def test_a_decimal_reads_back_with_a_point_or_a_comma(whole: str, part: str, way: str):
    written = way.format(
        w=whole,
        p=part,
        **{
            name: grouped(whole, sign) for name, sign in (("c", ","), ("s", "\u202f"), ("d", "."), ("q", "'"))
        },
    )
    assert Gsm8k().parse(f"Final answer: {written}") == f"{Decimal(f'{whole}.{part}').normalize():f}"


WAYS_OF_FRACTION = [*("{a}/{b}", "{a} / {b}", "{a}\u2044{b}", r"\frac{{{a}}}{{{b}}}", r"$\dfrac{{{a}}}{{{b}}}$", r"\boxed{{\frac{{{a}}}{{{b}}}}}"), "x = {a}/{b}", "{a}/{b} of a cake"]  # fmt: skip


@given(
    value=st.fractions(0, 1, max_denominator=64),
    times=st.integers(1, 9),
    whole=st.integers(0, 99),
    way=st.sampled_from(WAYS_OF_FRACTION),
)
def test_equal_fractions_are_one_answer(value: Fraction, times: int, whole: int, way: str):
    above, below = value.numerator * times, value.denominator * times
    read = Gsm8k().parse(f"Final answer: {way.format(a=above, b=below)}")
    assert read is not None
    assert Fraction(read) == value
    assert Gsm8k().score(read, f"{value.numerator}/{value.denominator}")
    assert Gsm8k().parse(Gsm8k().format(read)) == read
    if whole and value < 1:
        mixed = Gsm8k().parse(f"Final answer: {whole} {above}/{below} cups")
        assert mixed is not None
        assert Fraction(mixed) == whole + value


@given(st.integers(0, 10**9), st.integers(0, 10**9), st.sampled_from(["{} to {}", "between {} and {}", "{}-{}", "{} or {}", "x = {}, y = {}", "{}, {}", "{} eggs = {} dozen"]))  # fmt: skip
def test_two_different_numbers_are_no_answer(a: int, b: int, way: str):
    read = Gsm8k().parse(f"Final answer: {way.format(a, b)}")
    assert read is None or a == b


# Verdicts

OTHER = {"A": "B", "B": "A"}
FORMAT = '"[[A]]" if assistant A is better, "[[B]]" if assistant B is better, and "[[C]]" for a tie'
WINS = [
    *("[[{w}]]", "[[Assistant {w}]]", "[[{w}>{l}]]", "[[{w}>>{l}]]", "[[{l}<{w}]]", "[[{l}<<{w}]]", r"\boxed{{{w}}}"),
    *("Verdict: {w}", "Final verdict: **{w}**", "The winner is Assistant {w}.", "Verdict: A close call, but {w} wins"),
    *("A slight edge goes to {w}", "Assistant {w}'s answer is slightly better than {l}'s.", "I prefer {w}.", "{w} wins."),
    *("Judgement:\n\n{w}", FORMAT + "\n\n[[{w}]]", "At first sight [[{l}]]. Final verdict: [[{w}]]", "Assistant {w}"),
]  # fmt: skip
TIES = [
    "[[C]]",
    "[[Tie]]",
    "[[A=B]]",
    "A tie",
    "**A tie**",
    "Verdict: A tie",
    "It is a tie.",
    r"\boxed{\text{Tie}}",
]


@given(win=st.sampled_from(WINS), verdict=st.sampled_from("AB"))
def test_whoever_wins_is_read_in_any_words(win: str, verdict: str):
    assert Pairwise().parse(win.format(w=verdict, l=OTHER[verdict])) == verdict


@pytest.mark.parametrize("tie", TIES)
def test_a_tie_is_read_in_any_words(tie: str):
    assert Pairwise().parse(tie) == "C"


@given(
    first=st.sampled_from(["Assistant {w} is better on style", "{w} wins", "I prefer {w}", "Verdict: {w}"]),
    verdict=st.sampled_from("AB"),
    join=st.sampled_from([". ", "; ", "\n", ", but "]),
)
def test_prose_with_two_winners_has_no_verdict(first: str, verdict: str, join: str):
    reply = f"{first.format(w=verdict)}{join}Assistant {OTHER[verdict]} is better on facts."
    assert Pairwise().parse(reply) is None


# Hostile replies

MEGABYTE = 1_000_000
HOSTILE = {
    "last_letters": ["'a ", '"', "\u201c", "answer is ", "s, ", "is", r"\boxed{", "\u0301\u0316"],
    "coin_flip": ["yes/", "answer is ", "no or ", r"\boxed{"],
    "trivia_qa": ["Paris ", "not ", "\ufdfa", "\u0301\u0316", "*'"],
    "pairwise": ["[", "[[A", '"[[A]]" if ', "The answer is ", "A is the the ", "A wins ", r"\boxed{A} "],
    "gsm8k": [
        "1",
        "1,",
        "1 234 ",
        "-",
        "3 = ",
        "(1",
        "{",
        "1/",
        "Final answer:\n",
        r"\frac{",
        "answer is 1 ",
        "final",
    ],
    "open": ["\ufdfa", "\u0301\u0316", " ", '"'],
    "first match": ["answer", "answer ", "-", "\u0301\u0316"],
    "last match": ["1", "1,", "-", "."],
    "whole reply": ["1", "1,", "{", r"\frac{", " "],
    "scores": ["Score: ", "Assistant A ", "4/5 ", "between 1 and "],
    "criteria": ["1. a\n", "- **a**: b\n", "# ", "*"],
    "usc": ["most consistent response is ", "9"],
    "value": ["1", "-"],
}


def seconds(read: Callable[[str], object], text: str) -> float:
    """Of the processor's time, the least of three tries: beside other tests a processor is up to three times slower."""
    took = []
    for _ in range(3):
        start = time.process_time()
        read(text)
        took.append(time.process_time() - start)
        if took[-1] < 1:
            break
    return min(took)


@pytest.mark.parametrize("name", READERS)
def test_a_megabyte_of_anything_is_read_within_a_second(name: str):
    for piece in HOSTILE[name]:
        for reply in (piece * (MEGABYTE // len(piece)), f"{piece}{' ' * MEGABYTE}x"):
            assert seconds(READERS[name], reply) < 1, piece


@pytest.mark.parametrize(
    ("pattern", "piece"),
    [
        (r"((\w+)\s?)+;", "a"),
        (r"(?s).*(\w+).*;", "a "),
        (r"^(([a-z])+.)+[A-Z]([a-z])+$", "a"),
        (r"(a?){30}a{30};", "a"),
    ],
)
def test_a_pattern_that_would_take_for_ever_gives_up(pattern: str, piece: str):
    for take in ("first", "last"):
        task, reply = by_pattern(pattern, take=take), piece * (MEGABYTE // len(piece))
        assert task.parse(reply) is None
        assert seconds(task.parse, reply) < 1


def test_an_answer_behind_a_megabyte_is_read():
    noise = "so on and so on " * (MEGABYTE // 16)
    assert Gsm8k().parse(f"{noise}Final answer: 18\n") == "18"
    assert Gsm8k().parse(f"{noise}\nFinal answer: 18") == "18"
    assert Pairwise().parse(f"{noise}\n[[B]]") == "B"
    assert by_pattern(r"answer is (\w+)").parse(f"{noise}\nThe answer is no") == "no"
    assert by_pattern(r"answer is (\w+)", take="first").parse(f"The answer is no\n{noise}") == "no"


def test_a_response_of_an_endless_number_is_none():
    assert usc("The most consistent response is Response " + "9" * 5_000) is None


def test_a_number_that_the_limit_would_halve_is_not_read_in_part():
    assert Gsm8k().parse("7 is it.\n" + "9" * MEGABYTE) is None
    assert Gsm8k().parse("7 is it. " + "9" * 10_000) == "9" * 10_000
