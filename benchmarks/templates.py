"""Which public chat templates a run can prompt and train, and how: docs/models.md's table.

    python -m benchmarks.templates [--check]

Every template of the `trl` package goes the way of a run's own (`chat.tokens`, `chat.reasoning`).  Prints the
table and writes it into the page; with --check it writes nothing, and exits with 1 where the page says otherwise.
"""

import argparse
import sys
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import astuple, dataclass
from pathlib import Path

from s2d_loop.chat import reasoning
from s2d_loop.chat.template import arguments_of
from s2d_loop.chat.tokens import Chat
from s2d_loop.errors import ConversationRefusedError
from s2d_loop.records import Message, Messages, TemplateArguments
from tests.support import templates

PAGE = Path(__file__).parents[1] / "docs" / "models.md"
BEGIN, END = "<!-- templates:begin -->\n", "<!-- templates:end -->\n"
HEADINGS = (
    "family",
    "prompt, behind the question",
    "with `enable_thinking: false`",
    "before an answer",
    "end token",
    "`auto` parser",
    "system turn",
    "two user turns",
)
_BLANK = {"": "nothing", " ": "a space"}
_QUESTION, _ANSWER = "QUESTION", "ANSWER"
_ASKED = (Message("user", _QUESTION),)
_OFF: TemplateArguments = (("enable_thinking", False),)


@dataclass(frozen=True, slots=True)
class Behaviour:
    """One row but its families: what a template does with System 1's question and its answer."""

    prompt: str
    prompt_off: str
    opening: str
    end: str
    parser: str
    system_turn: str
    user_turns: str


def behaviour(family: str) -> Behaviour:
    """What a family's template does, by the code that prompts and trains a run's own model."""
    tokenizer, ends = templates.tokenizer_of(family)
    chat = Chat(tokenizer, ends)
    knows_switch = "enable_thinking" in arguments_of(templates.source(family))
    answer = chat.decode(chat.row(_ASKED, _ANSWER).answer_ids)
    opening, _, end = answer.partition(_ANSWER)
    return Behaviour(
        _code(_behind(chat)),
        _code(_behind(chat, _OFF)) if knows_switch else "",
        _code(opening),
        _code(end),
        f"`{reasoning.parser_name(tokenizer, reasoning.AUTO)}`",
        _renders(chat, (Message("system", "SYSTEM"), *_ASKED)),
        _renders(chat, (Message("user", "BEFORE"), *_ASKED)),
    )


def table(families: Iterable[str]) -> str:
    """A row for each behaviour, with the families that share it."""
    alike: dict[Behaviour, list[str]] = defaultdict(list)
    for family in families:
        alike[behaviour(family)].append(family)
    rows = [(", ".join(names), *astuple(each)) for each, names in alike.items()]
    lines = [HEADINGS, ["---"] * len(HEADINGS), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def with_table(page: str, made: str) -> str:
    """The page with `made` between its two marks."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}{made}{END}{after}"


def _behind(chat: Chat, arguments: TemplateArguments = ()) -> str:
    return chat.prompt_text(_ASKED, arguments).partition(_QUESTION)[2]


def _renders(chat: Chat, turns: Messages) -> str:
    try:
        chat.prompt_ids(turns)
    except ConversationRefusedError:
        return "refused"
    return "yes"


def _code(text: str) -> str:
    """A cell of a Markdown table."""
    return "`" + text.replace("\n", "\\n").replace("|", "\\|") + "`" if text.strip() else _BLANK[text]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--check", action="store_true", help="write nothing; exit with 1 if the page is another"
    )
    options = parser.parse_args()
    page = PAGE.read_text(encoding="utf-8")
    made = table(templates.families())
    print(made)
    wanted = with_table(page, made)
    if options.check:
        return int(wanted != page)
    PAGE.write_text(wanted, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
