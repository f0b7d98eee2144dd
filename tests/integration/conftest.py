"""An S3 server for the tests that need one."""

from collections.abc import Iterator
from pathlib import Path
from urllib.request import Request, urlopen

import pytest

from s2d_loop import object_store
from tests.support.s3_server import S3Server

BUCKET = "runs"


@pytest.fixture(scope="session")
def server() -> Iterator[S3Server]:
    server = S3Server()
    urlopen(Request(f"{server.url}/{BUCKET}", method="PUT")).close()
    yield server
    server.close()


@pytest.fixture
def bucket(server: S3Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """The URI of a prefix that nothing is under, in a bucket of the server; a client that waits less."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
    monkeypatch.setattr(object_store, "ATTEMPTS", 2)
    monkeypatch.setattr(object_store, "READ_TIMEOUT_S", 1)
    monkeypatch.setattr(object_store, "_WAITS_S", (0.01, 0.01, 0.01))
    server.requests.clear()
    return f"s3://{BUCKET}/{tmp_path.parent.name}/{tmp_path.name}"
