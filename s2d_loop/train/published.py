"""How a checkpoint's tensors, under the names it is published with, and a model's parameters correspond.

transformers renames tensors while it loads them, joins some (the experts of a mixture) and leaves others
alone (next-token layers, tables that models recompute).  An export has to undo all of that.  `correspond` finds
out from headers alone, by loading the checkpoint without its values through transformers' own code; `check_start`
asks before anything is spent, and the export of the trained weights follows the same answer.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import transformers
from transformers.core_model_loading import revert_weight_conversion

from s2d_loop.engine import pretrained
from s2d_loop.engine.weight_files import FLOATS, Tensor, tensors
from s2d_loop.errors import BadInputError

# Types of tables, such as attention masks in old checkpoints.
_INTEGERS = {
    "BOOL": "bool",
    "U8": "uint8",
    "I8": "int8",
    "I16": "int16",
    "I32": "int32",
    "I64": "int64",
}
# Parameters of one layer are converted together, so that a copy of one layer is all that is ever held.
_LAYER = re.compile(r".*?\.\d+(?=\.)")


@dataclass(frozen=True, slots=True)
class Group:
    """Parameters that are converted together, and the published names of what they become."""

    parameters: tuple[str, ...]
    names: Mapping[str, str]
    """By the name that transformers' conversion gives, which may lack a prefix or have one more."""


@dataclass(frozen=True, slots=True)
class Correspondence:
    """A checkpoint's tensors, and how trained parameters become some of them."""

    model: Any
    """The model without values: its tensors are on torch's meta device."""
    tensors: Mapping[str, Tensor]
    """Every tensor of the checkpoint by its published name."""
    groups: tuple[Group, ...]

    @property
    def trained(self) -> frozenset[str]:
        """Published names of the tensors that training changes; all others stay as they are."""
        return frozenset(name for group in self.groups for name in group.names.values())

    def convert(self, group: Group, values: dict[str, torch.Tensor]) -> Iterator[tuple[str, torch.Tensor]]:
        """Published names and their tensors, in the values' own dtype; takes the group out of `values`."""
        taken = {name: values.pop(name) for name in group.parameters}
        converted = revert_weight_conversion(self.model, taken)
        for name, published in group.names.items():
            yield published, converted[name]


def trainable(network: Any) -> dict[str, torch.nn.Parameter]:
    """Parameters that training changes, by every name they have: shared ones have several."""
    named = network.named_parameters(remove_duplicate=False)
    return {name: parameter for name, parameter in named if parameter.requires_grad}


def train_text_only(network: Any) -> None:
    """Freeze what reads pictures or sound, which training never shows."""
    if network.config.get_text_config() is network.config:
        return
    parts = (network.get_decoder(), network.get_input_embeddings(), network.get_output_embeddings())
    kept = {id(parameter) for part in parts if part is not None for parameter in part.parameters()}
    for parameter in network.parameters():
        parameter.requires_grad_(id(parameter) in kept)


def correspond(path: str, *, dtype: torch.dtype = torch.float32) -> Correspondence:
    """Find out how a checkpoint corresponds to its model, from headers alone.

    Raises:
        BadInputError: it can't be trained and exported under its own names; the message says why.
    """
    settings = pretrained.configuration(path)
    _refuse_quantised(path, pretrained.read_config(path))
    listed = tensors(path)
    values = {
        name: torch.empty(tensor.shape, dtype=_torch_dtype(path, name, tensor), device="meta")
        for name, tensor in listed.items()
    }
    model = pretrained.load(path, settings, dtype=dtype, values=values)
    train_text_only(model)
    return Correspondence(model, listed, tuple(_groups(path, model, listed)))


def _refuse_quantised(path: str, written: Mapping[str, Any]) -> None:
    for section in (written, written.get("text_config") or {}):
        how = section.get("quantization_config") or section.get("compression_config")
        if how:
            raise BadInputError(_quantised(path, str(how.get("quant_method") or how.get("format") or how)))


def _quantised(path: str, how: str) -> str:
    return (
        f"{path}: its weights are quantised ({how}), which can't be trained: use the bfloat16 release of the "
        "model, or dequantise it to bfloat16 first"
    )


def _torch_dtype(path: str, name: str, tensor: Tensor) -> torch.dtype:
    weight = "weight" in name.rpartition(".")[2]
    known = FLOATS.get(tensor.dtype) or (None if weight else _INTEGERS.get(tensor.dtype))
    if known is None:
        raise BadInputError(_quantised(path, f"{name} is {tensor.dtype}"))
    found: torch.dtype = getattr(torch, known)
    return found


def _groups(path: str, model: Any, listed: Mapping[str, Tensor]) -> Iterator[Group]:
    parameters = trainable(model)
    names_of: dict[int, list[str]] = {}
    for name, parameter in parameters.items():
        names_of.setdefault(id(parameter), []).append(name)
    shared = [names for names in names_of.values() if len(names) > 1]
    for names in shared:
        # A checkpoint holds a shared tensor once, or as often as it likes.
        found = [group for name in names if (group := _group(model, [name], listed))]
        if not found:
            raise BadInputError(_no_way_back(path, names[0]))
        yield from found
    single = [names[0] for names in names_of.values() if len(names) == 1]
    layers: dict[str, list[str]] = {}
    for name in single:
        layer = _LAYER.match(name)
        layers.setdefault(layer.group() if layer else name, []).append(name)
    by_layer = [_group(model, names, listed) for names in layers.values()]
    if all(by_layer):
        yield from (group for group in by_layer if group)
    elif whole := _group(model, single, listed):
        yield whole
    else:
        first = next(names for names, group in zip(layers.values(), by_layer, strict=True) if not group)
        raise BadInputError(_no_way_back(path, first[0]))


def _group(model: Any, parameters: Sequence[str], listed: Mapping[str, Tensor]) -> Group | None:
    """These parameters as published; None where they don't give tensors that the checkpoint has."""
    try:
        converted = revert_weight_conversion(model, {name: model.get_parameter(name) for name in parameters})
    except Exception:  # a conversion that wants parameters of other groups fails in its own way
        return None
    names = {name: _published(name, tuple(value.shape), model, listed) for name, value in converted.items()}
    if None in names.values():
        return None
    return Group(tuple(parameters), {name: published for name, published in names.items() if published})


def _published(name: str, shape: tuple[int, ...], model: Any, listed: Mapping[str, Tensor]) -> str | None:
    """transformers adds the prefix of the model's body where a checkpoint lacks it, and the other way round."""
    prefix = f"{model.base_model_prefix}."
    for spelling in (name, name.removeprefix(prefix), prefix + name):
        if spelling in listed and listed[spelling].shape == shape and listed[spelling].dtype in FLOATS:
            return spelling
    return None


def _no_way_back(path: str, name: str) -> str:
    return (
        f"{path}: transformers {transformers.__version__} can't write {name} back as the checkpoint has it, so "
        "there would be nothing to serve after training: use another release of the model"
    )
