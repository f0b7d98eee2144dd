"""Votes, verdicts and signs: nothing vanishes, and the same input gives the same verdict."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from s2d_loop.config.tasks import CurateConfig, UscConfig
from s2d_loop.curate import judge
from s2d_loop.curate.judge import REASONS, curate
from s2d_loop.curate.language import check_languages
from s2d_loop.curate.signs import sign_columns, signs
from s2d_loop.curate.vote import LOW_SHARE, NO_MAJORITY, NO_PARSABLE_ANSWER, TIE, Rule, decide
from s2d_loop.errors import BadInputError
from s2d_loop.records import (
    KEPT,
    Generation,
    Input,
    Message,
    Sample,
    Selection,
    Turn,
    Twin,
    Votes,
    rows,
    table,
)
from s2d_loop.records import Verdict as VerdictRecord
from s2d_loop.tasks.base import Perturbation
from s2d_loop.tasks.coin_flip import CoinFlip

RULES: tuple[Rule, ...] = ("unique_plurality", "plurality_tiebreak", "absolute_majority")
ANSWERS = st.lists(st.sampled_from(["yes", "no", "up", None]), max_size=9)
TASK = CoinFlip()


def vote(answers: str, rule: Rule = "unique_plurality", min_share: float = 0.0, input_id: str = "t:0"):
    """One letter a sample; `.` can't be parsed."""
    return decide([None if a == "." else a for a in answers], rule, min_share, 0, input_id)


@pytest.mark.parametrize(
    ("answers", "rule", "reason", "winner"),
    [
        ("aab", "unique_plurality", KEPT, "a"),
        ("aabbc", "unique_plurality", TIE, None),
        ("a.......", "unique_plurality", KEPT, "a"),
        ("....", "unique_plurality", NO_PARSABLE_ANSWER, None),
        ("", "unique_plurality", NO_PARSABLE_ANSWER, None),
        ("aab.", "absolute_majority", NO_MAJORITY, None),
        ("aaab.", "absolute_majority", KEPT, "a"),
        ("aabb", "absolute_majority", NO_MAJORITY, None),
        ("..", "absolute_majority", NO_PARSABLE_ANSWER, None),
        ("aab", "plurality_tiebreak", KEPT, "a"),
    ],
)
def test_rules(answers: str, rule: Rule, reason: str, winner: str | None):
    decision = vote(answers, rule)
    assert (decision.reason, decision.winner, decision.answer) == (reason, winner, winner)


def test_a_kept_input_keeps_the_calls_that_its_target_came_of_and_a_dropped_one_none():
    x = Input("s:f#0", "coin", (Message("user", "?"),), "h")

    def judged(answers: Sequence[str], **settings: object) -> VerdictRecord:
        samples = tuple(Sample(text, finished=True, token_ids=(n,)) for n, text in enumerate(answers))
        turns = [Turn("rephrase", (0, 1), x.messages, "a"), Turn("rephrase", (2, 3), x.messages, "b")]
        turns += [Turn("respond", (n,), x.messages, text) for n, text in enumerate(answers)]
        row = Generation(x, "w", "rar_2step", samples, (), (), (), 6, 6, 0, None, turns=tuple(turns))
        return curate(row, TASK, CurateConfig.model_validate(settings), 0)

    for settings in ({}, {"filter": "none"}, {"target": "answer"}):
        kept = judged(["Yes", "No", "No", "No"], **settings)
        assert [turn.step for turn in kept.turns] == ["rephrase", "respond"]
        (first, second) = kept.turns
        assert second.samples[0] in first.samples
        if settings != {"filter": "none"}:
            assert second.completion == "No", "the other answer lost the vote"
    assert judged(["Yes", "No", "Yes", "No"]).turns == ()


def test_a_tie_break_is_random_over_inputs_and_the_same_for_one():
    winners = [vote("aabbc", "plurality_tiebreak", input_id=f"t:{n}").answer for n in range(200)]
    again = [vote("cbbaa", "plurality_tiebreak", input_id=f"t:{n}").answer for n in range(200)]
    assert winners == again
    counts = Counter(winners)
    assert set(counts) == {"a", "b"}
    assert min(counts.values()) > 60


def test_unparsable_samples_stay_in_the_denominator_of_min_share():
    assert vote("aaa..", min_share=0.6).reason == KEPT
    low = vote("aaa...", min_share=0.6)
    assert (low.reason, low.winner, low.answer, low.share) == (LOW_SHARE, "a", None, 0.5)


def test_entropy_is_of_the_parsed_answers():
    assert vote("aa..").entropy == 0
    assert vote("aabb..").entropy == 1
    assert vote("....").entropy == 0


