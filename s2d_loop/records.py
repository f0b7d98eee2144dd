"""The carriers that pass between stages, and their ids.

Everything a stage writes is a table whose schema is derived from one of these classes (`arrow`), so a
field is named once.  Nothing here imports Ray, vLLM or torch.

`Input` has no field for a label on purpose: what the loop generates, keeps and trains on can't
depend on something it can't see.  References live in `HeldOut`, which only `evaluate` reads.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from s2d_loop.arrow import completed as completed
from s2d_loop.arrow import from_dict as from_dict
from s2d_loop.arrow import rows as rows
from s2d_loop.arrow import schema as schema
from s2d_loop.arrow import table as table
from s2d_loop.arrow import to_dict as to_dict


@dataclass(frozen=True, slots=True)
class Message:
    """One chat turn; `role` is `system`, `user` or `assistant`."""

    role: str
    content: str


Messages = tuple[Message, ...]


@dataclass(frozen=True, slots=True)
class Part:
    """A text that an input was made of, such as one of the two answers to compare."""

    name: str
    text: str


@dataclass(frozen=True, slots=True)
class Input:
    """An unlabeled input x.

    `id` says where it came from (`source:location#row`) and never changes; `content_hash` says what
    it holds, and serves deduplication only.  `messages` is all that the student sees; `parts` are for
    programs that take x apart.  Inputs of one `group` never lie on both sides of training and
    evaluation.
    """

    id: str
    task: str
    messages: Messages
    content_hash: str
    parts: tuple[Part, ...] = ()
    group: str = ""

    @property
    def question(self) -> str:
        """The text of the last user turn: what a System 2 program rewrites."""
        return self.messages[-1].content

    def part(self, name: str) -> str:
        """One of the texts that x was made of; KeyError where its format names none so."""
        for each in self.parts:
            if each.name == name:
                return each.text
        have = ", ".join(each.name for each in self.parts) or "none"
        raise KeyError(f"input {self.id} has no part {name!r} (it has: {have})")

    def ask(self, text: str) -> Messages:
        """x's conversation with its last turn replaced by `text`."""
        return (*self.messages[:-1], Message("user", text))


@dataclass(frozen=True, slots=True)
class HeldOut:
    """An input that never trains, its reference where there is one, and its heading in reports."""

    input: Input
    reference: str | None
    category: str = ""


TemplateArguments = tuple[tuple[str, str | int | float | bool | None], ...]
"""What a chat template is given beside the messages, such as `enable_thinking`; sorted by name."""


@dataclass(frozen=True, slots=True)
class Sampling:
    """How to ask and to sample one call; the names are vLLM's."""

    temperature: float = 1.0
    top_p: float = 1.0
    max_tokens: int = 256
    chat_template_kwargs: TemplateArguments = ()
    thinking_token_budget: int | None = None


@dataclass(frozen=True, slots=True)
class Request:
    """One call to the model.  The same request on the same weights is the same work.

    With `read` nothing is said: the reply tells how likely the model finds this answer.
    """

    messages: Messages
    sampling: Sampling
    seed: int
    read: str | None = None


@dataclass(frozen=True, slots=True)
class Reply:
    """What one call returned.  `finished` is false when `max_tokens` cut it off, in its thoughts too.

    `text` is the reply without the model's thoughts, which are in `reasoning`; `num_tokens` counts both, and
    `num_reasoning_tokens` of them are thoughts and what marks them.  `token_ids` are those of the text as they
    were sampled, with the end token; empty where they aren't known.  `sampled_ids` are those of the whole reply.
    `weights` is the digest of those that gave it, or `RECORDED`.  Where an answer was read, `num_tokens` are
    its own and `logprob` is the sum of their log-probabilities.
    """

    text: str
    num_tokens: int = 0
    num_prompt_tokens: int = 0
    finished: bool = True
    weights: str = ""
    logprob: float = 0.0
    reasoning: str = ""
    num_reasoning_tokens: int = 0
    token_ids: tuple[int, ...] = ()
    sampled_ids: tuple[int, ...] = ()


RECORDED = "recorded"
"""Stands for weights where a recording answered."""


