"""Labels of people: how they are kept, what they decide, and that a rater is shown nothing but answers."""

import contextlib
import json
import socket
import struct
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from s2d_loop.clock import SystemClock
from s2d_loop.errors import BadInputError
from s2d_loop.evaluate.agreement import agreements, cohen
from s2d_loop.evaluate.references import Reviewed, by_source, is_correct, majority, references, rescored
from s2d_loop.labels import LabelError, Labels, Said, answer_digest, check_rater, path_of, read_labels
from s2d_loop.records import HeldOut, Input, Message, Scored, content_hash, digest
from s2d_loop.review import server as review_server
from s2d_loop.review.audit import Audited, accuracy
from s2d_loop.review.items import Item
from s2d_loop.review.server import MOST_CONNECTIONS, TOKEN_HEADER, Server
from s2d_loop.review.sitting import NONE_OF_THESE, UNSURE, Sitting, StaleError
from s2d_loop.store import LocalStore
from s2d_loop.tasks.registry import load_task

TASK = load_task("open")


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return LocalStore(str(tmp_path))


def made(name: str) -> Input:
    message = Message("user", f"question {digest(name)}")
    return Input(name, "letters", (message,), content_hash([message]))


def say(store: LocalStore, rater: str, name: str, said: Said, answer: str = "", shown: str = "a b") -> None:
    labels = read_labels(store)
    labels.append(
        rater,
        input_id=name,
        task="letters",
        said=said,
        answer=answer_digest(answer) if answer else "",
        shown=[answer_digest(each) for each in shown.split()],
        time="2026-01-01T00:00:00+00:00",
    )


def test_a_raters_last_word_stands_and_what_is_taken_back_does_not(store: LocalStore) -> None:
    say(store, "ada", "x", "right", "a")
    say(store, "ada", "x", "none")
    say(store, "bob", "x", "unsure")
    say(store, "bob", "y", "right", "b")
    say(store, "bob", "y", "undone")
    standing = read_labels(store).standing
    assert {name: {r: label.said for r, label in each.items()} for name, each in standing.items()} == {
        "x": {"ada": "none", "bob": "unsure"}
    }


def test_two_windows_of_a_rater_lose_nothing(store: LocalStore) -> None:
    one, other = read_labels(store), read_labels(store)
    for window, name in ((one, "x"), (other, "y"), (one, "z")):
        window.append("ada", input_id=name, task="letters", said="unsure", time="")
    assert [label.input_id for label in read_labels(store).of("ada")] == ["x", "y", "z"]


def test_labels_that_were_read_once_can_be_read_again_whatever_came_since(store: LocalStore) -> None:
    say(store, "ada", "x", "right", "a")
    before = read_labels(store)
    say(store, "ada", "x", "right", "b")
    say(store, "bob", "x", "right", "b")
    pins = json.loads(json.dumps(before.pins))
    assert read_labels(store, pins).standing == before.standing
    assert read_labels(store).standing != before.standing


def damaged(path: Path) -> None:
    path.write_bytes(path.read_bytes().replace(b'"right"', b'"none"'))


def misplaced(path: Path) -> None:
    path.write_bytes(path.with_name("00000001.json").read_bytes())


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (damaged, "00000002.json is damaged"),
        (misplaced, "00000002.json doesn't follow"),
        (Path.unlink, "00000002.json is missing"),
        (lambda path: path.write_text("[1"), "00000002.json is damaged"),
    ],
)
def test_damage_is_named(store: LocalStore, harm, message: str) -> None:  # type: ignore[no-untyped-def]
    for name in ("x", "y", "z"):
        say(store, "ada", name, "right", "a")
    pins = read_labels(store).pins
    harm(Path(store.root, path_of("ada", 2)))
    for read in (lambda: read_labels(store), lambda: read_labels(store, pins)):
        with pytest.raises(LabelError, match=message):
            read()


@pytest.mark.parametrize("name", ["../x", "Ada", "", ".", "a/b", "a" * 33])
def test_a_rater_never_names_a_path(name: str) -> None:
    with pytest.raises(BadInputError, match="lower-case"):
        check_rater(name)


