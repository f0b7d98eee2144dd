"""The proof that an engine serves the weights it should: what it says on fixed canary texts.

The reference is a forward pass of the exported checkpoint outside vLLM.  Whoever exports weights
records it beside them (`record`); for small models without such a file any process can make it from
the directory alone.  `judge` compares an engine's answers with it.

Two checkpoints of one training run differ little, and half precision is noisy.  So after a refresh
the question is not only "close to the new weights?" but "how far along the way from the old ones to
the new ones?": 0 is a refresh that did nothing, 1 the right weights.  Averaged over all canary tokens
this tells versions apart that differ by less than the noise of one token.

See docs/decisions/0002-proof-of-weights.md.
"""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from s2d_loop.chat.loading import ChatSettings, load_tokenizer
from s2d_loop.chat.tokens import chat_of
from s2d_loop.engine import pretrained
from s2d_loop.engine.weight_files import weight_files
from s2d_loop.engine.wire import LogProbs, Proof
from s2d_loop.errors import EngineError
from s2d_loop.records import Message

FILE = "canaries.json"
# A checkpoint larger than this is not loaded a second time only to make a reference.
SCORE_LIMIT_BYTES = 4 * 2**30
# Mean absolute difference of log-probabilities; a forward pass in float32 is the reference.
TOLERANCE = {"float32": 1e-4, "float16": 0.02, "bfloat16": 0.08}
# How far from 1 the engine's place on the way from the old weights to the new ones may be.
MAX_ASTRAY = 0.25
# Above this standard error the place can't be told, and the canaries prove nothing.
MAX_BLUR = 0.08
# Longer canaries are cut from the left.
MAX_TOKENS = 128
SAMPLED_TOKENS = 12

# Long enough to fill several KV-cache blocks, so that a prefix cache left from old weights shows.
_TEXTS = (
    (
        "A coin is heads up. Ana flips the coin. Ben does not flip the coin. Chidi flips the coin. "
        "Dana does not flip the coin. Is the coin still heads up?",
        "Yes",
    ),
    (
        'Take the last letters of each word in "Grace Brewster Hopper" and concatenate them. '
        "Give the letters only, in the order of the words.",
        "err",
    ),
    (
        "Reword and elaborate on the inquiry, then provide an answer: which of the two trains arrives "
        "first, the one that leaves at nine or the one that leaves at ten?",
        "The question asks which train",
    ),
    (
        "Write one sentence on why the sky looks blue at noon and red in the evening, for a child of "
        "eight years who likes pictures more than words.",
        "Because the light",
    ),
)

_PLAIN = ChatSettings()
Tokens = tuple[tuple[int, ...], ...]


@dataclass(frozen=True, slots=True)
class Reference:
    """The canaries as token ids, and what the checkpoint's own forward pass says on them."""

    tokens: Tokens
    scores: LogProbs


def canary_tokens(tokenizer: Any, ends: frozenset[int] = frozenset()) -> Tokens:
    """The canary texts as the model is asked them, up to the start of an answer."""
    chat = chat_of(tokenizer, ends)
    rows = []
    for question, answer in _TEXTS:
        asked = (Message("user", question),)
        rows.append((chat.prompt_ids(asked) + chat.answer_ids(asked, answer))[-MAX_TOKENS:])
    return tuple(rows)


def score(model: Any, tokens: Tokens) -> LogProbs:
    """Log-probability of every canary token after the first, by a transformers forward pass."""
    import torch

    rows = []
    with torch.no_grad():
        for row in tokens:
            ids = torch.tensor([row], device=model.device)
            logprobs = model(input_ids=ids).logits[0, :-1].float().log_softmax(-1)
            rows.append(tuple(logprobs.gather(-1, ids[0, 1:, None])[:, 0].tolist()))
    return tuple(rows)


def reference_of(model: Any, tokenizer: Any, ends: frozenset[int] = frozenset()) -> Reference:
    """The reference of a model in memory."""
    tokens = canary_tokens(tokenizer, ends)
    return Reference(tokens, score(model, tokens))