@pytest.mark.parametrize("rule", RULES)
@given(answers=ANSWERS, min_share=st.sampled_from([0.0, 0.3, 0.5, 1.0]))
def test_a_vote_adds_up_and_ignores_the_order(rule: Rule, answers: Sequence[str | None], min_share: float):
    decision = decide(answers, rule, min_share, 7, "t:0")
    assert decision == decide(answers[::-1], rule, min_share, 7, "t:0")
    assert sum(v.count for v in decision.votes) + decision.unparsable == len(answers)
    if decision.answer is not None:
        assert decision.share >= min_share
        assert answers.count(decision.answer) == max(v.count for v in decision.votes)
    if rule == "absolute_majority" and decision.winner is not None:
        assert answers.count(decision.winner) > len(answers) / 2


# Verdicts


def generation(
    samples: Sequence[str | Sample],
    direct: Sequence[str] = (),
    twins: dict[str, Sequence[str]] | None = None,
    *,
    number: int = 0,
    error: str | None = None,
) -> Generation:
    def each(texts: Sequence[str | Sample]) -> tuple[Sample, ...]:
        return tuple(t if isinstance(t, Sample) else Sample(t, True) for t in texts)

    return Generation(
        input=Input(f"t:{number}", "coin_flip", (Message("user", "Heads?"),), str(number)),
        weights="w0",
        program="rar_2step",
        samples=each(samples),
        direct=each(direct),
        twins=tuple(
            Twin(name, each(texts), (Message("user", name),)) for name, texts in (twins or {}).items()
        ),
        calls=(),
        num_calls=len(samples),
        num_tokens=10 * len(samples),
        num_direct_tokens=3 * len(direct),
        error=error,
    )


def test_a_kept_verdict_holds_what_the_vote_saw():
    verdict = curate(
        generation(["Yes.", "Yes, it is.", "No.", "Heads"], ["yes", "no"]), TASK, CurateConfig(), 0
    )
    assert verdict.kept
    assert verdict.answer == "yes"
    assert verdict.target in ("Yes.", "Yes, it is.")
    assert verdict.share == 0.5
    assert verdict.votes == (Votes("yes", 2), Votes("no", 1))
    assert (verdict.num_samples, verdict.unparsable, verdict.direct_agrees) == (4, 1, 0.5)
    assert (verdict.num_tokens, verdict.num_direct_tokens) == (40, 6)
    assert list(rows(table([verdict], VerdictRecord), VerdictRecord)) == [verdict]


def test_the_target_is_verbatim_and_any_of_the_winners():
    texts = [" Yes.\n", "Yes, {it} is.", "No."]
    targets = {curate(generation(texts * 2, number=n), TASK, CurateConfig(), 0).target for n in range(40)}
    assert targets == {" Yes.\n", "Yes, {it} is."}


def test_a_cut_off_sample_neither_votes_nor_trains():
    cut = Sample("Yes, or rather", False)
    verdict = curate(generation([cut, cut, "No."]), TASK, CurateConfig(), 0)
    assert (verdict.answer, verdict.target, verdict.unparsable) == ("no", "No.", 2)
    assert verdict.share == pytest.approx(1 / 3)
    assert curate(generation([cut, cut]), TASK, CurateConfig(), 0).reason == NO_PARSABLE_ANSWER


def test_a_failed_generation_is_a_verdict_too():
    verdict = curate(generation([], error="too long"), TASK, CurateConfig(), 0)
    assert (verdict.reason, verdict.target, verdict.num_samples) == (judge.GENERATION_FAILED, None, 0)


TWIN = CurateConfig(perturbations=["swap_people"])


@pytest.mark.parametrize(
    ("twins", "reason"),
    [
        ({"swap_people": ["Yes", "Yes", "No"]}, KEPT),
        ({"swap_people": ["No", "No", "Yes"]}, judge.PERTURBATION_DISAGREES),
        ({"swap_people": ["No", "Yes"]}, judge.PERTURBATION_DISAGREES),
        ({"swap_people": []}, judge.PERTURBATION_DISAGREES),
        ({"other": ["Yes"]}, judge.PERTURBATION_MISSING),
        ({}, judge.PERTURBATION_MISSING),
    ],
)
def test_twins_must_agree(twins: dict[str, Sequence[str]], reason: str):
    verdict = curate(generation(["Yes", "Yes"], twins=twins), TASK, TWIN, 0)
    assert (verdict.reason, verdict.answer) == (reason, "yes")
    assert (verdict.target is None) == (reason != KEPT)


def test_twins_that_nobody_asked_for_do_not_count():
    assert curate(generation(["Yes"], twins={"swap_people": ["No"]}), TASK, CurateConfig(), 0).kept


NONE = CurateConfig(filter="none")