def test_most_raters_decide_and_a_tie_is_no_label(store: LocalStore) -> None:
    for rater, answer in (("ada", "a"), ("bob", "a"), ("cyd", "b")):
        say(store, rater, "two of three", "right", answer)
    for rater, answer in (("ada", "a"), ("bob", "b")):
        say(store, rater, "tie", "right", answer)
    for rater, answer in (("ada", "a"), ("bob", "b"), ("cyd", "c")):
        say(store, rater, "no majority", "right", answer, shown="a b c")
    say(store, "ada", "one can tell", "right", "b")
    say(store, "bob", "one can tell", "unsure")
    say(store, "ada", "nobody can tell", "unsure")
    say(store, "ada", "none", "none", shown="a b")
    found = {name: majority(labels) for name, labels in read_labels(store).standing.items()}
    a, b = answer_digest("a"), answer_digest("b")
    assert found == {
        "two of three": Reviewed(a),
        "tie": None,
        "no majority": None,
        "one can tell": Reviewed(b),
        "nobody can tell": None,
        "none": Reviewed(None, frozenset({a, b})),
    }


def test_a_rows_own_reference_counts_before_a_label_and_that_before_a_vote(store: LocalStore) -> None:
    items = [
        HeldOut(made("own"), "c"),
        HeldOut(made("label"), None),
        HeldOut(made("none"), None),
        HeldOut(made("vote"), None),
        HeldOut(made("nothing"), None),
    ]
    for name in ("own", "label"):
        say(store, "ada", name, "right", "a")
    say(store, "ada", "none", "none")
    voted = dict.fromkeys(("own", "label", "none", "vote"), "b")
    known = references(items, voted, read_labels(store).standing)
    right = {
        item.input.id: [is_correct(said, known.get(item.input.id), TASK) for said in ("a", "b", "c", None)]
        for item in items
    }
    assert right == {
        "own": [False, False, True, False],
        "label": [True, False, False, False],
        "none": [False, False, None, False],  # nobody has seen c
        "vote": [False, True, False, False],
        "nothing": [None] * 4,
    }
    assert by_source(items, known) == {"letters": {"labels": 1, "review": 2, "vote": 1, "none": 1}}


def test_answers_of_before_are_held_against_the_labels_of_now(store: LocalStore) -> None:
    items = [HeldOut(made("x"), None), HeldOut(made("y"), None)]
    before = [Scored(name, "letters", "system1", "b", True, "b", 1) for name in ("x", "y")]
    say(store, "ada", "x", "right", "a")
    known = references(items, {"x": "b", "y": "b"}, read_labels(store).standing)
    assert [each.correct for each in rescored(before, known, {"letters": TASK})] == [False, True]


@pytest.mark.parametrize(
    ("table", "same", "kappa"),
    [  # yes/yes, yes/no, no/yes, no/no; worked examples of the literature (Cohen's kappa, Wikipedia)
        ((20, 5, 10, 15), 0.7, 0.4),
        ((45, 15, 25, 15), 0.6, 0.1304),
        ((25, 35, 5, 35), 0.6, 0.2593),
    ],
)
def test_kappa_of_worked_examples(table: tuple[int, ...], same: float, kappa: float) -> None:
    pairs = [pair for pair, n in zip(("yy", "yn", "ny", "nn"), table, strict=True) for _ in range(n)]
    found = cohen([a for a, _ in pairs], [b for _, b in pairs])
    assert found == (pytest.approx(same), pytest.approx(kappa, abs=5e-5))


def test_kappa_says_nothing_where_chance_agrees_always() -> None:
    assert cohen("aaa", "aaa") == (1.0, None)
    assert cohen("", "") == (None, None)


def test_agreement_is_over_what_both_labelled(store: LocalStore) -> None:
    for name, ada, bob in (("1", "a", "a"), ("2", "b", "b"), ("3", "a", "b"), ("4", "b", "b")):
        say(store, "ada", name, "right", ada)
        say(store, "bob", name, "right", bob)
    say(store, "ada", "5", "none")
    (found,) = agreements(read_labels(store).standing)
    assert (found.first, found.second, found.n, found.same) == ("ada", "bob", 4, 0.75)
    # By chance: ada says the first in 2 of 4, bob in 1 of 4; 1/2 * 1/4 + 1/2 * 3/4.
    assert found.kappa == pytest.approx((0.75 - 0.5) / 0.5)


def test_each_systems_accuracy_is_over_inputs_on_which_all_its_answers_were_judged(store: LocalStore) -> None:
    say(store, "ada", "x", "right", "a")
    say(store, "ada", "y", "none", shown="a b")
    say(store, "ada", "unseen", "none", shown="a b")
    say(store, "ada", "unsure", "unsure")
    inputs = [
        Audited(1, made("x"), "a", ("a", "b", None, "a")),
        Audited(1, made("y"), "b", ("a", "a", "b", "b")),
        Audited(1, made("unseen"), "a", ("z", "z")),
        Audited(1, made("unsure"), "a", ("a", "a")),
    ]
    standing = read_labels(store).standing
    assert accuracy(inputs, standing) == {"n": 2, "system1": 0.25, "system2": 0.5}


