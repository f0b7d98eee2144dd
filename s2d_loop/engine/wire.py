"""What travels between a client, an engine and the manager; nothing here imports Ray or vLLM."""

from dataclasses import dataclass

from s2d_loop.records import Reply, Request

LogProbs = tuple[tuple[float, ...], ...]


@dataclass(frozen=True, slots=True)
class Ticket:
    """A request under the number its client will ask for it by."""

    number: int
    request: Request


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a request got no reply.  `retry` says whether another engine may do better.

    `too_long`: the prompt doesn't fit the context; `refused`: the chat template doesn't take it.
    """

    message: str
    retry: bool
    too_long: bool = False
    refused: bool = False


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one ticket ended."""

    number: int
    result: Reply | Refusal


@dataclass(frozen=True, slots=True)
class Proof:
    """What an engine says on the canaries: evidence of which weights it really serves.

    `scores` are its log-probabilities of the fixed canary texts' tokens.  `samples` are seeded
    continuations of them, `sampled` their log-probabilities as decoded and `rescored` as read back
    in one pass without the prefix cache: the two differ when the cache still holds old weights.
    """

    dtype: str
    scores: LogProbs
    samples: tuple[tuple[int, ...], ...]
    sampled: LogProbs
    rescored: LogProbs
