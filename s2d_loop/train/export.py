"""The trained weights as a plain Hugging Face directory, checked before it counts.

`finish.py` calls it on rank 0.  An export is the start model's directory with other bytes in the place of what
was trained: the same files, the same tensors under the same names in the same types.  Configuration (with its own
dropout, not the training's), generation settings, tokenizer, chat template, processors and licence are copies.
"""

import math
import shutil
from collections.abc import Collection, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from s2d_loop import folders
from s2d_loop.engine.proof import FILE as CANARIES
from s2d_loop.engine.weight_files import FLOATS, Tensor, header_of, tensors, weight_files
from s2d_loop.errors import BadInputError, TrainError
from s2d_loop.train.card import model_card

if TYPE_CHECKING:
    import torch

    from s2d_loop.train.published import Correspondence

# What a start model's directory may hold that no export should.
_NOT_COPIED = (
    # Weights: the model's own are written, all others (another layout, an adapter, a quantisation) are
    # still those of the start, and servers that prefer such files would serve them.
    *(
        "*.safetensors",
        "consolidated*.index.json",
        "*.gguf",
        "*.ggml",
        "*.onnx*",
        "*.h5",
        "*.msgpack",
        "*.tflite",
    ),
    "adapter_config.json",
    # Pickles, which can hold code, and code.
    *("*.bin", "*.bin.index.json", "*.pt", "*.pth", "*.ckpt", "*.pkl", "*.pickle", "*.py", "*.pyc", "*.so"),
    # Said of another training, or proof of other weights.
    *(
        "README*",
        "trainer_state.json",
        "training_args*",
        "all_results.json",
        "*_results.json",
        "*tfevents*",
        "*.log",
        "TRAINING.json",
    ),
    CANARIES,
    ".*",
)
# Folders that transformers and vLLM read; others hold other formats of the model, pictures and logs.
_FOLDERS = ("additional_chat_templates",)
_CHUNK = 1 << 24
# Largest difference of logits between the trained model and its export read back: rounding of
# another summation order in float32; in half precision the export is rounded once more than the
# model in memory, so the difference is held against the size of the logits.
_SAME_FLOAT32 = 1e-4
_SAME_HALF = 0.1


def write_export(
    path: str,
    *,
    plan: "Correspondence",
    state: dict[str, "torch.Tensor"],
    start: str,
    facts: Mapping[str, Any],
    template: str | None = None,
) -> None:
    """Write gathered weights as a model directory like the start model's.

    `state` is emptied on the way, so that no more than a layer is held twice.
    """
    # A worker that was killed while it wrote leaves a part behind.
    folders.remove(Path(path))
    Path(path).mkdir(parents=True)
    _copy_rest(Path(start), Path(path))
    if template is not None:
        # It goes before the one in tokenizer_config.json: what is served is asked as what was trained.
        Path(path, "chat_template.jinja").write_text(template, encoding="utf-8")
    _write_weights(Path(path), plan, state, Path(start))
    Path(path, "README.md").write_text(model_card(facts))


def _copy_rest(start: Path, path: Path) -> None:
    for file in start.iterdir():
        if file.is_dir() and file.name in _FOLDERS:
            shutil.copytree(file, path / file.name)
        elif file.is_file() and not any(file.match(pattern) for pattern in _NOT_COPIED):
            shutil.copyfile(file, path / file.name)


def _write_weights(path: Path, plan: "Correspondence", state: dict[str, "torch.Tensor"], start: Path) -> None:
    import torch

    with ExitStack() as stack:
        sources: dict[str, BinaryIO] = {}
        targets: dict[str, BinaryIO] = {}
        for file in weight_files(start):
            sources[file.name] = stack.enter_context(file.open("rb"))
            targets[file.name] = stack.enter_context((path / file.name).open("xb"))
            # Types, shapes and names stay, and so do the header and every tensor's place.
            targets[file.name].write(header_of(file))
        for name in plan.tensors.keys() - plan.trained:
            tensor = plan.tensors[name]
            _copy_bytes(sources[tensor.file], targets[tensor.file], tensor)
        for group in plan.groups:
            for name, value in plan.convert(group, state):
                tensor = plan.tensors[name]
                target = targets[tensor.file]
                target.seek(tensor.begin)
                target.write(as_bytes(value.to(getattr(torch, FLOATS[tensor.dtype]))).numpy().data)


def _copy_bytes(source: BinaryIO, target: BinaryIO, tensor: Tensor) -> None:
    source.seek(tensor.begin)
    target.seek(tensor.begin)
    left = tensor.end - tensor.begin
    while left:
        chunk = source.read(min(left, _CHUNK))
        target.write(chunk)
        left -= len(chunk)


def as_bytes(value: "torch.Tensor") -> "torch.Tensor":
    """A tensor's own bytes, as a file holds them."""
    import torch

    return value.contiguous().reshape(-1).view(torch.uint8)


def check_export(path: str, start: str, *, trained: Collection[str] | None = None) -> None:
    """The export has the start model's tensors, all finite, and training has changed them.

    `trained` names the tensors that training may have changed, all where it isn't given; the others must be the
    start model's, byte for byte.

    Raises:
        TrainError: it hasn't; the message names the tensor.
    """
    try:
        exported, expected = tensors(path), tensors(start)
    except BadInputError as problem:
        raise TrainError(str(problem)) from problem
    missing, extra = sorted(expected.keys() - exported.keys()), sorted(exported.keys() - expected.keys())
    if missing or extra:
        raise TrainError(f"{path}: tensors missing {missing[:5]}, not in the start model {extra[:5]}")
    for name, wanted in expected.items():
        found = exported[name]
        if (found.dtype, found.shape, found.file) != (wanted.dtype, wanted.shape, wanted.file):
            raise TrainError(
                f"{path}: {name} is {found.dtype} {found.shape} in {found.file}, "
                f"in the start model {wanted.dtype} {wanted.shape} in {wanted.file}"
            )
    _check_files(path, start)
    _check_values(path, start, trained)


def _check_files(path: str, start: str) -> None:
    for name in ("config.json", "generation_config.json", "tokenizer_config.json"):
        if Path(start, name).is_file() and not Path(path, name).is_file():
            raise TrainError(f"{path}: {name} is missing, which is in the start model {start}")


def _check_values(path: str, start: str, trained: Collection[str] | None) -> None:
    import torch
    from safetensors import safe_open

    changed = False
    for file in weight_files(path):
        with (
            safe_open(file, framework="pt") as found,
            safe_open(Path(start, file.name), framework="pt") as wanted,
        ):
            for name in found.keys():  # noqa: SIM118 (not a dict)
                value = found.get_tensor(name)
                learns = trained is None or name in trained
                if learns and not bool(torch.isfinite(value).all()):
                    raise TrainError(
                        f"{path}: {name} holds values that are not finite: lower train.learning_rate"
                    )
                if learns and changed:
                    continue
                same = torch.equal(as_bytes(value), as_bytes(wanted.get_tensor(name)))
                if not (learns or same):
                    raise TrainError(f"{path}: {name} isn't trained, but differs from the start model's")
                changed = changed or not same
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
