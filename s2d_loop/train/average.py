"""Trained weights averaged with those that a run began with, file by file.

A share of the starting weights brings back what a fine-tuning took away, at the price of some of what it gave
(WiSE-FT, arXiv 2109.01903).  Both directories have the same layout: one is an export of the other's lineage.
"""

from collections.abc import Collection
from contextlib import ExitStack
from pathlib import Path

import torch
from safetensors import safe_open

from s2d_loop.engine.weight_files import Tensor, header_of, tensors, weight_files
from s2d_loop.errors import BadInputError, TrainError
from s2d_loop.train.export import as_bytes


def average(path: str, start: str, share: float, *, trained: Collection[str]) -> None:
    """Replace each trained tensor w of the export `path` by `(1 - share) * w + share * s`, s being the start's.

    Computed in float32 (float64 for such tensors) and rounded once to the tensor's own type; a tensor at a time is
    held.  Every other tensor stays as it is, byte for byte.

    Raises:
        TrainError: the two have other tensors, so there is nothing to average.
    """
    _check_alike(path, start)
    layout = tensors(path)
    for file in weight_files(path):
        written = file.with_name(f"{file.name}.averaged")
        with ExitStack() as stack:
            ours = stack.enter_context(safe_open(file, framework="pt"))
            theirs = stack.enter_context(safe_open(Path(start, file.name), framework="pt"))
            target = stack.enter_context(written.open("xb"))
            target.write(header_of(file))
            for name in ours.keys():  # noqa: SIM118 (not a dict)
                value = ours.get_tensor(name)
                if name in trained:
                    value = _mean(value, theirs.get_tensor(name), share)
                target.seek(layout[name].begin)
                target.write(as_bytes(value).numpy().data)
        written.replace(file)


def _mean(trained: torch.Tensor, start: torch.Tensor, share: float) -> torch.Tensor:
    wide = torch.promote_types(trained.dtype, torch.float32)
    return torch.lerp(trained.to(wide), start.to(wide), share).to(trained.dtype)


def _check_alike(path: str, start: str) -> None:
    try:
        ours, theirs = tensors(path), tensors(start)
    except BadInputError as problem:
        raise TrainError(str(problem)) from problem
    for name in sorted(ours.keys() | theirs.keys()):
        one, other = ours.get(name), theirs.get(name)
        if (
            one is None
            or other is None
            or (one.dtype, one.shape, one.file) != (other.dtype, other.shape, other.file)
        ):
            raise TrainError(
                f"{path}: can't be averaged with {start} (train.average_with_start): {name} is {_said(one)} in the "
                f"one and {_said(other)} in the other"
            )


def _said(tensor: Tensor | None) -> str:
    return "missing" if tensor is None else f"{tensor.dtype} {tensor.shape} in {tensor.file}"
