"""Splits a reply into the model's thoughts and its text, with vLLM's reasoning parsers.

Programs, votes, judges and the pool see the text only.  A parser knows the marks of its family of models,
but not whether this prompt asked for thoughts, so that is asked of the prompt first.
"""

import ast
import functools
import importlib.util
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from s2d_loop import thoughts
from s2d_loop.chat.template import MARKERS, open_block, source_of
from s2d_loop.chat.tokens import Chat, chat_of
from s2d_loop.errors import BadInputError
from s2d_loop.records import TemplateArguments

AUTO, NONE = "auto", "none"
HARMONY = "openai_gptoss"
# What vLLM calls the parser of each mark.  Families that share <think> differ in tools, not in thoughts.
_PARSERS = {
    "<think>": "deepseek_r1",
    "<seed:think>": "seed_oss",
    "[THINK]": "mistral",
    "<|START_THINKING|>": "cohere_command3",
    "<|channel>": "gemma4",
}
# Words that a parser goes by and doesn't tell.
_UNTOLD = {"granite": ("Here is my thought process:", "Here is my response:")}
_CHANNELS = ("<|channel|>", "<|message|>")
_RECIPIENTS = ("<|eom|>", "<|message|>")


@dataclass(frozen=True, slots=True)
class Parser:
    """What tells thoughts from text.

    `extract` goes from a reply with its marks to thoughts, text, and whether the thoughts were closed.
    `marks`, one that opens and one that closes, are known of most parsers, and `tokens` where they are such.
    """

    extract: Callable[[str], tuple[str, str, bool]]
    marks: tuple[str, ...] = ()
    tokens: frozenset[int] = frozenset()

    def is_for(self, ids: Sequence[int], raw: str) -> bool:
        """Whether to ask it: a reply without its marks would be thoughts to it from end to end."""
        if self.tokens:
            return not self.tokens.isdisjoint(ids)
        return not self.marks or any(mark in raw for mark in self.marks)


@dataclass(frozen=True, slots=True)
class Split:
    """`token_ids` are those of `text`, without an end token; empty where no tail of the reply's says just that."""

    reasoning: str
    text: str
    token_ids: tuple[int, ...]
    closed: bool


def parser_name(tokenizer: Any, configured: str) -> str:
    """The parser of a model; `none` for one whose tokens and template know no thoughts.

    Raises:
        BadInputError: vLLM has no parser of the configured name.
    """
    if configured not in (AUTO, NONE):
        known = known_parsers()
        if configured not in known:
            raise BadInputError(
                f"model.reasoning_parser: vLLM has no parser {configured!r} (it has: {', '.join(known)}; or "
                f"{AUTO}, {NONE})"
            )
    if configured != AUTO:
        return configured
    vocabulary, source = tokenizer.get_vocab(), source_of(tokenizer)
    if all(mark in vocabulary for mark in _CHANNELS):
        return HARMONY
    if all(mark in vocabulary for mark in _RECIPIENTS):
        return "muse_glimmer"
    for start, end in MARKERS.items():
        if start in vocabulary and end in vocabulary:
            return _PARSERS.get(start, TEXT)
        if start in source or end in source:
            return TEXT
    return NONE


TEXT = "text"
"""Marks that aren't tokens, or that none of vLLM's parsers knows: found in the text."""
WITHOUT_MARKS = frozenset([NONE, TEXT, HARMONY, "granite", "hunyuan_a13b", "muse_glimmer", "deepseek_v3"])
"""Those that tell vLLM no marks, by which it would count and end thoughts (`thinking_token_budget`)."""


def known_parsers() -> list[str]:
    """The names of vLLM's parsers, as its registry's file lists them: importing it takes half of `s2d check`'s time."""
    found = importlib.util.find_spec("vllm")
    if found is None or found.origin is None:
        return []
    tree = ast.parse(
        Path(found.origin).with_name("reasoning").joinpath("__init__.py").read_text(encoding="utf-8")
    )
    tables = [
        node.value for node in tree.body if isinstance(node, ast.Assign) and isinstance(node.value, ast.Dict)
    ]
    keys = [key.value for table in tables for key in table.keys if isinstance(key, ast.Constant)]
    return sorted(key for key in keys if isinstance(key, str) and not key.endswith(_LEAVES_THOUGHTS))