def record(path: str | Path, reference: Reference) -> None:
    """Write a reference beside exported weights; do it before their digest is taken."""
    text = json.dumps({"tokens": reference.tokens, "scores": reference.scores})
    (Path(path) / FILE).write_text(text + "\n")


def load_reference(path: str | Path, chat: ChatSettings = _PLAIN) -> Reference | None:
    """The reference of a checkpoint: as recorded, else computed when it is small, else none."""
    directory = Path(path)
    recorded = directory / FILE
    if recorded.is_file():
        data = json.loads(recorded.read_text())
        return Reference(_rows(data["tokens"]), _rows(data["scores"]))
    if sum(file.stat().st_size for file in weight_files(directory)) > SCORE_LIMIT_BYTES:
        return None
    import torch

    model = pretrained.load(directory, dtype=torch.float32)
    return reference_of(model.eval(), *load_tokenizer(str(directory), chat))


def tells_apart(old: Reference, new: Reference, dtype: str) -> bool:
    """Whether the canaries can tell an engine on `new` from one that kept `old`."""
    if old.tokens != new.tokens:
        return False
    way = _differences(old.scores, new.scores)
    noise = TOLERANCE[dtype] / math.sqrt(len(way))
    return _rms(way) > 0 and noise / _rms(way) <= MAX_BLUR


def judge(proof: Proof, reference: Reference, old: Reference | None) -> str | None:
    """Why `proof` doesn't show that the engine serves the reference's weights; None when it does."""
    tolerance = TOLERANCE[proof.dtype]
    away = distance(proof.scores, reference.scores)
    if old is not None:
        moved = _share_of_the_way(proof.scores, old, reference)
        if abs(moved - 1) > MAX_ASTRAY:
            return (
                f"it moved {moved:.2f} of the way from the old weights to the new ones "
                f"(and is {away:.2g} away from the new ones on the canaries, {tolerance:.2g} allowed)"
            )
    if not away <= tolerance:
        return f"it is {away:.2g} away from the checkpoint on the canaries, {tolerance:.2g} allowed"
    stale = distance(proof.sampled, proof.rescored)
    if not stale <= tolerance:
        return (
            f"log-probabilities as sampled are {stale:.2g} away from those in one pass, {tolerance:.2g} "
            f"allowed: its prefix cache holds keys of other weights"
        )
    return None


def agree(proofs: Sequence[Proof]) -> str | None:
    """Why engines on the same weights are not equal: they should be, whichever way they got them.

    Seeded samples must be the same too where arithmetic is exact enough to promise it.
    """
    for proof in proofs[1:]:
        away = distance(proof.scores, proofs[0].scores)
        if not away <= TOLERANCE[proof.dtype]:
            return f"it is {away:.2g} away from another engine on the same weights on the canaries"
        if proof.dtype == "float32" and proof.samples != proofs[0].samples:
            return "its seeded samples differ from those of another engine on the same weights"
    return None


def distance(a: LogProbs, b: LogProbs) -> float:
    """Mean absolute difference; not a number where anything isn't one, infinite for other shapes."""
    if [len(row) for row in a] != [len(row) for row in b]:
        return math.inf
    differences = _differences(a, b)
    return sum(map(abs, differences)) / max(1, len(differences))


def _share_of_the_way(scores: LogProbs, old: Reference, new: Reference) -> float:
    way = _differences(old.scores, new.scores)
    gone = _differences(old.scores, scores)
    return sum(x * y for x, y in zip(gone, way, strict=True)) / sum(x * x for x in way)


def _differences(a: LogProbs, b: LogProbs) -> list[float]:
    return [y - x for row_a, row_b in zip(a, b, strict=True) for x, y in zip(row_a, row_b, strict=True)]


def _rms(values: Sequence[float]) -> float:
    return math.sqrt(sum(x * x for x in values) / len(values))


def _rows(rows: Any) -> Any:
    if not isinstance(rows, list) or not all(isinstance(row, list) and row for row in rows):
        raise EngineError(f"{FILE} is damaged: rows of numbers expected; export the weights again")
    return tuple(tuple(row) for row in rows)
