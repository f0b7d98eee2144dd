"""A run whose root is a bucket: the loop goes on anywhere from the root alone."""

import itertools
import shutil
from collections.abc import Callable
from pathlib import Path

import fsspec
import pytest

from s2d_loop.clock import SystemClock
from s2d_loop.config import Config
from s2d_loop.errors import ExitCode, LostLeaseError
from s2d_loop.ledger import Ledger, LedgerError
from s2d_loop.loop import run_loop
from s2d_loop.records import Example, Request, rows
from s2d_loop.store import Store, open_store
from tests.support.s3_server import Fault, S3Server
from tests.support.scripted import (
    ScriptedEngines,
    ScriptedTrainer,
    letters_config,
    scripted_run,
    words,
    write_questions,
)


class _Kill(BaseException):
    """As sudden as a kill: nothing in the loop may catch it."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_questions(tmp_path / "stream.jsonl", words(1, 40))
    write_questions(tmp_path / "heldout.jsonl", words(2, 12))
    return tmp_path


def small(folder: Path, **changes: object) -> Config:
    return letters_config(folder, run__inputs_per_iteration=15, **changes)


@pytest.fixture
def config(folder: Path, bucket: str) -> Config:
    return small(folder, run__dir=bucket, run__weights_dir=str(folder / "cache"))


def anew(config: Config) -> Store:
    """As in another process on a new cluster: the directory for weights is empty, no client is connected."""
    assert config.run.weights_dir
    shutil.rmtree(config.run.weights_dir, ignore_errors=True)
    fsspec.get_filesystem_class("s3").clear_instance_cache()
    return open_store(config.run.dir)


def state(store: Store) -> object:
    """What a run came to, without times and attempt ids."""
    ledger = Ledger(store, SystemClock())
    examples = [e for r in ledger.stages("pool") for e in rows(ledger.tables(r, "examples"), Example)]
    stages = [(r.iteration, r.stage, r.counts) for r in ledger.records if r.kind == "stage"]
    weights = [r.facts["weights"]["digest"] for r in ledger.stages("promote")]
    return stages, [(e.id, e.completion, e.weights) for e in examples], weights


@pytest.fixture
def calm(folder: Path) -> object:
    """What the same run comes to on a local root, undisturbed."""
    config = small(folder, run__dir=str(folder / "calm"))
    run_loop(scripted_run(config))
    return state(open_store(config.run.dir))


def killed_at(store: Store, monkeypatch: pytest.MonkeyPatch, matches: Callable[[str], bool]) -> Store:
    """Dies when it has begun to write the first file that matches."""
    writing, create = store.writing, store.create

    def write(path: str):  # type: ignore[no-untyped-def]
        file = writing(path)
        if matches(path):
            file.__enter__().write(b"half of i")
            raise _Kill
        return file

    def publish(path: str, data: bytes) -> None:
        create(path, data)
        if matches(data.decode()):
            raise _Kill

    monkeypatch.setattr(store, "writing", write)
    monkeypatch.setattr(store, "create", publish)
    return store


@pytest.mark.parametrize(
    "matches",
    [
        lambda said: "weights/00001" in said and "state.json" in said,
        lambda said: '"stage": "train"' in said and '"iteration": 1' in said,
        lambda said: "data/00002/generate" in said,
    ],
    ids=["in the upload of weights", "as the weights are committed", "on trained weights"],
)
def test_a_run_that_is_killed_goes_on_elsewhere_from_the_root_alone(
    config: Config, calm: object, monkeypatch: pytest.MonkeyPatch, matches: Callable[[str], bool]
) -> None:
    store = killed_at(anew(config), monkeypatch, matches)
    with pytest.raises(_Kill):
        run_loop(scripted_run(config, store=store))
    assert run_loop(scripted_run(config, store=anew(config))) == ExitCode.DONE
    assert state(open_store(config.run.dir)) == calm


def test_an_unreliable_network_changes_nothing(config: Config, calm: object, server: S3Server) -> None:
    """Of every nine requests one has its answer lost, of every seven others one is refused."""
    turns = [itertools.count(), itertools.count()]
    kinds = [
        Fault(lambda _: next(turns[0]) % 9 == 8, lost=True, times=1000),
        Fault(lambda _: next(turns[1]) % 7 == 6, status=503, code="SlowDown", times=1000),
    ]
    with server.failing(*kinds):
        assert run_loop(scripted_run(config, store=anew(config))) == ExitCode.DONE
    assert all(each.times < 990 for each in kinds)
    assert state(open_store(config.run.dir)) == calm


def test_of_two_drivers_on_one_bucket_the_newer_goes_on(config: Config) -> None:
    second: list[Ledger] = []

    def intrude(request: Request) -> None:
        if not second:
            second.append(Ledger(open_store(config.run.dir), SystemClock()))
            second[0].take_lease()

    with pytest.raises(LostLeaseError) as raised:
        run_loop(scripted_run(config, engines=ScriptedEngines(intrude)))
    assert raised.value.exit_code == ExitCode.LOST_LEASE


def test_damaged_weights_in_a_bucket_are_named_and_never_served(config: Config) -> None:
    run_loop(scripted_run(config))
    store = anew(config)
    trained = Ledger(store, SystemClock()).stages("train")[0]
    store.remove(trained.files[0].path)
    with store.writing(trained.files[0].path) as file:
        file.write(b'{"skill": 1.0}')
    for later in range(trained.seq + 1, len(Ledger(store, SystemClock()).records) + 1):
        store.remove(f"ledger/{later:08d}.json")
    engines, trainer = ScriptedEngines(), ScriptedTrainer()
    with pytest.raises(LedgerError, match=r"weights/00001.*state\.json changed"):
        run_loop(scripted_run(config, store=anew(config), engines=engines, trainer=trainer))
    assert engines.served == []
    assert trainer.jobs == []