def test_no_filter_takes_one_random_sample_whatever_it_says():
    texts = ["Yes.", "No.", "Heads, I think"]
    verdicts = [curate(generation(texts, number=n), TASK, NONE, 0) for n in range(60)]
    assert all(v.kept for v in verdicts)
    assert {(v.target, v.answer) for v in verdicts} == {("Yes.", "yes"), ("No.", "no"), (texts[2], None)}
    assert {v.share for v in verdicts if v.answer} == {1 / 3}


@pytest.mark.parametrize(
    ("samples", "reason"),
    [
        ([" \n"], judge.EMPTY_REPLY),
        ([], judge.EMPTY_REPLY),
        ([Sample("Yes", False)], judge.CUT_OFF),
    ],
)
def test_no_filter_drops_what_cannot_be_trained_on(samples: Sequence[str | Sample], reason: str):
    assert curate(generation(samples), TASK, NONE, 0).reason == reason


SAMPLES = st.builds(Sample, st.sampled_from(["Yes.", "No, no.", "Heads", ""]), st.booleans())
CONFIGS = st.builds(
    CurateConfig,
    filter=st.sampled_from(["vote", "none"]),
    vote=st.sampled_from(RULES),
    min_share=st.sampled_from([0.0, 0.5, 1.0]),
    perturbations=st.sampled_from([[], ["swap_people"]]),
)


@given(
    samples=st.lists(SAMPLES, max_size=6),
    twins=st.lists(st.sampled_from(["Yes", "No", "?"]), max_size=3),
    config=CONFIGS,
    seed=st.integers(0, 99),
)
def test_a_verdict_is_whole_and_repeats(
    samples: list[Sample], twins: list[str], config: CurateConfig, seed: int
):
    row = generation(samples, ["Yes"], {"swap_people": twins} if twins else None)
    verdict = curate(row, TASK, config, seed)
    assert verdict == curate(row, TASK, config, seed)
    assert (verdict.target is not None) == verdict.kept
    assert verdict.kept or verdict.reason in REASONS
    if verdict.kept:
        assert Sample(verdict.target, True) in samples
        assert TASK.parse(verdict.target) == verdict.answer
        assert verdict.answer is not None or config.filter == "none"


# Signs


def of(verdicts, direct_samples=0):
    return signs(sign_columns(table(verdicts, VerdictRecord)), direct_samples)


def test_signs_of_nothing():
    found = of([])
    assert (found["inputs"], found["kept"], found["kept_share"], found["dropped"]) == (0, 0, 0.0, {})
    assert found["agreement"] is found["entropy"] is found["top_answer_share"] is None


def test_signs_of_a_round():
    config = CurateConfig()
    verdicts = [
        curate(generation(["Yes", "Yes", "Yes", "No"], ["Yes", "Yes"], number=0), TASK, config, 0),
        curate(generation(["Yes", "Yes", "Yes", "Yes"], ["Yes", "No"], number=1), TASK, config, 0),
        curate(generation(["Yes", "Yes", "No", "No"], ["No", "No"], number=2), TASK, config, 0),
        curate(generation(["No", "?", "?", "?"], ["Yes", "?"], number=3), TASK, config, 0),
        curate(generation([], error="lost", number=4), TASK, config, 0),
    ]
    found = of(verdicts, direct_samples=2)
    assert (found["inputs"], found["kept"], found["kept_share"]) == (5, 3, 0.6)
    assert found["dropped"] == {"generation_failed": 1, "tie": 1}
    assert found["inputs"] == found["kept"] + sum(found["dropped"].values())
    assert found["agreement"] == pytest.approx((1 + 0.5 + 0) / 3)
    assert found["already"] == pytest.approx(1 / 3)
    assert found["self_agreement"] == pytest.approx((0.75 + 1 + 0.5 + 0.25) / 4)
    assert (found["distinct_answers"], found["top_answer_share"]) == (2, pytest.approx(2 / 3))
    assert found["unparsable_share"] == pytest.approx(3 / 16)
    assert (found["tokens_per_input"], found["direct_tokens_per_answer"]) == (40, 3)
    assert of(verdicts)["direct_tokens_per_answer"] is None


def test_collapse_shows():
    """One answer for everything: full self-agreement, no entropy, one answer on top."""
    verdicts = [curate(generation(["Yes"] * 4, number=n), TASK, CurateConfig(), 0) for n in range(5)]
    found = of(verdicts)
    assert (found["self_agreement"], found["entropy"], found["top_answer_share"]) == (1, 0, 1)


# A target that isn't a sample, twins that train, and universal self-consistency.


