"""What a chat template knows: its arguments, and the frame in which it puts an answer."""

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from s2d_loop import thoughts
from s2d_loop.chat.limits import OverLimitError, limited
from s2d_loop.errors import BadInputError, ConversationRefusedError
from s2d_loop.records import Message, Messages, TemplateArguments

# Stand for a question and an answer; no template has anything to say about them.
_QUESTION, _ANSWER = "\uf8f0question\uf8f1", "\uf8f2answer\uf8f3"
# What a template may be given beside its arguments.
_GIVEN = frozenset(
    [
        "messages",
        "tools",
        "documents",
        "add_generation_prompt",
        "bos_token",
        "eos_token",
        "pad_token",
        "unk_token",
        "raise_exception",
        "strftime_now",
        "range",
        "dict",
        "namespace",
        "tojson",
    ]
)
MARKERS = {
    "<think>": "</think>",
    "<thinking>": "</thinking>",
    "<seed:think>": "</seed:think>",
    "[THINK]": "[/THINK]",
    "<|START_THINKING|>": "<|END_THINKING|>",
    "<|channel>": "<channel|>",
    "<|think_start|>": "<|think_end|>",
    "\u25c1think\u25b7": "\u25c1/think\u25b7",
}
"""What opens a block of thoughts, and what closes it."""


@dataclass(frozen=True, slots=True)
class Frame:
    """What surrounds an answer.

    `opening` stands between the prompt and the answer: nothing, a space, an empty block of thoughts, the
    name of a channel.  The model writes it, so it is trained.  `closing` is what the template writes
    behind an answer.
    """

    opening: str
    closing: str


def source_of(tokenizer: Any) -> str:
    """The template's text; empty for a tokenizer that has none."""
    template = getattr(tokenizer, "chat_template", None)
    if isinstance(template, dict):
        template = tokenizer.get_chat_template()
    return template or ""


@functools.lru_cache(maxsize=16)
def arguments_of(source: str) -> frozenset[str]:
    """The names that a template asks for and that only its caller can give.

    Raises:
        BadInputError: it is no template.
    """
    from jinja2 import meta, nodes

    environment, parsed = _parsed(source)
    names = list(parsed.find_all(nodes.Name))
    asked = meta.find_undeclared_variables(parsed) - _GIVEN - set(environment.globals)
    # What is set where it was not given may still be given.
    optional = {
        each.node.name
        for each in parsed.find_all((nodes.Test, nodes.Filter))
        if each.name in ("defined", "undefined", "default") and isinstance(each.node, nodes.Name)
    }
    stored = {each.name for each in names if each.ctx == "store"}
    parameters = {each.name for each in names if each.ctx == "param"}
    return frozenset(asked - parameters - (stored - optional))


def knows(source: str, argument: str) -> bool:
    """Whether a template reads an argument at all."""
    from jinja2 import nodes

    return any(each.name == argument for each in _parsed(source)[1].find_all(nodes.Name))


def _parsed(source: str) -> tuple[Any, Any]:
    from jinja2 import TemplateSyntaxError
    from transformers.utils.chat_template_utils import _compile_jinja_template

    try:
        environment = _compile_jinja_template(source).environment
        return environment, environment.parse(source)
    except TemplateSyntaxError as error:
        raise BadInputError(
            f"the chat template is none, by its line {error.lineno}: {error.message} (mend it, or name another "
            "with model.chat_template)"
        ) from error


def check_source(source: str) -> None:
    """Refuse what is no template.

    Raises:
        BadInputError: with the line that is wrong.
    """
    _parsed(source)


def takes_parts(tokenizer: Any) -> bool:
    """Whether a template wants a message as a list of parts, as those of text-and-image models do.

    Raises:
        BadInputError: a question is refused or lost either way.
    """
    refusals = []
    for parts in (False, True):
        try:
            render(tokenizer, (Message("user", _QUESTION),), (), parts=parts)
        except ConversationRefusedError as error:
            refusals.append(str(error))
        else:
            return parts
    raise BadInputError(f"{refusals[0]}: name another template with model.chat_template")