@dataclass(frozen=True, slots=True)
class Call:
    """One call of a program, as it is kept in a trace; `recorded`: no model was asked.

    `text` is what the program was told, `reasoning` what the model thought before it.
    """

    step: str
    sample: int
    index: int
    prompt: str
    text: str
    num_tokens: int
    recorded: bool = False
    reasoning: str = ""


@dataclass(frozen=True, slots=True)
class Sample:
    """One final answer of a program; `finished` is false when it was cut off.

    `token_ids` are those of a reply that is given back as it was sampled, with its end token.
    """

    text: str
    finished: bool
    token_ids: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Turn:
    """A call as it can be trained on: what the model was asked, and what it said, thoughts included.

    `samples` are the numbers of the samples that came of it; `sampled_ids` as in `Reply`.
    """

    step: str
    samples: tuple[int, ...]
    prompt: Messages
    completion: str
    sampled_ids: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Twin:
    """A perturbed form of an input, which should have the same answer, and its samples."""

    name: str
    samples: tuple[Sample, ...]
    messages: Messages = ()


@dataclass(frozen=True, slots=True)
class Selection:
    """Which sample universal self-consistency chose; `chosen` is null where `reason` says why not.

    `reason` is `selected`, or `selected_of_fewer` or `too_long` where the samples didn't fit the
    context, or `unreadable`.
    """

    chosen: int | None
    reason: str


@dataclass(frozen=True, slots=True)
class Generation:
    """All that the model said about one input in one round: the row that `generate` commits.

    `samples` are the System 2 program's answers, `direct` a few System 1 answers to the same input
    (for the signs of collapse that need no label).  `num_tokens` counts every generated token of
    every System 2 call for this input, twins excluded; each token counts once.  `selection` is there
    where the filter is universal self-consistency.
    `error` names why an input failed; such a row has no samples, and `failure` is what it is dropped
    for.  `weights` are those of the engine that answered; `RECORDED` where a recording gave every
    System 2 reply.  `planned` is how many samples there would have been, had the vote not ended before
    (`stopping.py`); `budget` is the number that a majority or a least share is a part of, 0 being the
    samples there are.  `turns` are there where System 2's own texts are replayed (`pool.system2_share`).
    """

    input: Input
    weights: str
    program: str
    samples: tuple[Sample, ...]
    direct: tuple[Sample, ...]
    twins: tuple[Twin, ...]
    calls: tuple[Call, ...]
    num_calls: int
    num_tokens: int
    num_direct_tokens: int
    error: str | None
    selection: Selection | None = None
    failure: str = ""
    planned: int = 0
    budget: int = 0
    turns: tuple[Turn, ...] = ()


@dataclass(frozen=True, slots=True)
class Trace:
    """The intermediate text of an input's calls: kept apart, and only as long as `traces.keep` says."""

    input_id: str
    calls: tuple[Call, ...]


@dataclass(frozen=True, slots=True)
class Votes:
    """How many samples gave an answer."""

    answer: str
    count: int


@dataclass(frozen=True, slots=True)
class Pair:
    """A training pair beside the input's own: the input's twin, and what to say to it."""

    name: str
    prompt: Messages
    target: str
    answer: str | None
    target_ids: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Verdict:
    """What `curate` decided on one input, and the label-free signs it saw on the way.

    `reason` is `kept` or why it was dropped.  `share` is the winner's share of all samples, the
    unparsable included; `entropy` is that of the parsed answers, in bits.  `direct_agrees` is the
    share of System 1's samples that gave the winning answer (null without a winner).  `target_ids` are those
    of a target that is a sampled reply, and `turns` the calls that its sample came of.
    """

    input: Input
    weights: str
    reason: str
    answer: str | None
    target: str | None
    share: float
    votes: tuple[Votes, ...]
    num_samples: int
    unparsable: int
    entropy: float
    direct_agrees: float | None
    num_tokens: int
    num_direct_tokens: int
    twins: tuple[Pair, ...] = ()
    target_ids: tuple[int, ...] = ()
    turns: tuple[Turn, ...] = ()

    @property
    def kept(self) -> bool:
        return self.reason == KEPT


KEPT = "kept"


