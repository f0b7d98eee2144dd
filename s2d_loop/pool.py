"""The distillation pool: training pairs (x, y), accumulated over rounds.

Accumulating slows the errors that replacing the data each round lets grow (arXiv 2404.01413); it doesn't end them
(`benchmarks/gate.py`).  Each round adds a version: its new examples, and the rows it trains on, which mix new ones with a replayed
share of older ones.  Both are in TRL's prompt-completion form, so other trainers take them unchanged.
"""

import random
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from s2d_loop.config import PoolConfig
from s2d_loop.known import UNKNOWN, KeyIndex, digest_keys
from s2d_loop.ledger import ROWS_PER_GROUP
from s2d_loop.records import Example, Pair, Turn, Verdict, completed, digest, schema

DUPLICATE = "duplicate"


NEEDED = (
    *(f"input.{name}" for name in ("id", "task", "messages", "content_hash")),
    *("weights", "reason", "answer", "target", "target_ids", "share", "twins", "turns"),
)
"""The columns of verdicts that examples are made of."""
_EXAMPLES, _VERDICTS = schema(Example), schema(Verdict)


def new_examples(verdicts: pa.Table, *, iteration: int, known: KeyIndex) -> tuple[pa.Table, int]:
    """The examples that kept verdicts become, and how many inputs are new.

    An input's twins that train follow it, and then the calls of System 2 that are replayed.

    Args:
        known: ids of the examples that are in the pool already; those of new ones are added.
    """
    # Of verdicts from before replies' ids were kept, and the calls that they came of.
    verdicts = _with_empty(verdicts, "target_ids", _EXAMPLES.field("sampled_ids").type)
    verdicts = _with_empty(verdicts, "turns", _VERDICTS.field("turns").type)
    x = verdicts["input"]
    columns = (pc.struct_field(x, name).to_pylist() for name in ("task", "content_hash"))
    ids = [digest(task, content) for task, content in zip(*columns, strict=True)]
    keys = digest_keys(ids)
    new = np.zeros(len(keys), bool)
    new[np.unique(keys, return_index=True)[1]] = True
    new &= known.find(keys) == UNKNOWN
    known.add(keys[new], np.flatnonzero(new))
    verdicts, ids = (
        verdicts.filter(pa.array(new)),
        [each for each, is_new in zip(ids, new, strict=True) if is_new],
    )
    own = _examples(ids, verdicts, pc.struct_field(verdicts["input"], "messages"), verdicts, iteration)
    of_twins, pairs = _flat(verdicts, "twins", Pair)
    names = pairs["name"].to_pylist()
    twin_ids = [digest(ids[row], name) for row, name in zip(of_twins.tolist(), names, strict=True)]
    twins = _examples(twin_ids, verdicts.take(of_twins), pairs["prompt"], pairs, iteration)
    of_turns, turns = _flat(verdicts, "turns", Turn)
    places = [place - int(np.searchsorted(of_turns, row)) for place, row in enumerate(of_turns.tolist())]
    turn_ids = [digest(ids[row], "turn", str(n)) for row, n in zip(of_turns.tolist(), places, strict=True)]
    said = _said(turns, verdicts["answer"].take(of_turns))
    replayed = _examples(turn_ids, verdicts.take(of_turns), turns["prompt"], said, iteration)
    together = pa.concat_tables([own, twins, replayed])
    order = np.argsort(np.concatenate([np.arange(len(ids)), of_twins, of_turns]), kind="stable")
    return together.take(pa.array(order)), len(ids)


def _with_empty(verdicts: pa.Table, name: str, kind: pa.DataType) -> pa.Table:
    if name in verdicts.column_names:
        return verdicts
    return verdicts.append_column(name, pa.array([()] * verdicts.num_rows, kind))


def _flat(verdicts: pa.Table, name: str, record: type) -> tuple[np.ndarray, pa.Table]:
    """A column of lists as a table, and the row that each of them is of."""
    lists = verdicts[name].combine_chunks()
    rows = completed(pa.Table.from_struct_array(lists.flatten()), record)
    return pc.list_parent_indices(lists).to_numpy(), rows


