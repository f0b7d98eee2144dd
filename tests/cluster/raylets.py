"""A Ray cluster of several nodes on this machine, each node with processes and folders of its own.

Nodes are started as an operator starts them, with `ray start`, and with token authentication.  Every
process inherits a mark in its environment, so that what is left in the end is found and ended by id.
"""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

import psutil

BIN = Path(sys.executable).parent
MARK = "S2D_CLUSTER_TEST"
START_S = 120.0
# A head takes half a minute to end by itself; nothing here is worth that.
STOP_S = 10.0


class Raylets:
    """A head without CPUs, and worker nodes with the CPUs that are asked for."""

    def __init__(self, *cpus: int) -> None:
        self._cpus = cpus
        # Not pytest's folder: the path of a socket may have 107 characters.
        self.base = Path(tempfile.mkdtemp(prefix="s2d-", dir="/tmp"))
        self._mark = uuid.uuid4().hex
        self._started: list[subprocess.Popen[bytes]] = []
        self._ports = _free_ports()
        self.address = f"http://127.0.0.1:{next(self._ports)}"
        self.token_file = self.base / ".ray" / "auth_token"
        # What this machine's own Ray was told doesn't concern this cluster.
        own = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
        self.environment = own | {
            MARK: self._mark,
            "HOME": str(self.base),
            "XDG_CACHE_HOME": str(self.base / "cache"),
            "PATH": f"{BIN}{os.pathsep}{own['PATH']}",
            "RAY_USAGE_STATS_ENABLED": "0",
        }

    def __enter__(self) -> "Raylets":
        try:
            self._start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _start(self) -> None:
        generate = [str(BIN / "ray"), "get-auth-token", "--generate"]
        subprocess.run(generate, env=self.environment, check=True, capture_output=True, timeout=60)
        self.token_file.chmod(0o600)
        gcs = next(self._ports)
        head = ["--head", f"--port={gcs}", "--num-cpus=0", "--dashboard-host=127.0.0.1"]
        head += [f"--dashboard-port={self.address.rpartition(':')[2]}"]
        self._node("head", *head, f"--ray-client-server-port={next(self._ports)}")
        self._until("the head's dashboard answers", lambda: self.get("/api/version") is not None)
        for number, cpus in enumerate(self._cpus):
            self._node(f"node{number}", f"--address=127.0.0.1:{gcs}", f"--num-cpus={cpus}")
        self._until("every node is there", lambda: len(self.nodes()) == len(self._cpus) + 1)

    def _node(self, name: str, *options: str) -> None:
        command = [str(BIN / "ray"), "start", "--block", "--disable-usage-stats", *options]
        command += [f"--temp-dir={self.base / name}", "--object-store-memory=100000000"]
        command += [f"--dashboard-agent-listen-port={next(self._ports)}", "--include-log-monitor=False"]
        settings = {"RAY_AUTH_MODE": "token", "RAY_worker_niceness": "0"}
        with (self.base / f"{name}.log").open("wb") as log:
            self._started.append(
                subprocess.Popen(
                    command,
                    env=self.environment | settings,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                    cwd=self.base,
                )
            )

    def _until(self, what: str, happened: Any) -> None:
        deadline = time.monotonic() + START_S
        while not happened():
            ended = [process for process in self._started if process.poll() is not None]
            assert not ended and time.monotonic() < deadline, f"waited until {what}:\n{self.logs()}"
            time.sleep(0.5)

    def logs(self) -> str:
        """The ends of the nodes' own output."""
        return "\n".join(f"{f.name}: {f.read_text()[-1500:]}" for f in sorted(self.base.glob("*.log")))

    def get(self, path: str, method: str = "GET") -> Any:
        """An answer of the dashboard, or None when there is none."""
        headers = {"Authorization": f"Bearer {self.token_file.read_text()}"}
        request = urllib.request.Request(self.address + path, headers=headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return json.loads(answer.read())
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            return None

    def nodes(self) -> dict[str, int]:
        """CPUs of every living node, by its id."""
        answer = self.get("/api/v0/nodes?limit=100&detail=1")
        rows = answer["data"]["result"]["result"] if answer else []
        return {
            row["node_id"]: int(row["resources_total"].get("CPU", 0))
            for row in rows
            if row["state"] == "ALIVE"
        }

    def actors(self) -> list[dict[str, Any]]:
        """Every actor there was."""
        rows: list[dict[str, Any]] = self.get("/api/v0/actors?limit=1000&detail=1")["data"]["result"][
            "result"
        ]
        return rows

    def left(self) -> list[psutil.Process]:
        """Living processes of this cluster, and of what ran on it."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                alive = process.status() != psutil.STATUS_ZOMBIE
                if alive and process.pid != os.getpid() and process.environ().get(MARK) == self._mark:
                    found.append(process)
        return found

    def stop(self) -> None:
        """End every process and remove every folder."""
        deadline = time.monotonic() + STOP_S
        for process in reversed(self._started):
            process.terminate()
        while self.left() and time.monotonic() < deadline:
            time.sleep(0.5)
        for left in self.left():
            with contextlib.suppress(psutil.Error):
                left.send_signal(signal.SIGKILL)
        for process in self._started:
            process.wait(STOP_S)
        shutil.rmtree(self.base, ignore_errors=True)


def _free_ports() -> Iterator[int]:
    """Ports that are free now; kept until the next one is found, so that no two are the same."""
    with contextlib.ExitStack() as kept:
        while True:
            held = kept.enter_context(socket.socket())
            held.bind(("127.0.0.1", 0))
            port = held.getsockname()[1]
            held.close()
            yield port
