"""From training pairs to micro-batches: tokens, loss mask, the plan of steps, packing.

Pure functions over lists of integers; `worker.py` turns their rows into tensors and trains on them.
The paper trains on the answer only (A.2; Table 4 gives steps and tokens of a step): a label is an
answer token or the end-of-turn token, everything else is `IGNORED`.
"""

import math
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from s2d_loop.errors import TrainError
from s2d_loop.records import Example, Messages

# What torch's cross entropy skips.
IGNORED = -100


class Tokenizer(Protocol):
    """The part of a Hugging Face tokenizer that is used here."""

    chat_template: Any

    def apply_chat_template(self, conversation: Any, **options: Any) -> Any: ...

    def decode(self, token_ids: Any, **options: Any) -> Any: ...

    def __call__(self, text: Any, **options: Any) -> Any: ...


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


class _UnusableExampleError(Exception):
    """An example that can't be trained on; `reason` is counted, the text says why."""

    def __init__(self, reason: str, text: str) -> None:
        super().__init__(text)
        self.reason = reason


def encode_all(
    tokenizer: Tokenizer, examples: Sequence[Example], *, end_ids: frozenset[int], max_tokens: int
) -> Encoding:
    """Tokenise every example; the unusable ones are dropped by reason.

    Sorted by id, so that the plan depends neither on how the examples lie in files nor on the
    number of workers.
    """
    if not getattr(tokenizer, "chat_template", None):
        raise TrainError(
            "the start model's tokenizer has no chat template, so prompts can't be rendered: "
            "add chat_template.jinja to the model directory"
        )
    kept: list[Encoded] = []
    dropped: Counter[str] = Counter()
    first: dict[str, str] = {}
    for example in sorted(examples, key=lambda e: e.id):
        try:
            encoded = encode(tokenizer, example, end_ids=end_ids)
            if len(encoded) > max_tokens:
                raise _UnusableExampleError(
                    "too_long",
                    f"{len(encoded)} tokens do not fit in train.micro_batch_tokens={max_tokens}",
                )
            kept.append(encoded)
        except _UnusableExampleError as problem:
            dropped[problem.reason] += 1
            first.setdefault(problem.reason, f"{problem.reason}: {example.id}: {problem}")
    return Encoding(tuple(kept), len(examples), dropped, "\n".join(first.values()))


def encode(tokenizer: Tokenizer, example: Example, *, end_ids: frozenset[int]) -> Encoded:
    """Tokens of one example through the model's own chat template, and which of them are the answer.

    The prompt's tokens are exactly those that an engine feeds the model when it asks the question,
    so the first answer token is learned where it will be needed.
    """
    prompt = _chat(example.prompt)
    prompt_text = tokenizer.apply_chat_template(prompt, tokenize=False, add_generation_prompt=True)
    text = tokenizer.apply_chat_template(prompt + _chat(example.completion), tokenize=False)
    if not text.startswith(prompt_text):
        raise _UnusableExampleError(
            "prompt_not_a_prefix",
            "the chat template renders the prompt differently once an answer follows, "
            f"so the answer's place is unknown: {_tail(prompt_text)!r} is not in {_tail(text)!r}",
        )
    prompt_ids = _ids(tokenizer, prompt_text)
    ids = _ids(tokenizer, text)
    if ids[: len(prompt_ids)] != prompt_ids:
        raise _UnusableExampleError(
            "prompt_not_a_prefix",
            "the tokenizer joins the prompt's end and the answer's start into one token, "
            "which the model could never generate after this prompt",
        )
    answer_ids = _through_end(ids[len(prompt_ids) :], end_ids)
    answer = "".join(message.content for message in example.completion)
    _check_answer(tokenizer, answer_ids, answer)
    return Encoded(example.id, prompt_ids, answer_ids, answer)


def _chat(messages: Messages) -> list[dict[str, str]]:
    return [{"role": message.role, "content": message.content} for message in messages]


def _ids(tokenizer: Tokenizer, text: str) -> tuple[int, ...]:
    return tuple(tokenizer(text, add_special_tokens=False)["input_ids"])


def _through_end(ids: tuple[int, ...], end_ids: frozenset[int]) -> tuple[int, ...]:
    """The answer up to its first end token; what the template writes after that is never generated."""
    for index, token in enumerate(ids):
        if token in end_ids:
            return ids[: index + 1]
    raise _UnusableExampleError(
        "no_end_token",
        f"the chat template ends an answer with none of the end tokens {sorted(end_ids)}, "
        "so the model would never learn to stop",
    )


def _check_answer(tokenizer: Tokenizer, answer_ids: Sequence[int], answer: str) -> None:
    if len(answer_ids) < 2 or not answer.strip():
        raise _UnusableExampleError("empty_answer", "nothing stands before the end token")
    decoded = tokenizer.decode(list(answer_ids[:-1]), clean_up_tokenization_spaces=False)
    # Templates may trim an answer, and SentencePiece puts a space before it: ends don't count.
    if decoded.strip() != answer.strip():
        raise _UnusableExampleError(
            "answer_altered",
            f"the labelled tokens say {_tail(decoded)!r}, the completion says {_tail(answer)!r}",
        )


def _tail(text: str) -> str:
    return text if len(text) <= 80 else f"...{text[-80:]}"


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


def pack(lengths: Sequence[int], *, capacity: int, num_rows: int) -> list[list[int]] | None:
    """Spread documents over `num_rows` rows of at most `capacity` tokens, as evenly as it goes.

    Longest first, each into the row that is emptiest, so that workers finish together.  None when
    they don't fit.  Rows can stay empty when there are more rows than documents.
    """
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
    lengths: Sequence[int], plan: Sequence[Sequence[int]], *, capacity: int, num_workers: int
) -> int:
    """The smallest number of micro-batches a worker with which every step of the plan fits.

    One number for all steps: DeepSpeed then needs no special treatment, and every worker does the
    same number of micro-batches in every step, without which collectives wait for ever.
    """
    needed = 1
    for step in plan:
        sizes = [lengths[i] for i in step]
        needed = max(needed, math.ceil(sum(sizes) / (capacity * num_workers)))
        while pack(sizes, capacity=capacity, num_rows=needed * num_workers) is None:
            needed += 1
    return needed


def step_rows(examples: Sequence[Encoded], step: Sequence[int], *, capacity: int, num_rows: int) -> list[Row]:
    """The packed rows of one step, for all workers."""
    packed = pack([len(examples[i]) for i in step], capacity=capacity, num_rows=num_rows)
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


def check_row(row: Row, documents: Sequence[Encoded], tokenizer: Tokenizer) -> None:
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
        text = tokenizer.decode([row.labels[i] for i in labelled[:-1]], clean_up_tokenization_spaces=False)
        if text.strip() != document.answer.strip():
            raise TrainError(f"{document.id}: the labelled tokens decode to {_tail(text)!r}")
