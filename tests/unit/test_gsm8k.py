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
        # Words, ratios and dates are no numbers, and the numbers before them aren't the answer.
        ("5 + 5 = 10. Final answer: cannot be determined", None),
        ("3 of 4 are left. Final answer: 3/4", None),
        (r"Final answer: $\frac{3}{4}$", None),
        ("H2O and x2", None),
        ("no idea", None),
        ("", None),
    ],
)
def test_numbers_of_replies(reply: str, answer: str | None):
    assert TASK.parse(reply) == answer


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
