"""Whether a checkpoint can be trained, exported and served, found in seconds from its headers alone.

`preflight.check` asks before a run spends anything; `s2d check` shows the report.  Nothing is loaded: a model
of 70 billion parameters takes as long as a small one.
"""

import re
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from s2d_loop.engine.settings import context_of
from s2d_loop.engine.weight_files import INDEX, Tensor, weight_files
from s2d_loop.errors import BadInputError
from s2d_loop.train.dropout import attention_dropouts, no_dropout
from s2d_loop.train.packing import sees_across
from s2d_loop.train.published import Correspondence, correspond

# Of two tensors that should be equal, this much is compared at either end.
_SAMPLE = 1 << 20


@dataclass(frozen=True, slots=True)
class StartReport:
    """What would be trained, and what would stay as it is."""

    architecture: str
    parameters: int
    trained_parameters: int
    weight_bytes: int
    carried_over: tuple[str, ...]
    """Where the tensors that no training changes lie, such as "vision_tower (436 tensors)"."""
    context_tokens: int
    notes: tuple[str, ...]


def check_start(path: str, *, bf16: bool, dropout_is_set: bool = False) -> StartReport:
    """Hold a checkpoint against the model that it is loaded as and the export that it would become.

    Args:
        path: the model directory.
        bf16: whether it would be trained in bfloat16.
        dropout_is_set: whether the user asked for a dropout above 0; the default gives way where there is none.

    Raises:
        BadInputError: it can't work; the message says what, where and what to do.
    """
    found = correspond(path, dtype=torch.bfloat16 if bf16 else torch.float32)
    model = found.model
    if dropout_is_set and not attention_dropouts(model.config):
        raise BadInputError(no_dropout(model.config))
    _check_shared(path, found)
    _check_beside(path)
    trained = found.trained
    # A head that is shared and stored all the same is one with the embedding once it is loaded.
    own = [p for name, p in model.named_parameters() if name not in model.all_tied_weights_keys]
    return StartReport(
        architecture=type(model).__name__,
        parameters=sum(parameter.numel() for parameter in own),
        trained_parameters=sum(parameter.numel() for parameter in own if parameter.requires_grad),
        weight_bytes=sum(tensor.end - tensor.begin for tensor in found.tensors.values()),
        carried_over=places(found.tensors.keys() - trained, trained),
        context_tokens=context_of(path),
        notes=tuple(_notes(path, found)),
    )


def _check_shared(path: str, found: Correspondence) -> None:
    """A tensor stored twice, whose copies differ: vLLM shares the first, transformers keeps both."""
    published = {name: p for group in found.groups for name, p in group.names.items()}
    for one, other in found.model.all_tied_weights_keys.items():
        names = [published[name] for name in (one, other) if name in published]
        if len(set(names)) == 2 and len({_ends(path, found.tensors[name]) for name in names}) == 2:
            raise BadInputError(
                f"{path}: config.json says that {names[0]} and {names[1]} are one tensor, but the files hold two "
                "that differ: set tie_word_embeddings to false, or remove the one that isn't used"
            )


def _ends(path: str, tensor: Tensor) -> bytes:
    size = min(_SAMPLE, tensor.end - tensor.begin)
    with Path(path, tensor.file).open("rb") as file:
        file.seek(tensor.begin)
        first = file.read(size)
        file.seek(tensor.end - size)
        return first + file.read(size)


def places(names: Collection[str], others: Collection[str]) -> tuple[str, ...]:
    """Names grouped by the part of the model that holds none of the others: "vision_tower (436 tensors)"."""
    inner = {part for name in others for part in _parents(name)}
    tops = Counter(
        # Layers by the dozen are one place.
        re.sub(r"\.\d+(?=\.)", ".*", next((part for part in _parents(name) if part not in inner), name))
        for name in names
    )
    return tuple(f"{top} ({count} tensor{'s' * (count > 1)})" for top, count in sorted(tops.items()))


def _parents(name: str) -> Iterator[str]:
    """`a.b.c` -> `a`, `a.b`."""
    parts = name.split(".")
    return (".".join(parts[:end]) for end in range(1, len(parts)))


def _notes(path: str, found: Correspondence) -> Iterator[str]:
    model = found.model
    if not attention_dropouts(model.config):
        yield f"a {model.config.model_type} has no attention dropout: it trains without"
    if sees_across(model.config):
        yield "its layers see across the documents of a row: each document is trained in a row of its own"
    if unread := _unread(path):
        yield f"not part of the model, and in no export: {', '.join(unread)}"


def _unread(path: str) -> list[str]:
    """Safetensors files beside the model's own, by name."""
    own = {file.name for file in weight_files(path)}
    return sorted({file.name for file in Path(path).glob("*.safetensors")} - own)


def _check_beside(path: str) -> None:
    """Without an index vLLM takes every safetensors file for a part of the model, and doesn't start."""
    unread = _unread(path)
    if unread and not Path(path, INDEX).is_file():
        raise BadInputError(
            f"{path}: {', '.join(unread)} beside model.safetensors would be read by vLLM as a part of the model: "
            "move it out of the directory"
        )
