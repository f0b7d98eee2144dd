"""The chat templates of the `trl` package, each with a small tokenizer that has its control tokens.

The files are read where they are installed, and never copied.  Training templates (`*_training.jinja`) are TRL's
own variants of the others.
"""

import functools
import importlib.util
import re
from pathlib import Path

from tokenizers import AddedToken, Tokenizer
from tokenizers.decoders import ByteLevel as ByteLevelDecoder
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel
from transformers import PreTrainedTokenizerFast

# How templates of today write a control token.
_CONTROL = re.compile(
    r"<\|[^|<>\s{}'\"]{1,40}\|>|<\uff5c[^\uff5c<>\s]{1,40}\uff5c>|<\|[a-z_]{1,40}>|<[a-z_]{1,40}\|>"
    r"|</?(?:s|think|bos|eos|pad|unk|start_of_turn|end_of_turn|image|start_of_image|end_of_utterance)>"
    r"|\[/?(?:INST|THINK|gMASK|SYSTEM_PROMPT)\]|<sop>"
)
# Tokens that stand in the vocabulary without being special, as `<think>` of Qwen.
_PLAIN = re.compile(r"</?think>|\[/?THINK\]")
_BOS, _EOS = "<|first|>", "<|last|>"

# What the generation configurations of these models stop at, by the beginning of a family's name.
_ENDS = {
    "cohere": "<|END_OF_TURN_TOKEN|>",
    "deepseek": "<\uff5cend\u2581of\u2581sentence\uff5c>",
    "diffusion_gemma": "<turn|>",
    "gemma": "<end_of_turn>",
    "gemma4": "<turn|>",
    "glm4": "<|user|>",
    "gptoss": "<|return|>",
    "idefics3": "<end_of_utterance>",
    "lfm2": "<|im_end|>",
    "llama3": "<|eot_id|>",
    "llava": "</s>",
    "muse_glimmer": "<|eot|>",
    "nemotron": "<|im_end|>",
    "phi3": "<|end|>",
    "qwen": "<|im_end|>",
    "smolvlm": "<end_of_utterance>",
}


def folder() -> Path:
    """Where TRL keeps its templates."""
    found = importlib.util.find_spec("trl")
    assert found is not None and found.origin is not None, (
        "trl is in requirements/cpu.txt: run `make install`"
    )
    return Path(found.origin).parent / "chat_templates"


def families() -> list[str]:
    """The names of the templates, training variants left out."""
    return [name for name in every() if not name.endswith("_training")]


def every() -> list[str]:
    """The names of all templates."""
    return sorted(path.stem for path in folder().glob("*.jinja"))


def source(family: str) -> str:
    return (folder() / f"{family}.jinja").read_text(encoding="utf-8")


def end_of(family: str) -> str:
    """The token that ends an answer of a family's models."""
    return _ENDS[max((name for name in _ENDS if family.startswith(name)), key=len)]


@functools.cache
def tokenizer_of(family: str) -> tuple[PreTrainedTokenizerFast, frozenset[int]]:
    """A family's tokenizer and the tokens at which an engine stops: the family's own beside `eos_token`."""
    tokenizer = tokenizer_for(source(family))
    return tokenizer, frozenset({tokenizer.convert_tokens_to_ids(end_of(family)), tokenizer.eos_token_id})


def tokenizer_for(template: str, end: str = _EOS) -> PreTrainedTokenizerFast:
    """A byte-level tokenizer with a template's control tokens.

    Args:
        end: its end token; one that the template writes, or none of its own.
    """
    names = list(dict.fromkeys(_CONTROL.findall(template)))
    special = [name for name in (_BOS, end, *names) if not _PLAIN.fullmatch(name)]
    alphabet = sorted(ByteLevel.alphabet())
    core = Tokenizer(BPE(vocab={token: index for index, token in enumerate(alphabet)}, merges=[]))
    core.pre_tokenizer = ByteLevel(add_prefix_space=False, use_regex=True)
    core.decoder = ByteLevelDecoder()
    core.add_special_tokens([AddedToken(name, special=True) for name in dict.fromkeys(special)])
    core.add_tokens([AddedToken(name, special=False) for name in names if _PLAIN.fullmatch(name)])
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        bos_token=_BOS,
        eos_token=end,
        chat_template=template,
        clean_up_tokenization_spaces=False,
    )
