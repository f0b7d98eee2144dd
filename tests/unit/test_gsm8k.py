"""GSM8K's parser: what counts as the number that a reply gives."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from s2d_loop.tasks.gsm8k import Gsm8k

TASK = Gsm8k()
WHOLE = st.integers(-(10**12), 10**12)
MARKUP = st.sampled_from(
    ["{}", "**{}**", "*{}*", "`{}`", "_{}_", "\\boxed{{{}}}", "${}$", "\\({}\\)", "<<{}>>"]
)
UNITS = st.sampled_from(["", "%", " %", " dollars", " km/h", " eggs per day", "kg", " m2", " (in 2 days)"])
ENDS = st.sampled_from(["", ".", "!", "\n", ".\n\n"])
HEADS = st.sampled_from(["Final answer: ", "FINAL ANSWER: ", "**Final Answer:** ", "### Final answer\n\n", "The final answer is ", "Final Answer is: "])  # fmt: skip


@pytest.mark.parametrize(
    ("reply", "answer"),
    [
        ("Final answer: 18", "18"),
        ("She has 3 x 6 = 18 left.\nFinal answer: $18.00.", "18"),
        ("Final answer: 18\nFinal answer: 20", "20"),
        ("Final answer: 16 - 3 - 4 = 9 eggs in 2 boxes", "9"),
        ("Final answer: 18 eggs in 7 days", "18"),
        ("Final answer: Janet makes $18 every day", "18"),
        ("**Final answer:**\n\n**1,080**", "1080"),
        ("Final answer: -$1,080.50", "-1080.5"),
        ("Final answer: \u22125", "-5"),
        ("Final answer: 10{,}000", "10000"),
        (r"Final answer: $-\boxed{1{,}080}\text{ eggs}$ in 7 days", "-1080"),
        (r"Final answer: \(5\times 3 = 15\)", "15"),
        ("Final answer: 0.50", "0.5"),
        ("Final answer: .5", "0.5"),
        ("Final answer: -0.0", "0"),
        ("Final answer: 007", "7"),
        ("She sold 48 / 2 = 24.\n#### 72", "72"),
        ("It takes 3-5 days", "5"),
        ("16-3 is 13", "13"),
        ("I hope that this final answer helps! 12", "12"),
        ("3 of 4 are left. Final answer: 3/4", "0.75"),
        (r"Final answer: $\frac{3}{4}$", "0.75"),
        ("The answer is 18 eggs in 7 days.", "18"),
        ("So 18 = 2 x 9.", "18"),
        ("She sells 18 eggs in 7 days.", "18"),
        (r"So it is \boxed{18}. That took 3 days.", "18"),
        ("\\boxed{3}\nFinal answer: 18", "18"),
        ("Final answer:\nIn dollars:\n18", "18"),
        ("Final answer:\n- 18", "18"),
        ("Final answer (in dollars): 18 for 2 of them", "18"),
        ("#### 72 in 3 days", "72"),
        ("<answer>\n18\n</answer> in 3 days", "18"),
        # Words, dates and times are no numbers, and the numbers before them aren't the answer.
        ("5 + 5 = 10. Final answer: cannot be determined", None),
        ("5 + 5 = 10. Final answer: 12/25/2024", None),
        ("5 + 5 = 10. Final answer: 3:30 pm", None),
        (r"5 + 5 = 10. So \boxed{\text{none}}", None),
        ("H2O and x2", None),
        ("no idea", None),
        ("", None),
    ],
)
def test_numbers_of_replies(reply: str, answer: str | None):
    assert TASK.parse(reply) == answer


@pytest.mark.parametrize(
    "said",
    [
        "9 x 2 = 18",
        "3 * 6 = 18",
        "3x6=18",
        r"\(3 \times 6 = 18\)",
        r"\frac{36}{2} = 18",
        "36/2 = 18 eggs",
        "x = 18",
        "$x = \\boxed{18}$",
        "18 = 2 x 9",
        "18 = 2 x 9 = 3 x 6",
        "9 + 9 = 3 x 6 = 18",
        "10 + 8 = 18 eggs = 1.5 dozen",
        "24/2 = 12, 12 + 6 = 18",
        "2 x (3 + 6) = 18",
        "(3 + 6) x 2 = 18",
        "3/4 of 24 is 18",
        "20% of 90 is 18",
        "18 pens (since x = 3)",
        "18 (n=6 boxes)",
        "18 (9 x 2 = 18)",
        "18 pens, since x = 3",
        "18 pens because x = 3",
        "18 pens, x = 3",
        "18 \u2014 2 boxes of 9",
        "18 boxes with 6 each",
        "18 out of 20",
        "18, not 20",
        "18 m\u00b2 in 7 days",
        "$18/day for 7 days",
        "18 dollars by 12/25/2024",
        "18 eggs. I used 3 x 6.",
        "In total, 18 eggs",
        "For 3 boxes, she needs 18",
        "the total for 3 days is 18",
        "There are 18 eggs in 3 boxes of 6.",
        "18\\text{ dollars}",
    ],
)
def test_what_is_said_around_the_answer_does_not_count(said: str):
    assert TASK.parse(f"Final answer: {said}") == "18"


@pytest.mark.parametrize(
    "said",
    [
        "between 3 and 5",
        "from 3 to 5",
        "3 to 5 days",
        "3-5 days",
        "$3 to $5",
        "3 or 5",
        "3, 5",
        "3, 5 and 7",
        "(3, 5)",
        "x = 3, y = 4",
        "x = 3 and y = 4",
        "18 eggs = 1.5 dozen",
        "2 hours 30 minutes",
        "18 and a half",
        "10 - 3",
        "10 minus 3",
        "2x = 18",
        "2^10",
        "18 \u00b1 2",
        "\u00b13",
        "1,2,3",
        "1.2.3",
        "5k",
        "$- 3$",
    ],
)
def test_where_no_number_is_plainly_the_answer_there_is_none(said: str):
    assert TASK.parse(f"5 + 5 = 10. Final answer: {said}") is None


@given(
    number=WHOLE,
    head=HEADS,
    markup=MARKUP,
    units=UNITS,
    end=ENDS,
    before=st.sampled_from(["", "3 + 4 = 7\n"]),
)
def test_markup_case_units_and_punctuation_do_not_change_the_number(
    number: int, head: str, markup: str, units: str, end: str, before: str
):
    for said in (str(number), f"{number:,}", f"{number}.00"):
        assert TASK.parse(before + head + markup.format(said) + units + end) == str(number)


@given(number=st.decimals(allow_nan=False, allow_infinity=False, places=4))
def test_equal_decimals_are_one_answer(number):
    answer = TASK.parse(f"Final answer: {number:f}")
    assert answer is not None
    assert TASK.parse(TASK.format(answer)) == answer
    assert TASK.score(answer, f"{number:,f}00")


@given(st.text(alphabet="0123456789.,-/$%=*_ \nfinalasweFA:is", max_size=60))
def test_what_it_reads_it_reads_back(reply: str):
    answer = TASK.parse(reply)
    assert answer is None or TASK.parse(TASK.format(answer)) == answer


def test_scores_against_the_gold_as_it_is_published():
    assert TASK.score("1080", "1,080")
    assert not TASK.score("1080", "1,081")
    assert not TASK.score(None, "1")


def test_long_digits_are_no_trouble():
    assert TASK.parse("Final answer: " + "9" * 10_000) == "9" * 10_000