# A template's own words are some thousands of characters, and some repeat a turn.
_LONGEST, _TIMES = 1 << 20, 8


def render(
    tokenizer: Any,
    messages: Messages,
    arguments: TemplateArguments,
    *,
    parts: bool = False,
    answer_follows: bool = True,
) -> str:
    """The conversation as text, up to where the model goes on.

    Args:
        parts: as `takes_parts` says.

    Raises:
        ConversationRefusedError: the template refuses this conversation, or leaves a turn of it out.
    """
    text = _rendered(tokenizer, messages, arguments, parts=parts, answer_follows=answer_follows)
    kept = [(each.role, _kept(each)) for each in messages]
    for role, content in kept:
        # A turn may stand in another one's text too.
        if content and text.count(content) < sum(other.count(content) for _, other in kept):
            raise refused(messages, f"it leaves out the {role} turn, or alters it")
    return text


def _kept(message: Message) -> str:
    """What a prompt must hold of a message: templates leave an earlier answer's thoughts out, and white space."""
    text = thoughts.split(message.content).text if message.role == "assistant" else message.content
    return text.strip()


def _rendered(
    tokenizer: Any, messages: Messages, arguments: TemplateArguments, *, parts: bool, answer_follows: bool
) -> str:
    turns = [
        {
            "role": message.role,
            "content": [{"type": "text", "text": message.content}] if parts else message.content,
        }
        for message in messages
    ]
    try:
        with limited():
            text: str = tokenizer.apply_chat_template(
                turns, add_generation_prompt=answer_follows, tokenize=False, **dict(arguments)
            )
        if len(text) > _LONGEST + _TIMES * sum(len(message.content) for message in messages):
            raise ValueError(f"it makes {len(text)} characters of it")
    except OverLimitError as error:
        size = sum(len(message.content) for message in messages)
        raise BadInputError(
            f"the chat template, given a conversation of {size} characters: {error}: name another template with "
            "model.chat_template"
        ) from error
    except Exception as error:
        # Whatever a template does wrong with a conversation costs that conversation only.
        raise refused(messages, error) from error
    return text


def refused(messages: Messages, error: Exception | str) -> ConversationRefusedError:
    """The refusal of a conversation, with the template's own words."""
    roles = ", ".join(message.role for message in messages)
    said = " ".join(str(error).split())[:200] or type(error).__name__
    return ConversationRefusedError(f"the chat template refuses this conversation ({roles}): {said}")


def frame(tokenizer: Any, arguments: TemplateArguments, *, parts: bool = False) -> Frame:
    """The frame of an answer, from a conversation of one question.

    It belongs to the template and its arguments, not to a conversation: an answer's own place is never
    looked for in a conversation that was rendered again.
    """
    question, answer = Message("user", _QUESTION), Message("assistant", _ANSWER)
    prompt = render(tokenizer, (question,), arguments, parts=parts)
    wholes = []
    for turns in ((question, answer), (question, answer, question)):
        try:
            text = render(tokenizer, turns, arguments, parts=parts, answer_follows=False)
        except ConversationRefusedError:
            text = ""
        wholes.append(text.partition(_ANSWER))
    (before, found, after), (_, _, continued) = wholes
    # Where nothing ends an answer, the next turn's own mark does.
    closing = after if after.strip() else continued.partition(_QUESTION)[0]
    if found and before.startswith(prompt):
        return Frame(before[len(prompt) :], closing)
    return Frame(_closed(prompt), closing)


def open_block(prompt: str, pairs: Mapping[str, str] = MARKERS) -> str:
    """The mark that opens the block of thoughts in which a prompt ends; empty where it ends in none.

    Only the very end counts: what stands further in may be a stranger's.
    """
    end = prompt.rstrip()
    return next((start for start in pairs if end.endswith(start)), "")


def _closed(prompt: str) -> str:
    """What ends an open block at once, as templates write an empty one."""
    start = open_block(prompt)
    if not start:
        return ""
    return f"\n{MARKERS[start]}\n\n" if prompt.endswith("\n") else MARKERS[start]
