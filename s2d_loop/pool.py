"""The distillation pool: training pairs (x, y), accumulated over rounds.

Accumulating bounds the errors that replacing the data each round lets grow (arXiv 2404.01413).  Each
round adds a version: its new examples, and the rows it trains on, which mix new ones with a replayed
share of older ones.  Both are in TRL's prompt-completion form, so other trainers take them unchanged.
"""

import random
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence

from s2d_loop.config import PoolConfig
from s2d_loop.records import Example, Message, Pair, Verdict, digest

DUPLICATE = "duplicate"


def new_examples(
    verdicts: Iterable[Verdict], *, iteration: int, known: Iterable[str]
) -> tuple[list[Example], Mapping[str, int]]:
    """The examples that kept verdicts become, twins that train included, and the inputs dropped by reason.

    Args:
        known: ids of the examples that are in the pool already.
    """
    ids = set(known)
    examples: list[Example] = []
    dropped: Counter[str] = Counter()
    for verdict in verdicts:
        x, target = verdict.input, verdict.target
        assert verdict.kept and target is not None, f"{x.id}: only kept verdicts become examples"
        example_id = digest(x.task, x.content_hash)
        if example_id in ids:
            dropped[DUPLICATE] += 1
            continue
        ids.add(example_id)
        own = Pair("", x.messages, target, verdict.answer)
        for pair in (own, *verdict.twins):
            examples.append(
                Example(
                    id=digest(example_id, pair.name) if pair.name else example_id,
                    input_id=x.id,
                    task=x.task,
                    prompt=pair.prompt,
                    completion=(Message("assistant", pair.target),),
                    answer=pair.answer,
                    share=verdict.share,
                    iteration=iteration,
                    weights=verdict.weights,
                )
            )
    return examples, dict(dropped)


def training_rows(
    new: Sequence[Example], old: Sequence[Example], config: PoolConfig, seed: int
) -> list[Example]:
    """The rows a round trains on, shuffled.

    Old examples fill `replay_share` of them, where there are enough.  Within new and old, tasks are
    balanced: a task that has fewer rows than its quota gives some of them more than once.
    """
    rng = random.Random(seed)
    share = config.replay_share
    room = config.max_examples
    num_new = len(new) if room is None else min(len(new), round(room * (1 - share)) if old else room)
    wanted_old = round(num_new * share / (1 - share)) if share < 1 else len(old)
    num_old = min(len(old), wanted_old if room is None else min(wanted_old, room - num_new))
    chosen = _draw(new, num_new, config.balance, rng) + _draw(old, num_old, config.balance, rng)
    rng.shuffle(chosen)
    return chosen


def _draw(examples: Sequence[Example], count: int, balance: float, rng: random.Random) -> list[Example]:
    by_task: dict[str, list[Example]] = defaultdict(list)
    for example in examples:
        by_task[example.task].append(example)
    drawn: list[Example] = []
    for task, quota in _quotas({task: len(each) for task, each in by_task.items()}, count, balance).items():
        deck: list[Example] = []
        while len(deck) < quota:
            deck += rng.sample(by_task[task], len(by_task[task]))
        drawn += deck[:quota]
    return drawn


def _quotas(sizes: Mapping[str, int], count: int, balance: float) -> dict[str, int]:
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
that its own votes agreed on.  No label was used.

- `training.parquet`: the {rows} rows this round trains on (new and replayed).
- `examples.parquet`: the {new} rows that are new in this version.
- Generated by weights descended from `{model}`; each row names the digest of those that made it, the
  input it came from (`input_id`), and the winner's share of the votes (`share`).{foreign}
- The licence of the text is that of the inputs and of the models.

| dropped in this round | inputs |
|---|---|
{reasons}
"""
