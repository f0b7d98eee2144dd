"""Measures where a tiny model starts, with transformers alone.

    python -m s2d_loop.testbed.measure configs/testbed/*.yaml

Each configuration names a model, a program, its sampling and the held-out inputs; the loop's own code
runs the program, curates and scores. Printed per task, and per heading of its inputs: how often System 1
is right (greedy, the question alone), how often one sample of System 2 is, and how often what curation
keeps is, with 95 % Wilson intervals and tokens per answer. Where a task has twins, `inconsistent` is the
share of inputs that are answered otherwise than their twin. Only the scoring looks at references.
"""

import argparse
import asyncio
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from s2d_loop import paths
from s2d_loop.config.load import load
from s2d_loop.config.tasks import TaskConfig
from s2d_loop.curate.judge import curate
from s2d_loop.evaluate.metrics import wilson
from s2d_loop.generate import CallModel, generate
from s2d_loop.plan import Plan, distillation_plans, system1_plans
from s2d_loop.records import Generation, HeldOut, Sample
from s2d_loop.sources import read_heldout
from s2d_loop.tasks.base import Task
from s2d_loop.tasks.registry import load_task
from s2d_loop.testbed.sampling import BatchedModel


@dataclass(frozen=True)
class Figure:
    """One row of the table."""

    task: str
    category: str
    way: str
    num_right: int
    num_inputs: int
    low: float
    high: float
    tokens_per_answer: float
    inconsistent: float | None


@dataclass(frozen=True)
class Answer:
    """One answer to one held-out input; `right` is None where curation kept none."""

    category: str
    right: bool | None
    tokens: int
    consistent: bool | None


def figure(task: str, category: str, way: str, answers: Iterable[Answer]) -> Figure:
    """What some answers come to."""
    every = list(answers)
    rights = [each.right for each in every if each.right is not None]
    twins = [each.consistent for each in every if each.consistent is not None]
    return Figure(
        task=task,
        category=category,
        way=way,
        num_right=sum(rights),
        num_inputs=len(rights),
        low=wilson(sum(rights), len(rights))[0],
        high=wilson(sum(rights), len(rights))[1],
        tokens_per_answer=sum(each.tokens for each in every) / len(every),
        inconsistent=1 - sum(twins) / len(twins) if twins else None,
    )


async def run(heldout: Sequence[HeldOut], plan: Plan, call_model: CallModel) -> list[Generation]:
    """The plan on every input, all at once."""
    return await asyncio.gather(*(generate(each.input, plan, call_model) for each in heldout))


def first(heldout: HeldOut, generation: Generation, task: Task) -> Answer:
    """The first sample alone; samples of one input are not independent."""
    # A failed call is a bug here, never a result.
    assert generation.error is None, generation.error
    parsed = _parse(task, generation.samples)
    assert heldout.reference is not None, f"{heldout.input.id} has no reference"
    agree = [
        parsed == (None if said is None else task.perturbations[twin.name].answer(said))
        for twin in generation.twins
        for said in [_parse(task, twin.samples)]
    ]
    return Answer(
        category=heldout.category,
        right=task.score(parsed, heldout.reference),
        tokens=generation.num_tokens // len(generation.samples),
        consistent=all(agree) if agree else None,
    )


def curated(heldout: HeldOut, generation: Generation, task: Task, config: TaskConfig, seed: int) -> Answer:
    """What curation makes of all samples."""
    verdict = curate(generation, task, config.curate, seed)
    assert heldout.reference is not None, f"{heldout.input.id} has no reference"
    right = task.score(verdict.answer, heldout.reference) if verdict.kept else None
    return Answer(heldout.category, right, generation.num_tokens, None)


def _parse(task: Task, samples: Sequence[Sample]) -> str | None:
    return task.parse(samples[0].text) if samples[0].finished else None


async def measure(
    name: str, config: TaskConfig, heldout: Sequence[HeldOut], plans: tuple[Plan, Plan], model: CallModel
) -> list[Figure]:
    """All figures of one task, by System 1's plan and System 2's."""
    task = load_task(config.parser)
    direct, taught = plans
    system1 = await run(heldout, replace(direct, perturbations=taught.perturbations), model)
    system2 = await run(heldout, taught, model)
    ways: Mapping[str, list[Answer]] = {
        "System 1": [first(x, g, task) for x, g in zip(heldout, system1, strict=True)],
        "System 2, one sample": [first(x, g, task) for x, g in zip(heldout, system2, strict=True)],
        "System 2, curated": [
            curated(x, g, task, config, taught.seed) for x, g in zip(heldout, system2, strict=True)
        ],
    }
    headings = dict.fromkeys(each.category for each in heldout)
    return [
        figure(name, heading, way, [each for each in answers if each.category == heading])
        for heading in headings
        for way, answers in ways.items()
    ]


def shown(found: Figure, asked: int) -> str:
    """A row as it is printed."""
    share = found.num_right / found.num_inputs if found.num_inputs else 0.0
    row = f"{f'{found.task} {found.category}':22}{found.way:22}{share:7.1%}"
    row += f"  {f'{found.low:.1%} - {found.high:.1%}':16}{found.num_inputs:5} of {asked}"
    row += f"{found.tokens_per_answer:9.1f}"
    return row if found.inconsistent is None else f"{row}{found.inconsistent:10.1%}"


def main() -> None:
    """Measure tiny models on their held-out inputs."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("configs", nargs="+", help="such as configs/testbed/gsm8k.yaml")
    parser.add_argument("--model", help="another model than the configuration's")
    parser.add_argument("--inputs", type=int, default=500, help="held-out inputs a task")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="write the figures here too")
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    torch.set_num_threads(args.threads)
    figures: list[Figure] = []
    print(
        f"{'task':22}{'answered by':22}{'right':>7}  {'95 % interval':16}{'answers':>12}{'tokens':>9}  inconsistent"
    )
    for path in args.configs:
        config = load(path)
        folder = paths.resolve(args.model or config.model.path)
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
        weights = AutoModelForCausalLM.from_pretrained(
            folder, dtype=torch.float32, trust_remote_code=False
        ).eval()
        model = BatchedModel(weights, tokenizer)
        direct, taught = system1_plans(config), distillation_plans(config)
        for name, task in config.tasks.items():
            heldout = read_heldout(task.heldout, name)[: args.inputs]
            plans = direct[name], taught[name]
            for found in asyncio.run(measure(name, task, heldout, plans, model)):
                print(shown(found, sum(each.category == found.category for each in heldout)), flush=True)
                figures.append(found)
    if args.json:
        text = json.dumps([asdict(each) for each in figures], indent=2)
        args.json.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