class Pick:
    """Which of two is better; a twin shows them in the other order."""

    name = "pick"
    perturbations: ClassVar[dict[str, Perturbation]] = {
        "swap": Perturbation(lambda x: x, lambda answer: {"A": "B", "B": "A"}.get(answer, answer))
    }

    def parse(self, reply: str) -> str | None:
        return reply[2] if reply.startswith("[[") else None

    def format(self, answer: str) -> str:
        return f"[[{answer}]]"

    def score(self, answer: str | None, reference: str) -> bool:
        return answer == reference


SWAP = CurateConfig(perturbations=["swap"], train_twins=["swap"], target="answer")


@pytest.mark.parametrize(
    ("first", "swapped", "reason"),
    [
        ("[[A]] is clearer", "[[B]] again", KEPT),
        ("[[A]]", "[[A]]", judge.PERTURBATION_DISAGREES),
        ("[[A]]", "neither", judge.PERTURBATION_DISAGREES),
        ("who knows", "[[A]]", NO_PARSABLE_ANSWER),
    ],
)
def test_a_pair_is_kept_when_both_orders_name_the_same_answer(first: str, swapped: str, reason: str):
    verdict = curate(generation([first], twins={"swap": [swapped]}), Pick(), SWAP, 0)
    assert verdict.reason == reason
    if verdict.kept:
        assert (verdict.answer, verdict.target) == ("A", "[[A]]")
        (twin,) = verdict.twins
        assert (twin.prompt, twin.target, twin.answer) == ((Message("user", "swap"),), "[[B]]", "B")
        assert list(rows(table([verdict], VerdictRecord), VerdictRecord)) == [verdict]
    else:
        assert verdict.target is None
        assert verdict.twins == ()


def test_an_answer_that_is_not_wanted_is_dropped():
    ties = CurateConfig(perturbations=["swap"], drop_answers=["C"])
    tied = curate(generation(["[[C]]"], twins={"swap": ["[[C]]"]}), Pick(), ties, 0)
    assert (tied.reason, tied.answer, tied.target) == (judge.ANSWER_NOT_LEARNED, "C", None)
    assert curate(generation(["[[A]]"], twins={"swap": ["[[B]]"]}), Pick(), ties, 0).kept


def test_a_target_outside_the_bounds_is_dropped():
    short = CurateConfig(min_characters=5)
    assert curate(generation(["Yes."]), TASK, short, 0).reason == judge.TOO_SHORT
    assert curate(generation(["Yes, it is."]), TASK, short, 0).kept
    assert (
        curate(generation(["Yes, it is."]), TASK, CurateConfig(max_characters=4), 0).reason == judge.TOO_LONG
    )


@pytest.mark.parametrize(
    ("reply", "kept"),
    [
        ("Yes, the coin is still heads up after all.", True),
        ("Ja, die Muenze liegt immer noch mit dem Kopf nach oben, yes.", False),
        ("Да, монета всё ещё лежит орлом вверх: yes.", False),
        ("yes", True),
        ("**Yes** (4/4)", True),
        ("yes = not tails(x)", True),
    ],
)
def test_a_target_that_is_surely_in_another_language_is_dropped(reply: str, kept: bool):
    row = generation([reply])
    assert curate(row, TASK, CurateConfig(), 0).kept
    verdict = curate(row, TASK, CurateConfig(languages=["en"]), 0)
    assert verdict.reason == (KEPT if kept else judge.OTHER_LANGUAGE)
    assert curate(row, TASK, CurateConfig(languages=["en", "de", "ru"]), 0).kept


def test_a_language_that_nothing_could_be_in_is_refused():
    check_languages(["en", "zh"])
    with pytest.raises(BadInputError, match="'english' is no code"):
        check_languages(["en", "english"])


def test_what_the_model_selected_is_learned_verbatim():
    row = replace(generation(["Yes.", "No, it is not.", "Yes."]), selection=Selection(1, "selected"))
    verdict = curate(row, TASK, CurateConfig(filter="usc"), 0)
    assert (verdict.kept, verdict.target, verdict.answer) == (True, "No, it is not.", "no")


def test_a_selection_that_names_no_sample_is_dropped_or_random():
    row = replace(generation(["Yes.", "No."]), selection=Selection(None, "unreadable"))
    assert curate(row, TASK, CurateConfig(filter="usc"), 0).reason == judge.SELECTION_UNREADABLE
    random = CurateConfig(filter="usc", usc=UscConfig(unreadable="random"))
    assert curate(row, TASK, random, 0).target in ("Yes.", "No.")


def test_samples_too_long_to_show_leave_a_random_one():
    seen = {
        curate(
            replace(generation(["Yes.", "No."], number=n), selection=Selection(None, "too_long")),
            TASK,
            CurateConfig(filter="usc"),
            0,
        ).target
        for n in range(40)
    }
    assert seen == {"Yes.", "No."}
