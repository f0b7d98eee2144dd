"""The tokenizer that vLLM would choose for a model directory, and the tokens at which its engine stops."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from s2d_loop.chat.tokens import is_mistral
from s2d_loop.config.tree import ModelConfig
from s2d_loop.errors import BadInputError


@dataclass(frozen=True, slots=True)
class ChatSettings:
    """How a model is talked to, beyond what its directory says; travels to engines and workers.

    `template` is a chat template's text in place of the directory's own.  `tokenizer_mode` is vLLM's: the start
    model's choice for all that descends from it, since an export holds no weights in Mistral's own format.
    """

    template: str | None = None
    reasoning_parser: str = "auto"
    tokenizer_mode: Literal["auto", "hf", "mistral"] = "auto"


_PLAIN = ChatSettings()


def chat_settings(config: ModelConfig, start: str | None = None) -> ChatSettings:
    """The settings of a configuration.

    Args:
        start: the directory of the model that a run starts with.

    Raises:
        BadInputError: the template's file can't be read.
    """
    template = None
    if config.chat_template is not None:
        try:
            template = Path(config.chat_template).expanduser().read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            said = getattr(error, "strerror", None) or "it is not UTF-8 text"
            raise BadInputError(
                f"model.chat_template: {config.chat_template} can't be read: {said}"
            ) from error
    mode: Literal["auto", "hf", "mistral"] = "auto"
    if start is not None:
        mode = "mistral" if has_mistral_tokenizer(start) else "hf"
    return ChatSettings(template, config.reasoning_parser, mode)


def load_tokenizer(path: str, settings: ChatSettings = _PLAIN) -> tuple[Any, frozenset[int]]:
    """A directory's tokenizer and its end tokens.

    Raises:
        BadInputError: there is no tokenizer that can be read, or a template for one that takes none.
    """
    mode, template = settings.tokenizer_mode, settings.template
    native = has_mistral_tokenizer(path) if mode == "auto" else mode == "mistral"
    tokenizer = _mistral(path) if native else _hugging_face(path)
    if template is not None:
        if is_mistral(tokenizer):
            raise BadInputError(
                f"model.chat_template: {path} has Mistral's own tokenizer, which takes no template: remove the "
                "key, or tekken.json and consolidated*.safetensors from the directory"
            )
        tokenizer.chat_template = template
    return tokenizer, end_tokens(path, tokenizer)


def has_mistral_tokenizer(path: str) -> bool:
    """Whether vLLM takes mistral-common's tokenizer (vllm/tokenizers/registry.py)."""
    found = Path(path)
    tokens = [*found.glob("tekken.json"), *found.glob("tokenizer.model.v*")]
    return bool(tokens) and any(found.glob("consolidated*.safetensors"))


def end_tokens(path: str, tokenizer: Any) -> frozenset[int]:
    """Where vLLM stops: at the tokenizer's end token, and at those of the generation configuration.

    Without generation_config.json they are those of config.json (vllm/transformers_utils/config.py,
    `try_get_generation_config`).
    """
    from transformers import AutoConfig, GenerationConfig

    try:
        if Path(path, "generation_config.json").is_file():
            configured = GenerationConfig.from_pretrained(path, local_files_only=True).eos_token_id
        else:
            config = AutoConfig.from_pretrained(path, local_files_only=True, trust_remote_code=False)
            configured = GenerationConfig.from_model_config(config).eos_token_id
    except (OSError, ValueError):
        configured = None
    ends = set(configured) if isinstance(configured, list) else {configured}
    return frozenset({*ends, tokenizer.eos_token_id} - {None})


def _mistral(path: str) -> Any:
    from vllm.tokenizers.registry import get_tokenizer

    try:
        return get_tokenizer(path, tokenizer_mode="mistral", trust_remote_code=False)
    except Exception as error:
        raise _unreadable(path, error) from error


def _hugging_face(path: str) -> Any:
    from transformers import AutoTokenizer

    try:
        # As vLLM asks for it: Mistral's format only where it is the one above.
        tokenizer = AutoTokenizer.from_pretrained(
            path, local_files_only=True, trust_remote_code=False, mistral_format=False
        )
    except Exception as error:
        raise _unreadable(path, error) from error
    if getattr(tokenizer, "chat_template", None) is None:
        tokenizer.chat_template = _processor_template(path)
    return tokenizer


def _unreadable(path: str, error: Exception) -> BadInputError:
    said = " ".join(str(error).split())[:300]
    return BadInputError(f"model.path: the tokenizer in {path} can't be loaded: {said}")


def _processor_template(path: str) -> str | None:
    """Text-and-image models kept theirs with the processor, in a file of its own."""
    file = Path(path, "chat_template.json")
    if not file.is_file():
        return None
    try:
        template = json.loads(file.read_text(encoding="utf-8"))["chat_template"]
    except (ValueError, KeyError, TypeError) as error:
        raise BadInputError(f"{file}: holds no chat template ({type(error).__name__}: {error})") from error
    return str(template)