def _said(turns: pa.Table, answers: pa.ChunkedArray) -> pa.Table:
    """Calls in the words of a verdict."""
    columns = [turns["completion"], answers, turns["sampled_ids"], turns["step"]]
    return pa.Table.from_arrays(columns, ["target", "answer", "target_ids", "step"])


def _examples(
    ids: list[str], verdicts: pa.Table, prompts: pa.ChunkedArray, said: pa.Table, iteration: int
) -> pa.Table:
    """Examples of prompts and of the `target` and `answer` of `said`, row by row."""
    rows = len(ids)
    message = [pa.repeat("assistant", rows), said["target"].combine_chunks()]
    completion = pa.StructArray.from_arrays(
        message, fields=list(_EXAMPLES.field("completion").type.value_type)
    )
    columns = {
        "id": pa.array(ids, pa.string()),
        "input_id": pc.struct_field(verdicts["input"], "id"),
        "task": pc.struct_field(verdicts["input"], "task"),
        "prompt": prompts,
        "completion": pa.ListArray.from_arrays(pa.array(range(rows + 1), pa.int32()), completion),
        "answer": said["answer"],
        "share": verdicts["share"],
        "iteration": pa.repeat(iteration, rows),
        "weights": verdicts["weights"],
        "sampled_ids": said["target_ids"],
        "step": said["step"] if "step" in said.column_names else pa.repeat("", rows),
    }
    return pa.Table.from_arrays([columns[name] for name in _EXAMPLES.names], schema=_EXAMPLES)


def training_rows(tasks: np.ndarray, num_old: int, config: PoolConfig, seed: int) -> np.ndarray:
    """Places in the pool of the rows that a round trains on, shuffled.

    Old examples fill `replay_share` of them, where there are enough.  Within new and old, tasks are
    balanced: a task that has fewer rows than its quota gives some of them more than once.

    Args:
        tasks: a number for the task of each example of the pool, the oldest first.
        num_old: how many of them are from earlier rounds.
    """
    rng = random.Random(seed)
    share = config.replay_share
    room = config.max_examples and round(config.max_examples * (1 - config.system2_share))
    new = len(tasks) - num_old
    take_new = new if room is None else min(new, round(room * (1 - share)) if num_old else room)
    wanted = round(take_new * share / (1 - share)) if share < 1 else num_old
    take_old = min(num_old, wanted if room is None else min(wanted, room - take_new))
    old, fresh = np.split(np.arange(len(tasks)), [num_old])
    drawn = [
        _draw(part, tasks[part], n, config.balance, rng) for part, n in ((fresh, take_new), (old, take_old))
    ]
    chosen = np.concatenate(drawn)
    shuffled: np.ndarray = chosen[rng.sample(range(len(chosen)), len(chosen))]
    return shuffled


def replayed_turns(tasks: np.ndarray, num_direct: int, config: PoolConfig, seed: int) -> np.ndarray:
    """Places of the calls of System 2 that train beside `num_direct` other rows, where there are as many.

    Args:
        tasks: a number for the task of each call in the pool.
    """
    wanted = round(num_direct * config.system2_share / (1 - config.system2_share))
    rng = random.Random(f"{seed}/system2")
    return _draw(np.arange(len(tasks)), tasks, min(wanted, len(tasks)), config.balance, rng)


def within_shares(
    places: np.ndarray, sources: np.ndarray, shares: Mapping[str, float], seed: int
) -> np.ndarray:
    """The most of `places`, in their order, in which no source has more than its share.

    Args:
        sources: the source of each place.
        shares: the largest share of some sources; what is over it goes at random.
    """
    sizes = allowed(Counter(sources.tolist()), shares)
    rng = random.Random(seed)
    keep = np.ones(len(places), bool)
    for source, size in sizes.items():
        mine = np.flatnonzero(sources == source)
        keep[rng.sample(mine.tolist(), len(mine) - size)] = False
    kept: np.ndarray = places[keep]
    return kept


