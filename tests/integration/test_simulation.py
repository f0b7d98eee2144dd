"""Simulated runs: a slice of `python -m benchmarks.simulate`, and that a seed replays itself."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from benchmarks.simulate import MODES, main
from benchmarks.simulation.bugs import BUGS
from benchmarks.simulation.exhaustive import explore
from benchmarks.simulation.kernel import Kernel
from benchmarks.simulation.scenario import run_seed
from benchmarks.simulation.world import World
from s2d_loop.sources import open_source


@pytest.mark.parametrize("mode", MODES)
def test_a_run_that_crashed_anywhere_ends_as_the_undisturbed_one(mode: str) -> None:
    tally = explore(mode, 0, 1, pairs=False, every=29)
    assert not tally.failures
    assert tally.singles >= 2


def test_random_lives_lose_nothing_and_end() -> None:
    problems = {seed: run_seed(seed).problems for seed in range(20)}
    assert not any(problems.values()), {seed: each for seed, each in problems.items() if each}


@pytest.mark.parametrize("name", BUGS)
def test_a_planted_bug_is_found(name: str) -> None:
    assert any(run_seed(seed, bug=BUGS[name]).problems for seed in range(150))


def test_a_seed_replays_itself() -> None:
    lives: list[list[str]] = [[], []]
    for life in lives:
        run_seed(4, trace=life.append)
    assert lives[0] == lives[1]
    assert len(lives[0]) > 100


def test_a_failure_is_told_with_the_command_that_replays_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--seed", "0", "--bug", "stale-weights", "--trace"]) in (0, 1)
    assert "fsync" in (told := capsys.readouterr().out) or "put" in told
    assert main(["--crash", "bucket/3-after-kill"]) == 0


@contextmanager
def _world() -> Iterator[World]:
    import random

    world = World(Kernel(random.Random(0)), 0)
    with world.installed():
        world.prepare()
        yield world


def test_what_is_not_synced_is_lost_with_the_power() -> None:
    with _world() as world:
        folder = Path("/simulated/root/run")
        folder.mkdir(parents=True)
        (folder / "file").write_text("x")
        assert (folder / "file").read_text() == "x"
        world.disk.lose_power(None)
        assert not folder.exists()


def test_a_file_that_was_empty_when_it_was_first_seen_is_read_once_it_fills() -> None:
    with _world() as world:
        (config,) = world.config.sources
        world.add_inputs("a.jsonl", [])
        world.add_inputs("b.jsonl", ['{"prompt": "one"}\n'])
        world.kernel.now += 100
        source = open_source(config, now=world.clock.now)
        first = source.read(None, 5)
        world.add_inputs("a.jsonl", ['{"prompt": "two"}\n'], append=True)
        world.kernel.now += 100
        second = source.read(first.cursor, 5)
        assert [x.id for x in (*first.rows, *second.rows)] == ["stream:b.jsonl#0", "stream:a.jsonl#0"]  # type: ignore[union-attr]
