"""A Ray that is started here is for this user only: what it is told, and what lies around it meanwhile."""

import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import ray

from s2d_loop.config import load
from s2d_loop.ray_session import private_folder, ray_session

QUICKSTART = str(Path(__file__).parents[2] / "configs/quickstart.yaml")


class FakeRay:
    """Stands in for `ray.init`, and looks at what a Ray would find as it starts."""

    def __init__(self) -> None:
        self.options: dict[str, Any] = {}
        self.token: Path | None = None
        self.loopback = False

    def init(self, **options: Any) -> None:
        from ray._private.services import get_node_ip_address

        self.options = options
        path = os.environ.get("RAY_AUTH_TOKEN_PATH")
        self.token = Path(path) if path else None
        self.loopback = get_node_ip_address() == "127.0.0.1"


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> FakeRay:
    fake = FakeRay()
    monkeypatch.setattr(ray, "init", fake.init)
    monkeypatch.setattr(ray, "shutdown", lambda: None)
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    for name in ("RAY_ADDRESS", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    return fake


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A temporary folder whose path leaves room for a socket's, which pytest's own may not."""
    folder = Path(tempfile.mkdtemp(dir="/tmp"))
    monkeypatch.setenv("RAY_TMPDIR", str(folder))
    yield folder
    shutil.rmtree(folder)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


def test_a_local_ray_is_for_this_user_only(
    started: FakeRay, short: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = load(QUICKSTART)
    monkeypatch.setenv("RAY_AUTH_TOKEN", "of-a-cluster")
    tokens = set()
    for _ in range(2):
        with ray_session(config):
            assert started.options["address"] == "local", "a file of somebody else's must not lead elsewhere"
            assert started.options["include_dashboard"] is False
            assert started.loopback
            sessions, token = Path(started.options["_temp_dir"]), started.token
            assert token is not None
            assert mode(sessions.parent) == 0o700
            assert sessions.parent.parent == short
            assert mode(token) == 0o600
            assert token.is_relative_to(sessions.parent)
            assert len(token.read_text()) == 64
            assert "RAY_AUTH_TOKEN" not in os.environ, "it would outweigh the file"
            tokens.add(token.read_text())
        assert not token.exists()
        assert os.environ["RAY_AUTH_TOKEN"] == "of-a-cluster"
        assert "RAY_AUTH_TOKEN_PATH" not in os.environ
    assert len(tokens) == 2, "each Ray has its own"


def test_a_start_that_fails_leaves_nothing(
    started: FakeRay, short: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(**options: Any) -> None:
        raise RuntimeError("no room\nmore")

    monkeypatch.setattr(ray, "init", fail)
    with (
        pytest.raises(Exception, match=r"could not reach Ray on this machine: no room$"),
        ray_session(load(QUICKSTART)),
    ):
        raise AssertionError
    assert not list(short.rglob("token*"))
    assert "RAY_AUTH_TOKEN_PATH" not in os.environ


def test_a_cluster_keeps_its_own_token_and_address(
    started: FakeRay, short: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_AUTH_TOKEN", "of-a-cluster")
    with ray_session(load(QUICKSTART, ["ray.address=head:6379"])):
        assert started.options["address"] == "head:6379"
        assert "_temp_dir" not in started.options
        assert started.token is None
        assert not started.loopback
        assert os.environ["RAY_AUTH_TOKEN"] == "of-a-cluster"
    assert not list(short.iterdir())


def test_the_folder_is_the_same_every_time(short: Path) -> None:
    first = private_folder()
    assert first == private_folder()
    assert (first.parent, mode(first)) == (short, 0o700)


@pytest.mark.parametrize("squat", ["open", "link", "file"])
def test_a_folder_that_somebody_else_may_have_made_is_not_used(short: Path, squat: str) -> None:
    there, elsewhere = short / f"s2d-{os.geteuid()}", short / "elsewhere"
    elsewhere.mkdir(mode=0o700)
    if squat == "open":
        there.mkdir()
        there.chmod(0o770)
    elif squat == "link":
        there.symlink_to(elsewhere)
    else:
        there.write_text("")
    found = private_folder()
    assert found != there
    assert (found.parent, mode(found)) == (short, 0o700)
    assert not found.is_symlink()


def test_a_temporary_folder_that_is_too_deep_for_a_socket_is_passed_over(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    deep = tmp_path / ("d" * 60)
    monkeypatch.setenv("RAY_TMPDIR", str(deep))
    found = private_folder()
    assert found.parent == Path("/tmp")
    socket = found / "ray/session_2026-01-01_00-00-00_000000_4194304/sockets/plasma_store"
    assert len(str(socket)) <= 107
