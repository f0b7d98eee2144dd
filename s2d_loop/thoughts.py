"""What a model thinks before it answers, told apart from what it says.

Engines split replies by their own token ids.  This module is for replies that come as text (recordings,
pools, references, scripted models), and every reader of answers asks it first.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class Thoughts:
    """A reply taken apart.

    `closed` is false where thoughts begin and never end: the reply was cut off, and `text` is empty.
    """

    reasoning: str
    text: str
    closed: bool


# A block's two marks, in lower case.  Those of tags are alike, so they need no line each.
_CLOSING = {
    "[think]": "[/think]",
    "\u25c1think\u25b7": "\u25c1/think\u25b7",
    "<|channel>": "<channel|>",
    "<|begin_of_thought|>": "<|end_of_thought|>",
    "<|start_thinking|>": "<|end_thinking|>",
    "<|content_thinking|>": "<|content_text|>",
    "<|open|>think<|sep|>": "<|close|>think<|sep|>",
    "<|plamo:begin_think:plamo|>": "<|plamo:end_think:plamo|>",
    "here is my thought process:": "here is my response:",
    "here's my thought process:": "here's my response:",
}
_OPENING = {closing: opening for opening, closing in _CLOSING.items()}
_IN_WORDS = ("here is my response:", "here's my response:")
"""Answers may well begin with these and their opening ones: they are marks only where both are there."""

# `<think>`, `<seed:think>`, `<ifm|think_fast>`, `<think:6124c78e>`, each with its `</...>`.
_TAG = (
    r"/?(?:\w{1,12}[:|])?(?:think|thinking|thoughts?|reasoning|reflection|analysis|scratchpad)"
    r"(?:[:_]\w{1,16})?>"
)
_ANGLED = [re.escape(mark[1:]) for mark in (*_CLOSING, *_OPENING) if mark.startswith("<")]
_OTHERS = [re.escape(mark) for mark in (*_CLOSING, *_OPENING) if not mark.startswith("<")]
_MARK = re.compile(f"<(?:{'|'.join([_TAG, *_ANGLED])})|{'|'.join(_OTHERS)}", re.IGNORECASE | re.ASCII)
# One of these words is in every mark: most texts have none, and looking for words is quick.
_WORDS = (
    *("think", "thought", "reasoning", "reflection", "analysis", "scratchpad"),
    *("channel", "content_text", "my response:"),
)
_QUOTES = {"`": "`", '"': '"', "'": "'", "\u201d": "\u201c", "\u2019": "\u2018"}
"""Those behind a mark that is only mentioned, and those before it."""
_SPACE = re.compile(r"\s*")
# Tokens around thoughts and around what follows them, which a tokenizer may have left in the text.
_FRAME = re.compile(
    r"<\|(?:START|END)_(?:RESPONSE|TEXT)\|>|<\|(?:begin|end)_of_solution\|>"
    r"|<\|(?:open|close)\|>(?:response|message)<\|sep\|>|<\|(?:message_model|end_message|im_end)\|>|<turn\|>|<eos>"
)

# Harmony, gpt-oss's format: a message on a channel each, of which only `final` is said.
_FINAL = re.compile(r"<\|channel\|>\s{0,4}final\b[^<]{0,80}(?:<\|constrain\|>[^<]{0,80})?<\|message\|>")
_BEGINS = re.compile(r"\s*(?:<\|start\|>assistant[^<]{0,80})?<\|channel\|>")
_NEXT_MESSAGE = "<|end|><|start|>assistant"
_ENDS = re.compile(r"<\|(?:return|end|call)\|>")
_HEADER = re.compile(
    r"(?:<\|start\|>assistant[^<]{0,80})?<\|channel\|>[^<]{0,80}<\|message\|>|<\|(?:end|start|call)\|>(?:assistant)?"
)
# The same format behind a tokenizer that leaves special tokens out.
_BARE_BEGIN, _BARE_FINAL = re.compile(r"\s*analysis(?=\S)"), "assistantfinal"


def split(reply: str) -> Thoughts:
    """Take a reply apart, in time linear in its length.

    Thoughts are the blocks that the reply begins with, and all before a closing mark whose opening one is
    missing: it stood in the prompt.  A mark in quotes is a mention, and so is a block further in (prose may
    explain the tags).  A reply without thoughts is returned as it is; what follows thoughts is stripped of
    white space.
    """
    channels = _channels(reply)
    if channels is None or not channels.closed:
        return channels or _blocks(reply)
    said = _blocks(channels.text)
    return replace(said, reasoning="\n".join(filter(None, (channels.reasoning, said.reasoning))))


def joined(reasoning: str, text: str) -> str:
    """A reply that `split` takes apart into these; the text alone where there are no thoughts."""
    return f"<think>\n{reasoning}\n</think>\n\n{text}" if reasoning else text


def spoken(reply: str) -> str:
    """What a reader of answers reads: the text, without any blocks further in; empty if it was cut off."""
    text = split(reply).text
    folded = text.lower()
    if not any(closing in folded for closing in ("</", *_OPENING)):
        return text
    kept, at, begin, closing = [], 0, 0, ""
    for mark, name in _marks(text):
        if closing and name == closing:
            kept.append(text[at:begin])
            at, closing = mark.end(), ""
        elif not closing and _opens(name):
            begin, closing = mark.start(), _closing(name)
    return " ".join([*kept, text[at:]])


def _blocks(reply: str) -> Thoughts:
    at = 0  # where the text begins
    first = _SPACE.match(reply)  # the white space before it
    open_mark: re.Match[str] | None = None
    waits_for, inner = "", set[str]()
    last: re.Match[str] | None = None
    last_words = reply.rfind("my response:")
    for mark, name in _marks(reply):
        if open_mark is not None:
            ends = name == waits_for
        elif _opens(name):
            ends, closing = False, _closing(name)
            if first is None or first.end() < mark.start():
                inner.add(closing)
            elif closing not in _IN_WORDS or mark.end() <= last_words:
                open_mark, waits_for = mark, closing
        else:
            # Of a block further in, or of one that the prompt began.
            ends = name not in inner and name not in _IN_WORDS
            inner.discard(name)
        if ends:
            at, last, open_mark = mark.end(), mark, None
            first = _SPACE.match(reply, at)
            inner.clear()
    if open_mark is not None:
        return Thoughts(_unmarked(reply), "", closed=False)
    if last is None:
        return Thoughts("", reply, closed=True)
    return Thoughts(_unmarked(reply[: last.start()]), _FRAME.sub("", reply[at:]).strip(), closed=True)


def _channels(reply: str) -> Thoughts | None:
    """A reply in harmony's format; None for any other."""
    finals = list(_FINAL.finditer(reply))
    if finals:
        before, begin = reply[: finals[-1].start()], finals[-1].end()
        end = _ENDS.search(reply, begin)
        text = reply[begin : end.start() if end else None].strip()
        return Thoughts(_HEADER.sub("", before).strip(), text, closed=True)
    if _BEGINS.match(reply) or _NEXT_MESSAGE in reply:
        return Thoughts(_HEADER.sub("", reply).strip(), "", closed=False)
    bare, final = _BARE_BEGIN.match(reply), reply.rfind(_BARE_FINAL)
    if bare and final > 0:
        return Thoughts(
            reply[bare.end() : final].strip(), reply[final + len(_BARE_FINAL) :].strip(), closed=True
        )
    return None


def _marks(text: str) -> Iterator[tuple[re.Match[str], str]]:
    """The marks that stand for themselves, in order, and their names."""
    folded = text.lower()
    if not any(word in folded for word in _WORDS):
        return
    for mark in _MARK.finditer(text):
        behind = text[mark.end() : mark.end() + 1]
        if behind not in _QUOTES or not _quote_opens(text, mark.start() - 1, _QUOTES[behind]):
            yield mark, mark.group().lower()


def _quote_opens(text: str, place: int, quote: str) -> bool:
    """Whether a quotation begins there: the end of one may meet the beginning of the answer."""
    return place >= 0 and text[place] == quote and (place == 0 or text[place - 1] in " \n\t([")


def _opens(name: str) -> bool:
    return name in _CLOSING or (name not in _OPENING and not name.startswith("</"))


def _closing(opening: str) -> str:
    return _CLOSING.get(opening) or f"</{opening[1:]}"


def _unmarked(thoughts: str) -> str:
    """Thoughts without the mark that they begin with, and tokens around them."""
    first = _SPACE.match(thoughts)
    mark = _MARK.match(thoughts, first.end() if first else 0)
    return _FRAME.sub("", thoughts[mark.end() if mark else 0 :]).strip()
