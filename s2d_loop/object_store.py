"""A run's root in an S3-compatible object store, through fsspec's `s3fs`.

`store.open_store` opens one for a URI.  A put of one object is atomic; with `If-None-Match: *` it is also
exclusive.  What clients make of a lost answer or of a 409 differs, so here neither is trusted: whatever a
conditional put answered, what is there now decides (docs/decisions/0006-object-stores.md).
"""

import contextlib
import time
import uuid
from collections.abc import Iterator
from typing import IO, Any

from s2d_loop.errors import BadInputError, S2DError
from s2d_loop.store import MOST_READ, ExistsError, HashingFile, StoreError, inside, too_large

ATTEMPTS = 6
"""How often the client itself tries a request that got no answer, 429 or 5xx, waiting longer each time."""
CONNECT_TIMEOUT_S = 10
READ_TIMEOUT_S = 60
PART_BYTES = 50 * 2**20
"""Larger files are put in parts of this size, which are held in memory."""
# Waits between tries of a conditional put that was refused although nothing is there (409), or that the
# client has given up on.
_WAITS_S = (0.2, 1.0, 5.0)
_SCHEMES = ("s3", "s3a", "memory")
_NO_BUCKET = "there is no such bucket: create it, or correct run.dir"
_NO_ACCESS = (
    "no access: the driver needs s3:ListBucket, GetObject, PutObject, DeleteObject and AbortMultipartUpload there, "
    "with credentials from AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, AWS_PROFILE, or the machine's role"
)