_LEAVES_THOUGHTS = "_append_think"
"""vLLM's name for a parser that leaves the thoughts in the text."""


def split(
    tokenizer: Any,
    name: str,
    prompt_ids: Sequence[int],
    ids: Sequence[int],
    text: str,
    arguments: TemplateArguments,
) -> Split:
    """A reply to a prompt as thoughts and text.

    Args:
        name: as `parser_name` gives it.
        ids: the reply's, without its end token.
        text: the reply as the engine decoded it, without special tokens.
    """
    plain = Split("", text, tuple(ids), closed=True)
    if name == NONE:
        return plain
    chat, parser = chat_of(tokenizer), _parser(tokenizer, name, arguments)
    pairs = {parser.marks[0]: parser.marks[1]} if parser.marks else MARKERS
    raw, before = chat.decode(ids), chat.decode(prompt_ids[-_LAST:])
    opened = open_block(before, pairs)
    if opened:  # it is a part of the thoughts
        raw = before[before.rindex(opened) :] + raw
    elif not parser.is_for(ids, raw):
        return plain
    start = next((mark for mark in pairs if raw.lstrip().startswith(mark)), "")
    if start and pairs[start] not in raw:
        return Split(raw.lstrip().removeprefix(start).strip(), "", (), closed=False)
    reasoning, said, closed = parser.extract(raw)
    if not closed:
        return Split(reasoning, "", (), closed=False)
    said = said.strip()
    if not reasoning and said == raw.strip():
        return plain
    return Split(reasoning.removeprefix(start).strip(), said, _tail(chat, ids, said), closed=True)


# A prompt's last tokens: enough for a mark, and for the mark's letters.
_LAST = 32


@functools.lru_cache(maxsize=64)
def _parser(tokenizer: Any, name: str, arguments: TemplateArguments) -> Parser:
    """vLLM's parser by name.

    Its gpt-oss parser only says where channels end, and its Harmony library fetches its vocabulary at run time,
    so channels are read from the text.
    """
    if name in (HARMONY, TEXT):
        return Parser(_by_marks)
    from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest
    from vllm.reasoning import ReasoningParserManager

    made = ReasoningParserManager.get_reasoning_parser(name)
    request = ChatCompletionRequest(
        messages=[{"role": "user", "content": ""}], chat_template_kwargs=dict(arguments) or None
    )

    def parser() -> Any:
        return made(tokenizer, chat_template_kwargs=dict(arguments))

    def extract(raw: str) -> tuple[str, str, bool]:
        # Cohere's leaves this to another library, and gives nothing.
        reasoning, content = parser().extract_reasoning(raw, request) or (None, raw)
        if content is None or reasoning:
            return reasoning or "", content or "", content is not None
        # Some decline unless their model's own argument is given, such as `thinking`.
        return _by_marks(content)

    marks = _UNTOLD.get(name) or (parser().reasoning_start_str, parser().reasoning_end_str)
    if not all(marks):
        return Parser(extract)
    vocabulary = tokenizer.get_vocab()
    tokens = frozenset(vocabulary[mark] for mark in marks if mark in vocabulary)
    return Parser(extract, marks, tokens if len(tokens) == len(marks) else frozenset())


def _by_marks(raw: str) -> tuple[str, str, bool]:
    found = thoughts.split(raw)
    return found.reasoning, found.text, found.closed


def _tail(chat: Chat, ids: Sequence[int], said: str) -> tuple[int, ...]:
    """The ids at the end of a reply that say just this; none where a token holds the mark and the answer."""
    low, high = 0, len(ids)
    while low < high:
        middle = (low + high) // 2
        if len(chat.decode(ids[middle:]).strip()) > len(said):
            low = middle + 1
        else:
            high = middle
    # White space alone may be tokens of its own before the text.
    while (
        low < len(ids)
        and not chat.decode(ids[low : low + 1]).strip()
        and chat.decode(ids[low + 1 :]).strip() == said
    ):
        low += 1
    return tuple(ids[low:]) if chat.decode(ids[low:]).strip() == said else ()
