"""From training pairs to micro-batches: tokens, loss mask, the plan of steps, packing.

Pure functions over lists of integers; `worker.py` turns their rows into tensors and trains on them.
The paper trains on the answer only (A.2; Table 4 gives steps and tokens of a step): a label is an
answer token or the end-of-turn token, everything else is `IGNORED`.
"""

import math
import random
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from s2d_loop import thoughts
from s2d_loop.chat.tokens import Chat, UnusableError
from s2d_loop.errors import ConversationRefusedError, TrainError
from s2d_loop.records import Example, TemplateArguments

# What torch's cross entropy skips.
IGNORED = -100


@dataclass(frozen=True, slots=True)
class Encoded:
    """One example as tokens: the rendered prompt, then the answer with its end token."""

    id: str
    prompt_ids: tuple[int, ...]
    answer_ids: tuple[int, ...]
    answer: str

    def __len__(self) -> int:
        return len(self.prompt_ids) + len(self.answer_ids)


@dataclass(frozen=True, slots=True)
class Encoding:
    """All that became of the examples: `num_examples == len(examples) + sum(dropped.values())`."""

    examples: tuple[Encoded, ...]
    num_examples: int
    dropped: Counter[str]
    explanation: str


@dataclass(frozen=True, slots=True)
class Row:
    """One packed micro-batch.  `position_ids` restart at every document, which keeps them apart."""

    input_ids: list[int]
    labels: list[int]
    position_ids: list[int]
    num_labels: int


Arguments = Mapping[str, TemplateArguments]
"""What the chat template is given for each row (`plan.training_arguments`)."""
_NONE: Arguments = MappingProxyType({})


def encode_all(
    tokenizer: Any,
    examples: Sequence[Example],
    *,
    end_ids: frozenset[int],
    max_tokens: int,
    arguments: Arguments = _NONE,
) -> Encoding:
    """Tokenise every example; the unusable ones are dropped by reason.

    Sorted by id, so that the plan depends neither on how the examples lie in files nor on the
    number of workers.

    Raises:
        BadInputError: the tokenizer has no chat template.
    """
    chat = Chat(tokenizer, end_ids)
    kept: list[Encoded] = []
    dropped: Counter[str] = Counter()
    first: dict[str, str] = {}
    for example in sorted(examples, key=lambda e: e.id):
        try:
            encoded = encode(chat, example, _arguments_of(example, arguments))
            if len(encoded) > max_tokens:
                raise UnusableError(
                    "too_long",
                    f"{len(encoded)} tokens do not fit in train.micro_batch_tokens={max_tokens}",
                )
            kept.append(encoded)
        except (UnusableError, ConversationRefusedError) as problem:
            dropped[problem.reason] += 1
            first.setdefault(problem.reason, f"{problem.reason}: {example.id}: {problem}")
    return Encoding(tuple(kept), len(examples), dropped, "\n".join(first.values()))


def _arguments_of(example: Example, arguments: Arguments) -> TemplateArguments:
    if not example.step:
        return arguments.get(example.task, ())
    return arguments.get(f"{example.task}/{example.step}", arguments.get(f"{example.task}/*", ()))


def encode(chat: Chat, example: Example, arguments: TemplateArguments = ()) -> Encoded:
    """One example as the ids that the model is prompted with and those that it should answer with.

    Raises:
        UnusableError: it can't be trained on.
        ConversationRefusedError: the chat template refuses its conversation.
    """
    said = thoughts.split("".join(message.content for message in example.completion))
    if not said.closed:
        raise UnusableError("cut_off", "the completion ends in thoughts that were never closed")
    if example.step and example.sampled_ids:
        row = chat.sampled_row(example.prompt, example.sampled_ids, arguments)
    else:
        row = chat.row(example.prompt, said.text, arguments, example.sampled_ids)
    return Encoded(example.id, row.prompt_ids, row.answer_ids, said.text)


def order(num_examples: int, seed: int) -> Iterator[int]:
    """Indices of examples without end: every epoch is a new shuffle that holds each one once."""
    if num_examples == 0:
        raise ValueError("nothing to train on")
    epoch = 0
    while True:
        shuffled = list(range(num_examples))
        random.Random(f"{seed}/{epoch}").shuffle(shuffled)
        yield from shuffled
        epoch += 1


