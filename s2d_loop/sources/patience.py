"""Reading from a service that may be away for a while."""

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

from s2d_loop.errors import BadInputError, S2DError, SourceError, UnreachableError

T = TypeVar("T")

FIRST_PAUSE_S = 1.0
LONGEST_PAUSE_S = 30.0
_OUR_MISTAKES = (TypeError, AttributeError, NameError, AssertionError, NotImplementedError)
"""Another try doesn't help there."""


class Patience:
    """Tries again while a source is unreachable, for `limit_s` at most."""

    def __init__(
        self,
        where: str,
        limit_s: float,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._where, self._limit_s = where, limit_s
        self._clock, self._sleep = clock, sleep

    def __call__(self, read: Callable[[], T]) -> T:
        """Raises:
        SourceError: it stayed unreachable.
        """
        until = self._clock() + self._limit_s
        pause = FIRST_PAUSE_S
        while True:
            try:
                return read()
            except UnreachableError as error:
                if self._clock() + pause > until:
                    raise SourceError(
                        f"{self._where}: could not be read for {self._limit_s:g} s (timeout_s of the source); "
                        f"the last reason: {error}. What was committed is safe; the same command goes on "
                        "from there."
                    ) from error
            self._sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE_S)


@contextlib.contextmanager
def readable(where: str, remote: bool) -> Iterator[None]:
    """What a person can mend is bad input; what a remote service throws is worth another try."""
    try:
        yield
    except (S2DError, UnreachableError, *_OUR_MISTAKES):
        raise
    except (FileNotFoundError, PermissionError) as error:
        raise _bad(where, error) from error
    except OSError as error:
        if remote:
            raise UnreachableError(_said(error)) from error
        raise _bad(where, error) from error
    except Exception as error:
        # Drivers have errors of their own for a network that is down.
        if remote:
            raise UnreachableError(_said(error)) from error
        raise


def _bad(where: str, error: OSError) -> BadInputError:
    what = f"{error.filename}: {error.strerror}" if error.filename else str(error)
    return BadInputError(f"{where}: can't be read ({what}): check the file and its permissions")


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
