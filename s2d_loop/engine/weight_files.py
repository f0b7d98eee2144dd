"""Which files of a model directory are its weights, and what their headers say.

Directories as they are published hold more: the same weights in another layout, adapters, older formats.
What counts is what `model.safetensors.index.json` names, or `model.safetensors` where there is no index:
what vLLM serves is then what training starts from.  Only headers are read here, never a tensor.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from s2d_loop.errors import BadInputError

INDEX = "model.safetensors.index.json"
SINGLE = "model.safetensors"
# Types that weights are trained from, and what torch calls them; others are quantised, or tables.
FLOATS = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16"}
# Longer than any real header, so that damage is told before memory is asked for.
_MAX_HEADER = 1 << 28


@dataclass(frozen=True, slots=True)
class Tensor:
    """One tensor of a safetensors file, from its header; `begin` and `end` are offsets in the file."""

    file: str
    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int


def weight_files(path: str | Path) -> tuple[Path, ...]:
    """The files that hold the model's weights, sorted by name.

    Raises:
        BadInputError: there are none, or the index can't be read or names a file that isn't there.
    """
    root = Path(path)
    named = _weight_map(root)
    if named is not None:
        names = sorted(set(named.values()))
        missing = [name for name in names if not (root / name).is_file()]
        if missing:
            raise BadInputError(
                f"{root}/{INDEX}: it names {_some(missing)}, which the directory doesn't hold: fetch it again"
                + (
                    f", or remove the index if {SINGLE} is the whole model"
                    if (root / SINGLE).is_file()
                    else ""
                )
            )
        return tuple(root / name for name in names)
    if (root / SINGLE).is_file():
        return (root / SINGLE,)
    others = sorted(file.name for file in root.glob("*.safetensors"))
    raise BadInputError(
        f"{root}: it holds neither {SINGLE} nor {INDEX}"
        + (f", and which tensors {_some(others)} should hold is unknown" if others else "")
        + ": fetch the whole model, or convert it to safetensors; other formats are not loaded"
    )


def tensors(path: str | Path) -> dict[str, Tensor]:
    """Every tensor of a model's weights by name.

    Raises:
        BadInputError: a file is damaged, or files and index disagree.
    """
    result: dict[str, Tensor] = {}
    for file in weight_files(path):
        for name, tensor in _tensors_of(file).items():
            if name in result:
                raise BadInputError(f"{path}: the tensor {name} is in {result[name].file} and in {file.name}")
            result[name] = tensor
    named = _weight_map(Path(path)) or {}
    astray = sorted(name for name, file in named.items() if name not in result or result[name].file != file)
    if astray:
        raise BadInputError(
            f"{path}/{INDEX}: it names tensors that are not in the files it gives for them: {_some(astray)}; "
            "fetch index and files of one version"
        )
    return result


def header_of(file: Path) -> bytes:
    """The first bytes of a safetensors file, up to where the tensors begin."""
    with file.open("rb") as stream:
        first = stream.read(8)
        return first + stream.read(min(int.from_bytes(first, "little"), _MAX_HEADER))


def _tensors_of(file: Path) -> dict[str, Tensor]:
    """What a header lists: its length in eight bytes, then JSON, then exactly the tensors' bytes."""
    raw = header_of(file)
    if raw.startswith(b"version https://git-lfs"):
        raise BadInputError(f"{file}: a Git LFS pointer in place of the weights: run `git lfs pull`")
    try:
        entries: dict[str, Any] = json.loads(raw[8:])
        entries.pop("__metadata__", None)
        found = {
            name: Tensor(
                file.name,
                entry["dtype"],
                tuple(entry["shape"]),
                *(len(raw) + offset for offset in entry["data_offsets"]),
            )
            for name, entry in entries.items()
        }
        end = max((tensor.end for tensor in found.values()), default=len(raw))
    except (ValueError, KeyError, TypeError, AttributeError) as problem:
        raise BadInputError(
            f"{file}: not a safetensors file ({problem}): was its download cut off? Fetch it again"
        ) from problem
    if file.stat().st_size != end:
        raise BadInputError(
            f"{file}: {file.stat().st_size} bytes, its header says {end}: was its download cut off? "
            "Fetch it again"
        )
    return found


def _weight_map(root: Path) -> dict[str, str] | None:
    """The index's file for every tensor; None where there is no index."""
    index = root / INDEX
    if not index.is_file():
        return None
    try:
        named: dict[str, str] = json.loads(index.read_text())["weight_map"]
        # An export is written under these names.
        strange = [name for name in named.values() if Path(name).name != name or name.startswith(".")]
    except (ValueError, KeyError, TypeError, AttributeError) as problem:
        raise BadInputError(
            f"{index}: not an index of safetensors files ({problem}): fetch it again"
        ) from problem
    if strange or not named:
        raise BadInputError(f"{index}: names of files beside it expected, not {_some(strange) or 'nothing'}")
    return named


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
