"""A stranger's template is a program: it gets so much time and memory, and no more."""

import itertools
import resource
import signal
import threading
import time

import pytest

from s2d_loop.chat import limits
from s2d_loop.chat.limits import OverLimitError, limited
from s2d_loop.chat.tokens import Chat
from s2d_loop.errors import BadInputError, ConversationRefusedError
from s2d_loop.records import Message
from s2d_loop.testbed.tokenizer import build_tokenizer

ASKED = (Message("user", "Is the coin heads up?"),)
PLAIN = "{% for m in messages %}{{ m['content'] }}{% endfor %}"
LOOPS = "{% for i in range(99999) %}{% for j in range(99999) %}{% if i > j and j > i %}x{% endif %}{% endfor %}{% endfor %}"
HUNGRY = "{% set x = messages[0]['content'] * 999999999 %}{{ x[:1] }}"
LONG = "{% for i in range(99999) %}{{ messages[0]['content'] }}{% endfor %}"


def chat(template: str) -> Chat:
    tokenizer = build_tokenizer(["Is the coin heads up?"], 400)
    tokenizer.chat_template = template
    return Chat(tokenizer)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits.limited.__wrapped__, "__defaults__", (0.3, 1 << 28))


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(
    ("template", "why"),
    [(LOOPS, "more than 0.3 s of processor time"), (HUNGRY, "more than 256 MiB of memory")],
)
def test_a_template_that_takes_too_much_is_named(template: str, why: str) -> None:
    began = time.process_time()
    with pytest.raises(BadInputError, match=f"the chat template, .*{why}.*: name another template"):
        chat(PLAIN + template).prompt_ids(ASKED)
    assert time.process_time() - began < 5


def test_a_template_that_makes_much_of_little_is_refused() -> None:
    with pytest.raises(
        (ConversationRefusedError, BadInputError), match=r"it makes 2099[0-9]* characters of it"
    ):
        chat(LONG).prompt_ids(ASKED)


def test_everything_is_as_it_was_afterwards() -> None:
    def standing() -> tuple[object, ...]:
        timer, handler = signal.getitimer(signal.ITIMER_VIRTUAL), signal.getsignal(signal.SIGVTALRM)
        return timer, handler, resource.getrlimit(resource.RLIMIT_AS)

    before = standing()
    with limited():
        assert standing() != before
    with pytest.raises(OverLimitError), limited(0.05):
        all(n >= 0 for n in itertools.count())
    with pytest.raises(KeyError), limited():
        raise KeyError
    assert standing() == before


def test_another_thread_is_left_alone() -> None:
    said = []

    def work() -> None:
        before = resource.getrlimit(resource.RLIMIT_AS)
        with limited(1e-6, 1):
            said.append(resource.getrlimit(resource.RLIMIT_AS) == before)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert said == [True]
