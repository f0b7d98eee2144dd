"""Serves a sitting's page to the person at this machine, and to nobody else.

It listens on the loopback interface only.  Every request needs the sitting's random token in its path and
one of this server's own names as `Host` (another site's name that was made to resolve here has its own);
what changes something also needs the token as a header, which no other site's page can send.  The page
loads nothing, and shows texts as text: model answers are hostile.  Other users of the machine can connect, so
connections are few and short, whatever they send.
"""

import contextlib
import hmac
import json
import secrets
import socket
import sys
import threading
import time
from collections.abc import Callable
from functools import cached_property
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import resources
from typing import Any

from s2d_loop.errors import BadInputError, S2DError
from s2d_loop.review.sitting import Sitting, StaleError
from s2d_loop.terminal import echo

TOKEN_HEADER = "X-S2D-Token"
_LONGEST = 1000
"""Bytes of a request; a label is less than a hundred."""
MOST_CONNECTIONS = 16
"""At once, each with a thread of its own; a browser opens six."""
LONGEST_S = 30.0
"""How long a connection may last; a request takes milliseconds."""


class Server(ThreadingHTTPServer):
    """One sitting at a port of 127.0.0.1; `port` 0 takes a free one."""

    daemon_threads = True
    request_queue_size = MOST_CONNECTIONS

    def __init__(self, sitting: Sitting, port: int = 0) -> None:
        self.sitting = sitting
        self.token = secrets.token_urlsafe(16)
        self._since: dict[socket.socket, float] = {}
        self._lock = threading.Lock()
        try:
            super().__init__(("127.0.0.1", port), _Handler)
        except OSError as error:
            raise BadInputError(f"--port {port}: {error.strerror}; leave it out for a free one") from error

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/{self.token}/"

    @cached_property
    def page(self) -> bytes:
        """The page with a nonce for its own script and style; its data comes as JSON."""
        text = resources.files("s2d_loop.review").joinpath("page.html").read_text("utf-8")
        return text.replace("NONCE", self.nonce).encode()

    @cached_property
    def nonce(self) -> str:
        return secrets.token_urlsafe(16)

    @property
    def hosts(self) -> tuple[str, str]:
        return f"127.0.0.1:{self.server_port}", f"localhost:{self.server_port}"

    def process_request(self, request: Any, client_address: Any) -> None:
        """Answer it in a thread of its own, unless there are too many."""
        with self._lock:
            has_room = len(self._since) < MOST_CONNECTIONS
            if has_room:
                self._since[request] = time.monotonic()
        if has_room:
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def shutdown_request(self, request: Any) -> None:
        with self._lock:
            self._since.pop(request, None)
        super().shutdown_request(request)

    def service_actions(self) -> None:
        """End connections that last too long; called every half second."""
        with self._lock:
            for request, since in self._since.items():
                if time.monotonic() - since > LONGEST_S:
                    with contextlib.suppress(OSError):  # it ended just now
                        request.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002
        """One that broke off is nobody's trouble; anything else is ours, and the next is answered all the same."""
        error = sys.exception()
        if not isinstance(error, OSError):
            echo(f"s2d: a request to the page failed: {type(error).__name__}: {error}", err=True)


class _BadRequestError(Exception):
    """The request can't be read; the message says what is wrong with it."""


class _Handler(BaseHTTPRequestHandler):
    server: Server
    server_version = "s2d"
    sys_version = ""
    timeout = LONGEST_S
    """Seconds that a connection may stay silent."""

    def do_GET(self) -> None:
        what = self._allowed()
        if what == "":
            self._send(HTTPStatus.OK, "text/html; charset=utf-8", self.server.page)
        elif what == "next":
            self._answer(self.server.sitting.shown)
        elif what is not None:
            self._refuse(HTTPStatus.NOT_FOUND)

    def do_POST(self) -> None:
        what = self._allowed()
        if what is None:
            return None
        if not self._is_token(self.headers.get(TOKEN_HEADER, "")):
            return self._refuse(HTTPStatus.FORBIDDEN)
        if what == "undo":
            return self._answer(self.server.sitting.undo)
        if what != "label":
            return self._refuse(HTTPStatus.NOT_FOUND)
        try:
            key, choice = self._label()
        except _BadRequestError as error:
            return self._refuse(HTTPStatus.BAD_REQUEST, str(error))
        return self._answer(lambda: self.server.sitting.label(key, choice))

    def _allowed(self) -> str | None:
        """What is asked for, behind the token; None where the request was refused."""
        token, _, what = self.path.removeprefix("/").partition("/")
        if self.headers.get("Host") not in self.server.hosts or not self._is_token(token):
            self._refuse(HTTPStatus.FORBIDDEN)
            return None
        return what

    def _is_token(self, found: str) -> bool:
        return hmac.compare_digest(found.encode(), self.server.token.encode())

    def _label(self) -> tuple[str, int]:
        """The key and the choice that are sent."""
        try:
            asked = json.loads(self.rfile.read(self._length()))
        except (ValueError, RecursionError) as error:
            raise _BadRequestError("the body is not JSON") from error
        if not isinstance(asked, dict) or not isinstance(asked.get("key"), str):
            raise _BadRequestError("key: wanted the text that names the input")
        if type(asked.get("choice")) is not int:
            raise _BadRequestError("choice: wanted a whole number")
        return asked["key"], asked["choice"]

    def _length(self) -> int:
        given = self.headers.get_all("Content-Length") or [""]
        # Digits alone: `int` would take a sign, an underscore and digits of other scripts.
        if len(given) > 1 or not (given[0].isascii() and given[0].isdigit()):
            raise _BadRequestError("Content-Length: wanted one whole number")
        # Longer than any length that is allowed, it is not worth reading as a number.
        if len(given[0]) > len(str(_LONGEST)) or not 0 < int(given[0]) <= _LONGEST:
            raise _BadRequestError(f"Content-Length: wanted 1 to {_LONGEST} bytes")
        return int(given[0])

    def _answer(self, work: Callable[[], dict[str, Any]]) -> None:
        try:
            found = work()
        except StaleError:
            found = self.server.sitting.shown()
        except ValueError as error:
            return self._refuse(HTTPStatus.BAD_REQUEST, str(error))
        except S2DError as error:  # a full disk, a damaged label: the page says so, and nothing was labelled
            return self._send(
                HTTPStatus.INTERNAL_SERVER_ERROR, "text/plain; charset=utf-8", str(error).encode()
            )
        return self._send(HTTPStatus.OK, "application/json", json.dumps(found).encode())

    def _refuse(self, status: HTTPStatus, why: str = "") -> None:
        self.close_connection = True  # its body was not read
        self._send(status, "text/plain; charset=utf-8", (why or status.phrase).encode())

    def _send(self, status: HTTPStatus, kind: str, data: bytes) -> None:
        own = f"'nonce-{self.server.nonce}'"
        policy = f"default-src 'none'; script-src {own}; style-src {own}; connect-src 'self'"
        self.send_response(status)
        for name, value in (
            ("Content-Type", kind),
            ("Content-Length", str(len(data))),
            (
                "Content-Security-Policy",
                f"{policy}; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
            ),
            ("X-Content-Type-Options", "nosniff"),
            ("Referrer-Policy", "no-referrer"),
            ("Cache-Control", "no-store"),
        ):
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """A line for each request would bury the page's address."""
