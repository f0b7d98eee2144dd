"""An S3 server over HTTP for tests: moto's, with faults between it and the client.

moto looks and then writes, without a lock, so that two racing conditional creates could both win there.
S3 promises that one does; so whatever changes something takes turns here.
"""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import WSGIRequestHandler, make_server

Environ = dict[str, Any]


def puts(environ: Environ) -> bool:
    """Requests that put an object."""
    return environ["REQUEST_METHOD"] == "PUT" and environ["PATH_INFO"].count("/") > 1


@dataclass
class Fault:
    """What happens to the next `times` requests that `match`.

    With a `status` the request goes no further and gets this answer.  Else the server does what it is
    asked, and its answer comes `late_s` seconds later, or never (`lost`).
    """

    match: Callable[[Environ], bool] = puts
    status: int = 0
    code: str = ""
    lost: bool = False
    late_s: float = 0.0
    times: int = 1


class S3Server:
    """Serves until `close`; `requests` are (method, path, If-None-Match) of what was asked."""

    def __init__(self) -> None:
        self.faults: list[Fault] = []
        self.requests: list[tuple[str, str, str]] = []
        self._turn = threading.Lock()
        self._app = DomainDispatcherApplication(create_backend_app)
        self._server = make_server("127.0.0.1", 0, self._answer, threaded=True, request_handler=_Quiet)
        self._server.daemon_threads = True  # type: ignore[attr-defined]
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    @contextmanager
    def failing(self, *faults: Fault) -> Iterator[None]:
        self.faults = list(faults)
        try:
            yield
        finally:
            self.faults = []

    def _answer(self, environ: Environ, start_response: Any) -> Any:
        asked = environ["REQUEST_METHOD"], environ["PATH_INFO"], environ.get("HTTP_IF_NONE_MATCH", "")
        self.requests.append(asked)
        fault = next((each for each in self.faults if each.times > 0 and each.match(environ)), None)
        if fault is None:
            return self._serve(environ, start_response)
        fault.times -= 1
        if fault.status:
            body = f"<Error><Code>{fault.code}</Code><Message>injected</Message></Error>".encode()
            length = ("Content-Length", str(len(body)))
            start_response(f"{fault.status} Injected", [("Content-Type", "application/xml"), length])
            return [body]
        answer = self._serve(environ, start_response)
        time.sleep(fault.late_s)
        if fault.lost:
            environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
        return answer

    def _serve(self, environ: Environ, start_response: Any) -> Any:
        if environ["REQUEST_METHOD"] in ("GET", "HEAD"):
            return self._app(environ, start_response)
        with self._turn:
            return self._app(environ, start_response)


class _Quiet(WSGIRequestHandler):
    def log(self, type: str, message: str, *args: Any) -> None:  # noqa: A002
        pass
