"""An object store in memory under the product's own `ObjectStore`: puts are whole, and answers get lost.

A put is atomic; with a condition, exactly one of several wins.  But the caller of a put that timed out
does not know whether it won, a client's own second try is answered 412, and what was given up may still
land later, after other drivers have gone on.
"""

import contextlib
import io
from functools import partial
from typing import Any

from benchmarks.simulation.kernel import Kernel
from s2d_loop.object_store import ObjectStore


class Bucket:
    """Objects by key."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}

    def put(self, key: str, data: bytes) -> None:
        self.objects[key] = data

    def put_new(self, key: str, data: bytes) -> None:
        """Only if nothing is there: FileExistsError is the 412."""
        if key in self.objects:
            raise FileExistsError(key)
        self.objects[key] = data

    def put_new_late(self, key: str, data: bytes) -> None:
        """Nobody waits for the answer any more."""
        self.objects.setdefault(key, data)

    def get(self, key: str) -> bytes:
        if key not in self.objects:
            raise FileNotFoundError(key)
        return self.objects[key]

    def delete(self, path: str) -> None:
        for key in self.below(path):
            del self.objects[key]

    def below(self, path: str) -> list[str]:
        return [key for key in self.objects if key == path or key.startswith(f"{path}/")]


class BucketStore(ObjectStore):
    """The product's store, with the simulated client in place of s3fs."""

    def __init__(self, root: str, bucket: Bucket, kernel: Kernel) -> None:
        self.root = root
        self._fs: Any = _Client(bucket, kernel)
        self._base = "run"
        self._exclusive = False


class _Client:
    """What `ObjectStore` asks of fsspec; every request is a step of the kernel."""

    def __init__(self, bucket: Bucket, kernel: Kernel) -> None:
        self._bucket = bucket
        self._kernel = kernel

    def pipe_file(self, path: str, data: bytes, mode: str) -> None:
        assert mode == "create", mode
        put, late = partial(self._bucket.put_new, path, data), partial(self._bucket.put_new_late, path, data)
        self._kernel.perform("put-new", path, put, late=late)

    def cat_file(self, path: str, start: int = 0, end: int | None = None) -> bytes:
        data: bytes = self._kernel.perform("get", path, partial(self._bucket.get, path))
        return data[start:end]

    def open(self, path: str, mode: str, block_size: int | None = None) -> Any:
        return io.BytesIO(self.cat_file(path)) if mode == "rb" else _Upload(path, self._bucket, self._kernel)

    def rm(self, path: str, recursive: bool) -> None:
        assert recursive
        if not self._kernel.perform("list", path, partial(self._bucket.below, path)):
            raise FileNotFoundError(path)
        delete = partial(self._bucket.delete, path)
        self._kernel.perform("delete", path, delete, late=delete)

    def ls(self, path: str, detail: bool) -> list[str]:
        assert not detail
        below = self._kernel.perform("list", path, partial(self._bucket.below, path))
        if not below:
            raise FileNotFoundError(path)
        return sorted({"/".join(key.split("/")[: path.count("/") + 2]) for key in below})

    def info(self, path: str) -> dict[str, int]:
        return {"size": len(self.cat_file(path))}

    def invalidate_cache(self) -> None:
        pass


class _Upload(io.BytesIO):
    """A file that is put when it is closed."""

    def __init__(self, path: str, bucket: Bucket, kernel: Kernel) -> None:
        super().__init__()
        self._path, self._bucket, self._kernel = path, bucket, kernel
        self._given_up = False

    def discard(self) -> None:
        self._given_up = True

    def close(self) -> None:
        if self.closed:
            return
        put = partial(self._bucket.put, self._path, self.getvalue())
        super().close()
        if not self._given_up:
            self._kernel.perform("put", self._path, put, late=put)

    def __del__(self) -> None:
        with contextlib.suppress(BaseException):
            self.discard()
