"""What a distillation's run kept and trained on: its weights, its pairs, and how many of its targets are right."""

import itertools
import json
from collections.abc import Callable, Iterator

import pyarrow as pa

from s2d_loop.clock import SystemClock
from s2d_loop.config import Config, HeldOutConfig, SourceConfig
from s2d_loop.errors import BadInputError, UnansweredError
from s2d_loop.ledger import Ledger
from s2d_loop.records import Example, Weights, content_hash, rows
from s2d_loop.reproduce.metrics import Column, Items, hits
from s2d_loop.sources import read_heldout
from s2d_loop.store import open_store
from s2d_loop.tasks.registry import load_task
from s2d_loop.weights import fetch, local_folder

_EXAMPLES = 64


def ledger_of(config: Config) -> Ledger:
    """The ledger of a run."""
    return Ledger(open_store(config.run.dir), SystemClock())


def last_trained(config: Config, note: Callable[[str], None]) -> Weights | None:
    """What a finished run trained last, promoted or not: a table shows failures too."""
    ledger = ledger_of(config)
    trained = ledger.stages("train")
    if not trained:
        return None
    return fetch(ledger, trained[-1], local_folder(config.run.weights_dir, ledger), set(), note)


def first_pairs(ledger: Ledger) -> str:
    """The pairs that a run kept first, as JSON lines: more of them than a row shows."""
    pairs = pa.concat_tables(_kept(ledger)).select(["prompt", "completion"]).slice(0, _EXAMPLES)
    return "".join(json.dumps(pair) + "\n" for pair in pairs.to_pylist())


def require_untrained(name: str, ledger: Ledger, items: Items) -> None:
    """Raises BadInputError if a run trained on something that is measured."""
    measured = {each.input.content_hash: number for number, each in items.items()}
    for example in rows(_kept(ledger), Example):
        if (number := measured.get(content_hash(example.prompt))) is not None:
            raise BadInputError(
                f"{name} trained on {example.input_id}, which is {number} of the held-out set: make the data again, "
                "and name another --out"
            )


def target_column(config: Config, task: str, ledger: Ledger) -> Column:
    """How many of the answers that a run trained on are right by the labels of its own training file.

    A run never reads them: this is for analysis (section 4.5).

    Raises:
        UnansweredError: the file has no labels.
    """
    parser = load_task(config.tasks[task].parser)
    labels = {
        each.input.content_hash: each.reference
        for source in config.sources
        for each in read_heldout(_with_labels(source), task)
    }
    known = [
        (example.input_id, parser.score(example.answer, label))
        for example in rows(_kept(ledger), Example)
        if (label := labels.get(content_hash(example.prompt))) is not None
    ]
    if not known:
        raise UnansweredError(f"{config.sources[0].path}: no label says whether a target is right")
    return hits(known)


def _with_labels(source: SourceConfig) -> HeldOutConfig:
    """The training file, read as a held-out set is: whole, and with its references."""
    if source.type not in ("jsonl", "parquet", "dataset"):
        raise UnansweredError(
            f"{source.path}: the labels of a source of the type {source.type} can't be read"
        )
    alike = source.model_dump(include=HeldOutConfig.model_fields.keys() & SourceConfig.model_fields.keys())
    return HeldOutConfig.model_validate(alike)


def _kept(ledger: Ledger) -> Iterator[pa.Table]:
    """Every round's new examples."""
    return itertools.chain.from_iterable(ledger.tables(r, "examples") for r in ledger.stages("pool"))