@dataclass(frozen=True, slots=True)
class Scored:
    """One answer to one held-out input.

    `correct` compares with the reference; where there is none, with what people say (`s2d review`), else
    with the answer that System 2 gave on the starting weights.  It is null where all are missing.
    """

    input_id: str
    task: str
    system: str
    answer: str | None
    correct: bool | None
    text: str
    num_tokens: int


@dataclass(frozen=True, slots=True)
class Asked:
    """What became of one canary: no text of it, nor of what was said to it.

    `id` names its file and row.  `answer` is a digest of the prompt and the parsed answer, so that two
    answers to the same prompt can be compared, and nobody without the prompt can tell what they were.
    """

    set: str
    id: str
    bad: bool
    answer: str


@dataclass(frozen=True, slots=True)
class General:
    """What some weights make of a prompt of the general set.

    `text` is their own greedy answer.  `logprob` is how likely they find the answer that the starting weights
    gave, in nats over its `num_tokens` tokens.
    """

    input_id: str
    text: str
    logprob: float
    num_tokens: int


@dataclass(frozen=True, slots=True)
class VotedAt:
    """What System 2 would have answered to a held-out input after fewer runs of its program.

    `correct` is as in `Scored`.  `num_tokens` is the share of these runs in the tokens of all.
    """

    input_id: str
    task: str
    votes: int
    answer: str | None
    correct: bool | None
    num_tokens: float


@dataclass(frozen=True, slots=True)
class Example:
    """A training pair (x, y) in TRL's conversational prompt-completion form, with its lineage.

    `sampled_ids` are the completion's token ids as the model gave them, with the end token; empty where the
    completion was written or recorded.  `step` names the call of System 2 that the pair is; it is empty where y is
    what System 1 should say to x.
    """

    id: str
    input_id: str
    task: str
    prompt: Messages
    completion: Messages
    answer: str | None
    share: float
    iteration: int
    weights: str
    sampled_ids: tuple[int, ...] = ()
    step: str = ""


@dataclass(frozen=True, slots=True)
class Reject:
    """A source row that could not be read, kept aside; `place` as in `Dropped`."""

    source: str
    file: str
    row: int
    reason: str
    excerpt: str
    place: int = 0


@dataclass(frozen=True, slots=True)
class Dropped:
    """An input that intake did not claim.

    `place` counts what a round was delivered, from 0: the places that neither a dropped input nor a
    reject has are those of the claimed inputs, in order.  `same_as` is the id of the input, claimed or
    held out, that stands against it; empty where its source is under quarantine.
    """

    place: int
    reason: str
    same_as: str
    input: Input


@dataclass(frozen=True, slots=True)
class Near:
    """What near duplicates of a claimed input are found by, where `intake.near_duplicates` is on.

    `first` is the number of the first input of its cluster, in the order in which the run claimed them,
    from 0; its own where it began one.  `keys` name the bands of its MinHash signature.
    """

    first: int
    keys: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Route:
    """Where `triage` sent a claimed input (`triage.routes`).

    `score` is the share of System 1's samples that gave its commonest answer, `answer`, which is null
    where no sample holds one.  Both are null where System 1 was not asked.
    """

    input_id: str
    task: str
    score: float | None
    answer: str | None
    route: str


def digest(*parts: str) -> str:
    """A 128-bit hex digest of the parts, which can't run into one another."""
    return hashlib.blake2b(json.dumps(parts).encode(), digest_size=16).hexdigest()


def content_hash(messages: Iterable[Message]) -> str:
    """The digest of a conversation's text; white space at the ends of a turn doesn't count."""
    return digest(*(part for m in messages for part in (m.role, m.content.strip())))


def source_of(input_id: str) -> str:
    """The name of the source that an input came from."""
    return input_id.partition(":")[0]


def call_seed(run_seed: int, input_id: str, program: str, sample: int, step: str, index: int) -> int:
    """A 31-bit seed of its own for every call, so that a rerun is the same work."""
    return int(digest(str(run_seed), input_id, program, str(sample), step, str(index))[:8], 16) >> 1


def as_messages(rows: Sequence[Mapping[str, str]]) -> Messages:
    """Plain chat dicts as messages."""
    return tuple(Message(row["role"], row["content"]) for row in rows)


@dataclass(frozen=True, slots=True)
class Weights:
    """A checked Hugging Face model directory and the digest of its files."""

    path: str
    digest: str