def plan_steps(costs: Sequence[int], *, seed: int, steps: int, budget: int) -> list[list[int]]:
    """Which examples each optimiser step trains on.

    A step takes examples in `order` until the next would exceed `budget`, and at least one.  It
    depends on the examples, the seed and the budget only: the number of workers, the packing and
    restarts don't change what a step holds.
    """
    stream = order(len(costs), seed)
    upcoming = next(stream)
    plan: list[list[int]] = []
    for _ in range(steps):
        step, total = [upcoming], costs[upcoming]
        upcoming = next(stream)
        while total + costs[upcoming] <= budget:
            step.append(upcoming)
            total += costs[upcoming]
            upcoming = next(stream)
        plan.append(step)
    return plan


def pack(
    lengths: Sequence[int], *, capacity: int, num_rows: int, alone: bool = False
) -> list[list[int]] | None:
    """Spread documents over `num_rows` rows of at most `capacity` tokens, as evenly as it goes.

    Longest first, each into the row that is emptiest, so that workers finish together.  None when
    they don't fit.  Rows can stay empty when there are more rows than documents.  `alone` gives each
    document a row of its own, for models that see across the documents of a row.
    """
    if alone and len(lengths) > num_rows:
        return None
    rows: list[list[int]] = [[] for _ in range(num_rows)]
    sizes = [0] * num_rows
    for index in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
        emptiest = min(range(num_rows), key=lambda r: sizes[r])
        if sizes[emptiest] + lengths[index] > capacity:
            return None
        rows[emptiest].append(index)
        sizes[emptiest] += lengths[index]
    return rows


def accumulation(
    lengths: Sequence[int],
    plan: Sequence[Sequence[int]],
    *,
    capacity: int,
    num_workers: int,
    alone: bool = False,
) -> int:
    """The smallest number of micro-batches a worker with which every step of the plan fits.

    One number for all steps: DeepSpeed then needs no special treatment, and every worker does the
    same number of micro-batches in every step, without which collectives wait for ever.
    """
    needed = 1
    for step in plan:
        sizes = [lengths[i] for i in step]
        needed = max(needed, math.ceil((len(sizes) if alone else sum(sizes) / capacity) / num_workers))
        while pack(sizes, capacity=capacity, num_rows=needed * num_workers, alone=alone) is None:
            needed += 1
    return needed


def step_rows(
    examples: Sequence[Encoded], step: Sequence[int], *, capacity: int, num_rows: int, alone: bool = False
) -> list[Row]:
    """The rows of one step, for all workers."""
    packed = pack([len(examples[i]) for i in step], capacity=capacity, num_rows=num_rows, alone=alone)
    assert packed is not None, "accumulation() found room for every step"
    return [make_row([examples[step[i]] for i in row]) for row in packed]


def make_row(documents: Sequence[Encoded]) -> Row:
    """Documents one after another; an empty row is one token without a label."""
    if not documents:
        return Row([0], [IGNORED], [0], 0)
    input_ids: list[int] = []
    labels: list[int] = []
    position_ids: list[int] = []
    for document in documents:
        input_ids += [*document.prompt_ids, *document.answer_ids]
        labels += [*(IGNORED for _ in document.prompt_ids), *document.answer_ids]
        position_ids += range(len(document))
    return Row(input_ids, labels, position_ids, sum(len(d.answer_ids) for d in documents))


def check_row(row: Row, documents: Sequence[Encoded]) -> None:
    """Prove a row's mask on the row itself: what is labelled is each answer and its end, no more.

    A mask that is all zero, all one or off by one trains something else without any error.
    """
    starts = [i for i, position in enumerate(row.position_ids) if position == 0]
    spans = list(zip(starts, [*starts[1:], len(row.input_ids)], strict=True))
    if len(spans) != len(documents):
        raise TrainError(f"a packed row holds {len(spans)} documents, the plan says {len(documents)}")
    for (start, stop), document in zip(spans, documents, strict=True):
        first = start + len(document.prompt_ids)
        labelled = [i for i in range(start, stop) if row.labels[i] != IGNORED]
        if not labelled or labelled != list(range(first, stop)):
            raise TrainError(f"{document.id}: the loss mask is not the answer and its end token")
        if tuple(row.input_ids[start:first]) != document.prompt_ids:
            raise TrainError(f"{document.id}: the prompt's tokens differ from the rendered prompt's")
        if tuple(row.labels[i] for i in labelled) != document.answer_ids:
            raise TrainError(f"{document.id}: the labels are not the answer's tokens")