def sitting(store: LocalStore, rater: str, count: int = 12) -> Sitting:
    items = [Item(made(f"source:f#{n}"), ("alpha", "beta", "gamma")) for n in range(count)]
    return Sitting(rater, items, Labels(store), SystemClock())


def test_a_rater_sees_answers_in_an_order_that_tells_nothing(store: LocalStore) -> None:
    orders: dict[str, list[str]] = {}
    for rater in ("ada", "bob"):
        page = sitting(store, rater)
        while (item := (shown := page.shown())["item"]) is not None:
            assert set(shown) == {"rater", "done", "all", "agreement", "item"}
            assert set(item) == {"key", "turns", "answers"}
            assert "source" not in json.dumps(item)
            orders.setdefault(rater, []).append("".join(answer[0] for answer in item["answers"]))
            page.label(item["key"], UNSURE)
    assert len(set(orders["ada"])) > 1
    assert orders["ada"] != orders["bob"]
    assert all(sorted(order) == ["a", "b", "g"] for order in orders["ada"])


def test_the_answer_that_was_chosen_is_the_one_that_was_shown(store: LocalStore) -> None:
    page = sitting(store, "ada")
    item = page.shown()["item"]
    page.label(item["key"], item["answers"].index("beta") + 1)
    assert [label.answer for label in read_labels(store).of("ada")] == [answer_digest("beta")]
    with pytest.raises(StaleError):
        page.label(item["key"], 1)
    after = page.shown()["item"]
    with pytest.raises(ValueError, match="no answer 4"):
        page.label(after["key"], 4)
    assert page.undo()["item"] == item, "what is undone comes again"
    assert page.undo()["item"] == item, "nothing is left to undo"
    assert [label.said for label in read_labels(store).of("ada")] == ["right", "undone"]


def test_an_input_without_a_right_answer_is_asked_again_once_there_is_another(store: LocalStore) -> None:
    x = made("x")
    for answers, left in ((("a",), 1), (("a", "b"), 1), (("b",), 0)):
        page = Sitting("ada", [Item(x, answers)], Labels(store), SystemClock())
        assert page.shown()["all"] - page.shown()["done"] == left
        if left:
            page.label(page.shown()["item"]["key"], NONE_OF_THESE)


@pytest.fixture
def server(store: LocalStore) -> Iterator[Server]:
    with Server(sitting(store, "ada")) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def status(url: str, body: bytes | None = None, **headers: str) -> int:
    asked = urllib.request.Request(url, body, {name.replace("_", "-"): v for name, v in headers.items()})
    try:
        with urllib.request.urlopen(asked, timeout=10) as reply:
            return int(reply.status)
    except urllib.error.HTTPError as error:
        return error.code


def test_only_who_has_the_address_is_answered(server: Server, store: LocalStore) -> None:
    key = server.sitting.shown()["item"]["key"]
    label = json.dumps({"key": key, "choice": 1}).encode()
    base = f"http://127.0.0.1:{server.server_port}/"
    token = {TOKEN_HEADER.replace("-", "_"): server.token}
    assert server.server_address[0] == "127.0.0.1"
    assert status(base) == status(base + "x/next") == 403
    assert status(server.url + "next", Host="evil.example") == 403, "a name that was made to resolve here"
    assert status(server.url + "label", label) == 403, "a page of another site can't set the header"
    assert status(server.url + "nothing") == status(server.url + "nothing", b"{}", **token) == 404
    for wrong in (
        b"",
        b"{",
        b"[" * 900,
        b"{}",
        b'{"key": 1}',
        b" " * 2000,
        b'{"key": "%s", "choice": 99}' % key.encode(),
    ):
        assert status(server.url + "label", wrong, **token) == 400
    assert not read_labels(store).raters, "nothing was labelled by any of them"
    assert status(server.url + "label", label, **token) == 200
    assert status(server.url + "label", label, **token) == 200, (
        "labelled in another window: the next is shown"
    )
    assert len(read_labels(store).of("ada")) == 1


def raw(server: Server, head: str, body: bytes = b"") -> str:
    """What a request is answered that no client would send: the status line and the text."""
    lines = [head, f"Host: {server.hosts[0]}", f"{TOKEN_HEADER}: {server.token}", "", ""]
    with socket.create_connection(server.server_address, timeout=10) as connection:
        connection.sendall("\r\n".join(lines).encode("latin-1") + body)
        connection.shutdown(socket.SHUT_WR)
        reply = b"".join(iter(lambda: connection.recv(4096), b"")).decode()
    first, _, rest = reply.partition("\r\n")
    text = rest.partition("\r\n\r\n")[2]
    return f"{first.partition(' ')[2]}: {text}"


