"""The benchmark of early stopping, on votes that were recorded."""

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from benchmarks.recorded_votes import Vote, recorded, subsets
from benchmarks.stopping import Tally
from s2d_loop.records import Call, Generation, Input, Message, Sample, Trace, Twin, table


def made(number: int, answers: list[str], planned: int = 4) -> Generation:
    x = Input(f"s:f#{number}", "coin_flip", (Message("user", "?"),), "h")
    samples = tuple(Sample(f"The answer is {answer}.", finished=answer != "cut") for answer in answers)
    twins = (Twin("flip", (), ()),)
    return Generation(x, "w", "cot", samples, (), twins, (), 4, 40, 0, None, planned=planned)


def write(folder: Path, generations: list[Generation], traces: list[Trace]) -> str:
    pq.write_table(table(generations, Generation), folder / "generations.parquet")
    if traces:
        pq.write_table(table(traces, Trace), folder / "traces.parquet")
    return str(folder / "generations.parquet")


def test_a_table_gives_votes_with_each_samples_tokens(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def call(step: str, sample: int, tokens: int) -> Call:
        return Call(step, sample, 0, "", "", tokens)

    calls = [call("rephrase", 0, 3), call("respond", 0, 4), *(call("respond", i, 10 * i) for i in (1, 2, 3))]
    traces = [Trace("s:f#0", (*calls, call("flip/respond", 1, 99)))]
    whole, bare = made(0, ["yes", "no", "cut", "yes"]), made(1, ["yes"] * 4)
    stopped = made(2, ["yes", "yes", "yes"])
    first, second = recorded(write(tmp_path, [whole, bare, stopped], traces))
    assert first == Vote("coin_flip", ["yes", "no", None, "yes"], [7, 10, 20, 30])
    assert second.tokens == [10.0] * 4
    assert "2 inputs with all of their samples, 1 without; tokens by sample of 1" in capsys.readouterr().err


def test_a_table_without_whole_votes_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="stop: never"):
        list(recorded(write(tmp_path, [made(0, ["yes"])], [])))


def test_a_vote_is_cut_into_as_many_smaller_ones_as_it_has_samples_for() -> None:
    vote = Vote("t", [str(i) for i in range(64)], list(map(float, range(64))))
    parts = list(subsets(vote, (8, 20, 64)))
    assert [len(part.answers) for part in parts] == [8] * 8 + [20] * 3 + [64]
    assert sorted(a for part in parts[:8] for a in part.answers) == sorted(vote.answers)
    assert [len(part.answers) for part in subsets(Vote("t", ["a"] * 5, [1.0] * 5), (8, 20))] == [5]


def test_tokens_saved_are_those_of_the_samples_that_were_not_drawn() -> None:
    tally = Tally()
    tally.add(Vote("t", ["a", "a", "a", "b"], [1.0, 2.0, 4.0, 8.0]), "absolute_majority")
    # Three of four decide it; the oracle can do no better, and takes the same.
    assert (tally.drawn["exact"], tally.drawn["oracle"]) == (3, 3)
    assert tally.saved("exact") == tally.saved("oracle") == pytest.approx(8 / 15)
    assert tally.other["exact"] == 0
