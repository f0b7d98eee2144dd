"""The tiny model's tokenizer: template words whole, everything else byte by byte.

Built from `world.template_texts`; `pretrain.py` saves it next to the weights.
A byte-level BPE without merges: a piece of text that is in the vocabulary
becomes one token (`ignore_merges`), any other piece becomes its bytes. So names
are rows of letters, no text is lost, and decoding gives back the very text.
"""

from collections.abc import Iterable

from tokenizers import Tokenizer
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


def build_tokenizer(texts: Iterable[str], max_length: int) -> PreTrainedTokenizerFast:
    """Make the tokenizer whose whole words are those of `texts`."""
    pre = ByteLevel(add_prefix_space=False, use_regex=True)
    pieces = {piece for text in texts for piece, _ in pre.pre_tokenize_str(text)}
    special = [PAD, USER, ASSISTANT, END]
    # Sorted, because sets and alphabets come in no fixed order.
    tokens = [*special, *sorted(ByteLevel.alphabet())]
    tokens += sorted(piece for piece in pieces if len(piece) > 1)
    tokens += [f"<|unused{i}|>" for i in range(-len(tokens) % VOCAB_MULTIPLE)]
    vocab = {token: index for index, token in enumerate(tokens)}

    core = Tokenizer(BPE(vocab=vocab, merges=[], ignore_merges=True))
    core.pre_tokenizer = pre
    core.decoder = ByteLevelDecoder()
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        pad_token=PAD,
        eos_token=END,
        additional_special_tokens=[USER, ASSISTANT],
        chat_template=CHAT_TEMPLATE,
        model_max_length=max_length,
        padding_side="left",
        clean_up_tokenization_spaces=False,
    )