NUMBERS = [
    "-1",
    "+5",
    "1.5",
    "1e2",
    "nan",
    "0x10",
    "1_0",
    " ",
    "\xb2",
    "0",
    "1001",
    "9" * 5000,
    "5\r\nContent-Length: 6",
]


@pytest.mark.parametrize("length", NUMBERS)
def test_an_odd_length_is_refused_in_words(
    server: Server, store: LocalStore, length: str, capsys: pytest.CaptureFixture[str]
) -> None:
    said = raw(server, f"POST /{server.token}/label HTTP/1.0\r\nContent-Length: {length}", b'{"key": 1}')
    assert said.startswith("400 Bad Request: Content-Length: wanted"), said
    assert not read_labels(store).raters
    assert "".join(capsys.readouterr()) == ""


@pytest.mark.parametrize(
    "choice",
    [
        "NaN",
        "Infinity",
        "-Infinity",
        "1e400",
        "1.0",
        "1.5",
        "true",
        "null",
        '"1"',
        "[1]",
        "9" * 800,
        "-2",
        "4",
        "",
    ],
)
def test_an_odd_choice_labels_nothing(
    server: Server, store: LocalStore, choice: str, capsys: pytest.CaptureFixture[str]
) -> None:
    key = server.sitting.shown()["item"]["key"]
    token = {TOKEN_HEADER.replace("-", "_"): server.token}
    assert status(server.url + "label", f'{{"key": "{key}", "choice": {choice}}}'.encode(), **token) == 400
    assert not read_labels(store).raters
    assert "".join(capsys.readouterr()) == ""


@pytest.mark.parametrize("key", ["1", "1.0", "NaN", "null", "true", "[]", "{}"])
def test_a_key_is_text(server: Server, key: str) -> None:
    body = f'{{"key": {key}, "choice": 1}}'.encode()
    said = raw(server, f"POST /{server.token}/label HTTP/1.0\r\nContent-Length: {len(body)}", body)
    assert said == "400 Bad Request: key: wanted the text that names the input"


def test_a_label_that_is_cut_off_is_refused(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    said = raw(server, f"POST /{server.token}/label HTTP/1.0\r\nContent-Length: 500", b'{"key": "x"')
    assert said == "400 Bad Request: the body is not JSON"
    with socket.create_connection(server.server_address) as connection:
        # It goes away with a reset, before it is answered.
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.sendall(b"POST /")
    assert status(server.url + "next") == 200
    assert "".join(capsys.readouterr()) == ""


def eventually(ask: Callable[[], int]) -> int:
    """What is answered once there is room again."""
    for _ in range(200):
        with contextlib.suppress(OSError):
            return ask()
        time.sleep(0.05)
    return ask()


def test_connections_are_few_and_short(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    threads = threading.active_count()
    with contextlib.ExitStack() as stack:
        held = [
            stack.enter_context(socket.create_connection(server.server_address, timeout=10))
            for _ in range(MOST_CONNECTIONS + 4)
        ]
        for each in held[MOST_CONNECTIONS:]:
            with contextlib.suppress(ConnectionResetError):
                assert each.recv(1) == b"", "one too many is closed"
        assert threading.active_count() <= threads + MOST_CONNECTIONS
        # What holds a connection without asking anything loses it.
        monkeypatch.setattr(review_server, "LONGEST_S", 0.0)
        assert [each.recv(1) for each in held[:MOST_CONNECTIONS]] == [b""] * MOST_CONNECTIONS
        monkeypatch.undo()
        assert eventually(lambda: status(server.url + "next")) == 200


def test_a_failure_of_our_own_is_a_line_and_no_traceback(
    server: Server, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail() -> dict[str, Any]:
        raise KeyError("\x1b[2J")

    monkeypatch.setattr(server.sitting, "shown", fail)
    with pytest.raises(OSError):
        status(server.url + "next")
    monkeypatch.undo()
    assert status(server.url + "next") == 200
    assert capsys.readouterr().err == "s2d: a request to the page failed: KeyError: '\\x1b[2J'\n"


def test_a_port_that_is_taken_is_said(server: Server, store: LocalStore) -> None:
    with pytest.raises(BadInputError, match="leave it out for a free one"):
        Server(sitting(store, "bob"), server.server_port)
