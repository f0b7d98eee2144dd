"""Small tokenizers that are built as those of public families are, each with its family's way to write a chat."""

from collections.abc import Callable
from typing import Any

from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from s2d_loop.testbed.tokenizer import build_tokenizer
from tests.support import templates

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% if enable_thinking is false %}<think></think>"
    "{% endif %}{% endif %}"
)
# Spaces before and behind an answer, as Llama 2's own template writes them.
LLAMA2 = (
    "{% if messages[0].role == 'system' %}{% set system = '<<SYS>>\n' + messages[0].content + '\n<</SYS>>\n\n' %}"
    "{% set turns = messages[1:] %}{% else %}{% set system = '' %}{% set turns = messages %}{% endif %}"
    "{% for m in turns %}{% if m.role == 'user' %}"
    "{{ bos_token + '[INST] ' + (system if loop.first else '') + m.content.strip() + ' [/INST]' }}"
    "{% else %}{{ ' ' + m.content.strip() + ' ' + eos_token }}{% endif %}{% endfor %}"
)


def byte_level() -> Any:
    """As Qwen3's: `<think>` is a token but not a special one; so is `<note>`, of which the template knows nothing."""
    core = _byte_level_core()
    core.add_special_tokens([AddedToken(name, special=True) for name in ("<|im_start|>", "<|im_end|>")])
    core.add_tokens([AddedToken(name) for name in ("<think>", "</think>", "<note>")])
    return _fast(core, CHATML, eos_token="<|im_end|>")


def folding() -> Any:
    """Folds compatible characters (NFKC) before it looks for its control tokens, so other letters can spell them."""
    core = _byte_level_core()
    core.normalizer = normalizers.NFKC()
    names = ("<|im_start|>", "<|im_end|>", "<think>", "</think>")
    core.add_special_tokens([AddedToken(name, special=True, normalized=True) for name in names])
    return _fast(core, CHATML, eos_token="<|im_end|>")


def llama2() -> Any:
    """As Llama 2's: SentencePiece pieces with byte fallback, and a space before whatever is encoded."""
    merges = [("\u2581", "["), ("\u2581[", "["), ("[", "["), ("]", "]"), ("\u2581", "Y"), ("\u2581Y", "es")]
    core = _pieces(["\u2581", *map(chr, range(33, 127)), "es"], [("e", "s"), *merges])
    core.normalizer = normalizers.Sequence(
        [normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")]
    )
    core.decoder = decoders.Sequence(
        [decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    core.add_special_tokens([AddedToken(name, special=True) for name in ("<unk>", "<s>", "</s>")])
    return _fast(core, LLAMA2, bos_token="<s>", eos_token="</s>", unk_token="<unk>")


def gemma() -> Any:
    """As Gemma's: tags of HTML and runs of line ends are tokens, and text all the same."""
    core = _pieces(["\u2581", *map(chr, range(33, 127))], [])
    core.normalizer = normalizers.Replace(" ", "\u2581")
    core.decoder = decoders.Sequence(
        [decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    names = ("<unk>", "<bos>", "<eos>", "<start_of_turn>", "<end_of_turn>")
    core.add_special_tokens([AddedToken(name, special=True) for name in names])
    core.add_tokens(
        [AddedToken(name, normalized=False) for name in ("<table>", "</table>", "\n\n", "\n\n\n")]
    )
    return _fast(
        core, templates.source("gemma3"), bos_token="<bos>", eos_token="<end_of_turn>", unk_token="<unk>"
    )


def testbed() -> Any:
    """The tiny models' own."""
    return build_tokenizer(["Is the coin heads up?", "Yes No"], 512)


ALL: dict[str, Callable[[], Any]] = {
    each.__name__: each for each in (byte_level, folding, llama2, gemma, testbed)
}


def _byte_level_core() -> Tokenizer:
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    merges = [("Y", "e"), ("Ye", "s"), ("\u0120", "Yes")]
    words = [*alphabet, *("".join(pair) for pair in merges)]
    core = Tokenizer(models.BPE(vocab={word: number for number, word in enumerate(words)}, merges=merges))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    core.decoder = decoders.ByteLevel()
    return core


def _pieces(pieces: list[str], merges: list[tuple[str, str]]) -> Tokenizer:
    """A BPE with byte fallback, as those that were made from SentencePiece's."""
    words = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), *pieces]
    words += ["".join(pair) for pair in merges]
    vocab = {word: number for number, word in enumerate(dict.fromkeys(words))}
    return Tokenizer(
        models.BPE(vocab=vocab, merges=merges, unk_token="<unk>", byte_fallback=True, fuse_unk=True)
    )


def _fast(core: Tokenizer, template: str, **tokens: str) -> Any:
    return PreTrainedTokenizerFast(
        tokenizer_object=core, chat_template=template, clean_up_tokenization_spaces=False, **tokens
    )