def allowed(sizes: Mapping[str, int], shares: Mapping[str, float]) -> dict[str, int]:
    """The largest sizes, none above those given, in which no source has more than its share of them all.

    Less of one source is less of them all, which may be too much of another then: so again, until it fits.
    """
    found: dict[str, int] = dict(sizes)
    before: dict[str, int] = {}
    while found != before:
        before, total = found, sum(found.values())
        found = {name: min(size, int(shares.get(name, 1) * total + 1e-9)) for name, size in before.items()}
    return found


def _draw(
    places: np.ndarray, tasks: np.ndarray, count: int, balance: float, rng: random.Random
) -> np.ndarray:
    names, sizes = np.unique(tasks, return_counts=True)
    quotas = _quotas(dict(zip(names.tolist(), sizes.tolist(), strict=True)), count, balance)
    drawn = [places[:0]]
    for task, quota in quotas.items():
        mine = places[tasks == task]
        whole, rest = divmod(quota, len(mine))
        drawn += [np.tile(mine, whole), mine[rng.sample(range(len(mine)), rest)]]
    return np.concatenate(drawn)


def _quotas(sizes: Mapping[int, int], count: int, balance: float) -> dict[int, int]:
    """Split `count` over tasks in proportion to size ** balance, by largest remainders."""
    weights = {task: size**balance for task, size in sizes.items()}
    total = sum(weights.values())
    if not total:
        return {}
    exact = {task: count * weight / total for task, weight in weights.items()}
    quotas = {task: int(value) for task, value in exact.items()}
    rest = sorted(exact, key=lambda task: (quotas[task] - exact[task], task))
    for task in rest[: count - sum(quotas.values())]:
        quotas[task] += 1
    return quotas


def gather(parts: Iterable[tuple[int, Iterable[pa.Table]]], places: np.ndarray) -> Iterator[pa.Table]:
    """The rows at `places` of a sequence of parts, in the order of `places`, some thousand at a time.

    Args:
        parts: how many rows a part has, and its tables; a part that no place is in is not read.
    """
    distinct, order = np.unique(places, return_inverse=True)
    found = [_EXAMPLES.empty_table()]
    start = 0
    for size, tables in parts:
        end = start + size
        if np.searchsorted(distinct, start) == np.searchsorted(distinct, end):
            start = end
            continue
        for each in tables:
            low, high = np.searchsorted(distinct, [start, start + each.num_rows])
            found.append(completed(each.take(pa.array(distinct[low:high] - start)), Example))
            start += each.num_rows
    whole = pa.concat_tables(found).combine_chunks()
    for first in range(0, len(order), ROWS_PER_GROUP):
        yield whole.take(pa.array(order[first : first + ROWS_PER_GROUP]))


def card(
    name: str,
    iteration: int,
    new: int,
    rows: int,
    dropped: Mapping[str, int],
    model: str,
    recorded: Sequence[str] = (),
) -> str:
    """The dataset card of a pool version; its header lets `datasets` load the folder as it is."""
    foreign = "".join(f"\n- Some of the calls were answered from a recording, `{path}`." for path in recorded)
    reasons = "\n".join(f"| {reason} | {count} |" for reason, count in sorted(dropped.items()))
    return f"""---
configs:
- config_name: training
  default: true
  data_files: training.parquet
- config_name: new
  data_files: examples.parquet
tags:
- system-2-distillation
- synthetic
---
# {name}: pool version {iteration}

Prompt-completion pairs made by s2d_loop: the completion is a System 2 answer that the model gave and
that its own votes agreed on.  No label was used.  Where `step` names one, the row is instead that call of the
System 2 program, as the model answered it.

- `training.parquet`: the {rows} rows this round trains on (new and replayed).
- `examples.parquet`: the {new} rows that are new in this version.
- Generated by weights descended from `{model}`; each row names the digest of those that made it, the
  input it came from (`input_id`), and the winner's share of the votes (`share`).{foreign}
- The licence of the text is that of the inputs and of the models.

| dropped in this round | inputs |
|---|---|
{reasons}
"""
