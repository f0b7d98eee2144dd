"""Serves a sitting's page to the person at this machine, and to nobody else.

It listens on the loopback interface only.  Every request needs the sitting's random token in its path and
one of this server's own names as `Host` (another site's name that was made to resolve here has its own);
what changes something also needs the token as a header, which no other site's page can send.  The page
loads nothing, and shows texts as text: model answers are hostile.
"""

import hmac
import json
import secrets
from functools import cached_property
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import resources
from typing import Any

from s2d_loop.errors import BadInputError, S2DError
from s2d_loop.review.sitting import Sitting, StaleError

TOKEN_HEADER = "X-S2D-Token"
_LONGEST = 1000
"""Bytes of a request; a label is less than a hundred."""


class Server(ThreadingHTTPServer):
    """One sitting at a port of 127.0.0.1; `port` 0 takes a free one."""

    daemon_threads = True

    def __init__(self, sitting: Sitting, port: int = 0) -> None:
        self.sitting = sitting
        self.token = secrets.token_urlsafe(16)
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


class _Handler(BaseHTTPRequestHandler):
    server: Server
    server_version = "s2d"
    sys_version = ""
    timeout = 30
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
            asked = self._body()
            key, choice = str(asked["key"]), int(asked["choice"])
        except (ValueError, KeyError, TypeError, RecursionError):
            return self._refuse(HTTPStatus.BAD_REQUEST)
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

    def _body(self) -> Any:
        length = int(self.headers.get("Content-Length") or 0)
        if not 0 < length <= _LONGEST:
            raise ValueError("too long, or nothing")
        return json.loads(self.rfile.read(length))

    def _answer(self, work: Any) -> None:
        try:
            found = work()
        except StaleError:
            found = self.server.sitting.shown()
        except ValueError:
            return self._refuse(HTTPStatus.BAD_REQUEST)
        except S2DError as error:  # a full disk, a damaged label: the page says so, and nothing was labelled
            return self._send(
                HTTPStatus.INTERNAL_SERVER_ERROR, "text/plain; charset=utf-8", str(error).encode()
            )
        return self._send(HTTPStatus.OK, "application/json", json.dumps(found).encode())

    def _refuse(self, status: HTTPStatus) -> None:
        self.close_connection = True  # its body was not read
        self._send(status, "text/plain", status.phrase.encode())

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
