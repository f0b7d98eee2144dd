"""An object store in memory: puts are whole and durable, and answers get lost.

A put is atomic; with a condition, exactly one of several wins.  But the caller of a put that timed out
does not know whether it won, a client's own retry is answered 412, and what was given up may still land
later, after other drivers have gone on.
"""

import contextlib
import io
from collections.abc import Callable, Iterator
from typing import IO

from benchmarks.simulation.kernel import Kernel
from s2d_loop.store import ExistsError, HashingFile


class Bucket:
    """Objects by key."""

    def __init__(self, objects: dict[str, bytes] | None = None) -> None:
        self.objects = dict(objects or {})

    def put(self, key: str, data: bytes) -> None:
        self.objects[key] = data

    def put_new(self, key: str, data: bytes) -> None:
        """Only if nothing is there: ExistsError is the 412."""
        if key in self.objects:
            raise ExistsError(key)
        self.objects[key] = data

    def put_new_late(self, key: str, data: bytes) -> None:
        """Nobody waits for the answer any more."""
        self.objects.setdefault(key, data)

    def delete(self, path: str) -> None:
        for key in [each for each in self.objects if each == path or each.startswith(f"{path}/")]:
            del self.objects[key]


class BucketStore:
    """`s2d_loop.store.Store` on a bucket; every request is a step of the kernel."""

    def __init__(self, root: str, bucket: Bucket, kernel: Kernel) -> None:
        self.root = root
        self._bucket = bucket
        self._kernel = kernel

    def create(self, path: str, data: bytes) -> None:
        self._kernel.perform(
            "put-new",
            path,
            lambda: self._bucket.put_new(path, data),
            late=lambda: self._bucket.put_new_late(path, data),
        )

    def read(self, path: str) -> bytes | None:
        return self._kernel.perform("get", path, lambda: self._bucket.objects.get(path))

    @contextlib.contextmanager
    def writing(self, path: str) -> Iterator[HashingFile]:
        buffer = io.BytesIO()
        yield HashingFile(buffer)
        put: Callable[[], None] = lambda: self._bucket.put(path, buffer.getvalue())  # noqa: E731
        self._kernel.perform("put", path, put, late=put)

    @contextlib.contextmanager
    def reading(self, path: str) -> Iterator[IO[bytes]]:
        data = self.read(path)
        if data is None:
            raise FileNotFoundError(path)
        yield io.BytesIO(data)

    def remove(self, path: str) -> None:
        delete: Callable[[], None] = lambda: self._bucket.delete(path)  # noqa: E731
        self._kernel.perform("delete", path, delete, late=delete)

    def list(self, path: str) -> list[str]:
        def names() -> list[str]:
            inside = [
                key.removeprefix(f"{path}/") for key in self._bucket.objects if key.startswith(f"{path}/")
            ]
            return sorted({name.split("/")[0] for name in inside})

        return self._kernel.perform("list", path, names)

    def free_bytes(self) -> int | None:
        return None

    def local_path(self, path: str) -> str | None:
        return None
