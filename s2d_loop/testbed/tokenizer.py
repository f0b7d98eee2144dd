"""The tiny models' tokenizers: template words whole, everything else byte by byte.

Built from a world's texts and the chat that it speaks (`worlds.py`); `pretrain.py` saves it next to the weights.
A byte-level BPE without merges: a piece of text that is in the vocabulary
becomes one token (`ignore_merges`), any other piece becomes its bytes. So names
are rows of letters, no text is lost, and decoding gives back the very text.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from tokenizers import AddedToken, Tokenizer
from tokenizers.decoders import ByteLevel as ByteLevelDecoder
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel
from transformers import PreTrainedTokenizerFast

PAD, USER, ASSISTANT, END = "<|pad|>", "<|user|>", "<|assistant|>", "<|end|>"
# A multiple of 64 keeps the embedding matrix easy to shard.
VOCAB_MULTIPLE = 64

CHAT_TEMPLATE = (
    "{%- for message in messages -%}"
    "{{- '<|assistant|>' if message['role'] == 'assistant' else '<|user|>' -}}"
    "{{- message['content'] -}}{{- '<|end|>' -}}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{- '<|assistant|>' -}}{%- endif -%}"
)


@dataclass(frozen=True)
class ChatFormat:
    """How turns are written: a template and the tokens that it puts between texts."""

    template: str
    end: str
    """Ends every turn, so a reply as well."""
    openings: tuple[str, ...]
    thoughts: tuple[str, ...] = ()
    """What encloses thoughts: tokens, but not special ones, so they stay when a reply is decoded."""


PLAIN = ChatFormat(CHAT_TEMPLATE, END, (USER, ASSISTANT))


def build_tokenizer(
    texts: Iterable[str], max_length: int, chat: ChatFormat = PLAIN
) -> PreTrainedTokenizerFast:
    """Make the tokenizer of `chat` whose whole words are those of `texts`."""
    pre = ByteLevel(add_prefix_space=False, use_regex=True)
    pieces = {piece for text in texts for piece, _ in pre.pre_tokenize_str(text)}
    special = [PAD, *chat.openings, chat.end, *chat.thoughts]
    # Sorted, because sets and alphabets come in no fixed order.
    tokens = [*special, *sorted(ByteLevel.alphabet())]
    tokens += sorted(piece for piece in pieces if len(piece) > 1)
    tokens += [f"<|unused{i}|>" for i in range(-len(tokens) % VOCAB_MULTIPLE)]
    vocab = {token: index for index, token in enumerate(tokens)}

    core = Tokenizer(BPE(vocab=vocab, merges=[], ignore_merges=True))
    core.pre_tokenizer = pre
    core.decoder = ByteLevelDecoder()
    core.add_tokens([AddedToken(token, normalized=False) for token in chat.thoughts])
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        pad_token=PAD,
        eos_token=chat.end,
        additional_special_tokens=list(chat.openings),
        chat_template=chat.template,
        model_max_length=max_length,
        padding_side="left",
        clean_up_tokenization_spaces=False,
    )
