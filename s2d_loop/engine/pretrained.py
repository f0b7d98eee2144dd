"""A published checkpoint through transformers: its configuration, its class, its weights.

The trainer and whoever checks an engine open checkpoints here, so they read the same files by the same
class.  Code that a checkpoint brings along is never run.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from s2d_loop.engine.weight_files import INDEX
from s2d_loop.errors import BadInputError


def configuration(path: str | Path) -> Any:
    """The model's configuration.

    Raises:
        BadInputError: it can't be read, or this version of transformers doesn't know the architecture.
    """
    from transformers import CONFIG_MAPPING, AutoConfig, __version__

    file = Path(path, "config.json")
    written = read_config(path)
    kind = written.get("model_type")
    if kind not in CONFIG_MAPPING:
        if "auto_map" in written:
            raise BadInputError(
                f"{file}: {kind!r} needs program code that the checkpoint brings along (auto_map), which is "
                "never run here: use a release whose architecture transformers has itself"
            )
        raise BadInputError(
            f"{file}: transformers {__version__} knows no model_type {kind!r}: is it a language model's "
            "configuration, or does it need a newer transformers?"
        )
    try:
        return AutoConfig.from_pretrained(path, local_files_only=True, trust_remote_code=False)
    except Exception as problem:  # each architecture checks its values in its own way
        raise BadInputError(f"{file}: transformers can't read it: {first_line(problem)}") from problem


def read_config(path: str | Path) -> dict[str, Any]:
    """`config.json` as written.

    Raises:
        BadInputError: it isn't there or isn't a JSON object.
    """
    file = Path(path, "config.json")
    try:
        written = json.loads(file.read_text())
    except (OSError, ValueError) as problem:
        raise BadInputError(f"{file}: can't be read ({problem}): fetch the model again") from problem
    if not isinstance(written, dict):
        raise BadInputError(f"{file}: an object expected: fetch the model again")
    return written


def text_class(settings: Any) -> tuple[Any, Any]:
    """The class that generates text with these settings, and the settings that it takes.

    Raises:
        BadInputError: transformers has none.
    """
    import transformers
    from transformers.models.auto import modeling_auto

    groups = [
        getattr(modeling_auto, f"MODEL_FOR_{group}_MAPPING_NAMES")
        for group in ("CAUSAL_LM", "IMAGE_TEXT_TO_TEXT", "MULTIMODAL_LM")
    ]
    name = next((names[settings.model_type] for names in groups if settings.model_type in names), None)
    written = next(iter(getattr(settings, "architectures", None) or ()), None)
    # A class of transformers' that does something else, such as a reward model of a chat model's shape.
    other = hasattr(transformers, written or "") and all(written not in names.values() for names in groups)
    if name is None or other:
        raise BadInputError(
            f"{settings.name_or_path or settings.model_type}: a {written or settings.model_type} generates no "
            "text: use a chat model"
        )
    found = getattr(transformers, name)
    if found.config_class is not type(settings):
        settings = settings.get_text_config()
    return found, settings


def load(
    path: str | Path, settings: Any | None = None, *, dtype: Any, values: Mapping[str, Any] | None = None
) -> Any:
    """The model with its weights, ready to be asked.

    Args:
        path: the model directory.
        settings: its configuration where something in it is set otherwise.
        dtype: torch's type that the weights are converted to.
        values: tensors on torch's meta device by published name, in place of those in the files.

    Raises:
        BadInputError: a tensor that the model needs isn't there, or has another shape.
    """
    found, settings = text_class(settings if settings is not None else configuration(path))
    options: dict[str, Any] = {"local_files_only": True, "use_safetensors": True}
    if values is not None:
        options = {"state_dict": dict(values), "device_map": {"": "meta"}}
    elif Path(path, INDEX).is_file():
        # transformers would prefer a `model.safetensors` beside it, vLLM doesn't.
        settings.transformers_weights = INDEX
    with quiet():
        try:
            model, report = found.from_pretrained(
                path if values is None else None,
                config=settings,
                dtype=dtype,
                # It honours document boundaries and dropout on every device; see decision 0003.
                attn_implementation="sdpa" if found._supports_sdpa else "eager",
                # They are refused below, by name.
                ignore_mismatched_sizes=True,
                output_loading_info=True,
                trust_remote_code=False,
                **options,
            )
        except (RuntimeError, ValueError) as problem:
            raise BadInputError(
                f"{path}: transformers can't load it as a {found.__name__}: {first_line(problem)}"
            ) from problem
    check_complete(path, report)
    return model


def check_complete(path: str | Path, report: Mapping[str, Any]) -> None:
    """What transformers says of a load: a tensor that wasn't in the files was made up.

    Raises:
        BadInputError: some are missing, or of another shape than the configuration says.
    """
    missing = sorted(report["missing_keys"])
    if missing:
        raise BadInputError(
            f"{path}: {len(missing)} tensors that the model needs are not in its files and would be made up: "
            f"{', '.join(missing[:3])}{', ...' if len(missing) > 3 else ''}; fetch the whole model"
        )
    for name, found, wanted in sorted(report["mismatched_keys"]):
        raise BadInputError(
            f"{path}: {name} has the shape {tuple(found)} in the files and {tuple(wanted)} by config.json: "
            "they are of different models; fetch both of one version"
            + (f", or set vocab_size to {found[0]}" if "embed" in name or "lm_head" in name else "")
        )


@contextmanager
def quiet() -> Iterator[None]:
    """Without transformers' reports and progress bars: what they tell is checked, not printed."""
    from transformers.utils import logging

    before = logging.get_verbosity()
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(before)


def first_line(problem: BaseException) -> str:
    """The first line of an error's text, or its type's name."""
    return next((line.strip() for line in str(problem).splitlines() if line.strip()), type(problem).__name__)
