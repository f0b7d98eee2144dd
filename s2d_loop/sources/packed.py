"""Packed files, as streams of what is in them."""

import bz2
import gzip
import io
import lzma
import zlib
from collections.abc import Callable
from typing import IO, cast

import pyarrow as pa

Packing = Callable[[IO[bytes]], IO[bytes]]
"""Makes of an open file the stream of what is in it; reading that raises what `is_damage` knows if the file is
damaged or cut off."""


def _zst(file: IO[bytes]) -> IO[bytes]:
    # The zstandard package would stop without a word after the first frame, and where a file is cut off.
    return cast(IO[bytes], io.BufferedReader(pa.CompressedInputStream(pa.PythonFile(file, mode="r"), "zstd")))


def _gz(file: IO[bytes]) -> IO[bytes]:
    return cast(IO[bytes], gzip.GzipFile(fileobj=file))


PACKINGS: dict[str, Packing] = {".gz": _gz, ".bz2": bz2.BZ2File, ".xz": lzma.LZMAFile, ".zst": _zst}
"""By the end of a file's name, in lower case."""


def packing(path: str) -> tuple[Packing | None, str]:
    """How a file is packed (None: it isn't), and the name of what is in it, in lower case."""
    name = path.lower()
    end = next((each for each in PACKINGS if name.endswith(each)), "")
    return PACKINGS.get(end), name.removesuffix(end)


def is_damage(error: Exception) -> bool:
    """Whether a file's content is at fault, and not the disk or the service that it is read from.

    Libraries that decode raise a plain OSError without a number; whoever fetches bytes gives a number or a
    class of its own.
    """
    if isinstance(error, OSError):
        return isinstance(error, gzip.BadGzipFile) or (type(error) is OSError and error.errno is None)
    return isinstance(
        error, EOFError | ValueError | OverflowError | zlib.error | lzma.LZMAError | pa.ArrowException
    )