class ObjectStore:
    """An S3 bucket, or a prefix of one.  `memory://` is a process's own, for tests."""

    def __init__(self, uri: str) -> None:
        import fsspec

        scheme = uri.partition("://")[0]
        if scheme not in _SCHEMES:
            raise BadInputError(
                f"run.dir: {uri}: commits need a conditional create, which is known of s3:// only. "
                "Use s3://bucket/run, or a path on a file system with hard links."
            )
        try:
            self._fs, path = fsspec.core.url_to_fs(uri, **_options(scheme))
        except (ImportError, ValueError) as error:
            raise BadInputError(
                f'run.dir: can\'t open {uri!r}: {error}. For s3:// install s3fs (pip install "s2d-loop[s3]"), '
                "or use a local path."
            ) from error
        # The client retries; s3fs would multiply that.
        self._fs.retries = 1
        self.root = uri.rstrip("/")
        self._base = path.rstrip("/")
        self._exclusive = False

    def _path(self, path: str) -> str:
        return f"{self._base}/{inside(path)}"

    def create(self, path: str, data: bytes) -> None:
        if not self._exclusive:
            self._prove_exclusive()
        self._put_new(path, data)

    def read(self, path: str) -> bytes | None:
        try:
            with self._asking(f"read {path}"):
                # No more is asked for than is wanted, whatever lies there.
                data: bytes = self._fs.cat_file(self._path(path), start=0, end=MOST_READ + 1)
        except FileNotFoundError:
            return None
        if len(data) > MOST_READ:
            raise too_large(f"{self.root}/{path}", f"more than {MOST_READ}")
        return data

    @contextlib.contextmanager
    def writing(self, path: str) -> Iterator[HashingFile]:
        with self._asking(f"write {path}"):
            file = self._fs.open(self._path(path), "wb", block_size=PART_BYTES)
            hashing = HashingFile(file)
            try:
                yield hashing
            except BaseException:
                with contextlib.suppress(Exception):
                    file.discard()
                    file.closed = True  # or it would be put as it is when it is collected
                raise
            try:
                file.close()
            except Exception:
                # The answer may be all that was lost.
                if self._size(path) != hashing.size:
                    raise

    @contextlib.contextmanager
    def reading(self, path: str) -> Iterator[IO[bytes]]:
        with self._asking(f"read {path}"), self._fs.open(self._path(path), "rb") as file:
            yield file

    def remove(self, path: str) -> None:
        with contextlib.suppress(FileNotFoundError), self._asking(f"remove {path}"):
            self._fs.rm(self._path(path), recursive=True)

    def list(self, path: str) -> list[str]:
        self._fs.invalidate_cache()
        try:
            with self._asking(f"list {path}"):
                found = self._fs.ls(self._path(path), detail=False)
        except FileNotFoundError:
            return []
        return sorted(name.rstrip("/").rsplit("/", 1)[-1] for name in found)

    def local_path(self, path: str) -> str | None:  # noqa: ARG002
        return None

    def _put_new(self, path: str, data: bytes) -> None:
        """A conditional put that knows whether it won.

        Refused (412), in conflict (409) or without an answer: what is there now tells who won, since every
        record differs from every other by its nonce.  Where nothing is there, nobody has won yet.
        """
        for wait in (*_WAITS_S, None):
            with self._asking(f"create {path}"):
                try:
                    self._fs.pipe_file(self._path(path), data, mode="create")
                    return
                except Exception as error:
                    there = None if _for_people(error) else self.read(path)
                    if there == data:
                        return
                    if there is not None:
                        raise ExistsError(path) from error
                    if _for_people(error) or wait is None:
                        raise
            time.sleep(wait)

    def _prove_exclusive(self) -> None:
        """Some servers ignore `If-None-Match`; two drivers would then both commit."""
        path = f".conditional/{uuid.uuid4().hex}"
        self._put_new(path, b"first")
        try:
            self._put_new(path, b"second")
        except ExistsError:
            self._exclusive = True
            return
        finally:
            self.remove(path)
        raise BadInputError(
            f"run.dir {self.root}: this server ignores If-None-Match on a put, so two drivers could commit "
            "the same record. Use one with conditional writes (AWS S3 has them), or a local path."
        )

    def _size(self, path: str) -> int | None:
        try:
            self._fs.invalidate_cache()
            return int(self._fs.info(self._path(path))["size"])
        except Exception:
            return None

    @contextlib.contextmanager
    def _asking(self, what: str) -> Iterator[None]:
        """Put the client's errors into words; those that say that a file is missing stay what they are."""
        try:
            yield
        except (S2DError, ExistsError):
            raise
        except Exception as error:
            if remedy := _for_people(error):
                raise BadInputError(f"run.dir {self.root}: could not {what}: {remedy}.") from error
            if isinstance(error, FileNotFoundError) or not _from_client(error):
                raise
            raise StoreError(
                f"{self.root}: could not {what}: {error} (tried {ATTEMPTS} times). "
                "What was committed is safe; the same command goes on from there."
            ) from error


def _options(scheme: str) -> dict[str, Any]:
    if scheme == "memory":
        return {}
    return {
        "use_listings_cache": False,
        "config_kwargs": {
            "connect_timeout": CONNECT_TIMEOUT_S,
            "read_timeout": READ_TIMEOUT_S,
            "retries": {"mode": "standard", "max_attempts": ATTEMPTS},
        },
    }


def _for_people(error: BaseException) -> str | None:
    """What a person has to mend; None where trying again may help."""
    response = getattr(error.__cause__, "response", None) or {}
    if response.get("Error", {}).get("Code") == "NoSuchBucket":
        return _NO_BUCKET
    if isinstance(error, PermissionError) or type(error).__name__ in _CREDENTIALS:
        return f"{_NO_ACCESS} ({error})"
    return None


_CREDENTIALS = {
    "NoCredentialsError",
    "PartialCredentialsError",
    "CredentialRetrievalError",
    "ProfileNotFound",
    "UnauthorizedSSOTokenError",
    "SSOTokenLoadError",
    "TokenRetrievalError",
}
"""botocore's errors of this kind; they share no class of their own."""


def _from_client(error: BaseException) -> bool:
    return isinstance(error, OSError) or type(error).__module__.partition(".")[0] in (
        "botocore",
        "aiobotocore",
        "aiohttp",
        "fsspec",
        "s3fs",
    )
