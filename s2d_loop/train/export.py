"""The trained weights as a plain Hugging Face directory, checked before it counts.

`worker.py` gathers the weights and calls `write_export` on rank 0.  Everything but the weights is
copied from the start model byte for byte: configuration (with its own dropout, not the training's),
generation settings, tokenizer and chat template stay what they were.
"""

import json
import math
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from s2d_loop.errors import TrainError
from s2d_loop.train.card import model_card

if TYPE_CHECKING:
    import torch

MAX_SHARD = "5GB"
# Files of the start model that belong to the export as they are.
_COPIED = (
    "config.json",
    "generation_config.json",
    "*token*.json",
    "tokenizer.model",
    "vocab.*",
    "merges.txt",
    "chat_template*",
    "additional_chat_templates",
    "LICENSE*",
)
# Largest difference of logits between the trained model and its export read back: rounding of
# another summation order in float32; in half precision the export is rounded once more than the
# model in memory, so the difference is held against the size of the logits.
_SAME_FLOAT32 = 1e-4
_SAME_HALF = 0.1


@dataclass(frozen=True, slots=True)
class Tensor:
    """One tensor of a safetensors file, from its header."""

    file: str
    dtype: str
    shape: tuple[int, ...]


def tensors(path: str) -> dict[str, Tensor]:
    """Every tensor of a model directory by name; only headers are read."""
    result: dict[str, Tensor] = {}
    for file in sorted(Path(path).glob("*.safetensors")):
        for name, entry in _header(file).items():
            if name in result:
                raise TrainError(f"{path}: the tensor {name} is in {result[name].file} and in {file.name}")
            result[name] = Tensor(file.name, entry["dtype"], tuple(entry["shape"]))
    if not result:
        raise TrainError(f"{path}: no safetensors file; convert the weights, other formats are not loaded")
    return result


def _header(file: Path) -> dict[str, Any]:
    """A safetensors header: its length in eight bytes, then JSON, then exactly the tensors' bytes."""
    try:
        with file.open("rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
            header: dict[str, Any] = json.loads(stream.read(length))
        header.pop("__metadata__", None)
        end = max((entry["data_offsets"][1] for entry in header.values()), default=0)
    except (ValueError, KeyError, TypeError, MemoryError, OverflowError) as problem:
        raise TrainError(f"{file}: not a safetensors file ({problem})") from problem
    if file.stat().st_size != 8 + length + end:
        raise TrainError(f"{file}: {file.stat().st_size} bytes, its header says {8 + length + end}")
    return header


def write_export(
    path: str, *, model: Any, state: Mapping[str, "torch.Tensor"], start: str, facts: Mapping[str, Any]
) -> None:
    """Write gathered weights as a model directory in the start model's own dtypes."""
    # A worker that was killed while it wrote leaves a part behind.
    shutil.rmtree(path, ignore_errors=True)
    model.save_pretrained(path, state_dict=_in_start_dtypes(state, start), max_shard_size=MAX_SHARD)
    for pattern in _COPIED:
        for file in Path(start).glob(pattern):
            target = Path(path, file.name)
            if file.is_dir():
                shutil.copytree(file, target, dirs_exist_ok=True)
            else:
                shutil.copyfile(file, target)
    Path(path, "README.md").write_text(model_card(facts))


def _in_start_dtypes(state: Mapping[str, "torch.Tensor"], start: str) -> dict[str, "torch.Tensor"]:
    from safetensors import safe_open

    dtypes: dict[str, torch.dtype] = {}
    for file in sorted(Path(start).glob("*.safetensors")):
        with safe_open(file, framework="pt") as opened:
            for name in opened.keys():  # noqa: SIM118 (not a dict)
                dtypes[name] = opened.get_tensor(name).dtype
    common = max(set(dtypes.values()), key=list(dtypes.values()).count)
    return {name: tensor.to(dtypes.get(name, common)) for name, tensor in state.items()}


def check_export(path: str, start: str, *, tied: Sequence[str] = ()) -> None:
    """The export has the start model's tensors, all finite, and training has changed them.

    `tied` names tensors that are another one's copy, which a model directory may leave out.
    """
    exported, expected = tensors(path), tensors(start)
    missing = sorted(set(expected) - set(exported) - set(tied))
    extra = sorted(set(exported) - set(expected) - set(tied))
    if missing or extra:
        raise TrainError(f"{path}: tensors missing {missing[:5]}, not in the start model {extra[:5]}")
    for name in sorted(set(exported) & set(expected)):
        found, wanted = exported[name], expected[name]
        if (found.dtype, found.shape) != (wanted.dtype, wanted.shape):
            raise TrainError(
                f"{path}: {name} is {found.dtype} {found.shape}, "
                f"in the start model {wanted.dtype} {wanted.shape}"
            )
    _check_files(path, start)
    _check_values(path, exported, start, expected)


def _check_files(path: str, start: str) -> None:
    for name in ("config.json", "generation_config.json", "tokenizer_config.json"):
        if not Path(path, name).is_file():
            raise TrainError(f"{path}: {name} is missing (is it in the start model {start}?)")


def _check_values(path: str, exported: dict[str, Tensor], start: str, expected: dict[str, Tensor]) -> None:
    import torch
    from safetensors import safe_open

    changed = False
    for name, tensor in exported.items():
        with safe_open(Path(path, tensor.file), framework="pt") as file:
            value = file.get_tensor(name)
        if not bool(torch.isfinite(value).all()):
            raise TrainError(f"{path}: {name} holds values that are not finite: lower train.learning_rate")
        if not changed and name in expected:
            with safe_open(Path(start, expected[name].file), framework="pt") as file:
                changed = not torch.equal(value, file.get_tensor(name))
    if not changed:
        raise TrainError(
            f"{path}: every weight equals the start model's, so training changed nothing; "
            "a half-precision start model needs a larger train.learning_rate or more steps"
        )


def check_logits(reloaded: "torch.Tensor", trained: "torch.Tensor", *, exact: bool, path: str) -> None:
    """The export read back says what the trained model in memory says."""
    largest = (reloaded - trained).abs().max().item()
    allowed = _SAME_FLOAT32 if exact else _SAME_HALF * max(1.0, trained.abs().max().item())
    if not (math.isfinite(largest) and largest <= allowed):
        raise TrainError(
            f"{path}: read back, the export's logits are {largest:.2g} away from the trained model's "
            f"(allowed {allowed:.2g}); the directory is kept for inspection"
        )
